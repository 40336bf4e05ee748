"""The picture of a comparison: its axes by hand, and where its markers are."""

import cv2
import numpy as np
import pytest

from fsfm_jax.figures.comparison import (
    ABOVE,
    COLOURS,
    HEIGHT,
    LEFT,
    SHAPES,
    WIDTH,
    Axes,
    Point,
    draw_comparison,
    make_axes,
    power_text,
)  # fmt: skip

MODELS, TUNINGS = ("one", "other"), ("full", "probe")
POINTS = [Point("one", "probe", 10_000_000, 90.0, 2.0), Point("other", "full", 1_000, 70.0, None)]


def test_the_horizontal_axis_is_logarithmic():
    axes = Axes(3, 7, (60.0, 80.0, 100.0))
    assert axes.pixel(1_000, 60) == (0, HEIGHT) and axes.pixel(10_000_000, 100) == (WIDTH, 0)
    # Two of four decades, and half of 60 to 100.
    assert axes.pixel(100_000, 80) == pytest.approx((WIDTH / 2, HEIGHT / 2))
    assert axes.pixel(10**4.5, 70) == pytest.approx((WIDTH * 1.5 / 4, HEIGHT * 3 / 4))


@pytest.mark.parametrize(
    "found, low, high, marks",
    [
        ([(1_538, 88.0, 2.0), (86_000_000, 71.0, None)], 3, 8, (70, 75, 80, 85, 90)),
        ([(1_000, 99.95, 0.3)], 3, 4, (99.6, 99.7, 99.8, 99.9, 100)),  # no AUC is above 100
        ([(98, 50.0, None)], 1, 2, (50, 50.1)),
        ([(98, 100.0, None)], 1, 2, (99.9, 100)),
        ([(1, 0.0, None), (1, 100.0, None)], 0, 1, (0, 20, 40, 60, 80, 100)),
    ],
)
def test_axes_hold_all_points_between_round_numbers(found, low, high, marks):
    axes = make_axes([Point("one", "full", *each) for each in found])
    assert (axes.low, axes.high) == (low, high) and axes.marks == pytest.approx(marks)


def test_powers_are_short():
    assert [power_text(power) for power in (0, 1, 2, 3, 4, 6, 8, 9, 12)] == [
        "1", "10", "100", "1 k", "10 k", "1 M", "100 M", "1 G", "1000 G",
    ]  # fmt: skip


def test_markers_are_where_their_points_are(tmp_path):
    path = tmp_path / "a.png"
    assert draw_comparison(path, {"dfd": POINTS, "none": []}, MODELS, TUNINGS)
    picture, axes = cv2.imread(str(path)), make_axes(POINTS)
    assert picture.shape[0] == 454 and LEFT + WIDTH < picture.shape[1] < 2 * (LEFT + WIDTH)  # one plot and a legend
    for point, colour in zip(POINTS, COLOURS[:2], strict=True):
        across, row = axes.pixel(point.trained, point.value)
        at = ABOVE + round(row), LEFT + round(across)
        np.testing.assert_array_equal(picture[at], colour)
    # Deviation: 2 of the 25 % between 70 and 95 up and down, beyond the marker's 7 pixels.
    across, row = (round(place) for place in axes.pixel(POINTS[0].trained, 90))
    reach = round(2 / (axes.marks[-1] - axes.marks[0]) * HEIGHT)
    column = picture[ABOVE + row - reach - 3 : ABOVE + row - 8, LEFT + across]
    np.testing.assert_array_equal(column[5], COLOURS[0])
    assert (column[0] != COLOURS[0]).any()
    # Both models and both tunings have a place in the legend, whichever points there are.
    legend = picture[:, LEFT + WIDTH + 30 :]
    for colour in COLOURS[:2]:
        assert (legend == colour).all(axis=-1).sum() >= 15 * 14


def test_a_model_keeps_its_colour_when_others_are_missing(tmp_path):
    draw_comparison(tmp_path / "a.png", {"dfd": POINTS[1:]}, MODELS, TUNINGS)
    plot = cv2.imread(str(tmp_path / "a.png"))[:, : LEFT + WIDTH + 20]
    assert (plot == COLOURS[1]).all(axis=-1).any() and not (plot == COLOURS[0]).all(axis=-1).any()


def test_without_a_point_nothing_is_written(tmp_path):
    assert not draw_comparison(tmp_path / "a.png", {"dfd": []}, MODELS, TUNINGS)
    assert list(tmp_path.iterdir()) == []


def test_looks_are_all_different():
    assert len(set(COLOURS)) == len(COLOURS) == 16
    assert len({shape.tobytes() for shape in SHAPES}) == len(SHAPES) == 6


@pytest.mark.parametrize(
    "points, models, text",
    [
        ([POINTS[0]._replace(value=float("nan"))], MODELS, "an AUC in percent, found Point"),
        ([POINTS[0]._replace(value=101)], MODELS, "an AUC in percent, found Point"),
        ([POINTS[0]._replace(trained=0)], MODELS, "expected a trained parameter or more"),
        (POINTS, [f"m{number}" for number in range(17)], "at most 16 models and 6 tunings, found 17 and 2"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path, points, models, text):
    with pytest.raises(ValueError, match=text):
        draw_comparison(tmp_path / "a.png", {"dfd": points}, models, TUNINGS)
