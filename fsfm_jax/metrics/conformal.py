"""Split conformal prediction: sets of classes that contain the true class for a given share of examples.

With s_i = 1 - p_i(y_i) on n examples of a validation split, the set of a new example contains every class c with
1 - p(c) <= q, where q is the k-th smallest s_i, k = ceil((n + 1)(1 - alpha)). If the new example and those n are
exchangeable, the set contains the true class with a probability of at least 1 - alpha. If no two s_i are equal, this
probability is at most 1 - alpha + 1/(n + 1) (Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World",
2005; Lei et al., JASA 2018). With fewer than 1/alpha - 1 examples no such k exists, and every set has all classes.
"""

import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from fsfm_jax.metrics.value import Value, undefined


class Conformal(NamedTuple):
    """Thresholds of conformal sets: the largest 1 - p of a class in a set."""

    thresholds: np.ndarray  # [C] float64; infinity: the class is in every set
    counts: np.ndarray  # [C] int64, number of examples used to fit each threshold

    def sets(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the set of each example, `[N, C] -> [N, C] bool`; raise ValueError for another number of classes."""
        probabilities = _check(probabilities)
        if probabilities.shape[1] != len(self.thresholds):
            raise ValueError(f"expected {len(self.thresholds)} classes, found {probabilities.shape[1]}")
        return 1 - probabilities <= self.thresholds


class Sets(NamedTuple):
    """Coverage and size of the conformal sets of a test set, in fractions."""

    coverage: float  # share of examples whose set contains their class
    of_class: tuple[Value, ...]  # coverage of each class
    size: float  # mean number of classes in a set
    sizes: tuple[float, ...]  # share of the sets with 0, 1, ... C classes


def fit_conformal(probabilities: np.ndarray, labels: np.ndarray, alpha: float, by_class: bool) -> Conformal:
    """Choose the thresholds on a validation split that is used neither for training nor for testing.

    Args:
      probabilities: `[N, C]`, 0..1.
      labels: `[N]`, 0 to C - 1.
      alpha: allowed share of examples whose set lacks their class, in (0, 1).
      by_class: True fits a threshold for each class on its own examples, so the bound holds for each class (Mondrian
        conformal prediction). False fits one threshold for all classes.

    Raises:
      ValueError: if there is no example, or none of some class with `by_class`; if a shape, label, probability or
        `alpha` is invalid.
    """
    probabilities = _check(probabilities)
    labels = _check_labels(labels, probabilities)
    if not 0 < alpha < 1:
        raise ValueError(f"alpha: expected a share between 0 and 1, found {alpha}")
    scores, classes = 1 - probabilities[np.arange(len(labels)), labels], probabilities.shape[1]
    if not by_class:
        return Conformal(np.full(classes, _quantile(scores, alpha)), np.full(classes, len(scores)))
    counts = np.bincount(labels, minlength=classes)
    if not counts.all():
        raise ValueError(
            "conformal sets by class: expected examples of every class; "
            f"found no example of class {int(np.argmin(counts))}"
        )
    return Conformal(np.array([_quantile(scores[labels == label], alpha) for label in range(classes)]), counts)


def measure_sets(sets: np.ndarray, labels: np.ndarray) -> Sets:
    """Measure coverage and size of the sets `[N, C] bool` of examples with the labels `[N]`.

    Raises:
      ValueError: if there is no example, or shapes or labels do not match.
    """
    sets = np.asarray(sets)
    if sets.ndim != 2 or not len(sets) or sets.dtype != bool:
        raise ValueError(f"sets: expected [N, C] bool, N > 0; found {sets.dtype} of shape {sets.shape}")
    labels = _check_labels(labels, sets)
    held, classes = sets[np.arange(len(labels)), labels], sets.shape[1]
    of_class = tuple(
        Value(float(held[labels == label].mean())) if (labels == label).any() else undefined(f"no class {label}")
        for label in range(classes)
    )
    sizes = np.bincount(sets.sum(axis=1), minlength=classes + 1) / len(sets)
    return Sets(float(held.mean()), of_class, float(sets.sum(axis=1).mean()), tuple(sizes.tolist()))


def _quantile(scores: np.ndarray, alpha: float) -> float:
    # Rounding may put (n + 1)(1 - alpha) slightly above the exact integer, which would shift the rank by one.
    place = math.ceil((len(scores) + 1) * (1 - Fraction(str(alpha))))
    return float(np.sort(scores)[place - 1]) if place <= len(scores) else math.inf


def _check(probabilities: np.ndarray) -> np.ndarray:
    probabilities = np.asarray(probabilities, np.float64)
    if probabilities.ndim != 2 or not len(probabilities) or probabilities.shape[1] < 2:
        raise ValueError(f"probabilities: expected [N, C] with N > 0 and C > 1; found shape {probabilities.shape}")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():  # NaN is neither
        raise ValueError("probabilities: expected numbers from 0 to 1; found numbers outside this range or NaN")
    return probabilities


def _check_labels(labels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != rows.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(f"labels: expected {len(rows)} integers; found {labels.dtype} of shape {labels.shape}")
    if labels.min() < 0 or labels.max() >= rows.shape[1]:
        raise ValueError(f"labels: expected 0 to {rows.shape[1] - 1}; found {labels.min()} to {labels.max()}")
    return labels
