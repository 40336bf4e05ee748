"""Crops: the square of a box by hand, at every border, and what is cut out of a picture."""

import numpy as np
import pytest
from PIL import Image

from fsfm_jax.prepare.crop import Detection, Square, cut, square_of


def box(left: int, top: int, right: int, bottom: int) -> Detection:
    return Detection(left, top, right, bottom, 1.0)


@pytest.mark.parametrize(("edges", "height", "width", "square"), [
        # Inside. 100 wide: side 130 around (150, 150).
        ((100, 100, 200, 200), 400, 400, (85, 85, 130)),
        # The longer edge counts, whichever it is.
        ((100, 100, 200, 180), 400, 400, (85, 75, 130)),
        ((100, 100, 180, 200), 400, 400, (75, 85, 130)),
        # Edges are not counted inclusively: 9 wide, 11.7 cut to 11, half of it cut to 5; centre (4 + 13) // 2 = 8.
        ((4, 4, 13, 13), 400, 400, (3, 3, 11)),
        # 10 wide: 13, half 6, centre 9. 7 wide: 9.1 cut to 9, half 4, centre 7.
        ((4, 4, 14, 14), 400, 400, (3, 3, 13)),
        ((4, 4, 11, 11), 400, 400, (3, 3, 9)),
        # 1.3 times 70 is 91.
        ((100, 100, 170, 170), 400, 400, (90, 90, 91)),
        # Left and upper border: moved inside, size kept.
        ((0, 100, 100, 200), 400, 400, (0, 85, 130)),
        ((100, 0, 200, 100), 400, 400, (85, 0, 130)),
        ((-20, -40, 80, 60), 400, 400, (0, 0, 130)),
        # Right border (300 wide): starts at 185, 115 are left. Lower border alike.
        ((200, 100, 300, 200), 400, 300, (185, 85, 115)),
        ((100, 200, 200, 300), 300, 400, (85, 185, 115)),
        # The lower right corner: the scarcer direction decides.
        ((200, 210, 300, 310), 300, 300, (185, 195, 105)),
        # The upper right and the lower left corner: moved in one direction, smaller by the other.
        ((200, -50, 300, 50), 400, 300, (185, 0, 115)),
        ((-50, 200, 50, 300), 300, 400, (0, 185, 115)),
        # Larger than the picture, which is not square.
        ((-10, -10, 500, 500), 300, 200, (0, 0, 200)),
        ((-10, -10, 500, 500), 150, 200, (0, 0, 150)),
        # One edge outside: the centre of -3 and 10 is 3, that of 5 and 18 is 11; side 16, half 8.
        ((-3, 5, 10, 18), 400, 400, (0, 3, 16)),
        # One pixel left.
        ((195, 5, 203, 13), 400, 200, (194, 4, 6)),
        ((0, 0, 2, 2), 1, 1, (0, 0, 1)),
    ])  # fmt: skip
def test_squares_by_hand(edges, height, width, square):
    assert square_of(box(*edges), height, width) == Square(*square)


def test_the_scale_can_be_chosen_and_a_box_that_leaves_the_picture_starts_at_its_border():
    assert square_of(box(100, 100, 200, 200), 400, 400, 1.0) == Square(100, 100, 100)
    assert square_of(box(100, 100, 200, 200), 400, 400, 2.0) == Square(50, 50, 200)
    # Side 19. The sum of negative edges is rounded down by //, but such a square starts at 0 either way.
    for left, start in ((-30, 0), (-9, 0), (2, 0), (3, 1), (4, 2)):  # (3 + 18) // 2 - 9 = 1
        assert square_of(box(left, left, left + 15, left + 15), 100, 100) == Square(start, start, 19)


def test_a_box_without_a_pixel_is_refused():
    for edges in ((300, 100, 400, 200), (100, 500, 200, 600), (50, 50, 50, 50)):  # to the right, below, no extent
        with pytest.raises(ValueError, match=r"no pixel in a picture of 300x200 \(height x width\)"):
            square_of(box(*edges), 300, 200)


def test_every_square_lies_in_the_picture():
    random = np.random.default_rng(0)
    for _ in range(2000):
        height, width = random.integers(1, 90, 2).tolist()
        left, top = random.integers(-60, 90, 2).tolist()
        right, bottom = left + int(random.integers(1, 120)), top + int(random.integers(1, 120))
        try:
            square = square_of(box(left, top, right, bottom), height, width)
        except ValueError:
            continue
        assert square.x >= 0 and square.y >= 0 and square.size >= 1
        assert square.x + square.size <= width and square.y + square.size <= height


IMAGE = np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)


@pytest.mark.parametrize("size", [None, 20])
def test_a_square_of_the_size_asked_for_is_untouched(size):
    crop = cut(IMAGE, Square(30, 10, 20), size)
    np.testing.assert_array_equal(crop, IMAGE[10:30, 30:50])
    assert crop.dtype == np.uint8 and crop.flags.c_contiguous
    assert not np.shares_memory(crop, IMAGE)


@pytest.mark.parametrize("size", [7, 19, 21, 224])
def test_a_square_is_resized_as_pillow_does(size):
    crop = cut(IMAGE, Square(3, 5, 20), size)
    wanted = Image.fromarray(IMAGE[5:25, 3:23]).resize((size, size), Image.Resampling.BICUBIC)
    assert crop.shape == (size, size, 3) and crop.dtype == np.uint8
    np.testing.assert_array_equal(crop, np.asarray(wanted))


def test_resizing_is_antialiased_and_sees_nothing_outside():
    # Black and white columns average to grey; without antialiasing every second one would be taken.
    striped = np.full((16, 40, 3), 200, np.uint8)
    striped[:, 8:24] = np.where(np.arange(16) % 2, 255, 0)[None, :, None]
    # Away from the border a pixel is a weighted mean of the stripes under its filter: 127.5, up to how it is sampled.
    middle = cut(striped, Square(8, 0, 16), 4)[:, 1:3]
    assert np.abs(middle.astype(float) - 127.5).max() <= 8
    flat = np.zeros((16, 40, 3), np.uint8)
    flat[:, :8] = 255
    assert not cut(flat, Square(8, 0, 16), 31).any()
