"""Overlap and pointing game on maps of a few pixels."""

import numpy as np
import pytest

from fsfm_jax.metrics.localisation import intersection_over_union, pointing_game

REGION = np.array([[1, 1, 0], [0, 0, 0]], bool)


def test_by_hand():
    heat = np.array([[0.4, 1.0, 0.5], [0.0, 0.2, 0.6]])
    # At half of the largest three pixels are marked, one of them inside; at 0.4 four, two of them inside.
    assert intersection_over_union(heat, REGION, 0.5) == 1 / 4 and intersection_over_union(heat, REGION, 0.4) == 2 / 4
    assert intersection_over_union(7 * heat, REGION, 0.5) == 1 / 4
    assert intersection_over_union(REGION * 0.1, REGION, 1.0) == 1 == pointing_game(REGION * 0.1, REGION)
    assert pointing_game(heat, REGION) == 1 and pointing_game(1 - heat, REGION) == 0


def test_several_peaks_count_in_part_and_an_empty_map_finds_nothing():
    assert pointing_game(np.array([[1.0, 0, 1], [0, 1, 1]]), REGION) == 1 / 4
    assert pointing_game(np.ones((2, 3)), REGION) == 2 / 6
    for score in (pointing_game(np.zeros((2, 3)), REGION), intersection_over_union(np.zeros((2, 3)), REGION, 0.5)):
        assert score == 0


@pytest.mark.parametrize(("heat", "region", "text"), [
    (np.ones((2, 3)), np.zeros((2, 3), bool), "region: expected at least one pixel"),
    (np.ones((2, 2)), REGION, "a bool region of the same shape; found .2, 2. and bool"),
    (np.ones((2, 3)), REGION * 1.0, "a bool region of the same shape; found .2, 3. and float64"),
    (np.full((2, 3), np.nan), REGION, "heat: expected finite"),
    (-np.ones((2, 3)), REGION, "numbers of at least 0; found negative"),
    (np.zeros((0, 0)), np.zeros((0, 0), bool), "at least one pixel"),
])  # fmt: skip
def test_what_cannot_be_is_refused(heat, region, text):
    for score in (lambda: pointing_game(heat, region), lambda: intersection_over_union(heat, region, 0.5)):
        with pytest.raises(ValueError, match=text):
            score()


def test_a_share_of_the_largest_is_one():
    with pytest.raises(ValueError, match="share: expected more than 0 and at most 1, found 0"):
        intersection_over_union(np.ones((2, 3)), REGION, 0)
