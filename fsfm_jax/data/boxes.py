"""Draw random boxes: the visible part of a face crop (random resized crop), and the erased part.

Both draw the area uniformly and width / height log-uniformly, in at most ten tries.
"""

import dataclasses
import math
from typing import NamedTuple

from fsfm_jax.data.distributions import between, log_between, uniforms

TRIES = 10


class Box(NamedTuple):
    """A box in pixels; it is empty if height or width is 0."""

    top: int
    left: int
    height: int
    width: int


NOTHING = Box(0, 0, 0, 0)


@dataclasses.dataclass(frozen=True)
class CropSpec:
    """The random resized crop (the released code's values are the defaults).

    Attributes:
      area: smallest and largest share of the image's area, 0 < low <= high <= 1.
      ratio: smallest and largest width / height in pixels, 0 < low <= high.
    """

    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self):
        _check_range("augment.crop.area", self.area, 1)
        _check_range("augment.crop.ratio", self.ratio, math.inf)


@dataclasses.dataclass(frozen=True)
class EraseSpec:
    """Random erasing (the released code's values are the defaults).

    Attributes:
      probability: share of the images with an erased box, 0..1.
      area: smallest and largest share of the image's area, 0 < low <= high <= 1.
      ratio: smallest and largest width / height of the box, 0 < low <= high.
    """

    probability: float = 0.25
    area: tuple[float, float] = (0.02, 1 / 3)
    ratio: tuple[float, float] = (0.3, 1 / 0.3)

    def __post_init__(self):
        check_probability("augment.erase.probability", self.probability)
        _check_range("augment.erase.area", self.area, 1)
        _check_range("augment.erase.ratio", self.ratio, math.inf)


def draw_crop(spec: CropSpec, height: int, width: int, position: int, seed: int) -> Box:
    """Draw the visible part of an image of `height` x `width` pixels, a function of (seed, position).

    If no try fits, return the largest centred box whose shape is in `spec.ratio`.
    """
    drawn = uniforms(seed, "augment crop", position, 4 * TRIES)
    found = _first_that_fits(drawn, spec.area, spec.ratio, height, width, height, width)
    if found is not None:
        return found
    low, high = spec.ratio
    tall = min(height, max(1, round(width / low))) if width / height < low else height
    wide = min(width, max(1, round(height * high))) if width / height > high else width
    return Box((height - tall) // 2, (width - wide) // 2, tall, wide)


def draw_erased(spec: EraseSpec, size: int, position: int, seed: int) -> Box:
    """Draw the part to erase of an image of `size` x `size` pixels, a function of (seed, position), or `NOTHING`.

    The box never spans a whole side, as in the released code. If no try fits, nothing is erased.
    """
    chosen, *drawn = uniforms(seed, "augment erase", position, 1 + 4 * TRIES)
    if chosen >= spec.probability:
        return NOTHING
    return _first_that_fits(drawn, spec.area, spec.ratio, size, size, size - 1, size - 1) or NOTHING


def check_probability(field: str, value: float) -> None:
    """Raise ValueError with the field unless `value` is in 0..1."""
    if not 0 <= value <= 1:
        raise ValueError(f"{field}: expected a probability, 0 to 1; found {value!r}")


def _first_that_fits(drawn, area, ratio, height, width, most_rows, most_columns) -> Box | None:
    """Return the first box of `drawn [4 tries]` with 1..most_rows rows and 1..most_columns columns, None if none."""
    for share, shape, row, column in zip(*(drawn[k::4] for k in range(4)), strict=True):
        pixels, aspect = height * width * between(share, *area), log_between(shape, *ratio)
        rows, columns = round(math.sqrt(pixels / aspect)), round(math.sqrt(pixels * aspect))
        if 0 < rows <= most_rows and 0 < columns <= most_columns:
            return Box(int(row * (height - rows + 1)), int(column * (width - columns + 1)), rows, columns)
    return None


def _check_range(field: str, pair: tuple[float, float], most: float) -> None:
    if len(pair) != 2 or not 0 < pair[0] <= pair[1] <= most or pair[1] == math.inf:
        bound = "" if most == math.inf else f" <= {most}"
        raise ValueError(f"{field}: expected two numbers, 0 < low <= high{bound}; found {pair!r}")
