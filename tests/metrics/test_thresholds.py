"""Thresholds keep their promise on the split that chose them, and say which it was."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsfm_jax.metrics import thresholds
from fsfm_jax.metrics.scores import ANTI_SPOOFING, Scored

FEW = settings(max_examples=60, deadline=None)
# Falling: 1 1 0 1 0 0.
SCORED = Scored(np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4]), np.array([1, 1, 0, 1, 0, 0]), ANTI_SPOOFING)


@st.composite
def sets(draw):
    size = draw(st.integers(2, 30))
    scores = draw(st.lists(st.integers(0, 8).map(lambda k: k / 8), min_size=size, max_size=size))
    labels = draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
    labels[:2] = [0, 1]
    return Scored(np.array(scores), np.array(labels), ANTI_SPOOFING)


@FEW
@given(sets(), st.sampled_from([0.0, 0.01, 0.1, 1 / 3, 0.5, 1.0]))
def test_a_stated_false_negative_rate_is_kept_and_no_higher_score_keeps_it(scored, target):
    chosen = thresholds.at_false_negative_rate(scored, target, "validation")
    assert chosen.false_negative_rate.value <= target
    assert chosen.value == max(
        t for t in np.unique(scored.scores) if np.mean(scored.scores[scored.labels] < t) <= target
    )


@FEW
@given(sets())
def test_the_equal_error_threshold_has_the_least_difference(scored):
    chosen = thresholds.at_equal_error(scored, "validation")

    def gap(t):
        return abs(np.mean(scored.scores[~scored.labels] >= t) - np.mean(scored.scores[scored.labels] < t))

    least = min(gap(t) for t in np.unique(scored.scores))
    assert gap(chosen.value) == pytest.approx(least, abs=1e-12)
    assert chosen.value == max(t for t in np.unique(scored.scores) if gap(t) <= least + 1e-12)


@FEW
@given(sets())
def test_the_grid_threshold_is_the_last_of_the_least_differences(scored):
    positive, negative = scored.scores[scored.labels], scored.scores[~scored.labels]
    grid = thresholds.RELEASED_GRID[:, None]
    gaps = np.abs(np.mean(positive < grid, axis=1) - np.mean(negative >= grid, axis=1))
    last = np.flatnonzero(gaps == gaps.min())[-1]
    assert thresholds.on_released_grid(scored, "test").value == thresholds.RELEASED_GRID[last]


def test_rules_by_hand_and_a_fixed_threshold():
    chosen = thresholds.at_equal_error(SCORED, "validation")
    assert (chosen.value, chosen.split, chosen.rule) == (0.7, "validation", "equal error")
    assert chosen.chosen_on == "equal error, chosen on validation"
    assert chosen.false_positive_rate.value == chosen.false_negative_rate.value == pytest.approx(1 / 3)
    grid = thresholds.on_released_grid(SCORED, "test")
    assert grid.value == 0.7
    strict = thresholds.at_false_negative_rate(SCORED, 0.34, "validation")
    assert strict.value == 0.8 and strict.chosen_on == "false negative rate <= 0.34, chosen on validation"
    assert thresholds.at_false_negative_rate(SCORED, 0.33, "validation").value == 0.6
    assert len(thresholds.RELEASED_GRID) == 10002
    assert thresholds.RELEASED_GRID[[0, 1, 5408, 10000, 10001]].tolist() == [0, 0.0001, 0.5408, 1, 1.1]
    chosen = thresholds.fixed(0.5)
    assert (chosen.value, chosen.split) == (0.5, "")
    assert chosen.chosen_on == "fixed at 0.5, chosen on no data"
    assert math.isnan(chosen.false_positive_rate.value) and "without data" in chosen.false_negative_rate.reason
    with pytest.raises(ValueError, match="found NaN"):
        thresholds.fixed(math.nan)


def test_only_the_class_that_a_rule_needs_must_be_there_and_a_name_and_a_fraction():
    attacks = Scored(np.array([0.2, 0.6]), np.array([0, 0]), ANTI_SPOOFING)
    genuine = Scored(np.array([0.2, 0.6]), np.array([1, 1]), ANTI_SPOOFING)
    chosen = thresholds.at_false_negative_rate(genuine, 0.5, "bona fide only")
    assert chosen.value == 0.6 and chosen.false_positive_rate.reason == "no attack among 2 examples"
    with pytest.raises(ValueError, match="rate <= 0.5.* on validation: no bona fide among 2 examples"):
        thresholds.at_false_negative_rate(attacks, 0.5, "validation")
    for rule in (thresholds.at_equal_error, thresholds.on_released_grid):
        with pytest.raises(ValueError, match="on validation: no attack among 2 examples"):
            rule(genuine, "validation")
    with pytest.raises(ValueError, match="split: expected the name"):
        thresholds.at_equal_error(SCORED, "")
    with pytest.raises(ValueError, match="target: expected a fraction from 0 to 1, found 5"):
        thresholds.at_false_negative_rate(SCORED, 5, "validation")
