"""Times by peaks and by cycles, the chips' numbers, and the search for the largest batch: all by hand."""

import pytest

from fsfm_jax.compile_check import chips, search
from fsfm_jax.compile_check.program import Collective, Figures, Memory
from fsfm_jax.compile_check.roofline import LINKS, MEMORY, PRODUCTS, rooflines

# 100 FLOPs a cycle at 10 cycles a second.
CHIP = chips.Chip(
    devices=1, flops=1000.0, hbm_gib=1, program_gib=1, hbm_bandwidth=50.0, ici=20.0, cycle_flops=100
)  # fmt: skip


def figures(cycles=0, products=0.0, traffic=0.0, sent=0.0) -> Figures:
    return Figures(
        memory=Memory(0, 0, 0, 0, 0, 0), flops=products, product_flops=products, bytes_accessed=traffic,
        hbm_bytes=traffic, cycles=cycles, collectives=(Collective("all-reduce", "f32", 1, sent, sent, 2),),
        gradient_reductions={}, gradient_copies=0.0, gathered_parameters=0, unknown_loops=(),
    )  # fmt: skip


def test_the_slowest_of_products_memory_and_links_decides():
    # 2000 FLOPs at 1000 a second, 25 bytes at 50, 80 bytes at 20.
    found = rooflines(figures(products=2000.0, traffic=25.0, sent=80.0), model_flops=1500.0, images=8, chip=CHIP)
    assert set(found) == {"peaks"}
    line = found["peaks"]
    assert line.seconds == {PRODUCTS: 2.0, MEMORY: 0.5, LINKS: 4.0}
    assert (line.limit, line.images_per_second, line.mfu) == (LINKS, 2.0, 1500 / (4 * 1000))


def test_cycles_are_time_by_the_clock():
    found = rooflines(figures(cycles=50, products=2000.0), model_flops=1500.0, images=8, chip=CHIP)["cycles"]
    assert found.seconds["estimated cycles"] == 5.0 and found.limit == "estimated cycles"
    assert (found.images_per_second, found.mfu) == (1.6, 1500 / (5 * 1000))


def test_a_chip_of_two_devices_shares_its_peaks_among_them():
    two = chips.Chip(2, 1000.0, 1, 1, 50.0, 20.0, 100)
    found = rooflines(figures(products=2000.0, traffic=25.0, sent=80.0), 1500.0, 8, two)["peaks"]
    assert found.seconds == {PRODUCTS: 4.0, MEMORY: 1.0, LINKS: 8.0}
    # Both devices take 8 images in those 8 seconds.
    assert (found.images_per_second, found.mfu) == (2.0, 2 * 1500 / (8 * 1000))
    clock = rooflines(figures(cycles=50, products=1.0), 1500.0, 8, two)["cycles"]
    assert clock.seconds["estimated cycles"] == 5.0  # a core's cycles do not become fewer


def test_peaks_and_matrix_units_agree_about_the_clock_and_a_program_gets_its_share_of_the_memory():
    # Clocks as published (v3, v4) or as they are widely given; a wrong peak or number of units shows as another.
    for kind, ghz in {"v3": 0.94, "v4": 1.05, "v5e": 1.5, "v5p": 1.75, "v6e": 1.75, "tpu7x": 2.2}.items():
        assert chips.CHIPS[kind].clock / 1e9 == pytest.approx(ghz, rel=0.005), kind
    for kind, chip in chips.CHIPS.items():
        share = chip.hbm_gib / chip.devices
        # What is sold as 95 GB is 96 GiB less what the chip keeps.
        assert 0.9 * share < chip.program_gib <= (share if kind != "v5p" else 96), kind


def test_names_of_slices_and_simulated_devices_that_are_chips_of_their_own():
    assert chips.parse("v5e:4x4") == ("v5e", 16)
    assert chips.parse("v4:2x2x4") == ("v4", 16)
    assert chips.parse("cpu:8") == ("cpu", 8)
    for name in ("v5e", "v5e:", "v5e:4x", "v5e:0x4", "v5e:-1x4", "v5e:4*4"):
        with pytest.raises(ValueError, match=r"--topology: expected chips along each axis, such as v5e:4x4; found"):
            chips.parse(name)
    with pytest.raises(ValueError, match="a kind of v3, v4, v5e, v5p, v6e, tpu7x, cpu.*found 'v9:2x2'"):
        chips.parse("v9:2x2")
    on = chips.open_slice("cpu:4")
    assert (on.chips, len(on.devices), on.hosts, on.chip) == (4, 4, 1, None)
    with pytest.raises(ValueError, match="cpu:64 needs jax_num_cpu_devices of at least 64; found 8"):
        chips.open_slice("cpu:64")


def line(available, state=10.0, each=4.0):
    """A program that needs `state + each * images`, and how often it was compiled."""
    asked = []

    def needs(images):
        asked.append(images)
        return state + each * images <= available, state + each * images

    return needs, asked


@pytest.mark.parametrize(
    ("available", "best"), [(1000.0, 64), (200.0, 32), (75.0, 16), (20.0, 2), (14.0, 1), (13.0, None)]
)
@pytest.mark.parametrize("first", [1, 8, 64])
def test_the_search_finds_the_border_in_few_compilations(available, best, first):
    needs, asked = line(available)
    found, tried = search.largest_fitting((64, 32, 16, 8, 4, 2, 1), first, needs, 10.0, available)
    assert found == best
    # Memory in proportion: the first, the border's two sides.
    assert len(asked) == len(tried) == len(set(asked)) <= 3


def test_the_search_trusts_neither_proportion_nor_a_compiler_that_only_says_no():
    # Small batches waste memory on padding, so the first measurement promises too little.
    needs = {1: 30.0, 2: 31.0, 4: 33.0, 8: 40.0, 16: 90.0}
    found, tried = search.largest_fitting(tuple(needs), 1, lambda n: (needs[n] <= 50.0, needs[n]), 10.0, 50.0)
    assert found == 8 and not tried[16][0]
    found, tried = search.largest_fitting((1, 2, 4, 8, 16), 16, lambda n: (n <= 2, None), 0.0, 1.0)
    assert found == 2 and tried[2][0] and not tried[4][0]
    # 100 bytes for 8 images of which 20 are state: 10 for each.
    assert search.by_proportion((8, 4, 2, 1), 8, 100.0, 20.0, 60.0) == 4
    assert search.by_proportion((8, 4, 2, 1), 8, 100.0, 20.0, 29.0) is None
