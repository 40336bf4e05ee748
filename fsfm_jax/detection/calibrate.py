"""Calibrate a trained detector on a validation split: fit its temperature and choose its thresholds.

Thresholds apply to uncalibrated scores (T = 1), which papers compare. Thresholds and temperature do not affect
each other.
"""

from fsfm_jax.detection.prediction import Predictions
from fsfm_jax.metrics import binary, calibration, thresholds
from fsfm_jax.metrics.summary import CALIBRATION_BINS
from fsfm_jax.metrics.thresholds import Threshold

LEVELS = ("frame", "video")


def calibrate(found: Predictions, false_alarm_rate: float) -> dict:
    """Return temperature and thresholds fitted on a validation split, as JSON.

    Args:
      found: predictions of the split, with real and forged faces.
      false_alarm_rate: share of the real examples of each level that may be called forged, 0..1.

    Returns:
      `split`; `temperature`, null with a reason in `undefined` if none can be fitted; `log_loss` and
      `calibration_error` (of P(real), in bins of equal mass) over frames, before and after; `thresholds` for frames
      and videos: at equal error and at the false alarm rate.

    Raises:
      ValueError: the split has one class only, or the rate is outside 0..1.
    """
    fitted = calibration.fit_temperature(found.log_probabilities, found.labels, found.dataset)
    chosen = choose(found, false_alarm_rate)
    temperature = None if fitted.temperature.reason else fitted.temperature.value
    return {
        "split": found.dataset,
        "temperature": temperature,
        "undefined": fitted.temperature.reason,
        "log_loss": {"before": fitted.loss_before, "after": fitted.loss_after if temperature else None},
        "calibration_error": {
            "before": calibration_error(found, 1.0),
            "after": calibration_error(found, temperature) if temperature else None,
        },
        "false_alarm_rate": false_alarm_rate,
        "thresholds": {level: [threshold.as_json() for threshold in chosen[level]] for level in LEVELS},
    }


def choose(found: Predictions, false_alarm_rate: float | None) -> dict[str, list[Threshold]]:
    """Choose thresholds on a split for frames and videos: at equal error and, if given, at a false alarm rate."""
    levels = {"frame": found.binary_scores(), "video": found.by_video().binary_scores(found.binary_scores().classes)}
    chosen = {}
    for level, scored in levels.items():
        chosen[level] = [thresholds.at_equal_error(scored, found.dataset)]
        if false_alarm_rate is not None:
            # A false alarm is a real face classified as forged; real is the positive class.
            chosen[level].append(thresholds.at_false_negative_rate(scored, false_alarm_rate, found.dataset))
    return chosen


def calibration_error(found: Predictions, temperature: float) -> float:
    """Return the expected calibration error of P(real) over the frames, in bins of equal mass."""
    return calibration.expected_calibration_error(diagram(found, temperature))


def diagram(found: Predictions, temperature: float) -> calibration.Reliability:
    """Return the reliability diagram of P(real) over the frames, in bins of equal mass."""
    scored = found.binary_scores(temperature)
    return calibration.reliability(scored.scores, scored.labels, CALIBRATION_BINS, "mass")


def calibrated_metrics(found: Predictions, temperature: float) -> dict[str, dict[str, float]]:
    """Return log loss, Brier score and calibration error of P(real) over frames, at T = 1 and `temperature`."""
    return {
        name: {
            "temperature": t,
            "log_loss": binary.log_loss(found.binary_scores(t)).value,
            "brier": binary.brier(found.binary_scores(t)).value,
            "calibration_error": calibration_error(found, t),
        }
        for name, t in (("raw", 1.0), ("calibrated", temperature))
    }
