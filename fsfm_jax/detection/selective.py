"""Fit verdicts with abstention and conformal sets for videos on a validation split, and report them on a test set.

A verdict is the likelier of the two classes, real or forged, by the mean P(real) over a video's frames. Its confidence
is the probability of that class. Probabilities are calibrated on the same validation split.
"""

import dataclasses
import math

import numpy as np

from fsfm_jax.detection.prediction import Predictions
from fsfm_jax.metrics import binary, calibration, selective
from fsfm_jax.metrics.conformal import Conformal, fit_conformal, measure_sets
from fsfm_jax.metrics.isotonic import Isotonic, fit_isotonic
from fsfm_jax.metrics.scores import Scored
from fsfm_jax.metrics.selective import RiskCoverage, risk_coverage
from fsfm_jax.metrics.summary import CALIBRATION_BINS
from fsfm_jax.metrics.value import Value, split_reasons
from fsfm_jax.resolve.report import AS_IT_IS, ISOTONIC, TEMPERATURE, SelectiveSpec

NO_TEMPERATURE = "the detector has no temperature; set report.selective.calibration=isotonic or none"
CLASSES = ("forged", "real")  # by index, as in conformal sets


@dataclasses.dataclass(frozen=True)
class Fitted:
    """Settings fitted on a validation split.

    Attributes:
      split: name of the split. videos: its number of videos.
      temperature, isotonic: calibration of the probabilities, if configured.
      confidence: smallest confidence of a verdict; infinity if no value keeps the risk.
    """

    spec: SelectiveSpec
    split: str
    videos: int
    temperature: float
    isotonic: Isotonic | None
    confidence: float
    conformal: Conformal

    def calibrate(self, found: Predictions) -> Scored:
        """Return the calibrated P(real) of each video."""
        return _calibrate(found, self.temperature, self.isotonic)


def fit_selective(found: Predictions, spec: SelectiveSpec, temperature: float | None) -> Fitted | str:
    """Fit everything on a validation split; return a reason instead if the detector lacks what it needs.

    Args:
      temperature: temperature of the detector, None if it has none.

    Raises:
      ValueError: the split has one class only.
    """
    if spec.calibration == TEMPERATURE and temperature is None:
        return NO_TEMPERATURE
    used = temperature if spec.calibration == TEMPERATURE else 1.0
    raw = _calibrate(found, 1.0, None)
    isotonic = fit_isotonic(raw, found.dataset) if spec.calibration == ISOTONIC else None
    scored = _calibrate(found, used, isotonic)
    confidence = selective.choose_confidence(_curve(scored), spec.risk)
    conformal = fit_conformal(_of_classes(scored), scored.labels.astype(int), spec.alpha, spec.by_class)
    return Fitted(spec, found.dataset, len(scored), used, isotonic, confidence, conformal)


def report_selective(found: Predictions, fitted: Fitted | str) -> dict:
    """Return the fitted settings and their results on a test set, as JSON; null, with a reason, if undefined."""
    if isinstance(fitted, str):
        return {"undefined": fitted}
    spec, scored = fitted.spec, fitted.calibrate(found)
    curve, chosen = _curve(scored), fitted.conformal
    sets = measure_sets(chosen.sets(_of_classes(scored)), scored.labels.astype(int))
    kept = {
        "coverage": Value(selective.coverage_at(curve, fitted.confidence)),
        "risk": selective.risk_at(curve, fitted.confidence),
    }
    held = {"coverage": Value(sets.coverage)}
    held |= {f"coverage/{name}": value for name, value in zip(CLASSES, sets.of_class, strict=True)}
    return {
        "fitted_on": fitted.split,
        "fitted_videos": fitted.videos,
        "calibration": spec.calibration,
        "probabilities": {
            name: _quality(each) for name, each in ((AS_IT_IS, found.by_video().binary_scores(scored.classes)),
                                                    (spec.calibration, scored))
        },
        "abstention": {
            "accepted_risk": spec.risk, "confidence": _finite(fitted.confidence), **split_reasons(kept),
        },
        "conformal": {
            "alpha": spec.alpha, "bound": 1 - spec.alpha, "by_class": spec.by_class,
            "thresholds": dict(zip(CLASSES, map(_finite, chosen.thresholds.tolist()), strict=True)),
            "chosen_on": dict(zip(CLASSES, chosen.counts.tolist(), strict=True)),
            **split_reasons(held), "mean_size": sets.size, "sizes": list(sets.sizes),
        },
    }  # fmt: skip


def _calibrate(found: Predictions, temperature: float, isotonic: Isotonic | None) -> Scored:
    scored = found.by_video(temperature).binary_scores(found.binary_scores().classes)
    return scored if isotonic is None else Scored(isotonic.apply(scored.scores), scored.labels, scored.classes)


def _of_classes(scored: Scored) -> np.ndarray:
    """Return the probabilities of `CLASSES`, `[V, 2]`."""
    return np.stack([1 - scored.scores, scored.scores], axis=1)


def _curve(scored: Scored) -> RiskCoverage:
    real = scored.scores >= 0.5
    return risk_coverage(np.where(real, scored.scores, 1 - scored.scores), real != scored.labels)


def _quality(scored: Scored) -> dict:
    """Return error rate, area under the risk-coverage curve and calibration of P(real) over videos."""
    curve = _curve(scored)
    diagram = calibration.reliability(scored.scores, scored.labels, CALIBRATION_BINS, "mass")
    return {
        "errors": int(curve.errors[-1]) / curve.examples,
        "aurc": selective.area(curve),
        "excess_aurc": selective.excess_area(curve),
        "brier": binary.brier(scored).value,
        "calibration_error": calibration.expected_calibration_error(diagram),
    }


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
