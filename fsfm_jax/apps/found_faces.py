"""What was found in a file: crops of faces as a network takes them, frames without one, and small pictures to show."""

import dataclasses

import cv2
import numpy as np

PHOTO, VIDEO = "photo", "video"


@dataclasses.dataclass(frozen=True)
class Crop:
    """A face.

    Attributes:
      frame: of a video, from 0; 0 of a photo. face: number within the frame, in the order of the chosen rule.
      box: left, top, right, bottom of the detector in pixels, inclusive. square: x, y and side of what was cut out.
      sureness: of the detector, comparable within one detector only; NaN of a ready-made crop.
      pixels: `[side, side, 3] uint8` RGB, what the network takes.
      parsing_map: `[224, 224] uint8`, if a parser was asked for.
    """

    frame: int
    face: int
    box: tuple[int, int, int, int]
    square: tuple[int, int, int]
    sureness: float
    pixels: np.ndarray
    parsing_map: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Miss:
    """A frame without a face to score, with a word of `reading.REASONS` or `unusable.REASONS` and a sentence."""

    frame: int
    reason: str
    detail: str


@dataclasses.dataclass(frozen=True)
class Preview:
    """A small picture of a frame, for people to look at.

    Attributes:
      frame: of a video, from 0; 0 of a photo.
      size: height and width of the whole frame, whose pixels boxes count.
      pixels: `[h, w, 3] uint8` RGB of the same shape, reduced.
    """

    frame: int
    size: tuple[int, int]
    pixels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a file holds.

    Attributes:
      kind: "photo" or "video"; "" if it is neither.
      reason, detail: why there is no crop at all: a word and a sentence; "" if there are some.
      rate: frames a second of a video, if its file says so.
      size: height and width of the first picture that was decoded, (0, 0) if none was.
      notes: what a reader of the result must know about how the file was decoded, a phrase each.
      found: number of each frame that was searched, and how many faces the detector found in it.
      asked: how many frames of a video were asked for, also those behind its end; 0 of a photo.
      previews: in the order of their frames; none unless they were asked for.
    """

    path: str
    kind: str
    crops: tuple[Crop, ...] = ()
    misses: tuple[Miss, ...] = ()
    reason: str = ""
    detail: str = ""
    rate: float | None = None
    size: tuple[int, int] = (0, 0)
    notes: tuple[str, ...] = ()
    found: tuple[tuple[int, int], ...] = ()
    asked: int = 0
    previews: tuple[Preview, ...] = ()


def make_preview(image: np.ndarray, frame: int, longest: int) -> Preview:
    """Reduce a frame `[H, W, 3] uint8` to at most `longest` pixels on its longer side."""
    height, width = image.shape[:2]
    scale = min(1.0, longest / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    pixels = image if scale == 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return Preview(frame, (height, width), pixels)
