"""Aggregation of frame scores to video scores."""

from typing import NamedTuple

import numpy as np

from fsfm_jax.metrics.scores import Classes, Scored
from fsfm_jax.text import join_first

# A video is classified as positive at this mean probability or above (released code).
VIDEO_THRESHOLD = 0.5
# A frame goes to the class with the larger probability, and a tie to class 0 (argmax): `score > 0.5`.
FRAME_THRESHOLD = float(np.nextafter(0.5, 1.0))

NAMED_IN_ERRORS = 3


class Videos(NamedTuple):
    """One row per video, in the order in which they first appear."""

    ids: np.ndarray  # [V]
    scores: np.ndarray  # [V] float64, mean over the video's frames
    labels: np.ndarray  # [V] bool
    frames: np.ndarray  # [V] int64, number of frames
    index: np.ndarray  # [N] int64, row of the video of each frame

    def binary_scores(self, classes: Classes) -> Scored:
        """Return the videos as examples."""
        return Scored(self.scores, self.labels, classes)

    def first_places(self) -> np.ndarray:
        """Return the position of the first given frame of each video, `[V] int64`."""
        # Rows are numbered in order of appearance, so the running maximum grows at each new video.
        return np.flatnonzero(np.diff(np.maximum.accumulate(self.index), prepend=-1))


def index_videos(videos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct ids `[V]` in order of first appearance, and the row of each frame `[N]`."""
    videos = np.asarray(videos)
    # Frames of a video mostly follow each other, so each run of equal ids is looked up once. Sorting is far slower.
    starts = np.append(True, videos[1:] != videos[:-1])[: len(videos)]
    rows: dict = {}
    of_run = np.fromiter((rows.setdefault(name, len(rows)) for name in videos[starts].tolist()), np.int64)
    return np.array(list(rows), videos.dtype), of_run[np.cumsum(starts) - 1]


def mean_by_video(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return the mean over the frames of each video in float64: `[N] -> [V]`, or `[N, C] -> [V, C]`.

    values: probabilities `[N]` or logits `[N, C]` of the frames.
    index: `[N]`, the row of each frame, from `index_videos`.
    """
    values, counts = np.asarray(values, np.float64), np.bincount(index)
    if values.ndim == 1:
        return np.bincount(index, values) / counts
    return np.stack([np.bincount(index, column) / counts for column in values.T], axis=1)


def aggregate(scored: Scored, videos: np.ndarray, frames: np.ndarray) -> Videos:
    """Return the mean score of each video over its frames, each frame counting once.

    videos: `[N]` ids, unique over the whole set (a name that two methods share is two ids).
    frames: `[N]` frame numbers within their video, -1 for a photo. They are only used to detect duplicate frames, for
    example from padding that was not removed.

    Raises:
      ValueError: if lengths differ, a video has both labels, or a frame of a video is given twice.
    """
    videos, frames = np.asarray(videos), np.asarray(frames)
    for name, array in (("videos", videos), ("frames", frames)):
        if array.shape != scored.labels.shape:
            raise ValueError(f"{name}: expected shape {scored.labels.shape} as the scores, found {array.shape}")
    ids, index = index_videos(videos)
    counts = np.bincount(index)
    positive = np.bincount(index, scored.labels)
    mixed = (positive > 0) & (positive < counts)
    if mixed.any():
        names = join_first([repr(name) for name in ids[mixed].astype(str).tolist()], NAMED_IN_ERRORS)
        raise ValueError(
            f"videos: expected one label per video, found both {scored.classes.positive} and "
            f"{scored.classes.negative} in video {names}; make the ids unique"
        )
    _refuse_repeats(ids, index, frames)
    return Videos(ids, mean_by_video(scored.scores, index), positive > 0, counts, index)


def _refuse_repeats(ids: np.ndarray, index: np.ndarray, frames: np.ndarray) -> None:
    order = np.lexsort((frames, index))
    index, frames = index[order], frames[order]
    repeated = (index[1:] == index[:-1]) & (frames[1:] == frames[:-1])
    if repeated.any():
        place = int(np.argmax(repeated))
        raise ValueError(
            f"frames: expected each frame of a video once, found frame {frames[place]} of video "
            f"{str(ids[index[place]])!r} twice ({int(repeated.sum())} repeats in all); take padding off, or number "
            "the frames"
        )
