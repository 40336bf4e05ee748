import numpy as np
import pytest

from fsfm_jax.prepare.media.borders import without_black_borders
from fsfm_jax.prepare.media.unusable import Unusable


def test_rectangle_of_pixels_that_are_not_black():
    image = np.zeros((6, 8, 3), np.uint8)
    image[1, 4, 2] = 1  # the top, in one channel and as dark as can be
    image[3, 2, 0] = 200  # the left
    image[4, 5, 1] = 7  # the bottom and the right; row 2 and column 3 within are black
    cropped = without_black_borders(image)
    assert cropped.shape == (4, 4, 3)
    np.testing.assert_array_equal(cropped, image[1:5, 2:6])


def test_a_picture_without_borders_and_a_single_pixel_are_kept():
    image = np.full((3, 2, 3), 9, np.uint8)
    np.testing.assert_array_equal(without_black_borders(image), image)
    image = np.zeros((3, 4, 3), np.uint8)
    image[2, 3] = (0, 0, 1)
    np.testing.assert_array_equal(without_black_borders(image), [[[0, 0, 1]]])


def test_black_picture_is_refused():
    with pytest.raises(Unusable, match="every pixel of 3x4 .* is black") as info:
        without_black_borders(np.zeros((3, 4, 3), np.uint8))
    assert info.value.reason == "all_black"
