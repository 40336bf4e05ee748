"""All metrics of one split as one JSON object, with a reason for each undefined metric."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fsfm_jax.metrics import binary, bootstrap, calibration, curve, presentation, thresholds, video
from fsfm_jax.metrics.scores import Scored
from fsfm_jax.metrics.thresholds import Threshold
from fsfm_jax.metrics.value import Value, split_reasons

CALIBRATION_BINS = 15

# Metrics that need no threshold, by their names in the summary.
RANKING: dict[str, Callable[[Scored], Value]] = {
    "auc": binary.auc,
    "average_precision": binary.average_precision,
    "equal_error_rate": binary.equal_error_rate,
    "tpr_at_fpr_1_percent": functools.partial(binary.true_positive_rate_at, false_positive_rate=0.01),
    "tpr_at_fpr_0.1_percent": functools.partial(binary.true_positive_rate_at, false_positive_rate=0.001),
    "log_loss": binary.log_loss,
    "brier": binary.brier,
}

DECISION: dict[str, Callable[[Scored, float], Value]] = {
    "accuracy": binary.accuracy,
    "balanced_accuracy": binary.balanced_accuracy,
    "false_positive_rate": binary.false_positive_rate,
    "false_negative_rate": binary.false_negative_rate,
    "half_total_error_rate": binary.half_total_error_rate,
}

# Metrics with a confidence interval.
RESAMPLED = {
    "auc": curve.area,
    "average_precision": curve.average_precision,
    "equal_error_rate": curve.equal_error_rate,
    "tpr_at_fpr_1_percent": functools.partial(curve.true_positive_rate_at, false_positive_rate=0.01),
}


class Resampling(NamedTuple):
    """Settings of the bootstrap over videos; common values are 1000 resamples at level 0.95."""

    resamples: int
    level: float
    seed: int


def summarise(
    scored: Scored,
    videos: np.ndarray,
    frames: np.ndarray,
    split: str,
    *,
    species: np.ndarray | None = None,
    frame_thresholds: Sequence[Threshold] = (),
    video_thresholds: Sequence[Threshold] = (),
    resampling: Resampling | None = None,
) -> dict:
    """Return the metrics over frames and over videos of one split as a dict for JSON, without NaN.

    All rates are fractions. Undefined metrics are null in `metrics` and have their reason in `undefined`. Both levels
    use the fixed threshold of the released code (argmax for frames, `>= 0.5` for videos) and the given thresholds. A
    threshold that was chosen on this split is marked as an oracle.

    scored: the N frames; scores are probabilities.
    videos, frames: `[N]`, ids and numbers (see `video.aggregate`).
    species: `[N] str`, attack instrument of each frame, "" for bona fide; one per video. Adds APCER, BPCER and ACER.
    frame_thresholds, video_thresholds: thresholds chosen on other splits, for scores of the same level.

    Raises:
      ValueError: if scores are not probabilities, or `video.aggregate` or `presentation` raise it.
    """
    grouped = video.aggregate(scored, videos, frames)
    video_species = None if species is None else _one_species_per_video(np.asarray(species), grouped)
    frame_fixed, video_fixed = thresholds.fixed(video.FRAME_THRESHOLD), thresholds.fixed(video.VIDEO_THRESHOLD)
    by_video = grouped.binary_scores(scored.classes)
    number = np.arange(len(by_video))
    return {
        "split": split,
        "positive": scored.classes.positive,
        "negative": scored.classes.negative,
        "bootstrap": None if resampling is None else {**resampling._asdict(), "unit": "video"},
        "frame": _level(scored, split, [frame_fixed, *frame_thresholds], species, grouped.index, resampling),
        "video": _level(by_video, split, [video_fixed, *video_thresholds], video_species, number, resampling),
    }


def _level(
    scored: Scored,
    split: str,
    chosen: Sequence[Threshold],
    species: np.ndarray | None,
    videos: np.ndarray,
    resampling: Resampling | None,
) -> dict:
    ranking = {name: metric(scored) for name, metric in RANKING.items()}
    for spacing in calibration.SPACINGS:
        diagram = calibration.reliability(scored.scores, scored.labels, CALIBRATION_BINS, spacing)
        ranking[f"calibration_error_equal_{spacing}"] = Value(calibration.expected_calibration_error(diagram))
    found = {
        "examples": len(scored),
        "positives": scored.positives,
        "negatives": scored.negatives,
        **split_reasons(ranking),
        "thresholds": [_at(scored, split, threshold, species) for threshold in chosen],
    }
    if resampling is not None:
        intervals = bootstrap.intervals(scored, RESAMPLED, videos, *resampling)
        found["intervals"] = {name: interval.as_json() for name, interval in intervals.items()}
    return found


def _at(scored: Scored, split: str, threshold: Threshold, species: np.ndarray | None) -> dict:
    values = {name: metric(scored, threshold.value) for name, metric in DECISION.items()}
    if species is not None:
        by_species = presentation.apcer_by_species(scored, species, threshold.value)
        values |= {f"apcer/{name}": value for name, value in by_species.items()}
        values["apcer"] = presentation.apcer(scored, species, threshold.value)
        values["bpcer"] = presentation.bpcer(scored, threshold.value)
        values["acer"] = presentation.acer(scored, species, threshold.value)
    return {
        "threshold": threshold.value,
        "rule": threshold.rule,
        "chosen_on": threshold.split or None,
        "oracle": threshold.split == split,
        **split_reasons(values),
    }


def _one_species_per_video(species: np.ndarray, grouped: video.Videos) -> np.ndarray:
    """Return the species of each video, `[N] -> [V]`; raise ValueError if a video has several."""
    if species.shape != grouped.index.shape:
        raise ValueError(f"species: expected shape {grouped.index.shape} as the scores, found {species.shape}")
    of_video = species[grouped.first_places()]
    other = of_video[grouped.index] != species
    if other.any():
        place = int(np.argmax(other))
        row = grouped.index[place]
        raise ValueError(
            f"species: expected one per video, found {str(of_video[row])!r} and {str(species[place])!r} "
            f"in video {str(grouped.ids[row])!r}"
        )
    return of_video
