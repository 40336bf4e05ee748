"""The picture of a calibration: points, lines and counts, pixel by pixel."""

import cv2
import numpy as np
import pytest

from fsfm_jax.figures.calibration import COUNTS_HEIGHT, DIAGONAL, RADIUS, draw_reliability
from fsfm_jax.figures.panel import BELOW, GAP, GREY, LEFT, LINES, RIGHT, ROW, SIZE, TITLE, WHITE
from fsfm_jax.metrics.calibration import Reliability, reliability

# Five bins: 1/4 of four at 0.05, nothing, nothing, 1/2 of two at 0.75, all of one at 1.
BY_HAND = reliability(
    np.array([0.05, 0.05, 0.05, 0.05, 0.7, 0.8 - 1e-9, 1.0]), np.array([0, 1, 0, 0, 0, 1, 1]), 5, "width"
)
POINTS = ((0.05, 0.25), (0.75, 0.5), (1.0, 1.0))
PALE = set(range(150, 256))


def drawn(tmp_path, diagrams) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The unit square of the shares `[SIZE + 1, SIZE + 1, 3]` and of the counts, row 0 at the bottom; the legend."""
    draw_reliability(tmp_path / "a.png", "title", diagrams)
    picture = cv2.imread(str(tmp_path / "a.png"))
    top = TITLE + ROW * len(diagrams) + GAP
    lower = top + SIZE + BELOW + GAP
    assert picture.shape == (lower + COUNTS_HEIGHT + BELOW, LEFT + SIZE + RIGHT, 3)
    inside = slice(LEFT, LEFT + SIZE + 1)
    shares, counts = picture[top : top + SIZE + 1, inside], picture[lower : lower + COUNTS_HEIGHT + 1, inside]
    return shares[::-1], counts[::-1], picture[: top - GAP]


def test_points_lie_at_mean_probability_and_observed_share(tmp_path):
    shares, _, legend = drawn(tmp_path, {"raw": BY_HAND})
    for across, up in POINTS:
        row, column = round(up * SIZE), round(across * SIZE)
        around = shares[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]
        np.testing.assert_array_equal(around, np.broadcast_to(LINES[0], around.shape))
        # A point ends: one radius further only its line, or nothing, is met.
        assert tuple(shares[row - RADIUS - 3, column]) in (GREY, WHITE)
    # Halfway along the line that passes over the two empty bins.
    np.testing.assert_array_equal(shares[round(0.375 * SIZE), round(0.4 * SIZE)], LINES[0])
    assert (legend[TITLE + ROW - 5, LEFT + 3 : LEFT + 12] == LINES[0]).all()


def test_bins_without_examples_have_no_point(tmp_path):
    lonely = Reliability(*(np.array(part) for part in ([0, 0.5], [0.5, 1], [0, 2], [np.nan, 0.75], [np.nan, 0.5])))
    shares, counts, _ = drawn(tmp_path, {"raw": lonely})
    places = np.argwhere((shares == LINES[0]).all(axis=-1))
    assert (np.abs(places - [SIZE // 2, 3 * SIZE // 4]) <= RADIUS).all()
    assert (counts[COUNTS_HEIGHT, SIZE // 2 + 3 : SIZE - 2] == LINES[0]).all()


def test_the_diagonal_is_drawn_below_the_points(tmp_path):
    shares, _, _ = drawn(tmp_path, {"raw": BY_HAND})
    for place in (SIZE // 8, SIZE // 3, 7 * SIZE // 8):
        np.testing.assert_array_equal(shares[place, place], DIAGONAL)
    np.testing.assert_array_equal(shares[SIZE - 1, SIZE - 1], LINES[0])


def test_counts_are_a_histogram_up_to_the_largest(tmp_path):
    _, counts, _ = drawn(tmp_path, {"raw": BY_HAND})
    width = SIZE // 5
    for place, height in enumerate((1, 0, 0, 1 / 2, 1 / 4)):
        row = COUNTS_HEIGHT - round((1 - height) * COUNTS_HEIGHT)
        across = slice(place * width + 3, (place + 1) * width - 2)
        np.testing.assert_array_equal(counts[row, across], np.tile(LINES[0], (width - 5, 1)))
        # Above the bin there is nothing but the grid.
        assert set(counts[row + 3 :, across].ravel().tolist()) <= PALE


def test_every_diagram_has_its_colour_and_the_later_one_lies_above(tmp_path):
    moved = BY_HAND._replace(observed=np.array([0.5, np.nan, np.nan, 0.5, 0.25]), counts=2 * BY_HAND.counts)
    shares, counts, legend = drawn(tmp_path, {"raw: ECE 5.2 %": BY_HAND, "temperature 1.7: ECE 1.1 %": moved})
    for across, up, colour in ((0.05, 0.25, 0), (0.05, 0.5, 1), (0.75, 0.5, 1), (1.0, 1.0, 0), (1.0, 0.25, 1)):
        np.testing.assert_array_equal(shares[round(up * SIZE), round(across * SIZE)], LINES[colour])
    # Twice the count: the first one reaches half as high.
    np.testing.assert_array_equal(counts[COUNTS_HEIGHT, 20], LINES[1])
    np.testing.assert_array_equal(counts[COUNTS_HEIGHT // 2, 20], LINES[0])
    for row in range(2):
        assert (legend[TITLE + ROW * (row + 1) - 5, LEFT + 3 : LEFT + 12] == LINES[row]).all()


def test_bins_of_equal_mass_keep_their_width(tmp_path):
    _, counts, _ = drawn(tmp_path, {"mass": reliability(np.array([0.25, 0.5, 0.5, 0.75]), np.ones(4), 2, "mass")})
    # One example from 0.25, three from 0.5 to 0.75.
    third = COUNTS_HEIGHT - round(2 / 3 * COUNTS_HEIGHT)
    assert (counts[third, SIZE // 4 + 3 : SIZE // 2 - 2] == LINES[0]).all()
    assert (counts[COUNTS_HEIGHT, SIZE // 2 + 3 : 3 * SIZE // 4 - 2] == LINES[0]).all()
    assert set(counts[5:, : SIZE // 4 - 3].ravel().tolist()) <= PALE


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "diagrams: expected one to 4, found none"),
        (list("abcde"), "diagrams: expected one to 4, found a, b, c, d, e"),
    ],
)
def test_too_few_and_too_many_diagrams_are_refused(tmp_path, names, message):
    with pytest.raises(ValueError, match=message):
        draw_reliability(tmp_path / "a.png", "title", dict.fromkeys(names, BY_HAND))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        draw_reliability(tmp_path / "nowhere" / "a.png", "title", {"raw": BY_HAND})
