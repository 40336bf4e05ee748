"""Isotonic calibration: the non-decreasing function from scores to shares that fits a validation split best."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression

from fsfm_jax.metrics.scores import Scored, check_scores


class Isotonic(NamedTuple):
    """Shares of positives at K scores, linear between two scores and constant outside."""

    scores: np.ndarray  # [K] float64, rising
    shares: np.ndarray  # [K] float64 in 0..1, never falling

    def apply(self, scores: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities of the positive class, `[N] -> [N] float64`; ValueError for bad scores."""
        return np.interp(check_scores(scores), self.scores, self.shares)


def fit_isotonic(scored: Scored, split: str) -> Isotonic:
    """Fit by least squares (pool adjacent violators; Zadrozny and Elkan, KDD 2002). Equal scores get one share.

    Args:
      scored: scores and labels of a split that is used neither for training nor for testing.
      split: name of the split for the message.

    Raises:
      ValueError: if a class is missing.
    """
    if scored.missing:
        raise ValueError(f"isotonic calibration on {split}: {scored.missing}; fit it on a split that has both classes")
    scores, index, counts = np.unique(scored.scores, return_inverse=True, return_counts=True)
    shares = np.bincount(index, scored.labels) / counts
    return Isotonic(scores, isotonic_regression(shares, weights=counts).x)
