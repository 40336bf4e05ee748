"""Corrupt pictures: compression, blur, low resolution, noise, colour shifts, covered parts.

`CORRUPTIONS` has a row for each kind, with a value for each of `STRENGTHS`. Six of the seven distortions of
DeeperForensics-1.0 (Jiang et al., CVPR 2020) have the five levels of its published program; the
seventh, video compression, needs a video. The column `source` marks our own values:

| row          | what is done                                        | values                                          |
|--------------|-----------------------------------------------------|-------------------------------------------------|
| `jpeg`       | JPEG, colour at half the resolution (4:2:0)         | quality; ours                                   |
| `blur`       | Gaussian blur                                       | sigma in pixels; theirs, a sixth of 7 .. 21     |
| `resize`     | shrunk with a low-pass filter, and enlarged again   | factor; ours                                    |
| `pixelate`   | shrunk without a filter, and enlarged again         | factor; theirs, called JPEG there               |
| `noise`      | white Gaussian noise                                | std in levels; theirs, 255 times the root of    |
|              |                                                     | 0.001 .. 0.05, but in Y, Cb, Cr; here in RGB    |
| `saturation` | distance from grey times a factor                   | factor; theirs                                  |
| `contrast`   | levels times a factor, which darkens as well        | factor; theirs                                  |
| `warmth`     | red gains a share, blue loses it                    | share; ours                                     |
| `blocks`     | grey squares of 8 pixels at random places           | number; theirs                                  |
| `social`     | what a messenger does: smaller, and two JPEGs       | factor, both qualities; ours                    |

Lengths are in pixels of a 224-pixel picture and scale with the shorter side of the picture. Every function is pure.
Places and noise are a function of (seed, index), and those of a weaker strength are contained in a stronger one's.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from fsfm_jax.data.photo import READ_FLAGS, encode_jpeg
from fsfm_jax.data.resizing import resize_to
from fsfm_jax.records import IMAGE_SIZE, check_image
from fsfm_jax.text import did_you_mean

STRENGTHS = ("faint", "mild", "medium", "strong", "severe")
BLOCK, GREY = 8, 128  # side in pixels, and level of a covered block
LUMA = np.array((0.299, 0.587, 0.114), np.float32)  # weights of red, green and blue in grey (BT.601, as in JPEG)
DEEPERFORENSICS, OURS = "DeeperForensics-1.0", "ours"


def compress(image: np.ndarray, quality: int) -> np.ndarray:
    """Compress to JPEG of `quality` 1..100 with colour at half the resolution (4:2:0), and decode it again."""
    data = encode_jpeg(image, quality, halve_colour=True)
    return cv2.imdecode(np.frombuffer(data, np.uint8), READ_FLAGS)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur by a Gaussian of `sigma` (in pixels of a 224-pixel picture), cut at three sigma; 0 changes nothing."""
    return cv2.GaussianBlur(image, (0, 0), sigma * _scale(image)) if sigma else image.copy()


def resize(image: np.ndarray, factor: float) -> np.ndarray:
    """Shrink to `factor` 0..1 of the size and enlarge again, both bicubic with a low-pass filter; 1 changes nothing."""
    return resize_to(resize_to(image, *_shrunk(image, factor)), *image.shape[:2])


def pixelate(image: np.ndarray, factor: float) -> np.ndarray:
    """Shrink to 1 / `factor` of the size and enlarge again, both bilinear and unfiltered; 1 changes nothing."""
    height, width = _shrunk(image, 1 / factor)
    return cv2.resize(cv2.resize(image, (width, height)), image.shape[1::-1])


def add_noise(image: np.ndarray, std: float, seed: int, index: int) -> np.ndarray:
    """Add independent Gaussian noise of `std` levels to every value; a function of (seed, index)."""
    noise = _generator(seed, "noise", index).standard_normal(image.shape, np.float32)
    return _levels(image + np.float32(std) * noise)


def scale_chroma(image: np.ndarray, factor: float) -> np.ndarray:
    """Scale each pixel's distance from its grey by `factor`; 1 changes nothing, 0 leaves no colour."""
    grey = (image @ LUMA)[..., None]
    return _levels(grey + np.float32(factor) * (image - grey))


def scale_levels(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiply all levels by `factor`."""
    return _levels(np.float32(factor) * image)


def warm(image: np.ndarray, share: float) -> np.ndarray:
    """Multiply red by 1 + `share` and blue by 1 - `share`, up to 255."""
    return _levels(image * np.array((1 + share, 1, 1 - share), np.float32))


def cover(image: np.ndarray, count: int, seed: int, index: int) -> np.ndarray:
    """Cover `count` squares of 8 (224-pixel picture) pixels with grey; places are a function of (seed, index)."""
    side = max(1, round(BLOCK * _scale(image)))
    room = np.array(image.shape[:2]) - side + 1
    covered = image.copy()
    for top, left in (_generator(seed, "blocks", index).random((count, 2)) * room).astype(int):
        covered[top : top + side, left : left + side] = GREY
    return covered


def share_online(image: np.ndarray, factor: float, first: int, second: int) -> np.ndarray:
    """Shrink to `factor` of the size, compress to JPEG of quality `first`, then `second`, and enlarge again."""
    sent = compress(resize_to(image, *_shrunk(image, factor)), first)
    return resize_to(compress(sent, second), *image.shape[:2])


@dataclass(frozen=True)
class Corruption:
    """A row of `CORRUPTIONS`.

    Attributes:
      title: title of a plot.
      text: format string for a value, with a placeholder for each of its numbers.
      values: arguments of `apply` after the image, for each of `STRENGTHS`.
      source: where the values come from.
      apply: function from `[H, W, 3] uint8` to the same shape and dtype.
      random: whether `apply` also takes seed and index.
    """

    title: str
    text: str
    values: tuple[tuple[float, ...], ...]
    source: str
    apply: Callable[..., np.ndarray]
    random: bool = False

    def describe(self, strength: str) -> str:
        """Return the value of a strength with its unit."""
        return self.text.format(*self.values[STRENGTHS.index(strength)])


def _each(*values: float) -> tuple[tuple[float], ...]:
    return tuple((value,) for value in values)


CORRUPTIONS = {
    "jpeg": Corruption("JPEG (quality)", "quality {}", _each(90, 70, 50, 30, 10), OURS, compress),
    "blur": Corruption(
        "blur (sigma, pixels)", "sigma {:.2f} pixels", _each(*(kernel / 6 for kernel in (7, 9, 13, 17, 21))),
        DEEPERFORENSICS, blur,
    ),
    "resize": Corruption("resizing (factor)", "to {:g} and back", _each(0.75, 0.5, 0.35, 0.25, 0.15), OURS, resize),
    "pixelate": Corruption(
        "pixelation (1 / factor)", "to 1/{} and back, unfiltered", _each(2, 3, 4, 5, 6), DEEPERFORENSICS, pixelate
    ),
    "noise": Corruption(
        "noise (std, levels)", "std {:.1f} levels", _each(*(255 * v**0.5 for v in (0.001, 0.002, 0.005, 0.01, 0.05))),
        DEEPERFORENSICS, add_noise, random=True,
    ),
    "saturation": Corruption(
        "saturation (factor)", "times {:g}", _each(0.4, 0.3, 0.2, 0.1, 0.0), DEEPERFORENSICS, scale_chroma
    ),
    "contrast": Corruption(
        "contrast (factor)", "levels times {:g}", _each(0.85, 0.725, 0.6, 0.475, 0.35), DEEPERFORENSICS, scale_levels
    ),
    "warmth": Corruption(
        "colour temperature (share)", "red +{0:.0%}, blue -{0:.0%}", _each(0.05, 0.1, 0.2, 0.3, 0.4), OURS, warm
    ),
    "blocks": Corruption(
        "covered blocks (number)", "{} grey blocks", _each(16, 32, 48, 64, 80), DEEPERFORENSICS, cover, random=True
    ),
    "social": Corruption(
        "messenger (factor, JPEG twice)", "to {:g} and back, JPEG of quality {}, then {}",
        ((0.8, 90, 85), (0.65, 85, 80), (0.5, 80, 75), (0.4, 75, 65), (0.3, 70, 50)), OURS, share_online,
    ),
}  # fmt: skip


def corrupt(name: str, strength: str, image: np.ndarray, seed: int, index: int) -> np.ndarray:
    """Corrupt a picture; `[H, W, 3] uint8` to the same shape and dtype.

    Args:
      name, strength: keys of `CORRUPTIONS` and of `STRENGTHS`.
      image: the picture; it is not changed.
      seed, index: select noise and places; index is that of the picture in its data set.

    Raises:
      ValueError: the name or strength is unknown, or the picture has another shape or dtype.
    """
    check_image(image)
    for what, word, known in (("corruption", name, CORRUPTIONS), ("strength", strength, STRENGTHS)):
        if word not in known:
            hint = did_you_mean(word, known)
            raise ValueError(f"{what}: expected one of {', '.join(known)}; found {word!r}{hint}")
    chosen = CORRUPTIONS[name]
    value = chosen.values[STRENGTHS.index(strength)]
    return chosen.apply(image, *value, *((seed, index) if chosen.random else ()))


def _scale(image: np.ndarray) -> float:
    """Return the number of pixels of `image` per pixel of a 224-pixel picture."""
    return min(image.shape[:2]) / IMAGE_SIZE


def _shrunk(image: np.ndarray, factor: float) -> tuple[int, int]:
    height, width = (max(1, round(factor * length)) for length in image.shape[:2])
    return height, width


def _levels(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _generator(seed: int, purpose: str, index: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(f"corruption {purpose}".encode()), index])
