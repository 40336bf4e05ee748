"""Calibration of probabilities: temperature scaling, reliability bins, expected calibration error."""

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp, softmax

from fsfm_jax.metrics.binary import check_probabilities
from fsfm_jax.metrics.scores import check_labels, check_scores
from fsfm_jax.metrics.value import Value, undefined

MAX_ITERATIONS = 100
# The search for 1/T ends when the derivative is below this fraction of its values at T = 0 and infinity.
GRADIENT_TOLERANCE = 1e-10
# Temperatures outside 1e-6 to 1e6 mean that there is no minimum.
INVERSE_RANGE = (1e-6, 1e6)

SPACINGS = ("width", "mass")


class Temperature(NamedTuple):
    """The temperature T of `softmax(logits / T)` that fits a validation split best."""

    temperature: Value
    loss_before: float  # mean cross-entropy at T = 1, in nats
    loss_after: float  # mean cross-entropy at the fitted T; NaN if there is none
    iterations: int


class Reliability(NamedTuple):
    """A reliability diagram with K bins over the given examples; a bin without examples has NaN means."""

    low: np.ndarray  # [K] float64, a bin contains low <= p < high (the last one p <= high)
    high: np.ndarray  # [K] float64
    counts: np.ndarray  # [K] int64
    predicted: np.ndarray  # [K] float64, mean probability of the bin
    observed: np.ndarray  # [K] float64, share of positive outcomes of the bin


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return `-log softmax(logits)[label]` of each example in nats, `[N, C], [N] -> [N]`, in float64."""
    logits, labels = _check(logits, labels)
    return logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels]


def fit_temperature(logits: np.ndarray, labels: np.ndarray, split: str) -> Temperature:
    """Fit the temperature that minimises the mean cross-entropy on a validation split (Guo et al. 2017, section 4.2).

    The loss is convex in 1/T. Newton's method finds the zero of its derivative inside a bracket that every step
    narrows. Use a split that is used neither for training nor for testing.

    logits: `[N, C]`, or `[N]` of a binary classifier (class 0 has logit 0). labels: `[N]`, 0 to C - 1.
    split: name of the split for messages.

    Raises:
      ValueError: if shapes do not match, a logit is not finite, or a label is not a class.
      RuntimeError: if the search does not converge.
    """
    logits, labels = _check(logits, labels)
    picked = logits[np.arange(len(labels)), labels]

    def loss(inverse: float) -> float:
        return float(np.mean(logsumexp(inverse * logits, axis=1) - inverse * picked))

    def derivatives(inverse: float) -> tuple[float, float]:
        p = softmax(inverse * logits, axis=1)
        expected = np.sum(p * logits, axis=1)
        spread = np.sum(p * np.square(logits - expected[:, None]), axis=1)
        return float(np.mean(expected - picked)), float(np.mean(spread))

    before = loss(1.0)
    if len(np.unique(labels)) < 2:
        return Temperature(undefined(f"{split} has only one class"), before, np.nan, 0)
    # The derivative rises with 1/T from this value ...
    low_end = float(np.mean(logits.mean(axis=1) - picked))
    # ... to this one, the mean distance of the correct logit from the largest.
    high_end = float(np.mean(logits.max(axis=1) - picked))
    if low_end >= 0:
        reason = f"the logits carry no information about the labels of {split}"
        return Temperature(undefined(reason), before, np.nan, 0)
    if high_end == 0:
        reason = f"every example of {split} is classified correctly, so T would go to 0"
        return Temperature(undefined(reason), before, np.nan, 0)
    low, high = INVERSE_RANGE
    if derivatives(low)[0] >= 0 or derivatives(high)[0] <= 0:
        reason = f"no minimum for T from {1 / high:g} to {1 / low:g} on {split}"
        return Temperature(undefined(reason), before, np.nan, 0)
    inverse = 1.0
    for iteration in range(1, MAX_ITERATIONS + 1):
        slope, curvature = derivatives(inverse)
        if abs(slope) <= GRADIENT_TOLERANCE * (high_end - low_end):
            return Temperature(Value(1 / inverse), before, loss(inverse), iteration)
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        step = inverse - slope / curvature if curvature > 0 else np.nan
        # A Newton step outside the bracket is replaced by bisection on the scale of T.
        inverse = step if low < step < high else np.sqrt(low * high)
    raise RuntimeError(f"temperature on {split}: no convergence in {MAX_ITERATIONS} iterations, slope {slope:g}")


def reliability(probabilities: np.ndarray, outcomes: np.ndarray, bins: int, spacing: str) -> Reliability:
    """Compute mean probability and observed share for each bin.

    probabilities: `[N]` in [0, 1], of the event.
    outcomes: `[N]`, 1 if the event happened, else 0.
    spacing: "width" for `bins` intervals of equal width; "mass" for intervals with about N / bins examples each. Equal
    probabilities share a bin, so "mass" may give fewer bins.

    Raises:
      ValueError: if lengths differ, probabilities are not in [0, 1], outcomes are not 0 and 1, `bins` is not positive,
        or `spacing` is unknown.
    """
    probabilities, outcomes = check_scores(probabilities, "probabilities"), check_labels(outcomes)
    check_probabilities(probabilities)
    if len(probabilities) != len(outcomes) or bins < 1 or spacing not in SPACINGS:
        raise ValueError(
            f"expected as many outcomes as probabilities, bins > 0 and spacing {' or '.join(SPACINGS)}; "
            f"found {len(outcomes)} and {len(probabilities)}, {bins} and {spacing!r}"
        )
    if spacing == "width":
        edges = np.arange(bins + 1) / bins
    else:
        ranked = np.sort(probabilities)
        # The smallest value of each bin. A run of equal values across a border stays in one bin.
        starts = np.unique(ranked[np.arange(bins) * len(ranked) // bins])
        edges = np.append(starts, ranked[-1])
    place = np.searchsorted(edges[1:-1], probabilities, side="right")
    counts = np.bincount(place, minlength=len(edges) - 1)
    with np.errstate(invalid="ignore"):
        predicted = np.bincount(place, probabilities, len(counts)) / counts
        observed = np.bincount(place, outcomes, len(counts)) / counts
    return Reliability(edges[:-1], edges[1:], counts, predicted, observed)


def expected_calibration_error(diagram: Reliability) -> float:
    """Return the mean over the examples of the distance between predicted and observed in their bin."""
    gaps = np.abs(diagram.predicted - diagram.observed)
    return float(np.sum(np.where(diagram.counts > 0, gaps, 0.0) * diagram.counts) / diagram.counts.sum())


def _check(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    if logits.ndim == 1:
        logits = np.stack([np.zeros_like(logits), logits], axis=1)
    if logits.ndim != 2 or logits.shape[1] < 2 or not len(logits) or labels.shape != logits.shape[:1]:
        raise ValueError(f"expected logits [N, C] and labels [N], N > 0, C > 1; found {logits.shape}, {labels.shape}")
    if not np.isfinite(logits).all():
        raise ValueError(f"logits: expected finite numbers, found {logits[~np.isfinite(logits)][0]}")
    if labels.dtype.kind not in "iub" or labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(
            f"labels: expected integers from 0 to {logits.shape[1] - 1}, found {labels.dtype} "
            f"from {labels.min()} to {labels.max()}"
        )
    return logits, labels.astype(np.int64)
