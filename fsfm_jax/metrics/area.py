"""AUC of one start on one source of forged faces: mean over seeds, with its interval over pictures."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fsfm_jax.metrics import binary, bootstrap, curve
from fsfm_jax.metrics.scores import DEEPFAKE, Scored

RESAMPLES, LEVEL = 1000, 0.95


class Area(NamedTuple):
    """AUC of an arm on a source, in fractions: mean over seeds, its interval over pictures, deviation over seeds."""

    task: str
    arm: str
    source: str
    control: bool
    auc: float
    low: float
    high: float
    deviation: float
    seeds: int
    real: int
    forged: int


def mean_area(scores: Sequence[np.ndarray], labels: np.ndarray, seed: int = 0) -> tuple[float, float, float, float]:
    """Return mean, low, high and deviation of the AUC of several detectors on the same pictures.

    Args:
      scores: `[N]` of each detector, higher is more real. labels: `[N] bool`, True is real.
    """
    scored = [Scored(each, labels, DEEPFAKE) for each in scores]
    numbers = np.arange(len(labels))
    areas = [binary.auc(each).value for each in scored]
    # The same resamples for each detector, so that the interval is that of their mean.
    drawn = bootstrap.draw(labels, RESAMPLES, seed)
    resampled = [bootstrap.resample(each, {"auc": curve.area}, numbers, drawn)["auc"] for each in scored]
    low, high = np.quantile(np.mean(resampled, axis=0), [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return float(np.mean(areas)), low, high, float(np.std(areas))
