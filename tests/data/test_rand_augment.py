"""RandAugment: every operation equal to the released one, drawn as the recipe says."""

import json
import math
import re

import numpy as np
import pytest

from fsfm_jax.data.rand_augment import (
    NAMES,
    Operation,
    RandAugmentSpec,
    apply_operations,
    argument,
    draw_operations,
    fill_colour,
    parse,
)

FILL = (140, 108, 93)
DRAWS = 6000


@pytest.fixture(scope="module")
def drawn() -> list[list[Operation]]:
    return [draw_operations(RandAugmentSpec(FILL), position, 1) for position in range(DRAWS)]


def released_rows(numbers):
    """Operation, interpolation, argument list and wanted image of every golden row."""
    for row, name in enumerate(numbers["randaug/op"].tolist()):
        snake = re.sub("(?<!^)([A-Z])", r"_\1", name.removesuffix("Increasing")).lower()
        # Sign 0 and code -1 mean that the operation has none; 2 is bilinear and 3 bicubic.
        sign = int(numbers["randaug/sign"][row]) or 1
        interpolation = "bilinear" if numbers["randaug/pil_resample"][row] == 2 else "bicubic"
        operation = Operation(snake, float(numbers["randaug/magnitude"][row]), sign)
        yield operation, interpolation, json.loads(numbers["randaug/level_args_json"][row]), row


def test_names_and_settings_are_the_released_ones(golden):
    info = json.loads(str(golden("augment")["train_transform/info_json"]))
    assert list(NAMES) == info["ops"]
    spec = parse("rand-m9-mstd0.5-inc1", tuple(info["fill"]))
    assert spec == RandAugmentSpec(FILL)
    assert (spec.operations, spec.probability) == (info["num_layers"], info["prob"])
    assert (spec.magnitude, spec.deviation) == (info["magnitude"], info["magnitude_std"])


def test_arguments_are_the_released_ones_for_every_row(golden):
    for operation, _, wanted, _ in released_rows(golden("augment")):
        found = argument(operation)
        assert ([] if found is None else [found]) == wanted, operation


def test_images_are_the_released_ones_for_every_row(golden):
    numbers = golden("augment")
    rows = list(released_rows(numbers))
    assert len(rows) == 135 and {operation.name for operation, *_ in rows} == set(NAMES)
    for operation, interpolation, _, row in rows:
        found = apply_operations([operation], numbers["randaug/input"], interpolation, FILL)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, numbers["randaug/output"][row], err_msg=f"{operation} {interpolation}")


def test_bits_change_at_magnitudes_2_5_5_7_5_and_10_where_the_image_is_black():
    for magnitude, bits in ((0, 4), (2.4, 4), (2.5, 3), (5, 2), (7.4, 2), (7.5, 1), (9.99, 1), (10, 0)):
        assert argument(Operation("posterize", magnitude, 1)) == bits
    image = np.full((5, 4, 3), 255, np.uint8)
    assert argument(Operation("posterize", 10.0, 1)) == 0
    found = apply_operations([Operation("posterize", 10.0, 1)], image, "bicubic", FILL)
    assert found.shape == image.shape and not found.any()


def test_operations_are_applied_in_order():
    image = np.random.default_rng(0).integers(0, 256, (9, 8, 3), np.uint8)
    first, second = Operation("solarize_add", 9.0, 1), Operation("invert", 9.0, 1)
    both = apply_operations([first, second], image, "bicubic", FILL)
    one_by_one = apply_operations([second], apply_operations([first], image, "bicubic", FILL), "bicubic", FILL)
    np.testing.assert_array_equal(both, one_by_one)
    assert (both != apply_operations([second, first], image, "bicubic", FILL)).any()
    np.testing.assert_array_equal(apply_operations([], image, "bicubic", FILL), image)


def test_what_comes_in_from_outside_has_the_fill_colour():
    image = np.zeros((20, 20, 3), np.uint8)
    found = apply_operations([Operation("translate_x_rel", 10.0, 1)], image, "bicubic", FILL)
    assert (found[:, 12:] == FILL).all() and not found[:, :11].any()  # moved by 0.45 * 20 = 9 columns
    found = apply_operations([Operation("translate_y_rel", 10.0, -1)], image, "bicubic", FILL)
    assert (found[:8] == FILL).all() and not found[9:].any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 37), (37, 1), (224, 224)])
def test_every_operation_survives_odd_sizes_and_a_single_grey_level(shape):
    image = np.full((*shape, 3), 77, np.uint8)
    for name in NAMES:
        for sign in (-1, 1):
            found = apply_operations([Operation(name, 10.0, sign)], image, "bicubic", FILL)
            assert found.shape == image.shape and found.dtype == np.uint8
    assert (image == 77).all()


def test_each_of_two_operations_is_applied_with_probability_one_half(drawn):
    counts = np.bincount([len(operations) for operations in drawn], minlength=3) / DRAWS
    for share, wanted in zip(counts, (0.25, 0.5, 0.25), strict=True):
        assert abs(share - wanted) < 5 * math.sqrt(wanted * (1 - wanted) / DRAWS)


def test_names_are_uniform_and_drawn_with_replacement(drawn):
    names = [operation.name for operations in drawn for operation in operations]
    for name in NAMES:
        assert abs(names.count(name) / len(names) - 1 / 15) < 5 * math.sqrt(1 / 15 * 14 / 15 / len(names))
    pairs = [operations for operations in drawn if len(operations) == 2]
    same = sum(first.name == second.name for first, second in pairs)
    assert abs(same / len(pairs) - 1 / 15) < 5 * math.sqrt(1 / 15 * 14 / 15 / len(pairs))


def test_half_of_the_signs_are_negative(drawn):
    signs = np.array([operation.sign for operations in drawn for operation in operations])
    assert set(signs) == {-1, 1} and abs(signs.mean()) < 5 / math.sqrt(len(signs))


def test_magnitudes_are_normal_around_9_and_clipped_at_10(drawn):
    magnitudes = np.array([operation.magnitude for operations in drawn for operation in operations])
    assert magnitudes.min() > 6 and magnitudes.max() == 10  # six deviations below the mean
    # 10 is two deviations above: P(x > 2) of N(0, 1), and the mean falls by 0.5 E max(x - 2, 0).
    above = math.erfc(2 / math.sqrt(2)) / 2
    mean = 9 - 0.5 * (math.exp(-2) / math.sqrt(2 * math.pi) - 2 * above)
    assert abs(magnitudes.mean() - mean) < 5 * 0.5 / math.sqrt(len(magnitudes))
    assert abs(np.mean(magnitudes == 10) - above) < 5 * math.sqrt(above / len(magnitudes))
    assert abs(np.mean(magnitudes < 9) - 0.5) < 5 * 0.5 / math.sqrt(len(magnitudes))


def test_the_two_operations_of_an_image_are_independent(drawn):
    pairs = [operations for operations in drawn if len(operations) == 2]
    values = [
        [value for pair in pairs for value in (feature(pair[k]),)]
        for k in (0, 1)
        for feature in (lambda o: NAMES.index(o.name), lambda o: o.magnitude, lambda o: o.sign)
    ]
    assert np.abs(np.corrcoef(values) - np.eye(6)).max() < 5 / math.sqrt(len(pairs))


def test_settings_change_the_draws():
    always = RandAugmentSpec(FILL, operations=3, probability=1.0, magnitude=4.0, deviation=0.0)
    found = [draw_operations(always, position, 0) for position in range(50)]
    assert all(len(operations) == 3 for operations in found)
    assert {operation.magnitude for operations in found for operation in operations} == {4.0}
    never = RandAugmentSpec(FILL, probability=0.0)
    assert not any(draw_operations(never, position, 0) for position in range(50))
    low = RandAugmentSpec(FILL, probability=1.0, magnitude=0.0)
    magnitudes = [operation.magnitude for position in range(50) for operation in draw_operations(low, position, 0)]
    assert min(magnitudes) == 0 < max(magnitudes)


def test_operations_depend_on_seed_and_position_only(drawn):
    assert [draw_operations(RandAugmentSpec(FILL), position, 1) for position in (71, 3)] == [drawn[71], drawn[3]]
    assert [draw_operations(RandAugmentSpec(FILL), position, 2) for position in range(9)] != drawn[:9]
    # Written down: other numbers are another stream for everybody who goes on with a run.
    names = [[operation.name for operation in operations] for operations in drawn[:4]]
    assert names == [["auto_contrast"], ["rotate"], ["equalize"], ["invert", "invert"]]


def test_the_short_form_is_read():
    assert parse("none", FILL) is None
    assert parse("rand-m5-n3-inc1", FILL) == RandAugmentSpec(FILL, operations=3, magnitude=5.0, deviation=0.0)
    assert parse("rand-inc1-mstd1-m10", FILL) == RandAugmentSpec(FILL, magnitude=10.0, deviation=1.0)


@pytest.mark.parametrize(
    "text",
    ["", "None", "rand", "rand-m9", "rand-m9-inc0", "rand-inc1", "m9-inc1", "augmix-m9-inc1"]
    + ["rand-m9-m8-inc1", "rand-m9-w0-inc1", "rand-m9-n2.5-inc1"],
)
def test_other_forms_are_refused(text):
    with pytest.raises(ValueError, match="augment.rand_augment: expected .*found"):
        parse(text, FILL)


@pytest.mark.parametrize(("settings", "field"), [
        ({"fill": (256, 0, 0)}, "fill"),
        ({"fill": (0.5, 0.4, 0.3)}, "fill"),
        ({"fill": (1, 2)}, "fill"),
        ({"operations": 0}, "operations"),
        ({"operations": 1.5}, "operations"),
        ({"probability": 2.0}, "probability"),
        ({"magnitude": 11.0}, "magnitude"),
        ({"deviation": -1.0}, "deviation"),
        ({"deviation": math.nan}, "deviation"),
    ])  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(settings, field):
    with pytest.raises(ValueError, match=f"augment.rand_augment.{field}: expected .*; found"):
        RandAugmentSpec(**{"fill": FILL, **settings})


def test_the_fill_is_the_mean_in_grey_levels(golden):
    mean = tuple(golden("augment")["eval/mean"].tolist())
    assert fill_colour(mean) == FILL == tuple(golden("augment")["randaug/fill"].tolist())
    assert fill_colour((0.0, 1.0, 0.499)) == (0, 255, 127)
