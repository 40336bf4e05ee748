"""Percentile bootstrap intervals: how much a metric would move with other videos of the same kind."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fsfm_jax.metrics.curve import Curve
from fsfm_jax.metrics.scored import Scored

# Counts that are held at once, in elements of one array: 32 MB as int64.
CHUNK_ELEMENTS = 1 << 22


class Interval(NamedTuple):
    """Bounds of the interval; NaN with a reason if there are none."""

    low: float
    high: float
    reason: str = ""


def interval(
    scored: Scored,
    statistic: Callable[[Curve], np.ndarray],
    videos: np.ndarray,
    resamples: int,
    level: float,
    seed: int,
) -> Interval:
    """Percentile interval of `statistic` over `resamples` sets of videos drawn with replacement, class by class.

    Each resample has as many videos of each class as there are; all frames of a drawn video come along, so intervals of
    frame metrics know that frames of a video resemble each other. For videos (or photos) each example is its own video.

    statistic: a function of `curve`, such as `curve.area`, or one with its threshold filled in by `functools.partial`.
    videos: `[N] int64`, the video of each example numbered 0 to V - 1, as in `video.Videos.index`.
    level: 0.95 for the 2.5th to the 97.5th percentile.

    Raises:
      ValueError: `videos` has another length, skips a number or gives a video both labels; `level` is not inside
        (0, 1); `resamples` is not positive.
    """
    videos = np.asarray(videos)
    if videos.shape != scored.labels.shape or videos.dtype.kind not in "iu":
        raise ValueError(
            f"videos: expected integers of shape {scored.labels.shape}, found {videos.dtype} of shape {videos.shape}"
        )
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(f"expected resamples > 0 and 0 < level < 1, found {resamples} and {level}")
    if scored.missing:
        return Interval(math.nan, math.nan, scored.missing)
    labels = _label_of_video(scored, videos)
    for name, count in zip(scored.classes, (np.count_nonzero(labels), np.count_nonzero(~labels)), strict=True):
        # One video is drawn again and again: the interval would leave out all that this class could vary.
        if count < 2:
            return Interval(math.nan, math.nan, f"only one {name} video to resample")
    drawn = draw(labels, resamples, seed)
    values = resampled(scored, statistic, videos, drawn)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def draw(labels: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """How often each video is drawn, `[V] bool -> [R, V] int32`; each row keeps the number of videos of each class."""
    drawn = np.zeros((resamples, len(labels)), np.int32)
    generator = np.random.default_rng(seed)
    for label in (True, False):
        members = np.flatnonzero(labels == label)
        picked = generator.integers(0, len(members), (resamples, len(members)))
        for row, picks in zip(drawn, picked, strict=True):
            row[members] = np.bincount(picks, minlength=len(members))
    return drawn


def resampled(
    scored: Scored, statistic: Callable[[Curve], np.ndarray], videos: np.ndarray, drawn: np.ndarray
) -> np.ndarray:
    """`statistic` of each resample, `[R]`; drawn: `[R, V] int`, how often each video is in it."""
    order, last = scored.descending
    thresholds, labels, videos = scored.curve.thresholds, scored.labels[order], videos[order]
    values, rows = np.empty(len(drawn)), max(1, CHUNK_ELEMENTS // len(scored))
    for start in range(0, len(drawn), rows):
        # Nothing is drawn or sorted again: an example that comes twice simply counts twice.
        weights = drawn[start : start + rows, videos]
        passed = np.cumsum(weights, axis=1, dtype=np.int64)[:, last]
        true = np.cumsum(weights * labels, axis=1, dtype=np.int64)[:, last]
        values[start : start + rows] = statistic(Curve(thresholds, true, passed - true))
    return values


def _label_of_video(scored: Scored, videos: np.ndarray) -> np.ndarray:
    """`[V] bool`."""
    if videos.min() < 0:
        raise ValueError(f"videos: expected numbers from 0, found {videos.min()}")
    counts, positive = np.bincount(videos), np.bincount(videos, scored.labels)
    if not counts.all():
        raise ValueError(f"videos: expected every number up to {len(counts) - 1}, found no {np.argmin(counts)}")
    mixed = (positive > 0) & (positive < counts)
    if mixed.any():
        raise ValueError(f"videos: expected one label per video, found both in video {np.argmax(mixed)}")
    return positive > 0
