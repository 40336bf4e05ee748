"""Random boxes to show and to erase: shares, shapes, places, and images of odd sizes."""

import math

import numpy as np
import pytest

from fsfm_jax.data.boxes import NOTHING, Box, CropSpec, EraseSpec, draw_crop, draw_erased

DRAWS = 3000


def is_uniform(values: list[float], slack: float) -> bool:
    """Mean 1/2 and variance 1/12 within 5 standard errors (of the variance: sqrt(1 / 180 n)) and `slack`."""
    mean, variance = np.mean(values), np.var(values)
    near = abs(mean - 1 / 2) < 5 * math.sqrt(1 / 12 / len(values)) + slack
    return near and abs(variance - 1 / 12) < 5 * math.sqrt(1 / 180 / len(values)) + slack


def test_crops_lie_in_the_image_and_have_the_shares_and_shapes_asked_for():
    height, width = 120, 150
    for position in range(DRAWS):
        box = draw_crop(CropSpec(), height, width, position, 1)
        assert 0 <= box.top and box.top + box.height <= height
        assert 0 <= box.left and box.left + box.width <= width
        # Both sides are rounded by at most half a pixel.
        assert (box.height + 0.5) * (box.width + 0.5) >= 0.08 * height * width
        assert (box.width - 0.5) / (box.height + 0.5) <= 4 / 3 and (box.width + 0.5) / (box.height - 0.5) >= 3 / 4


def test_crops_have_uniform_areas_log_ratios_and_places():
    # Up to 0.4 of a 1000 x 1200 image every shape fits, so that no try is thrown away.
    spec = CropSpec(area=(0.1, 0.4))
    drawn = [draw_crop(spec, 1000, 1200, position, 2) for position in range(DRAWS)]
    values = [
        [(box.height * box.width / 1.2e6 - 0.1) / 0.3 for box in drawn],
        [math.log(box.width / box.height * 4 / 3) / math.log(16 / 9) for box in drawn],
        [box.top / (1000 - box.height) for box in drawn],
        [box.left / (1200 - box.width) for box in drawn],
    ]
    assert all(is_uniform(column, 1e-3) for column in values)
    assert np.abs(np.corrcoef(values) - np.eye(4)).max() < 5 / math.sqrt(DRAWS)


def test_a_try_that_does_not_fit_is_replaced_by_the_next():
    # Nine tenths of a square fit only as nearly square boxes; a box of 0.9 and ratio r needs 0.9 <= r <= 1 / 0.9.
    spec = CropSpec(area=(0.9, 0.9), ratio=(0.5, 2.0))
    drawn = [draw_crop(spec, 1000, 1000, position, 0) for position in range(DRAWS)]
    fallback = sum(box == Box(0, 0, 1000, 1000) for box in drawn) / DRAWS
    fits = 2 * math.log(1 / 0.9) / math.log(4)
    expected = (1 - fits) ** 10
    # Rounding to 1000 pixels lets ratios pass that are off by 0.1 %, which changes `expected` by less than 0.005.
    assert abs(fallback - expected) < 5 * math.sqrt(expected * (1 - expected) / DRAWS) + 0.005
    assert all(abs(box.height * box.width / 9e5 - 1) < 2e-3 for box in drawn if box.height < 1000)


@pytest.mark.parametrize(("height", "width", "wanted"), [
        (100, 400, Box(0, 133, 100, 133)),  # 100 * 4 / 3 columns
        (400, 100, Box(133, 0, 133, 100)),  # 100 / (3 / 4) rows
        (90, 100, Box(0, 0, 90, 100)),
        (1, 50, Box(0, 24, 1, 1)),
        (50, 1, Box(24, 0, 1, 1)),
        (1, 1, Box(0, 0, 1, 1)),
    ])  # fmt: skip
def test_if_nothing_fits_the_crop_is_the_largest_centred_box_of_an_allowed_shape(height, width, wanted, monkeypatch):
    monkeypatch.setattr("fsfm_jax.data.boxes.TRIES", 0)
    assert draw_crop(CropSpec(), height, width, 0, 0) == wanted


def test_a_quarter_of_the_images_loses_a_box_inside_the_image():
    drawn = [draw_erased(EraseSpec(), 224, position, 1) for position in range(DRAWS)]
    boxes = [box for box in drawn if box != NOTHING]
    assert abs(len(boxes) / DRAWS - 0.25) < 5 * math.sqrt(0.25 * 0.75 / DRAWS)
    for box in boxes:
        assert 0 < box.height < 224 and 0 < box.width < 224
        assert 0 <= box.top <= 224 - box.height and 0 <= box.left <= 224 - box.width
        assert (box.height + 0.5) * (box.width + 0.5) >= 0.02 * 224**2
        assert (box.height - 0.5) * (box.width - 0.5) <= 224**2 / 3
        assert (box.width - 0.5) / (box.height + 0.5) <= 1 / 0.3 and (box.width + 0.5) / (box.height - 0.5) >= 0.3


def test_erased_boxes_have_uniform_areas_log_ratios_and_places():
    spec = EraseSpec(probability=1.0, area=(0.02, 0.25))  # a side is at most sqrt(0.25 / 0.3) of the image's
    drawn = [draw_erased(spec, 1000, position, 2) for position in range(DRAWS)]
    values = [
        [(box.height * box.width / 1e6 - 0.02) / 0.23 for box in drawn],
        [0.5 - math.log(box.width / box.height) / math.log(0.09) for box in drawn],
        [box.top / (1000 - box.height) for box in drawn],
        [box.left / (1000 - box.width) for box in drawn],
    ]
    assert all(is_uniform(column, 2e-3) for column in values)
    assert np.abs(np.corrcoef(values) - np.eye(4)).max() < 5 / math.sqrt(DRAWS)


def test_nothing_is_erased_with_probability_0_or_when_no_box_fits():
    assert all(draw_erased(EraseSpec(probability=0.0), 224, position, 1) == NOTHING for position in range(200))
    assert all(draw_erased(EraseSpec(probability=1.0), 1, position, 1) == NOTHING for position in range(200))
    # A full side is refused: of an image of two pixels a box can only be one pixel.
    sides = {draw_erased(EraseSpec(probability=1.0), 2, position, 1)[2:] for position in range(200)}
    assert (1, 1) in sides and sides <= {(1, 1), (0, 0)}


def test_boxes_depend_on_seed_and_position_only():
    crops = [draw_crop(CropSpec(), 200, 300, position, 1) for position in range(100)]
    assert [draw_crop(CropSpec(), 200, 300, position, 1) for position in (71, 3)] == [crops[71], crops[3]]
    assert len(set(crops)) == 100 and draw_crop(CropSpec(), 200, 300, 3, 2) != crops[3]
    # Written down: other numbers are another stream for everybody who goes on with a run.
    assert draw_crop(CropSpec(), 200, 300, 0, 0) == Box(0, 83, 198, 215)
    assert draw_erased(EraseSpec(probability=1.0), 224, 0, 0) == Box(169, 4, 55, 167)


@pytest.mark.parametrize(("make", "field"), [
        (lambda: CropSpec(area=(0.0, 1.0)), "augment.crop.area"),
        (lambda: CropSpec(area=(0.5, 0.4)), "augment.crop.area"),
        (lambda: CropSpec(area=(0.5, 1.1)), "augment.crop.area"),
        (lambda: CropSpec(area=(math.nan, 1.0)), "augment.crop.area"),
        (lambda: CropSpec(ratio=(1.0, math.inf)), "augment.crop.ratio"),
        (lambda: EraseSpec(probability=1.5), "augment.erase.probability"),
        (lambda: EraseSpec(probability=math.nan), "augment.erase.probability"),
        (lambda: EraseSpec(area=(0.1,)), "augment.erase.area"),
        (lambda: EraseSpec(ratio=(-1.0, 1.0)), "augment.erase.ratio"),
    ])  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(make, field):
    with pytest.raises(ValueError, match=f"{field}: expected .*; found"):
        make()
