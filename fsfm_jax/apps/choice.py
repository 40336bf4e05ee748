"""What a visitor may choose for a file: which faces, how many frames of a video, and the threshold that decides."""

import dataclasses

from starlette.datastructures import QueryParams

from fsfm_jax.apps.reading import EVERY, LARGEST
from fsfm_jax.apps.verdict import FALSE_ALARM, check_threshold

FACES = (EVERY, LARGEST)
MOST_FRAMES = 256  # of a video; more would keep the page busy for minutes


@dataclasses.dataclass(frozen=True)
class Choice:
    """How a file is inspected.

    Attributes:
      faces: of a picture, one of `reading.FACES`.
      frames: of a video, evenly spaced.
      threshold: as of `verdict.choose_rule`.
    """

    faces: str = EVERY
    frames: int = 32
    threshold: str = FALSE_ALARM


def choose(query: QueryParams, usual: Choice) -> Choice:
    """Read the choice of a request; what it does not say is as in `usual`.

    Raises:
      ValueError: a value that is not offered; the text is for its sender.
    """
    faces = query.get("faces", usual.faces)
    if faces not in (*FACES, usual.faces):
        raise ValueError(f"faces: expected one of {', '.join(FACES)}; found {faces!r}")
    frames, threshold = query.get("frames", str(usual.frames)), query.get("threshold", usual.threshold)
    if not (frames.isascii() and frames.isdigit() and len(frames) < 5 and 1 <= int(frames) <= MOST_FRAMES):
        raise ValueError(f"frames: expected a number from 1 to {MOST_FRAMES}, found {frames!r}")
    check_threshold(threshold)
    return Choice(faces, int(frames), threshold)
