"""The saturation jitter of anti-spoofing: the released code's overflow on demand, none by default."""

import cv2
import numpy as np
import pytest

from fsfm_jax.data.resizing import resize_whole
from fsfm_jax.data.saturation import SaturationSpec, draw_factor, scale_saturation

DRAWS = 4000


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (60, 70, 3), np.uint8)


@pytest.mark.parametrize(
    ("factor", "name"), [(1.0, "no_change"), (0.8, "sat_0.8"), (1.2, "sat_1.2"), (1.07, "sat_1.07")]
)
def test_with_wrap_images_are_the_released_ones(golden, factor, name):
    numbers = golden("augment")
    found = resize_whole(scale_saturation(numbers["fas/image_rgb"], factor, "wrap"), 224)
    np.testing.assert_array_equal(found[::2, ::2], numbers[f"fas/train_{name}_uint8_every_2nd"])


def test_test_images_are_the_released_ones(golden):
    numbers = golden("augment")
    found = resize_whole(numbers["fas/image_rgb"], 224)
    np.testing.assert_array_equal(found[::2, ::2], numbers["fas/test_uint8"])


def test_wrap_turns_dark_into_bright_and_clip_does_not_and_keeps_the_hue_of_saturated_colours():
    # Saturation 0.9 times 1.2 is 1.08: 200 (1 - 1.08) = -16, which is 240 modulo 256.
    pixel = np.array([[[200, 20, 20]]], np.uint8)
    assert scale_saturation(pixel, 1.2, "wrap").ravel().tolist() == [200, 240, 240]
    assert scale_saturation(pixel, 1.2, "clip").ravel().tolist() == [200, 0, 0]
    # Half-way between: 200 (1 - f s) = 200 (1 - 1.1 * 0.5) = 90.
    half = np.array([[[100, 200, 100]]], np.uint8)
    assert scale_saturation(half, 1.1, "clip").ravel().tolist() == [90, 200, 90]
    # 200, 20, 110 has its hue half-way: with saturation 1 the middle channel is at half of the largest.
    pixel = np.array([[[200, 20, 110]]], np.uint8)
    assert scale_saturation(pixel, 1.2, "clip").ravel().tolist() == [200, 0, 100]


def test_clip_without_change_is_the_image_wrap_loses_grey_levels_and_grey_has_no_saturation(image):
    np.testing.assert_array_equal(scale_saturation(image, 1.0, "clip"), image)
    lost = image.astype(int) - scale_saturation(image, 1.0, "wrap")
    assert set(np.unique(lost)) == {0, 1} and 0.1 < lost.mean() < 0.4
    grey = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, 2)
    for factor, overflow in ((0.8, "clip"), (1.2, "clip"), (1.2, "wrap")):
        np.testing.assert_array_equal(scale_saturation(grey, factor, overflow), grey)


def test_clip_multiplies_the_saturation_and_leaves_hue_and_value(image):
    for factor in (0.8, 1.2):
        found = scale_saturation(image, factor, "clip")
        before, after = (cv2.cvtColor(x.astype(np.float32), cv2.COLOR_RGB2HSV) for x in (image, found))
        np.testing.assert_array_equal(after[..., 2], before[..., 2])
        # The smallest channel, value (1 - saturation), is rounded by at most 1/2.
        wanted = np.minimum(before[..., 1] * factor, 1)
        slack = 0.501 / np.maximum(before[..., 2], 1)
        assert (np.abs(after[..., 1] - wanted) <= slack).all()


def test_half_of_the_images_get_a_factor_uniform_in_its_range():
    spec = SaturationSpec()
    drawn = np.array([draw_factor(spec, position, 1) for position in range(DRAWS)])
    changed = drawn[drawn != 1]
    assert abs(len(changed) / DRAWS - 0.5) < 5 * 0.5 / DRAWS**0.5
    assert changed.min() >= 0.8 and changed.max() <= 1.2
    # Deviation of U(0.8, 1.2): 0.4 / sqrt(12); of its variance's estimate: 0.16 / sqrt(180 n).
    assert abs(changed.mean() - 1) < 5 * 0.4 / (12 * len(changed)) ** 0.5
    assert abs(changed.var() - 0.16 / 12) < 5 * 0.16 / (180 * len(changed)) ** 0.5
    assert [draw_factor(spec, position, 1) for position in (9, 2)] == [drawn[9], drawn[2]]
    never = SaturationSpec(probability=0.0)
    assert all(draw_factor(never, position, 1) == 1 for position in range(100))


@pytest.mark.parametrize(("settings", "field"), [
        ({"probability": -0.1}, "probability"), ({"factor": (1.2, 0.8)}, "factor"), ({"factor": (-0.1, 1.0)}, "factor"),
        ({"factor": (0.8, float("nan"))}, "factor"), ({"overflow": "saturate"}, "overflow"),
    ])  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(settings, field):
    with pytest.raises(ValueError, match=f"augment.saturation.{field}: expected .*; found"):
        SaturationSpec(**settings)
