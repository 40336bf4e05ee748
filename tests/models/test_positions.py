"""Tables of positions on another grid: the official numbers, and each convention by hand."""

import numpy as np
import pytest

from fsfm_jax.models.positions import BILINEAR, RELEASED, Resizing, resize_positions, resize_relative


@pytest.mark.parametrize("case", ["4_to_6", "14_to_24", "8_to_5", "14_to_14"])
def test_positions_are_resized_as_officially(golden, case):
    start, end = (golden("schedules")[f"pos_interp/{case}/{side}"] for side in ("in", "out"))
    np.testing.assert_allclose(resize_positions(start, int(case.split("_")[2])), end, rtol=0, atol=2e-5)


def test_positions_without_a_square_are_refused():
    with pytest.raises(ValueError, match=r"found \(1, 16, 8\)"):
        resize_positions(np.zeros((1, 16, 8), np.float32), 3)


def along_rows(values, grid: int, resizing: Resizing) -> np.ndarray:
    """A table of one feature that is `values` by row, resized; by row again."""
    table = np.repeat(np.float32(values), len(values))[None, :, None]
    found = np.asarray(resize_positions(table, grid, False, resizing)).reshape(grid, grid)
    np.testing.assert_allclose(found, np.repeat(found[:, :1], grid, axis=1), rtol=0, atol=1e-6)
    return found[:, 0]


def test_each_convention_by_hand():
    # 0, 1 on four rows, whose centres are at -1/4, 1/4, 3/4 and 5/4 of the old: the border is repeated.
    np.testing.assert_allclose(along_rows([0, 1], 4, Resizing(BILINEAR)), [0, 0.25, 0.75, 1], atol=1e-6)
    # Two of four rows: their centres are halfway between old ones. Cubic weights at 1/2 and 3/2 of -0.75 are 19/32 and
    # -3/32; the first row has those of old rows -1, 0, 1 and 2, of which -1 is 0 once more.
    values = np.array([0.0, 1.0, 4.0, 9.0])
    near, far = 19 / 32, -3 / 32
    first = (near + far) * values[0] + near * values[1] + far * values[2]
    last = (near + far) * values[3] + near * values[2] + far * values[1]
    np.testing.assert_allclose(along_rows(values, 2, RELEASED), [first, last], rtol=1e-6)
    # Antialiased the kernel, of -0.5 now, is twice as wide, and what is beyond the border has no weight.
    x = (np.arange(4)[None] - np.array([[0.5], [2.5]])) / 2
    kernel = np.where(abs(x) < 1, 1.5 * abs(x) ** 3 - 2.5 * x**2 + 1, -0.5 * (abs(x) ** 3 - 5 * x**2 + 8 * abs(x) - 4))
    kernel = np.where(abs(x) < 2, kernel, 0)
    expected = (kernel * values[None]).sum(1) / kernel.sum(1)
    np.testing.assert_allclose(along_rows(values, 2, Resizing(antialias=True)), expected, rtol=1e-6)
    # With an offset of 2, steps are 4 / 4 of an old row: the first two rows, and no more.
    np.testing.assert_allclose(along_rows(values, 2, Resizing(offset=2.0)), values[:2], atol=1e-6)
    with pytest.raises(ValueError, match="kernel: expected one of bicubic, bilinear; found 'nearest'"):
        Resizing("nearest")


@pytest.mark.parametrize("resizing", [RELEASED, Resizing(BILINEAR), Resizing(antialias=True), Resizing(offset=0.1)])
@pytest.mark.parametrize(("old", "new"), [(37, 16), (16, 37)])
def test_a_constant_stays_one_and_the_class_token_keeps_its_row(resizing, old, new):
    table = np.full((1, 1 + old**2, 3), 2.5, np.float32)
    table[:, 0] = [1, 2, 3]
    found = np.asarray(resize_positions(table, new, True, resizing))
    np.testing.assert_array_equal(found[0, 0], [1, 2, 3])
    np.testing.assert_allclose(found[0, 1:], 2.5, rtol=1e-6)


def test_relative_positions_keep_the_nearest_displacements_and_stretch_the_others():
    side = 7  # displacements -3 to 3 of a grid of 4
    table = np.random.default_rng(0).normal(size=(side**2 + 3, 2)).astype(np.float32)
    found = np.asarray(resize_relative(table, 6))
    assert found.shape == (11**2 + 3, 2)
    np.testing.assert_array_equal(found[-3:], table[-3:])
    old, new = table[:-3].reshape(side, side, 2), found[:-3].reshape(11, 11, 2)
    np.testing.assert_allclose(new[4:7, 4:7], old[2:5, 2:5], rtol=0, atol=1e-6)  # -1, 0 and 1
    # 1 + q + q**2 = 5 for the longest, so q = (17**0.5 - 1) / 2 = 1.56, but BEiT looks no further than 1.5: 4.75, and
    # the longest of the new grid is the longest of the old.
    np.testing.assert_allclose(new[[0, 0, -1, -1], [0, -1, 0, -1]], old[[0, 0, -1, -1], [0, -1, 0, -1]], atol=1e-6)
    # Displacement 2 is two thirds of the way from where 1 is, at 1, to where 2 is, at 2.5.
    np.testing.assert_allclose(new[7, 5], old[4, 3] + (old[5, 3] - old[4, 3]) / 1.5, rtol=0, atol=1e-5)
    assert resize_relative(table, 4) is table
    with pytest.raises(ValueError, match=r"expected \[\(2 G - 1\)\*\*2 \+ 3, H\].*found \(51, 2\)"):
        resize_relative(table[1:], 6)
