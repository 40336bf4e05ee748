"""Do probabilities mean what they say: temperature scaling, reliability bins, expected calibration error."""

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp, softmax

from fsfm_jax.metrics.binary import check_probabilities
from fsfm_jax.metrics.scores import check_labels, check_scores
from fsfm_jax.metrics.value import Value, undefined

MAX_ITERATIONS = 100
# The search for 1/T ends when the derivative is this small part of its value at T = 0 and infinity.
GRADIENT_TOLERANCE = 1e-10
# Temperatures outside 1e-6 to 1e6 mean that there is no minimum.
INVERSE_RANGE = (1e-6, 1e6)

SPACINGS = ("width", "mass")


class Temperature(NamedTuple):
    """`softmax(logits / T)` with the T that fits a validation split best."""

    temperature: Value
    loss_before: float  # mean cross-entropy at T = 1, in nats
    loss_after: float  # mean cross-entropy at the fitted T; NaN if there is none
    iterations: int


class Reliability(NamedTuple):
    """A reliability diagram of K bins over the examples that were given; a bin without examples has NaN means."""

    low: np.ndarray  # [K] float64, the bin holds low <= p < high (the last one p <= high)
    high: np.ndarray  # [K] float64
    counts: np.ndarray  # [K] int64
    predicted: np.ndarray  # [K] float64, mean probability of the bin
    observed: np.ndarray  # [K] float64, share of positive outcomes of the bin


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """`-log softmax(logits)[label]` of each example in nats, `[N, C], [N] -> [N]`, in float64."""
    logits, labels = _check(logits, labels)
    return logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels]


def fit_temperature(logits: np.ndarray, labels: np.ndarray, split: str) -> Temperature:
    """The temperature that minimises the mean cross-entropy on a validation split (Guo et al. 2017, section 4.2).

    The loss is convex in 1/T. Newton's method finds where its derivative is zero, kept inside a bracket that every step
    narrows. Fit it on a split that is neither trained nor tested on.

    logits: `[N, C]`, or `[N]` of a binary classifier (class 0 has logit 0). labels: `[N]`, 0 to C - 1.
    split: name of the split, for reasons.

    Raises:
      ValueError: shapes do not match, a logit is not finite, or a label is not a class.
      RuntimeError: no convergence.
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
        return Temperature(undefined(f"{split} has one class only"), before, np.nan, 0)
    # The derivative rises with 1/T, from here ...
    low_end = float(np.mean(logits.mean(axis=1) - picked))
    # ... to here, the mean distance of the right logit from the largest.
    high_end = float(np.mean(logits.max(axis=1) - picked))
    if low_end >= 0:
        return Temperature(undefined(f"the logits say nothing about the labels of {split}"), before, np.nan, 0)
    if high_end == 0:
        return Temperature(undefined(f"every example of {split} is right: T would go to 0"), before, np.nan, 0)
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
        # Outside the bracket Newton's step is no use; the middle is taken on the scale of T.
        inverse = step if low < step < high else np.sqrt(low * high)
    raise RuntimeError(f"temperature on {split}: no convergence in {MAX_ITERATIONS} iterations, slope {slope:g}")


def reliability(probabilities: np.ndarray, outcomes: np.ndarray, bins: int, spacing: str) -> Reliability:
    """Mean probability against observed share, bin by bin.

    probabilities: `[N]` in [0, 1], of the event; outcomes: `[N]`, 1 where it happened.
    spacing: "width" for `bins` intervals of equal width; "mass" for intervals that hold about N / bins examples each,
    where equal probabilities share a bin, so there may be fewer.

    Raises:
      ValueError: unequal lengths, not probabilities, outcomes other than 0 and 1, no bins, or another spacing.
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
        # The smallest value of each bin; a run of equal values that crosses a border stays in one bin.
        starts = np.unique(ranked[np.arange(bins) * len(ranked) // bins])
        edges = np.append(starts, ranked[-1])
    place = np.searchsorted(edges[1:-1], probabilities, side="right")
    counts = np.bincount(place, minlength=len(edges) - 1)
    with np.errstate(invalid="ignore"):
        predicted = np.bincount(place, probabilities, len(counts)) / counts
        observed = np.bincount(place, outcomes, len(counts)) / counts
    return Reliability(edges[:-1], edges[1:], counts, predicted, observed)


def expected_calibration_error(diagram: Reliability) -> float:
    """Mean over the examples of the distance between predicted and observed in their bin."""
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
