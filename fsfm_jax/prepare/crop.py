"""Make the papers' face crop from a detector's box: a square, 30 % larger, not aligned.

The 30 % follow FaceForensics++. The integer arithmetic is that of the released preprocessing of FSFM: a
square that leaves the picture is moved inside at the upper left and reduced at the lower right.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from fsfm_jax import records

SCALE = 1.3


@dataclass(frozen=True)
class Detection:
    """A face found in a picture; edges in pixels, inclusive, possibly outside the picture."""

    left: int
    top: int
    right: int
    bottom: int
    score: float  # higher is more certain; comparable only within one detector


class NoFace(ValueError):
    """The parser found no face in a detector's box."""


@dataclass(frozen=True)
class Square:
    """Pixels `[y : y + size, x : x + size]` of a picture."""

    x: int
    y: int
    size: int


def square_of(box: Detection, height: int, width: int, scale: float = SCALE) -> Square:
    """Return the crop of a face in a picture of `height` x `width`.

    Raises:
      ValueError: the square does not overlap the picture.
    """
    size = int(scale * max(box.right - box.left, box.bottom - box.top))
    x = max((box.left + box.right) // 2 - size // 2, 0)
    y = max((box.top + box.bottom) // 2 - size // 2, 0)
    size = min(width - x, size)
    size = min(height - y, size)
    if size < 1:
        raise ValueError(f"the box {box} has no pixel in a picture of {height}x{width} (height x width)")
    return Square(x, y, size)


def cut(image: np.ndarray, square: Square, size: int | None) -> np.ndarray:
    """Cut the square from a picture `[H, W, 3] uint8` and resize it to `[size, size, 3]`; None keeps its size.

    The resize is Pillow's bicubic (antialiased), as in the released preprocessing.

    Raises:
      ValueError: the picture has another shape or dtype.
    """
    records.check_image(image)
    face = image[square.y : square.y + square.size, square.x : square.x + square.size]
    if size is None or size == square.size:
        return np.ascontiguousarray(face)
    return np.asarray(Image.fromarray(face).resize((size, size), Image.Resampling.BICUBIC))
