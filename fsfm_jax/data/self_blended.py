"""Make self-blended images: forgeries from a single real face (Shiohara and Yamasaki, "Detecting Deepfakes with
Self-Blended Images", CVPR 2022).

A face is copied twice. One copy, chosen at random, changes a little in colour and sharpness, and the source copy moves
a little. Then a part of the source covers the target through a soft mask. The result has the common traces of face
swaps: a boundary whose two sides do not quite match.

The paper finds the part with facial landmarks. Here it comes from the parsing map in the records.
"""

import dataclasses
import math
from collections.abc import Iterator

import cv2
import numpy as np

from fsfm_jax import records
from fsfm_jax.data.blend_mask import BlendMaskSpec, draw_mask
from fsfm_jax.data.boxes import check_probability
from fsfm_jax.data.distributions import between, log_between, uniforms

Span = tuple[float, float]
SPANS = ("shift", "hue", "saturation", "value", "brightness", "contrast", "downscale", "sharpen", "scale")
# Channel mixing of a rotation about the grey axis (Rodrigues); luma weights are those of Rec. 601.
_CROSS = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
_LUMA = np.array([0.299, 0.587, 0.114])


@dataclasses.dataclass(frozen=True)
class SelfBlendSpec:
    """How self-blended images are drawn; every span is uniform from low to high.

    "Paper" is section 3.2 of Shiohara and Yamasaki (2022) with its supplement. "Ours" marks values chosen by eye.

    Attributes:
      swap: probability that the target, not the source, changes in colour and sharpness. Paper: either, at random.
      shift: levels added to red, green and blue, drawn independently. Paper: the transform; span ours.
      hue: turn of the hue in degrees. Paper: the transform; span ours.
      saturation, value: their relative change. Paper: the transforms; spans ours.
      brightness: added levels. contrast: relative change about grey 128. Paper: the transforms; spans ours.
      coarser: probability of a lower resolution, otherwise the copy is sharpened. Paper: one of the two, at random.
      downscale: factor by which a coarser copy is shrunk, >= 1. Paper: the transform; span ours.
      sharpen: share of the fine detail that is added again. Paper: the transform; span ours.
      move: largest shift of the source to either side, in widths and heights of the image. Paper: 3 % and 1.5 %.
      scale: size of the source, log-uniform, independent for each axis. Paper: 0.95 to 1 / 0.95.
      mask: the replaced part, and the softness of its boundary.
      ratios: factors of the mask, one drawn at random. Paper: 1/4, 1/2, 3/4, 1, 1, 1.
    """

    swap: float = 0.5
    shift: Span = (-10.0, 10.0)
    hue: Span = (-4.0, 4.0)
    saturation: Span = (-0.15, 0.15)
    value: Span = (-0.06, 0.06)
    brightness: Span = (-8.0, 8.0)
    contrast: Span = (-0.08, 0.08)
    coarser: float = 0.5
    downscale: Span = (1.5, 3.0)
    sharpen: Span = (0.3, 1.0)
    move: Span = (0.03, 0.015)
    scale: Span = (0.95, 1 / 0.95)
    mask: BlendMaskSpec = BlendMaskSpec()
    ratios: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)

    def __post_init__(self):
        for field in ("swap", "coarser"):
            check_probability(f"self_blend.{field}", getattr(self, field))
        for field in SPANS:
            low, high = getattr(self, field)
            least = {"downscale": 1, "scale": 0.1, "sharpen": 0}.get(field, -math.inf)
            if not least <= low <= high < math.inf:
                raise ValueError(
                    f"self_blend.{field}: expected two numbers, {least:g} <= low <= high; found {(low, high)!r}"
                )
        if not all(0 <= most < 1 for most in self.move):
            raise ValueError(f"self_blend.move: expected two shares of the image, 0 to 1; found {self.move!r}")
        if not self.ratios or not all(0 <= ratio <= 1 for ratio in self.ratios):
            raise ValueError(f"self_blend.ratios: expected numbers from 0 to 1; found {self.ratios!r}")


def self_blend(
    spec: SelfBlendSpec, image: np.ndarray, parsing_map: np.ndarray, position: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Blend a face with itself: a function of (seed, position) and the face.

    Args:
      image: `[H, W, 3] uint8`, RGB; it is not changed.
      parsing_map: `[H, W] uint8`, classes of `regions.CLASSES`.
      position: of the image in the stream, or its index in evaluation.

    Returns:
      The blend `[H, W, 3] uint8`, and the mask `[H, W] float32`, 0..1: the share of the source in each pixel. Where it
      is 0, pixels equal the target bitwise.

    Raises:
      ValueError: the image or map has another shape, dtype or size, or the map has no face.
    """
    records.check_image(image)
    if image.shape[:2] != parsing_map.shape:
        raise ValueError(f"self-blend: expected a map of the image's size; found {image.shape} and {parsing_map.shape}")
    drawn = iter(uniforms(seed, "self blend", position, 16))
    changes_target = next(drawn) < spec.swap
    changed = change_sharpness(spec, change_colour(spec, image, drawn), drawn)
    source, target = (image, changed) if changes_target else (changed, image)
    matrix = _draw_move(spec, image.shape[:2], drawn)
    size, border = image.shape[1::-1], cv2.BORDER_REFLECT_101
    source = cv2.warpAffine(source, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border)
    mask = draw_mask(spec.mask, parsing_map, matrix, position, seed)
    mask *= np.float32(spec.ratios[int(next(drawn) * len(spec.ratios))])
    return blend(source, target, mask), mask


def blend(source: np.ndarray, target: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mix two images, `mask source + (1 - mask) target`, rounded.

    Images and result are `[H, W, 3] uint8`, the mask is `[H, W] float32`, 0..1.
    """
    moved = cv2.subtract(source, target, dtype=cv2.CV_32F)
    moved *= mask[..., None]
    return cv2.add(moved, target, dtype=cv2.CV_8U)  # OpenCV rounds and stays within 0..255


def change_colour(spec: SelfBlendSpec, image: np.ndarray, drawn: Iterator[float]) -> np.ndarray:
    """Shift the colours of `image [H, W, 3] uint8` by the next eight numbers of `drawn`; same shape and type.

    All shifts are one matrix, so levels are rounded once. Converting through 8-bit HSV would add grain that no forgery
    has.
    """
    shifts = np.array([between(next(drawn), *spec.shift) for _ in range(3)])
    names = ("hue", "saturation", "value", "brightness", "contrast")
    hue, saturation, value, brightness, contrast = (between(next(drawn), *getattr(spec, name)) for name in names)
    turn = math.radians(hue)
    matrix = math.cos(turn) * np.eye(3) + (1 - math.cos(turn)) / 3 + math.sin(turn) * _CROSS
    matrix = ((1 + saturation) * np.eye(3) - saturation * _LUMA) @ matrix * (1 + value)
    offset = (1 + contrast) * (shifts - 128) + 128 + brightness
    return cv2.transform(image, np.column_stack([(1 + contrast) * matrix, offset]).astype(np.float32))


def change_sharpness(spec: SelfBlendSpec, image: np.ndarray, drawn: Iterator[float]) -> np.ndarray:
    """Make `image [H, W, 3] uint8` coarser or sharper by the next two numbers of `drawn`; same shape and type."""
    coarser, amount = next(drawn) < spec.coarser, next(drawn)
    if not coarser:
        share = between(amount, *spec.sharpen)
        return cv2.addWeighted(image, 1 + share, cv2.GaussianBlur(image, (5, 5), 1.0), -share, 0)
    factor = between(amount, *spec.downscale)
    height, width = image.shape[:2]
    small = max(1, round(width / factor)), max(1, round(height / factor))
    shrunk = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR)


def _draw_move(spec: SelfBlendSpec, shape: tuple[int, int], drawn: Iterator[float]) -> np.ndarray:
    """Draw the motion of the source, `[2, 3]`, scaled about the centre of the image."""
    height, width = shape
    x, y = (between(next(drawn), -1, 1) * most * side for most, side in zip(spec.move, (width, height), strict=True))
    across, down = (log_between(next(drawn), *spec.scale) for _ in range(2))
    middle = (width - 1) / 2, (height - 1) / 2
    return np.array([[across, 0, x + (1 - across) * middle[0]], [0, down, y + (1 - down) * middle[1]]])
