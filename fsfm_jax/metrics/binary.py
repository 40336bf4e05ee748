"""Metrics of one set of scores with two classes; if a class is missing they are undefined, not 0 or 1.

Each is a fraction over the N examples in `Scored`, which may be frames, images or videos. With "real" or "bona fide" as
the positive class, the false positive rate is FAR and the false negative rate is FRR.
"""

from collections.abc import Callable

import numpy as np

from fsfm_jax.metrics import curve
from fsfm_jax.metrics.scores import Scored
from fsfm_jax.metrics.value import Value, undefined

# Smallest distance of a probability from 0 and 1 inside a logarithm, as in scikit-learn.
PROBABILITY_EPSILON = float(np.finfo(np.float64).eps)


def _with_both_classes(metric: Callable, scored: Scored, *arguments: float) -> Value:
    if scored.missing:
        return undefined(scored.missing)
    return Value(float(metric(scored.curve, *arguments)))


def auc(scored: Scored) -> Value:
    """Return the area under the ROC curve; ties count half."""
    return _with_both_classes(curve.area, scored)


def average_precision(scored: Scored) -> Value:
    """Return the average precision of the positive class, as scikit-learn defines it (no interpolation)."""
    return _with_both_classes(curve.average_precision, scored)


def equal_error_rate(scored: Scored) -> Value:
    """Return the EER of the deepfake papers: where the linearly interpolated ROC curve crosses `tpr = 1 - fpr`.

    The EER of the anti-spoofing papers is `half_total_error_rate` at `thresholds.on_released_grid`.
    """
    return _with_both_classes(curve.equal_error_rate, scored)


def true_positive_rate_at(scored: Scored, false_positive_rate: float) -> Value:
    """Return the highest true positive rate on the full ROC curve with at most the given false positive rate.

    Raises:
      ValueError: if the given rate is not in [0, 1].
    """
    check_rate("false_positive_rate", false_positive_rate)
    return _with_both_classes(curve.true_positive_rate_at, scored, false_positive_rate)


def accuracy(scored: Scored, threshold: float) -> Value:
    """Return the share of correct decisions `score >= threshold`; also defined with one class."""
    return Value(float(curve.accuracy(scored.curve, threshold)))


def balanced_accuracy(scored: Scored, threshold: float) -> Value:
    """Return the mean over both classes of the share of correct decisions."""
    return _with_both_classes(curve.balanced_accuracy, scored, threshold)


def half_total_error_rate(scored: Scored, threshold: float) -> Value:
    """Return the HTER: the mean of the false positive and the false negative rate at a threshold."""
    return _with_both_classes(curve.half_total_error_rate, scored, threshold)


def false_positive_rate(scored: Scored, threshold: float) -> Value:
    """Return the share of the negatives with `score >= threshold`; only needs negatives."""
    if not scored.negatives:
        return undefined(scored.missing)
    return Value(float(curve.false_positive_rate(scored.curve, threshold)))


def false_negative_rate(scored: Scored, threshold: float) -> Value:
    """Return the share of the positives with `score < threshold`; only needs positives."""
    if not scored.positives:
        return undefined(scored.missing)
    return Value(float(curve.false_negative_rate(scored.curve, threshold)))


def log_loss(scored: Scored) -> Value:
    """Return the mean over the examples of `-log p(label)`, in nats; probabilities are kept 2.2e-16 away from 0 and 1.

    Raises:
      ValueError: the scores are not probabilities.
    """
    check_probabilities(scored.scores)
    likely = np.clip(scored.scores, PROBABILITY_EPSILON, 1 - PROBABILITY_EPSILON)
    return Value(float(-np.mean(np.log(np.where(scored.labels, likely, 1 - likely)))))


def brier(scored: Scored) -> Value:
    """Return the mean over the examples of `(p - label)**2`.

    Raises:
      ValueError: the scores are not probabilities.
    """
    check_probabilities(scored.scores)
    return Value(float(np.mean(np.square(scored.scores - scored.labels))))


def check_rate(name: str, rate: float) -> None:
    """Raise `ValueError` unless `rate` is in [0, 1]; 1 % is 0.01."""
    if not 0 <= rate <= 1:
        raise ValueError(f"{name}: expected a fraction from 0 to 1, found {rate}; write 1 % as 0.01")


def check_probabilities(scores: np.ndarray) -> None:
    """Raise `ValueError` unless all scores are in [0, 1]."""
    low, high = scores.min(), scores.max()
    if low < 0 or high > 1:
        raise ValueError(f"scores: expected probabilities from 0 to 1, found {low} to {high}; apply the softmax first")
