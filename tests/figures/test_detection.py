"""The picture of a detector: curves, histograms and thresholds, pixel by pixel."""

import cv2
import numpy as np
import pytest

from fsfm_jax.figures.detection import NEGATIVE, POSITIVE, draw_scores
from fsfm_jax.figures.panel import BELOW, BLACK, GAP, GREY, LEFT, LINES, RIGHT, ROW, SIZE, TITLE, WHITE, end_of_axis
from fsfm_jax.metrics.scores import DEEPFAKE, Scored

WIDTH = LEFT + SIZE + RIGHT
# Two of each class: the curve goes (0, 0), (0, 1/2), (1/2, 1/2), (1/2, 1), (1, 1).
SCORED = Scored(np.array([0.91, 0.31, 0.61, 0.11]), np.array([1, 1, 0, 0]), DEEPFAKE)
ALONE = Scored(np.array([0.9, 0.3]), np.array([1, 1]), DEEPFAKE)


def drawn(tmp_path, levels, thresholds=None) -> list[np.ndarray]:
    """The panels of a picture."""
    draw_scores(tmp_path / "a.png", "title", levels, thresholds)
    picture = cv2.imread(str(tmp_path / "a.png"))
    rows = max(len(levels), 3 if thresholds else 2)
    assert picture.shape == (TITLE + ROW * rows + GAP + SIZE + BELOW, (1 + len(levels)) * WIDTH, 3)
    return np.split(picture, 1 + len(levels), axis=1)


def plot(panel: np.ndarray) -> np.ndarray:
    """The unit square `[SIZE + 1, SIZE + 1, 3]`, its row 0 at the lower edge."""
    return panel[-BELOW - SIZE : 1 - BELOW, LEFT : LEFT + SIZE + 1][::-1]


def places(panel: np.ndarray, colour: tuple) -> np.ndarray:
    """Row and column of every pixel of exactly this colour."""
    return np.argwhere((panel == colour).all(axis=-1))


def legend_rows(panel: np.ndarray, colour: tuple) -> list[int]:
    """Which rows of the legend have a line of this colour before their text."""
    return [
        row
        for row in range((panel.shape[0] - TITLE - GAP - SIZE - BELOW) // ROW)
        if (panel[TITLE + ROW * (row + 1) - 5, LEFT + 3 : LEFT + 12] == colour).all()
    ]


def test_the_curve_runs_where_its_points_are(tmp_path):
    roc, _ = drawn(tmp_path, {"frames": SCORED})
    square, half = plot(roc), SIZE // 2
    for row, column in ((half // 2, 0), (half, half // 2), (half + half // 2, half), (SIZE, half + half // 2)):
        np.testing.assert_array_equal(square[row, column], LINES[0])
    # Elsewhere there is nothing but the grid.
    for row, column in ((half // 2 + 9, half), (half + 9, SIZE // 4 + 9)):
        assert tuple(square[row, column]) in (GREY, WHITE)
    assert legend_rows(roc, LINES[0]) == [0]


def test_every_level_has_its_colour(tmp_path):
    swapped = Scored(SCORED.scores, ~SCORED.labels, DEEPFAKE)  # AUC 1/4: (1/2, 0) is on its curve
    panels = drawn(tmp_path, {"frames": SCORED, "videos": swapped})
    square = plot(panels[0])
    np.testing.assert_array_equal(square[SIZE // 8, 0], LINES[0])
    np.testing.assert_array_equal(square[0, SIZE // 8], LINES[1])
    assert (legend_rows(panels[0], LINES[0]), legend_rows(panels[0], LINES[1])) == ([0], [1])
    assert len(panels) == 3


def test_a_histogram_by_hand(tmp_path):
    _, histogram = drawn(tmp_path, {"frames": SCORED})
    square = plot(histogram)
    # Bins are 8 pixels wide; half a class is in each of two bins, and the axis ends at 60 %.
    top = round(0.5 / 0.6 * SIZE)
    for score, colour in ((0.91, POSITIVE), (0.31, POSITIVE), (0.61, NEGATIVE), (0.11, NEGATIVE)):
        left = int(score * 40) * 8
        np.testing.assert_array_equal(square[top, left + 2 : left + 7], np.tile(colour, (5, 1)))
        np.testing.assert_array_equal(square[top // 2 + 3, left], colour)
    # The class that is drawn last lies over the other one on the ground.
    np.testing.assert_array_equal(square[0, 8 * 20 + 2 : 8 * 20 + 7], np.tile(NEGATIVE, (5, 1)))
    assert (legend_rows(histogram, POSITIVE), legend_rows(histogram, NEGATIVE)) == ([0], [1])


def test_the_axis_ends_at_a_round_number():
    found = [end_of_axis(highest) for highest in (0.05, 0.102, 0.5, 0.81, 1.0, 0.0101)]
    assert found == pytest.approx([0.06, 0.12, 0.6, 1.0, 1.0, 0.012])
    for highest in 10.0 ** np.random.default_rng(0).uniform(-6, 0, 500):
        assert highest <= end_of_axis(highest) < 1.7 * highest


@pytest.mark.parametrize(("threshold", "column"), [(0.0, 0), (0.25, 80), (0.4321, 138), (1.0, SIZE)])
def test_a_threshold_is_a_line_from_top_to_bottom(tmp_path, threshold, column):
    # All scores are near one half: the line meets no histogram.
    scored = Scored(np.full(4, 0.51), np.array([0, 1, 0, 1]), DEEPFAKE)
    _, frames, videos = drawn(tmp_path, {"frames": scored, "videos": scored}, {"videos": threshold})
    square = plot(videos)
    np.testing.assert_array_equal(square[3:, column], np.tile(BLACK, (SIZE - 2, 1)))
    assert set(places(square, BLACK)[:, 1].tolist()) == {column}
    assert legend_rows(videos, BLACK) == [2]
    # The other level has none, nor a line in its legend.
    assert not len(places(plot(frames), BLACK)) and legend_rows(frames, BLACK) == []


@pytest.mark.parametrize("threshold", [1.1, -0.1, np.inf])
def test_a_threshold_outside_is_in_the_legend_only(tmp_path, threshold):
    _, frames = drawn(tmp_path, {"frames": SCORED}, {"frames": threshold})
    assert legend_rows(frames, BLACK) == [2] and not len(places(plot(frames), BLACK))


def test_one_class_has_a_legend_and_no_curve(tmp_path):
    roc, histogram = drawn(tmp_path, {"frames": ALONE})
    assert {tuple(pixel) for pixel in plot(roc).reshape(-1, 3).tolist()} == {GREY, WHITE}
    assert legend_rows(roc, LINES[0]) == [0]
    # The class that is not there has no line on the ground either, but it is named.
    assert len(places(plot(histogram), POSITIVE)) and not len(places(plot(histogram), NEGATIVE))
    assert legend_rows(histogram, NEGATIVE) == [1]


def test_texts_of_any_length_stay_inside_their_panel(tmp_path):
    draw_scores(tmp_path / "a.png", "W" * 500, {"V" * 500: ALONE}, {"V" * 500: 0.5})
    picture = cv2.imread(str(tmp_path / "a.png"))
    for edge in (WIDTH, 2 * WIDTH):
        assert (picture[:, edge - 3 : edge] == 255).all()
    # Cut off by dots at the right end, not empty.
    assert (picture[:TITLE, WIDTH - 40 : WIDTH] < 255).any()


@pytest.mark.parametrize(
    ("levels", "thresholds", "message"),
    [
        ({}, None, "levels: expected one to 4, found none"),
        (dict.fromkeys("abcde", SCORED), None, "levels: expected one to 4, found a, b, c, d, e"),
        ({"frames": SCORED}, {"videos": 0.5}, "thresholds: expected numbers for frames; found 0.5 for 'videos'"),
        ({"frames": SCORED}, {"frames": np.nan}, "thresholds: expected numbers for frames; found nan for 'frames'"),
        ({"frames": Scored([0.5, 3.0], [0, 1], DEEPFAKE)}, None, "scores: expected probabilities from 0 to 1, found"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path, levels, thresholds, message):
    with pytest.raises(ValueError, match=message):
        draw_scores(tmp_path / "a.png", "title", levels, thresholds)
    assert not list(tmp_path.iterdir())
