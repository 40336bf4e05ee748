"""Metrics of one set of scores with two classes; a class that is missing makes them undefined, not 0 or 1.

Each is a fraction over the N examples that `Scored` holds, whether frames, images or videos. With "real" or "bona fide"
as the positive class the false positive rate is FAR and the false negative rate is FRR.
"""

from collections.abc import Callable

import numpy as np

from fsfm_jax.metrics import curve
from fsfm_jax.metrics.scores import Scored
from fsfm_jax.metrics.value import Value, undefined

# scikit-learn's and our smallest distance of a probability from 0 and 1 inside a logarithm.
PROBABILITY_EPSILON = float(np.finfo(np.float64).eps)


def _with_both_classes(metric: Callable, scored: Scored, *arguments: float) -> Value:
    if scored.missing:
        return undefined(scored.missing)
    return Value(float(metric(scored.curve, *arguments)))


def auc(scored: Scored) -> Value:
    """Area under the ROC curve; ties count half."""
    return _with_both_classes(curve.area, scored)


def average_precision(scored: Scored) -> Value:
    """Average precision of the positive class, as scikit-learn defines it (no interpolation)."""
    return _with_both_classes(curve.average_precision, scored)


def equal_error_rate(scored: Scored) -> Value:
    """EER of the deepfake papers: the ROC curve, joined by straight lines, crosses `tpr = 1 - fpr` there.

    The anti-spoofing papers' EER is `half_total_error_rate` at `thresholds.on_released_grid`.
    """
    return _with_both_classes(curve.equal_error_rate, scored)


def true_positive_rate_at(scored: Scored, false_positive_rate: float) -> Value:
    """True positive rate at the last point of the full ROC curve whose false positive rate is at most the given one.

    Raises:
      ValueError: the given rate is not in [0, 1].
    """
    check_rate("false_positive_rate", false_positive_rate)
    return _with_both_classes(curve.true_positive_rate_at, scored, false_positive_rate)


def accuracy(scored: Scored, threshold: float) -> Value:
    """Share of right decisions `score >= threshold`; also defined with one class."""
    return Value(float(curve.accuracy(scored.curve, threshold)))


def balanced_accuracy(scored: Scored, threshold: float) -> Value:
    """Mean over both classes of the share that is decided rightly."""
    return _with_both_classes(curve.balanced_accuracy, scored, threshold)


def half_total_error_rate(scored: Scored, threshold: float) -> Value:
    """HTER: mean of the false positive and the false negative rate at a threshold."""
    return _with_both_classes(curve.half_total_error_rate, scored, threshold)


def false_positive_rate(scored: Scored, threshold: float) -> Value:
    """Share of the negatives with `score >= threshold`; needs negatives only."""
    if not scored.negatives:
        return undefined(scored.missing)
    return Value(float(curve.false_positive_rate(scored.curve, threshold)))


def false_negative_rate(scored: Scored, threshold: float) -> Value:
    """Share of the positives with `score < threshold`; needs positives only."""
    if not scored.positives:
        return undefined(scored.missing)
    return Value(float(curve.false_negative_rate(scored.curve, threshold)))


def log_loss(scored: Scored) -> Value:
    """Mean over the examples of `-log p(label)`, in nats; probabilities are kept 2.2e-16 away from 0 and 1.

    Raises:
      ValueError: the scores are not probabilities.
    """
    check_probabilities(scored.scores)
    likely = np.clip(scored.scores, PROBABILITY_EPSILON, 1 - PROBABILITY_EPSILON)
    return Value(float(-np.mean(np.log(np.where(scored.labels, likely, 1 - likely)))))


def brier(scored: Scored) -> Value:
    """Mean over the examples of `(p - label)**2`.

    Raises:
      ValueError: the scores are not probabilities.
    """
    check_probabilities(scored.scores)
    return Value(float(np.mean(np.square(scored.scores - scored.labels))))


def check_rate(name: str, rate: float) -> None:
    """Raises `ValueError` unless `rate` is in [0, 1]: 1 % is 0.01."""
    if not 0 <= rate <= 1:
        raise ValueError(f"{name}: expected a fraction from 0 to 1, found {rate}")


def check_probabilities(scores: np.ndarray) -> None:
    """Raises `ValueError` unless all scores are in [0, 1]."""
    low, high = scores.min(), scores.max()
    if low < 0 or high > 1:
        raise ValueError(f"scores: expected probabilities from 0 to 1, found {low} to {high}; apply the softmax first")
