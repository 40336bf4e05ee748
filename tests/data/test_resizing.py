"""Face crops at the size of the network: equal to the released transforms in every grey level."""

import jax
import numpy as np
import pytest
from PIL import Image

from fsfm_jax.data.boxes import Box
from fsfm_jax.data.resizing import for_evaluation, resize_box, resize_whole
from fsfm_jax.tasks.normalisation import Statistics, normalise

CASES = [
    ("resize_center", "resize256_centercrop", 0),
    ("resize_center", "resize256_centercrop", 1),
    ("resize", "resize224", 0),
]


@pytest.mark.parametrize(("name", "released", "number"), CASES)
def test_evaluation_images_are_the_released_ones(golden, name, released, number):
    numbers = golden("augment")
    found = for_evaluation(name, numbers[f"eval/image{number}"], 224)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, numbers[f"eval/{released}_image{number}_uint8"])


def test_the_order_of_rows_and_columns_is_all_that_a_newer_pillow_changes(golden):
    # This one was made by Pillow 13, which shrinks the rows first if the image is tall. With rows and columns
    # swapped we do the same and agree in every value; as it is, only by what the image between the two steps loses.
    numbers = golden("augment")
    image, wanted = numbers["eval/image1"], numbers["eval/resize224_image1_uint8"]
    swapped = for_evaluation("resize", np.ascontiguousarray(image.swapaxes(0, 1)), 224).swapaxes(0, 1)
    np.testing.assert_array_equal(swapped, wanted)
    difference = np.abs(for_evaluation("resize", image, 224).astype(int) - wanted)
    # The image between is rounded, and clipped to 0..255 where bicubic goes beyond. The second step spreads what that
    # loses by the size of its weights, and each order rounds once more at its end.
    down, across = (weights(length) for length in image.shape[:2])
    lost_across = np.abs(stored(np.einsum("jw,hwc->hjc", across, image)))
    lost_down = np.abs(stored(np.einsum("ih,hwc->iwc", down, image)))
    bound = np.einsum("ih,hjc->ijc", np.abs(down), lost_across) + np.einsum("jw,iwc->ijc", np.abs(across), lost_down)
    assert lost_across.max() > 0.5  # clipping is part of it
    assert difference.any() and (difference <= bound + 1).all()


def weights(length: int) -> np.ndarray:
    """What Pillow's bicubic resizing of `length` pixels to 224 multiplies by, `[224, length]`."""
    return np.array(Image.fromarray(np.eye(length, dtype=np.float32)).resize((length, 224), Image.Resampling.BICUBIC))


def stored(values: np.ndarray) -> np.ndarray:
    """What bytes lose of `values`."""
    return np.clip(np.round(values), 0, 255) - values


@pytest.mark.parametrize(("name", "released", "number"), CASES)
def test_normalised_images_are_the_released_ones(golden, name, released, number):
    numbers = golden("augment")
    statistics = Statistics(tuple(numbers["eval/mean"].tolist()), tuple(numbers["eval/std"].tolist()))
    image = for_evaluation(name, numbers[f"eval/image{number}"], 224)[None, ::16, ::16]
    found = np.asarray(jax.jit(lambda x: normalise(x, statistics))(image))[0].transpose(2, 0, 1)
    # Values up to 2.3 in float32: a few roundings.
    wanted = numbers[f"eval/{released}_image{number}_normalised_every_16th"]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)


def test_a_random_crop_is_resized_as_in_the_released_code(golden):
    numbers = golden("augment")
    box = Box(*numbers["crop/box_ijhw"].tolist())
    found = resize_box(numbers["crop/input"], box, 224, "bilinear")
    np.testing.assert_array_equal(found[:48], numbers["crop/output_224_first_rows"])
    bicubic = resize_box(numbers["crop/input"], box, 224, "bicubic")
    assert np.mean(bicubic != found) > 0.5


def test_a_box_is_cut_out_before_bicubic_goes_beyond_its_neighbours_which_bilinear_does_not():
    step = np.zeros((8, 8, 3), np.uint8)
    step[:, :4], step[:, 4:] = 100, 200
    whole = Box(0, 0, 8, 8)
    assert resize_box(step, whole, 32, "bilinear").min() == 100
    assert resize_box(step, whole, 32, "bicubic").min() < 100
    np.testing.assert_array_equal(resize_box(step, whole, 32, "bicubic"), resize_whole(step, 32))
    image = np.zeros((20, 30, 3), np.uint8)
    image[5:9, 10:17] = 255
    np.testing.assert_array_equal(resize_box(image, Box(5, 10, 4, 7), 11, "bicubic"), 255)


def test_the_centre_of_the_image_is_its_inner_seven_eighths():
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    np.testing.assert_array_equal(for_evaluation("resize_center", image, 224), image[16:240, 16:240])
    # (257 - 224) / 2 = 16.5 goes to the even 16, (259 - 224) / 2 = 17.5 to 18.
    for width, left in ((257, 16), (259, 18)):
        image = np.random.default_rng(0).integers(0, 256, (256, width, 3), np.uint8)
        np.testing.assert_array_equal(for_evaluation("resize_center", image, 224), image[16:240, left : left + 224])


@pytest.mark.parametrize("name", ["resize", "resize_center"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 37), (37, 1), (224, 224), (500, 3)])
def test_odd_sizes_and_single_grey_levels_survive(name, shape):
    image = np.full((*shape, 3), 77, np.uint8)
    found = for_evaluation(name, image, 224)
    assert found.shape == (224, 224, 3) and found.flags.c_contiguous and (found == 77).all()


def test_other_names_and_other_images_are_refused():
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match="transform: expected one of resize, resize_center; found 'center'"):
        for_evaluation("center", image, 224)
    for wrong in (image[..., 0], image.astype(np.float32), image[:0], np.zeros((4, 4, 4), np.uint8)):
        with pytest.raises(ValueError, match=r"image: expected \[H, W, 3\] uint8 with pixels; found"):
            for_evaluation("resize", wrong, 224)
