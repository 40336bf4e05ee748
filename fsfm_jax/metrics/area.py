"""AUC of one initialisation on one source of forged faces: mean over seeds, with a confidence interval over images."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fsfm_jax.metrics import binary, bootstrap, curve
from fsfm_jax.metrics.scores import DEEPFAKE, Scored

RESAMPLES, LEVEL = 1000, 0.95


class Area(NamedTuple):
    """AUC of an arm on a source in fractions: mean over seeds, interval over images, standard deviation over seeds."""

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
    """Return mean, low, high and standard deviation of the AUC of several detectors on the same images.

    Args:
      scores: `[N]` for each detector, higher is more real.
      labels: `[N] bool`, True is real.
      seed: of the bootstrap.
    """
    scored = [Scored(each, labels, DEEPFAKE) for each in scores]
    numbers = np.arange(len(labels))
    areas = [binary.auc(each).value for each in scored]
    # All detectors share the resamples, so this is the interval of their mean.
    drawn = bootstrap.draw(labels, RESAMPLES, seed)
    resampled = [bootstrap.resample(each, {"auc": curve.area}, numbers, drawn)["auc"] for each in scored]
    low, high = np.quantile(np.mean(resampled, axis=0), [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return float(np.mean(areas)), low, high, float(np.std(areas))
