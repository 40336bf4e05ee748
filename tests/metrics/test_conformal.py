"""Conformal sets: by hand, and their coverage on exchangeable data."""

import math

import numpy as np
import pytest
from scipy import stats

from fsfm_jax.metrics.conformal import fit_conformal, measure_sets


def probabilities(real: np.ndarray) -> np.ndarray:
    return np.stack([1 - np.asarray(real), real], axis=1)


def test_by_hand():
    # Nine examples: s = 0.1, ..., 0.9, and ceil(10 x 0.8) = 8. In floats 10 x (1 - 0.7) is a little more than 3.
    real = 1 - np.arange(1, 10) / 10
    for alpha, place in ((0.2, 8), (0.9, 1), (0.1, 9), (0.3, 7), (0.7, 3)):
        found = fit_conformal(probabilities(real), np.ones(9, int), alpha, by_class=False)
        assert found.thresholds.tolist() == [1 - real[place - 1]] * 2 and found.counts.tolist() == [9, 9], alpha
    sets = fit_conformal(probabilities(real), np.ones(9, int), 0.6, by_class=False).sets(probabilities([0.7, 0.5, 0.2]))
    assert sets.tolist() == [[False, True], [False, False], [True, False]]
    # Too few examples for so small an alpha: no class can be left out.
    all_of_them = fit_conformal(probabilities(real), np.ones(9, int), 0.09, by_class=False)
    assert all_of_them.thresholds.tolist() == [math.inf] * 2 and all_of_them.sets(probabilities([0.0, 1.0])).all()


def test_each_class_has_a_threshold_of_its_own():
    real, labels = np.array([0.2, 0.4, 0.1, 0.95, 0.9, 0.3]), np.array([0, 0, 0, 1, 1, 1])
    found = fit_conformal(probabilities(real), labels, 0.5, by_class=True)
    assert found.thresholds.tolist() == [1 - (1 - 0.2), 1 - 0.9] and found.counts.tolist() == [3, 3]
    with pytest.raises(ValueError, match="by class: expected examples of every class; found no example of class 0"):
        fit_conformal(probabilities(real[3:]), labels[3:], 0.5, by_class=True)


def test_what_sets_hold_is_counted():
    found = measure_sets(np.array([[1, 0], [1, 1], [0, 0], [1, 0]], bool), np.array([0, 1, 1, 1]))
    assert found.coverage == 2 / 4 and [value.value for value in found.of_class] == [1, pytest.approx(1 / 3)]
    assert found.size == 4 / 4 and found.sizes == (1 / 4, 2 / 4, 1 / 4)
    alone = measure_sets(np.array([[True, False]]), np.array([0]))
    assert alone.of_class[0].value == 1 and alone.of_class[1].reason == "no class 1"


@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("ties", [False, True])
def test_exchangeable_data_are_covered_as_the_bound_says(by_class, ties):
    """Many splits with one new example each: hits are binomial with a chance of at least 1 - alpha.

    Without ties the chance is k / (n + 1) exactly. A binomial leaves the bounds below once in a million runs.
    """
    trials, n, alpha = 4000, 39, 0.1
    random = np.random.default_rng(7)
    hits = 0
    for _ in range(trials):
        labels = (
            np.append(random.permutation(n) % 2, random.integers(2)) if by_class else random.integers(2, size=n + 1)
        )
        real = 1 / (1 + np.exp(-random.normal(labels * 2.0 - 1.2, 1.0)))
        shown = probabilities(np.round(real, 1) if ties else real)
        sets = fit_conformal(shown[:-1], labels[:-1], alpha, by_class).sets(shown[-1:])
        hits += int(sets[0, labels[-1]])
    # By class the two have 20 and 19 examples: k = 19 of 21, and 18 of 20.
    chance = (19 / 21 + 18 / 20) / 2 if by_class else 36 / 40
    least, most = stats.binom.ppf([5e-7, 1 - 5e-7], trials, chance)
    assert least <= hits and (ties or hits <= most)


@pytest.mark.parametrize(("shown", "labels", "alpha", "text"), [
    (np.zeros((0, 2)), [], 0.1, "with N > 0"), (np.zeros((3, 1)), [0] * 3, 0.1, "C > 1"),
    ([[0.5, np.nan]], [0], 0.1, "or NaN"), ([[0.5, 1.5]], [0], 0.1, "expected numbers from 0 to 1"),
    ([[0.5, 0.5]], [2], 0.1, "expected 0 to 1; found 2"), ([[0.5, 0.5]], [0, 1], 0.1, "expected 1 integers"),
    ([[0.5, 0.5]], [0], 0.0, "alpha: expected a share between"), ([[0.5, 0.5]], [0], 1.0, "alpha: expected"),
])  # fmt: skip
def test_what_cannot_be_is_refused(shown, labels, alpha, text):
    with pytest.raises(ValueError, match=text):
        fit_conformal(shown, np.array(labels, int), alpha, by_class=False)


def test_sets_of_nothing_and_of_other_classes_are_refused():
    with pytest.raises(ValueError, match="N > 0"):
        measure_sets(np.zeros((0, 2), bool), np.zeros(0, int))
    with pytest.raises(ValueError, match="expected 2 classes, found 3"):
        fit_conformal([[0.5, 0.5]], np.array([0]), 0.5, by_class=False).sets(np.full((1, 3), 0.1))
