"""Selective prediction: the share of wrong verdicts if only confident verdicts are given.

Coverage is the share of examples with a verdict. Risk is the share of wrong verdicts among these. With r(k) the risk of
the k most confident of N examples, the area under the risk-coverage curve is

    AURC = 1/N sum_{k=1..N} r(k)

(Geifman, Uziel and El-Yaniv, "Bias-reduced uncertainty estimation for deep neural classifiers", ICLR 2019; 0 is the
best). It grows with the share of errors. E-AURC from that paper subtracts the AURC of the same errors ranked last. For
equal confidences r(k) is the mean over all orders.
"""

import math
from typing import NamedTuple

import numpy as np

from fsfm_jax.metrics.binary import check_rate
from fsfm_jax.metrics.scores import check_labels, check_scores
from fsfm_jax.metrics.value import Value, undefined


class RiskCoverage(NamedTuple):
    """Counts at each of K distinct confidences, highest first; examples with at least this confidence get a verdict."""

    thresholds: np.ndarray  # [K] float64, falling
    accepted: np.ndarray  # [K] int64, examples with a verdict
    errors: np.ndarray  # [K] int64, wrong ones among them

    @property
    def examples(self) -> int:
        """Number of examples, N."""
        return int(self.accepted[-1])


def risk_coverage(confidences: np.ndarray, wrong: np.ndarray) -> RiskCoverage:
    """Count verdicts and errors at every distinct confidence.

    Args:
      confidences: `[N]`, higher is more confident.
      wrong: `[N]`, 1 if the verdict is wrong, else 0.

    Raises:
      ValueError: if lengths are zero or differ, a confidence is non-finite, or `wrong` has values other than 0 and 1.
    """
    confidences, wrong = check_scores(confidences, "confidences"), check_labels(wrong)
    if len(confidences) != len(wrong):
        raise ValueError(f"confidences and wrong: expected the same number, found {len(confidences)} and {len(wrong)}")
    order = np.argsort(-confidences, kind="stable")
    ranked = confidences[order]
    last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    return RiskCoverage(ranked[last], last + 1, np.cumsum(wrong[order])[last])


def area(curve: RiskCoverage) -> float:
    """Return the AURC, 0..1."""
    ranks = np.arange(1, curve.examples + 1)
    # The mean over all orders spreads errors evenly over examples with equal confidence.
    return float(np.mean(np.interp(ranks, [0, *curve.accepted], [0, *curve.errors]) / ranks))


def excess_area(curve: RiskCoverage) -> float:
    """Return the AURC minus that of the same errors ranked last, 0..1: the possible gain from better confidences."""
    ranks = np.arange(1, curve.examples + 1)
    best = np.maximum(ranks - (curve.examples - int(curve.errors[-1])), 0)
    return area(curve) - float(np.mean(best / ranks))


def choose_confidence(curve: RiskCoverage, risk: float) -> float:
    """Return the lowest confidence with a risk of at most `risk` on this split; infinity if there is none.

    It is fitted to this split, so the risk may be higher on other splits.

    Raises:
      ValueError: if `risk` is not in [0, 1].
    """
    check_rate("risk", risk)
    kept = np.flatnonzero(curve.errors <= risk * curve.accepted)
    return float(curve.thresholds[kept[-1]]) if kept.size else math.inf


def coverage_at(curve: RiskCoverage, confidence: float) -> float:
    """Return the share of the examples with at least this confidence."""
    return _counts(curve, confidence)[0] / curve.examples


def risk_at(curve: RiskCoverage, confidence: float) -> Value:
    """Return the share of wrong verdicts among those with at least this confidence; undefined without any."""
    accepted, errors = _counts(curve, confidence)
    return Value(errors / accepted) if accepted else undefined(f"no verdict has a confidence of {confidence:.6g}")


def _counts(curve: RiskCoverage, confidence: float) -> tuple[int, int]:
    number = int(np.count_nonzero(curve.thresholds >= confidence))
    return (int(curve.accepted[number - 1]), int(curve.errors[number - 1])) if number else (0, 0)
