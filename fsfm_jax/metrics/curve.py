"""Counts at all thresholds, and the metrics computed from them.

A `Curve` may hold many resamples of the same examples. Then its counts have leading axes, written `...`, and every
function returns one float64 per resample. Neither class may be empty; `binary` checks this.
"""

from typing import NamedTuple

import numpy as np


class Curve(NamedTuple):
    """Counts at each of the K distinct scores, used as thresholds from the highest to the lowest.

    Everything passes the last threshold, so the last counts are the sizes of the classes.
    """

    thresholds: np.ndarray  # [K] float64, strictly descending
    true_positives: np.ndarray  # [..., K] int64, positives with score >= threshold
    false_positives: np.ndarray  # [..., K] int64, negatives with score >= threshold

    @property
    def positives(self) -> np.ndarray:
        """Number of positives, `[...]`."""
        return self.true_positives[..., -1]

    @property
    def negatives(self) -> np.ndarray:
        """Number of negatives, `[...]`."""
        return self.false_positives[..., -1]

    def at(self, threshold: float) -> tuple[np.ndarray, np.ndarray]:
        """Return true and false positives, `[...]` each, of the decision `score >= threshold`; infinity gives 0.

        Raises:
          ValueError: if the threshold is NaN.
        """
        if np.isnan(threshold):
            raise ValueError("threshold: expected a number, found NaN; choose it on a split that has both classes")
        passed = np.searchsorted(-self.thresholds, -threshold, side="right")
        return _before(self.true_positives, passed), _before(self.false_positives, passed)


def _before(counts: np.ndarray, passed: np.ndarray | int) -> np.ndarray:
    """Return the count at the last of `passed` thresholds, 0 if `passed` is 0; `passed` is a number or `[...]`."""
    passed = np.broadcast_to(passed, counts.shape[:-1])
    found = np.take_along_axis(counts, np.maximum(passed - 1, 0)[..., None], axis=-1)[..., 0]
    return np.where(passed > 0, found, 0)


def roc(curve: Curve, drop_collinear: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return false positive rates, true positive rates and thresholds, `[K + 1]` each, from (0, 0) to (1, 1).

    The first threshold is infinity. With `drop_collinear` a point halfway between its neighbours is dropped, which is
    scikit-learn's rule (`drop_intermediate`). Not every point of a straight line is dropped, and the start (0, 0) is
    not a neighbour. The curve must have one resample.
    """
    thresholds, true, false = curve
    if drop_collinear and len(thresholds) > 2:
        corner = (np.diff(true, 2) != 0) | (np.diff(false, 2) != 0)
        kept = np.concatenate(([True], corner, [True]))
        thresholds, true, false = thresholds[kept], true[kept], false[kept]
    start = np.zeros(1)
    return (
        np.concatenate((start, false / curve.negatives)),
        np.concatenate((start, true / curve.positives)),
        np.concatenate(([np.inf], thresholds)),
    )


def area(curve: Curve) -> np.ndarray:
    """Return the area under the ROC curve `[...]`: how often a positive scores above a negative, ties counting half.

    The computation is exact in integers up to the division.
    """
    true, steps = curve.true_positives, np.diff(curve.false_positives, axis=-1, prepend=0)
    doubled = np.sum(steps * true, axis=-1) + np.sum(steps[..., 1:] * true[..., :-1], axis=-1)
    return doubled / (2 * curve.positives * curve.negatives)


def average_precision(curve: Curve) -> np.ndarray:
    """Return the precision averaged over the recall gained at each threshold, without interpolation, `[...]`."""
    true = curve.true_positives
    # A resample may lack the examples with the highest scores. Then nothing passes, and no recall is gained.
    precision = true / np.maximum(true + curve.false_positives, 1)
    return np.sum(np.diff(true, axis=-1, prepend=0) * precision, axis=-1) / curve.positives


def equal_error_rate(curve: Curve) -> np.ndarray:
    """Return the EER: where the linearly interpolated ROC curve meets the diagonal `tpr = 1 - fpr`, `[...]`.

    The released deepfake code searches the root of `1 - x - tpr(x)` numerically. This function finds the segment that
    crosses the diagonal and solves for the crossing.
    """
    positives, negatives = curve.positives[..., None], curve.negatives[..., None]
    size = positives * negatives
    # (1 - fpr - tpr) times both class sizes is an integer and strictly falls along the curve from `size` to `-size`.
    height = size - curve.false_positives * positives - curve.true_positives * negatives
    crossing = np.argmax(height <= 0, axis=-1)
    above = np.where(crossing > 0, _before(height, crossing), size[..., 0])
    below = _before(height, crossing + 1)
    left, right = _before(curve.false_positives, crossing), _before(curve.false_positives, crossing + 1)
    return (left + (right - left) * (above / (above - below))) / curve.negatives


def true_positive_rate_at(curve: Curve, false_positive_rate: float) -> np.ndarray:
    """Return the highest true positive rate of a threshold with at most the given false positive rate, `[...]`."""
    rates = curve.false_positives / curve.negatives[..., None]
    return _before(curve.true_positives, np.sum(rates <= false_positive_rate, axis=-1)) / curve.positives


def false_positive_rate(curve: Curve, threshold: float) -> np.ndarray:
    """Return the share of the negatives with `score >= threshold`, `[...]`."""
    return curve.at(threshold)[1] / curve.negatives


def false_negative_rate(curve: Curve, threshold: float) -> np.ndarray:
    """Return the share of the positives with `score < threshold`, `[...]`."""
    return (curve.positives - curve.at(threshold)[0]) / curve.positives


def half_total_error_rate(curve: Curve, threshold: float) -> np.ndarray:
    """Return the mean of the false positive and the false negative rate, `[...]`."""
    return (false_positive_rate(curve, threshold) + false_negative_rate(curve, threshold)) / 2


def balanced_accuracy(curve: Curve, threshold: float) -> np.ndarray:
    """Return the mean over both classes of the share of correct decisions, `[...]`."""
    return 1 - half_total_error_rate(curve, threshold)


def accuracy(curve: Curve, threshold: float) -> np.ndarray:
    """Return the share of correct decisions, `[...]`; the only metric here that is defined with one class."""
    true, false = curve.at(threshold)
    return (true + curve.negatives - false) / (curve.positives + curve.negatives)
