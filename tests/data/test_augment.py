"""The training transform as a whole: its parts in order, nothing random but (seed, position)."""

import math
import random

import numpy as np
import pytest

from fsfm_jax.data.augment import AugmentSpec, augment
from fsfm_jax.data.boxes import CropSpec, EraseSpec, draw_crop, draw_erased
from fsfm_jax.data.rand_augment import RandAugmentSpec, apply_operations, draw_operations
from fsfm_jax.data.resizing import resize_box, resize_whole
from fsfm_jax.data.saturation import SaturationSpec, draw_factor, scale_saturation

FILL = (140, 108, 93)
DEEPFAKE = AugmentSpec(crop=CropSpec(), rand_augment=RandAugmentSpec(FILL), erase=EraseSpec())
ANTISPOOF = AugmentSpec(saturation=SaturationSpec())
NOTHING = AugmentSpec(flip=0.0)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (60, 70, 3), np.uint8)


def test_without_any_part_the_image_is_resized_and_a_flip_mirrors_columns(image):
    found, erased = augment(NOTHING, image, 0, 0)
    np.testing.assert_array_equal(found, resize_whole(image, 224))
    assert erased.dtype == np.int32 and erased.tolist() == [0, 0, 0, 0]
    found, _ = augment(AugmentSpec(flip=1.0), image, 0, 0)
    np.testing.assert_array_equal(found, resize_whole(image, 224)[:, ::-1])


def test_half_of_the_images_are_mirrored_and_independently_of_all_else():
    # Left black, right white: a mirrored image is bright on its left.
    spec = AugmentSpec(size=4, erase=EraseSpec(probability=0.5))
    halves = np.zeros((4, 4, 3), np.uint8)
    halves[:, 2:] = 255
    draws = 3000
    found = [augment(spec, halves, position, 1) for position in range(draws)]
    flips = np.array([result[0, 0, 0] > 127 for result, _ in found])
    assert abs(flips.mean() - 0.5) < 5 * 0.5 / math.sqrt(draws)
    others = [
        [box[2] > 0 for _, box in found],
        [draw_crop(CropSpec(), 100, 100, position, 1).width for position in range(draws)],
        [len(draw_operations(RandAugmentSpec(FILL), position, 1)) for position in range(draws)],
        [draw_factor(SaturationSpec(), position, 1) for position in range(draws)],
    ]
    assert np.abs(np.corrcoef([flips, *others]) - np.eye(5)).max() < 5 / math.sqrt(draws)


def test_the_parts_come_in_their_order(image):
    spec = AugmentSpec(
        size=48, saturation=SaturationSpec(probability=1.0), crop=CropSpec(), flip=1.0,
        rand_augment=RandAugmentSpec(FILL, probability=1.0), erase=EraseSpec(probability=1.0),
    )  # fmt: skip
    for position in range(20):
        wanted = scale_saturation(image, draw_factor(spec.saturation, position, 3), "clip")
        wanted = resize_box(wanted, draw_crop(spec.crop, 60, 70, position, 3), 48, "bicubic")[:, ::-1]
        operations = draw_operations(spec.rand_augment, position, 3)
        wanted = apply_operations(operations, np.ascontiguousarray(wanted), "bicubic", FILL)
        found, erased = augment(spec, image, position, 3)
        np.testing.assert_array_equal(found, wanted)
        assert tuple(erased) == draw_erased(spec.erase, 48, position, 3) != (0, 0, 0, 0)


def test_bilinear_is_for_crop_and_operations_and_not_for_a_plain_resize(image):
    smooth = AugmentSpec(interpolation="bilinear", flip=0.0)
    np.testing.assert_array_equal(augment(smooth, image, 0, 0)[0], resize_whole(image, 224))
    cropped = AugmentSpec(interpolation="bilinear", flip=0.0, crop=CropSpec())
    box = draw_crop(CropSpec(), 60, 70, 0, 0)
    np.testing.assert_array_equal(augment(cropped, image, 0, 0)[0], resize_box(image, box, 224, "bilinear"))
    # Positions whose operations move pixels differ, the others do not.
    moving = {"rotate", "shear_x", "shear_y", "translate_x_rel", "translate_y_rel"}
    turned = RandAugmentSpec(FILL, probability=1.0)
    specs = [
        AugmentSpec(size=48, interpolation=name, flip=0.0, rand_augment=turned) for name in ("bicubic", "bilinear")
    ]
    for position in range(30):
        operations = draw_operations(turned, position, 0)
        bicubic, bilinear = (augment(spec, image, position, 0)[0] for spec in specs)
        if not moving & {operation.name for operation in operations}:
            np.testing.assert_array_equal(bicubic, bilinear)
        elif operations[-1].name in moving:
            assert (bicubic != bilinear).any()


def test_overflow_reaches_the_jitter(image):
    wrapped = AugmentSpec(flip=0.0, saturation=SaturationSpec(probability=0.0, overflow="wrap"))
    found, _ = augment(wrapped, image, 0, 0)
    np.testing.assert_array_equal(found, resize_whole(scale_saturation(image, 1.0, "wrap"), 224))
    assert (found != resize_whole(image, 224)).any()


@pytest.mark.parametrize("spec", [DEEPFAKE, ANTISPOOF], ids=["deepfake", "antispoof"])
def test_results_depend_on_seed_and_position_only(image, spec):
    before = image.copy()
    together = [augment(spec, image, position, 5) for position in range(12)]
    random.seed(1)
    np.random.seed(1)
    states = random.getstate(), np.random.get_state()[1].tolist()
    for position in (7, 0, 11):
        found, erased = augment(spec, image, position, 5)
        np.testing.assert_array_equal(found, together[position][0])
        np.testing.assert_array_equal(erased, together[position][1])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states
    np.testing.assert_array_equal(image, before)
    # Deepfake: all differ; anti-spoofing: resized or mirrored, and half of them in another colour.
    assert len({result.tobytes() for result, _ in together}) > 4
    assert any((augment(spec, image, position, 6)[0] != together[position][0]).any() for position in range(12))


@pytest.mark.parametrize("shape", [(1, 1), (1, 37), (37, 1), (3, 2), (300, 40)])
def test_odd_sizes_and_a_single_grey_level_survive(shape):
    for spec in (DEEPFAKE, ANTISPOOF):
        for position in range(25):
            found, erased = augment(spec, np.full((*shape, 3), 77, np.uint8), position, 0)
            assert found.shape == (224, 224, 3) and found.dtype == np.uint8 and found.flags.c_contiguous
            assert erased.shape == (4,) and erased.dtype == np.int32
            if spec is ANTISPOOF:
                assert (found == 77).all()


@pytest.mark.parametrize(("settings", "field"), [
        ({"size": 0}, "size"), ({"size": 224.0}, "size"), ({"interpolation": "nearest"}, "interpolation"),
        ({"flip": 1.01}, "flip"), ({"flip": math.nan}, "flip"),
    ])  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(settings, field):
    with pytest.raises(ValueError, match=f"augment.{field}: expected .*; found"):
        AugmentSpec(**settings)


def test_other_images_are_refused():
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match="image: expected"):
            augment(DEEPFAKE, wrong, 0, 0)
