"""Select the frames of a video.

    photo         not a video
    spaced:N      N frames from the first to the last, evenly spaced; a short video gives each of its frames once
    all           every frame
    pair          two frames, 6 and 6 + n // 2; if no face is found, the next frame is tried (face anti-spoofing)

Frames are chains of candidates: the first frame of a chain with a face is kept.
"""

from collections.abc import Sequence

import numpy as np

PHOTO, ALL, PAIR = "photo", "all", "pair"
PAIR_START = 6


def describe_spacing(count: int) -> str:
    """Return the rule for `count` evenly spaced frames."""
    if count < 1:
        raise ValueError(f"frames: expected at least 1 frame per video, found {count}")
    return f"spaced:{count}"


def chains(sampling: str, count: int) -> Sequence[range]:
    """Return chains of candidate frames of a video of `count` frames, ascending and disjoint.

    "spaced" is `linspace(0, count - 1, N)` cut to integers, as in the released preprocessing of FSFM. "pair" is that
    of its face anti-spoofing, except that a chain ends where the next begins, or with the video; a video
    of six frames or fewer starts at its first frame.
    """
    if count < 1:
        return ()
    if sampling == ALL:
        return [range(index, index + 1) for index in range(count)]
    if sampling == PAIR:
        first = PAIR_START if count > PAIR_START else 0
        second = min(first + count // 2, count)
        return [chain for chain in (range(first, second), range(second, count)) if chain]
    kind, _, number = sampling.partition(":")
    if kind != "spaced" or not number.isdigit() or int(number) < 1:
        raise ValueError(f"sampling {sampling!r}: expected all, pair or spaced:N")
    indices = np.unique(np.linspace(0, count - 1, int(number), dtype=int))
    return [range(int(index), int(index) + 1) for index in indices]
