"""Check imported scores against the videos, frames and labels of a test set, then compute our metrics from them.

Every video of the set, and every frame if the file has frames, must have exactly one score. A method that skips hard
examples would otherwise look better than it is.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fsfm_jax import records
from fsfm_jax.data.labels import LabelledSource
from fsfm_jax.detection.score_file import Scores
from fsfm_jax.metrics import thresholds
from fsfm_jax.metrics.scores import Classes, Scored
from fsfm_jax.metrics.summary import summarise
from fsfm_jax.metrics.video import aggregate
from fsfm_jax.text import join_first

NO_FRAMES = "the file has one score a video"
NAMED = 3  # ids listed in an error
CLASSES = Classes("real", "fake")
LABEL = {True: CLASSES.positive, False: CLASSES.negative}


class Key(NamedTuple):
    """The example that a score belongs to: a video id and a frame number, None for a whole video."""

    video: str
    frame: int | None

    def __str__(self) -> str:
        return repr(self.video) if self.frame is None else f"{self.video!r} frame {self.frame}"


def summarise_scores(scores: Scores, source: LabelledSource, where: str) -> dict:
    """Compute all metrics of a data set from scores of its frames or videos, as for our own detectors.

    If the scores are per video and videos have several frames, frame metrics are undefined.

    Args:
      where: file and data set, named in errors.

    Raises:
      ValueError: the file has ids that the set lacks, lacks scores for ids of the set, or its labels differ.
    """
    check_match(scores, source, where)
    alone = scores.frames is None
    frames = np.full(len(scores.videos), -1) if alone else scores.frames
    scored = Scored(scores.scores, scores.real, CLASSES)
    by_video = aggregate(scored, scores.videos, frames).binary_scores(CLASSES)
    levels = () if scored.missing else (scored, by_video)
    oracles = [[thresholds.on_released_grid(level, source.name)] for level in levels] or [[], []]
    summary = summarise(
        scored, scores.videos, frames, source.name, frame_thresholds=oracles[0], video_thresholds=oracles[1]
    )
    if alone and len(source) > len(scores.videos):
        names = summary["frame"]["metrics"]
        summary["frame"] = {
            "examples": 0, "positives": 0, "negatives": 0, "metrics": dict.fromkeys(names),
            "undefined": dict.fromkeys(names, NO_FRAMES), "thresholds": [],
        }  # fmt: skip
    return summary | {"dataset": source.name}


def check_match(scores: Scores, source: LabelledSource, where: str) -> None:
    """Raise ValueError with the count and the first ids if scores do not match the data set exactly."""
    real = source.labels == source.real
    if scores.frames is None:
        expected = {Key(video, None): bool(label) for video, label in zip(source.videos.tolist(), real, strict=True)}
        keys = [Key(video, None) for video in scores.videos.tolist()]
        what = "videos"
    else:
        numbers = (int(source[index][records.FRAME]) for index in range(len(source)))
        keyed = map(Key, source.videos.tolist(), numbers)
        expected = {key: bool(label) for key, label in zip(keyed, real, strict=True)}
        keys = [*map(Key, scores.videos.tolist(), scores.frames.tolist())]
        what = "frames"
    found = dict(zip(keys, scores.real.tolist(), strict=True))
    extra, missing = [key for key in found if key not in expected], [key for key in expected if key not in found]
    if extra:
        some = ", ".join(map(str, list(expected)[:NAMED]))
        raise ValueError(f"{where}: {_some(extra)} of {len(found)} {what} are not in {source.name}; it has {some}, ...")
    if missing:
        raise ValueError(
            f"{where}: no score for {_some(missing)} of the {len(expected)} {what} of {source.name}; each needs one"
        )
    wrong = [key for key, label in found.items() if expected[key] != label]
    if wrong:
        raise ValueError(
            f"{where}: {_some(wrong)} of {len(found)} {what} have another label than in {source.name}, where the first "
            f"is {LABEL[expected[wrong[0]]]}; check the class order in the program that wrote the file"
        )


def _some(keys: Sequence[Key]) -> str:
    return f"{len(keys)} ({join_first([*map(str, keys)], NAMED)})"
