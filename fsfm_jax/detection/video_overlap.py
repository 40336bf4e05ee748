"""Store hashes of a detector's training videos with it, so that evaluation can refuse them."""

import base64
import hashlib
from collections.abc import Iterable

import numpy as np

from fsfm_jax.data.class_map import parts_of
from fsfm_jax.data.labels import LabelledSource

# 64 bits: among a million videos, the probability that two share a hash is 1 in 37 million.
_BYTES = 8


def _short(source: LabelledSource) -> np.ndarray:
    """Return a short hash of each video of `source` and its data set, `[V] uint64`, sorted."""
    videos = np.unique(source.videos)
    words = (f"{source.dataset}\n{video}".encode() for video in videos)
    digests = b"".join(hashlib.blake2b(word, digest_size=_BYTES).digest() for word in words)
    return np.unique(np.frombuffer(digests, "<u8"))


def remember(sources: Iterable[LabelledSource]) -> str:
    """Return the hashes of the videos of all sources as text."""
    every = [_short(part) for source in sources for part in parts_of(source)]
    return base64.b64encode(np.unique(np.concatenate(every)).astype("<u8").tobytes()).decode()


def check_unseen(source: LabelledSource, remembered: str, detector: str) -> None:
    """Refuse to evaluate a detector on videos that it was trained on.

    Raises:
      ValueError: the set has training videos; the message says how many.
    """
    seen = np.frombuffer(base64.b64decode(remembered), "<u8")
    for part in parts_of(source):
        own = _short(part)
        shared = np.intersect1d(own, seen, assume_unique=True).size
        if shared:
            raise ValueError(
                f"{part.name}: {shared} of its {own.size} videos were used to train {detector}. Training videos are "
                "refused at evaluation; choose a split that was not trained on"
            )
