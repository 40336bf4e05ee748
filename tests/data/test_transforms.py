"""The simple augmentation: how boxes are drawn, and that photo and parsing map stay together."""

import math

import cv2
import numpy as np
import pytest

from fsfm_jax import regions
from fsfm_jax.data.transforms import Crop, apply_crop, draw_crop, resize_pair

DRAWS = 3000


@pytest.fixture(scope="module")
def crops() -> list[Crop]:
    return [draw_crop(224, position, 1) for position in range(DRAWS)]


def blocks(seed: int, size: int = 224, block: int = 28) -> np.ndarray:
    classes = np.random.default_rng(seed).integers(0, 11, (size // block, size // block), np.uint8)
    return np.kron(classes, np.ones((block, block), np.uint8))


def test_boxes_lie_in_the_image_and_have_the_shares_asked_for(crops):
    for crop in crops:
        assert 0 <= crop.top and crop.top + crop.height <= 224
        assert 0 <= crop.left and crop.left + crop.width <= 224
        # Both sides are rounded by at most 1/2 pixel, which changes the area by at most (h + w) / 2 + 1/4.
        slack = (crop.height + crop.width) / 2 + 0.25
        assert 0.2 * 224**2 - slack <= crop.height * crop.width <= 224**2
        assert (crop.width - 0.5) / (crop.height + 0.5) <= 4 / 3 and (crop.width + 0.5) / (crop.height - 0.5) >= 3 / 4


def test_small_boxes_have_uniform_areas_places_and_log_ratios():
    # Areas up to 0.4 fit at any ratio (a side is at most sqrt(0.4 * 4 / 3) < 1), so no try is thrown away.
    drawn = [draw_crop(1000, position, 2, (0.1, 0.4)) for position in range(DRAWS)]
    uniform = [
        [(crop.height * crop.width / 1e6 - 0.1) / 0.3 for crop in drawn],
        [math.log(crop.width / crop.height * 4 / 3) / math.log(16 / 9) for crop in drawn],
        [crop.top / (1000 - crop.height) for crop in drawn],
        [crop.left / (1000 - crop.width) for crop in drawn],
    ]
    # Mean 1/2 and variance 1/12 (its own variance: (1/80 - 1/144) / n = 1 / (180 n)), within 5 standard
    # errors and what rounding to pixels may do.
    for values in uniform:
        assert abs(np.mean(values) - 1 / 2) < 5 * math.sqrt(1 / 12 / DRAWS) + 1e-3
        assert abs(np.var(values) - 1 / 12) < 5 * math.sqrt(1 / 180 / DRAWS) + 1e-3
    # The four and the flip are drawn independently: correlations of n draws have deviation 1 / sqrt(n).
    correlation = np.corrcoef([*uniform, [crop.flip for crop in drawn]])
    assert np.abs(correlation - np.eye(5)).max() < 5 / math.sqrt(DRAWS)


def test_half_of_the_images_are_mirrored_and_a_box_depends_on_seed_and_position_only(crops):
    assert abs(np.mean([crop.flip for crop in crops]) - 0.5) < 5 * 0.5 / math.sqrt(DRAWS)
    assert [draw_crop(224, position, 1) for position in (5, 4)] == [crops[5], crops[4]]
    assert len(set(crops)) > 0.99 * DRAWS
    assert draw_crop(224, 5, 2) != crops[5]


def test_an_impossible_shape_takes_the_whole_image():
    crop = draw_crop(224, 0, 1, area=(1.0, 1.0), ratio=(2.0, 3.0))
    assert (crop.top, crop.left, crop.height, crop.width) == (0, 0, 224, 224)


def test_the_whole_image_is_unchanged_and_mirroring_swaps_left_and_right_classes_and_columns():
    image, parsing_map = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8), blocks(0)
    cropped, cropped_map = apply_crop(Crop(0, 0, 224, 224, False), image, parsing_map)
    np.testing.assert_array_equal(cropped, image)
    np.testing.assert_array_equal(cropped_map, parsing_map)
    cropped, cropped_map = apply_crop(Crop(0, 0, 224, 224, True), image, parsing_map)
    np.testing.assert_array_equal(cropped, image[:, ::-1])
    swapped = {2: 3, 3: 2, 4: 5, 5: 4}
    wanted = np.vectorize(lambda label: swapped.get(label, label))(parsing_map[:, ::-1])
    np.testing.assert_array_equal(cropped_map, wanted)


def test_photo_and_map_stay_together_away_from_borders():
    # The photo paints class c as 23 c. Interpolation mixes at most two of the box's pixels to each side, and
    # a box of at least 87 pixels becomes 224: away from borders by 6 pixels the classes must be the same.
    compared = 0
    for position in range(30):
        crop, parsing_map = draw_crop(224, position, 3), blocks(position, block=56)
        image = np.repeat((parsing_map * 23)[..., None], 3, 2)
        cropped, cropped_map = apply_crop(crop, image, parsing_map)
        window = np.ones((13, 13), np.uint8)
        inner = cv2.erode(cropped_map, window) == cv2.dilate(cropped_map, window)
        shown = regions.FLIPPED_CLASS[cropped_map] if crop.flip else cropped_map
        np.testing.assert_allclose(cropped[inner][:, 0], shown[inner] * 23.0, rtol=0, atol=1)  # rounding
        compared += inner.mean()
    assert compared > 15


def test_a_map_keeps_only_labels_it_had():
    # Nearest neighbour: between background (0) and hair (10) no nose (6) may appear.
    parsing_map = np.where(blocks(1) > 5, 10, 0).astype(np.uint8)
    image = np.zeros((224, 224, 3), np.uint8)
    for position in range(20):
        assert set(np.unique(apply_crop(draw_crop(224, position, 1), image, parsing_map)[1])) <= {0, 10}


@pytest.mark.parametrize("size", [112, 384, 448])
def test_photo_and_map_are_resized_together(size):
    """A photo that is drawn of its map stays so: pixels inside the blocks have the colour of their class."""
    parsing_map = blocks(3)
    image = np.repeat(20 * parsing_map[..., None], 3, 2)
    photo, found = resize_pair(image, parsing_map, size)
    assert photo.shape == (size, size, 3) and found.shape == (size, size) and found.dtype == np.uint8
    # The centre of pixel i lies at (i + 1/2) 224 / size in the old image; the cubic filter reaches 2 pixels
    # of the wider of both grids.
    centre = (np.arange(size) + 0.5) * 224 / size
    far = np.abs(centre / 28 - np.round(centre / 28)) * 28 > 2 * max(1, 224 / size)
    inner = far[:, None] & far[None]
    np.testing.assert_array_equal(found, parsing_map[np.ix_(centre.astype(int), centre.astype(int))])
    np.testing.assert_array_equal(photo[inner], np.repeat(20 * found[inner][:, None], 3, 1))
    assert inner.mean() > 0.4
    whole, cropped = Crop(0, 0, 224, 224, False), Crop(28, 0, 28, 28, True)
    assert apply_crop(whole, image, parsing_map, size)[1].shape == (size, size)
    assert (apply_crop(cropped, image, parsing_map, size)[0] == 20 * parsing_map[28, 0]).all()
    same = resize_pair(image, parsing_map, 224)
    assert same[0] is image and same[1] is parsing_map
