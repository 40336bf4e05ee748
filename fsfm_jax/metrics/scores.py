"""Scores and labels, checked once and sorted once."""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fsfm_jax.metrics.curve import Curve


class Classes(NamedTuple):
    """Names of the two classes for messages and reports."""

    positive: str  # label 1, high scores
    negative: str  # label 0, low scores


DEEPFAKE = Classes("real", "fake")
ANTI_SPOOFING = Classes("bona fide", "attack")


def check_labels(labels: np.ndarray) -> np.ndarray:
    """Return `labels` as `[N] bool`.

    Raises:
      ValueError: if there is not exactly one axis, or a label other than 0 and 1.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1:
        raise ValueError(f"labels: expected one axis [N], found shape {labels.shape}")
    strange = ~((labels == 0) | (labels == 1))
    if strange.any():
        place = int(np.argmax(strange))
        raise ValueError(f"labels: expected 0 and 1, found {labels[place]!r} at position {place} of {len(labels)}")
    return labels == 1


def check_scores(scores: np.ndarray, name: str = "scores") -> np.ndarray:
    """Return `scores` as `[N] float64`.

    Raises:
      ValueError: if there is not exactly one axis, no element, or a non-finite element.
    """
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 1 or not len(scores):
        raise ValueError(f"{name}: expected at least one, in one axis [N]; found shape {scores.shape}")
    strange = ~np.isfinite(scores)
    if strange.any():
        place = int(np.argmax(strange))
        raise ValueError(
            f"{name}: expected finite numbers, found {scores[place]} at position {place} of {len(scores)} "
            f"and {int(strange.sum()) - 1} more; find their cause and do not drop them"
        )
    return scores


@dataclass(frozen=True, eq=False)
class Scored:
    """Scores and labels of N examples (frames, videos or images), the input of every metric.

    Raises:
      ValueError: if lengths are zero or differ, a score is non-finite, or a label is not 0 or 1.
    """

    scores: np.ndarray  # [N] float64, higher = more likely the positive class
    labels: np.ndarray  # [N] bool, True = positive class
    classes: Classes

    def __post_init__(self):
        object.__setattr__(self, "scores", check_scores(self.scores))
        object.__setattr__(self, "labels", check_labels(self.labels))
        if len(self.scores) != len(self.labels):
            raise ValueError(
                f"scores and labels: expected the same number, found {len(self.scores)} and {len(self.labels)}"
            )

    def __len__(self) -> int:
        return len(self.scores)

    @functools.cached_property
    def positives(self) -> int:
        """Number of positives."""
        return int(np.count_nonzero(self.labels))

    @property
    def negatives(self) -> int:
        """Number of negatives."""
        return len(self) - self.positives

    @property
    def missing(self) -> str:
        """The reason that names the missing class, such as `no fake among 20 examples`; empty if both are present."""
        if self.positives and self.negatives:
            return ""
        name = self.classes.negative if self.positives else self.classes.positive
        return f"no {name} among {len(self)} examples"

    @functools.cached_property
    def descending(self) -> tuple[np.ndarray, np.ndarray]:
        """Order of the examples by falling score `[N]`, and the last place of each distinct score in it `[K]`."""
        order = np.argsort(self.scores)[::-1]
        ranked = self.scores[order]
        return order, np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)

    @functools.cached_property
    def curve(self) -> Curve:
        """Counts at every distinct score."""
        order, last = self.descending
        true = np.cumsum(self.labels[order], dtype=np.int64)[last]
        return Curve(self.scores[order[last]], true, last + 1 - true)
