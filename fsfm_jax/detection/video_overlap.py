"""Which videos a detector was trained on, kept with it in short, so that none of them can judge it."""

import base64
import hashlib
from collections.abc import Iterable

import numpy as np

from fsfm_jax.data.class_map import parts_of
from fsfm_jax.data.labels import LabelledSource

# 64 bits: among a million videos the odds that two share one are 1 to 37 million.
_BYTES = 8


def _short(source: LabelledSource) -> np.ndarray:
    """`[V] uint64`, sorted: a short hash of each video of `source`, its data set included."""
    videos = np.unique(source.videos)
    words = (f"{source.dataset}\n{video}".encode() for video in videos)
    digests = b"".join(hashlib.blake2b(word, digest_size=_BYTES).digest() for word in words)
    return np.unique(np.frombuffer(digests, "<u8"))


def remember(sources: Iterable[LabelledSource]) -> str:
    """The videos of all sources as text."""
    every = [_short(part) for source in sources for part in parts_of(source)]
    return base64.b64encode(np.unique(np.concatenate(every)).astype("<u8").tobytes()).decode()


def check_unseen(source: LabelledSource, remembered: str, detector: str) -> None:
    """Refuses to judge a detector by videos that it was trained on.

    Raises:
      ValueError: with how many of the set's videos were seen in training.
    """
    seen = np.frombuffer(base64.b64decode(remembered), "<u8")
    for part in parts_of(source):
        own = _short(part)
        shared = np.intersect1d(own, seen, assume_unique=True).size
        if shared:
            raise ValueError(
                f"{part.name}: {shared} of its {own.size} videos are among those that {detector} was trained on; what "
                "was trained on cannot judge, take a split that was left out"
            )
