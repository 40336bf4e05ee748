"""Percentile bootstrap intervals: the variation of a metric under resampling of videos."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from fsfm_jax.metrics.curve import Curve
from fsfm_jax.metrics.scores import Scored

# Elements of the array of counts in memory at once: 1 MB as int64, about the size of a cache.
CHUNK_ELEMENTS = 1 << 17

# A function from the counts of all resamples, `[R, K]`, to one number per resample, `[R]`.
Statistic = Callable[[Curve], np.ndarray]


class Interval(NamedTuple):
    """Bounds of a confidence interval; NaN with a reason if it is undefined."""

    low: float
    high: float
    reason: str = ""

    def as_json(self) -> dict:
        """Return `low` and `high` for JSON; NaN becomes null, with the reason next to it."""
        if self.reason:
            return {"low": None, "high": None, "reason": self.reason}
        return {"low": self.low, "high": self.high}


def intervals(
    scored: Scored,
    statistics: Mapping[str, Statistic],
    videos: np.ndarray,
    resamples: int,
    level: float,
    seed: int,
) -> dict[str, Interval]:
    """Return the percentile interval of each statistic over `resamples` stratified resamples of videos.

    Videos are drawn with replacement within each class, so a resample has the same number of videos of each class. All
    frames of a drawn video are included, so intervals of frame metrics account for the correlation of frames. For
    videos (or photos) each example is its own video.

    statistics: functions of `curve` by name, such as `curve.area`; `functools.partial` fills in a threshold. They share
    the resamples.
    videos: `[N] int64`, the video of each example numbered 0 to V - 1, as in `video.Videos.index`.
    level: confidence level; 0.95 gives the 2.5th to the 97.5th percentile.

    Raises:
      ValueError: if `videos` has another length, skips a number or gives a video both labels, `level` is not inside
        (0, 1), or `resamples` is not positive.
    """
    videos = np.asarray(videos)
    if videos.shape != scored.labels.shape or videos.dtype.kind not in "iu":
        raise ValueError(
            f"videos: expected integers of shape {scored.labels.shape}, found {videos.dtype} of shape {videos.shape}"
        )
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(f"expected resamples > 0 and 0 < level < 1, found {resamples} and {level}")
    if scored.missing:
        return dict.fromkeys(statistics, Interval(math.nan, math.nan, scored.missing))
    labels = _label_of_video(scored, videos)
    for name, count in zip(scored.classes, (np.count_nonzero(labels), np.count_nonzero(~labels)), strict=True):
        # Every resample would contain this one video, so the interval would ignore the variation of this class.
        if count < 2:
            return dict.fromkeys(statistics, Interval(math.nan, math.nan, f"only one {name} video to resample"))
    values = resample(scored, statistics, videos, draw(labels, resamples, seed))
    bounds = [(1 - level) / 2, (1 + level) / 2]
    return {name: Interval(*np.quantile(found, bounds).tolist()) for name, found in values.items()}


def draw(labels: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Draw how often each video is in each resample, `[V] bool -> [R, V] int32`; rows keep the size of each class."""
    drawn = np.zeros((resamples, len(labels)), np.int32)
    generator = np.random.default_rng(seed)
    for label in (True, False):
        members = np.flatnonzero(labels == label)
        picked = generator.integers(0, len(members), (resamples, len(members)))
        for row, picks in zip(drawn, picked, strict=True):
            row[members] = np.bincount(picks, minlength=len(members))
    return drawn


def resample(
    scored: Scored, statistics: Mapping[str, Statistic], videos: np.ndarray, drawn: np.ndarray
) -> dict[str, np.ndarray]:
    """Return each statistic of each resample, `[R]` by name; drawn: `[R, V] int`, how often each video is in it."""
    order, last = scored.descending
    thresholds, labels, videos = scored.curve.thresholds, scored.labels[order], videos[order]
    # Without ties every place is the last one of its score, and a view avoids a copy.
    places = slice(None) if len(last) == len(order) else last
    rows = max(1, CHUNK_ELEMENTS // len(scored))
    values = {name: np.empty(len(drawn)) for name in statistics}
    for start in range(0, len(drawn), rows):
        # Resamples need no sorting: an example that was drawn twice counts twice.
        weights = drawn[start : start + rows, videos]
        passed = np.cumsum(weights, axis=1, dtype=np.int64)[:, places]
        true = np.cumsum(weights * labels, axis=1, dtype=np.int64)[:, places]
        counts = Curve(thresholds, true, passed - true)
        for name, statistic in statistics.items():
            values[name][start : start + rows] = statistic(counts)
    return values


def _label_of_video(scored: Scored, videos: np.ndarray) -> np.ndarray:
    """Return the label of each video, `[V] bool`; raise ValueError for invalid numbers or mixed labels."""
    if videos.min() < 0:
        raise ValueError(f"videos: expected numbers from 0, found {videos.min()}")
    counts, positive = np.bincount(videos), np.bincount(videos, scored.labels)
    if not counts.all():
        raise ValueError(f"videos: expected every number up to {len(counts) - 1}, found no {np.argmin(counts)}")
    mixed = (positive > 0) & (positive < counts)
    if mixed.any():
        raise ValueError(f"videos: expected one label per video, found both in video {np.argmax(mixed)}")
    return positive > 0
