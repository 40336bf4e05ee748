"""Apply RandAugment (Cubuk et al., 2020): a few random changes of colour and shape, of random strength.

This is the variant in which every operation grows stronger with its magnitude. Magnitudes are 0 to 10:

| operation                                  | argument at magnitude m                                     |
|--------------------------------------------|-------------------------------------------------------------|
| auto_contrast, equalize, invert            | none                                                        |
| rotate                                     | +-3 m degrees                                               |
| posterize                                  | 4 - int(0.4 m) bits are kept; with 0 bits all is black      |
| solarize                                   | values from 256 - int(25.6 m) on are inverted               |
| solarize_add                               | int(11 m) is added to values below 128                      |
| color, contrast, brightness, sharpness     | factor 1 +- 0.09 m                                          |
| shear_x, shear_y                           | +-0.03 m                                                    |
| translate_x_rel, translate_y_rel           | +-0.045 m of the width or height                            |
"""

import dataclasses
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from fsfm_jax.data.boxes import check_probability
from fsfm_jax.data.distributions import standard_normal, uniforms
from fsfm_jax.data.resizing import INTERPOLATIONS
from fsfm_jax.records import check_image

MOST = 10  # the largest magnitude
_DRAWS = 5  # numbers per operation


@dataclasses.dataclass(frozen=True)
class RandAugmentSpec:
    """How operations are drawn (the released code's values are the defaults).

    Attributes:
      fill: RGB colour 0..255 of pixels from outside the image; see `fill_colour`.
      operations: operations drawn per image, with replacement, >= 1.
      probability: chance that a drawn operation is applied, 0..1.
      magnitude: mean of an operation's magnitude, 0..10.
      deviation: its standard deviation, >= 0; magnitudes are clipped to 0..10.
    """

    fill: tuple[int, int, int]
    operations: int = 2
    probability: float = 0.5
    magnitude: float = 9.0
    deviation: float = 0.5

    def __post_init__(self):
        if len(self.fill) != 3 or not all(isinstance(v, int) and 0 <= v <= 255 for v in self.fill):
            raise ValueError(f"augment.rand_augment.fill: expected three whole numbers 0 to 255; found {self.fill!r}")
        if not isinstance(self.operations, int) or self.operations < 1:
            raise ValueError(
                f"augment.rand_augment.operations: expected a whole number, at least 1; found {self.operations!r}"
            )
        check_probability("augment.rand_augment.probability", self.probability)
        if not 0 <= self.magnitude <= MOST:
            raise ValueError(f"augment.rand_augment.magnitude: expected 0 to {MOST}; found {self.magnitude!r}")
        if not 0 <= self.deviation < float("inf"):
            raise ValueError(f"augment.rand_augment.deviation: expected at least 0; found {self.deviation!r}")


class Operation(NamedTuple):
    """One change of an image: its name, magnitude 0..10, and sign 1 or -1 for those that have one."""

    name: str
    magnitude: float
    sign: int


def parse(text: str, fill: tuple[int, int, int]) -> RandAugmentSpec | None:
    """Parse the usual short form, such as `rand-m9-mstd0.5-inc1` (also `-n2`, the number of operations), or `none`.

    Raises:
      ValueError: the text has another form, a part is repeated or missing, or `inc1` is missing (other variants are not
        supported).
    """
    if text == "none":
        return None
    head, *parts = text.split("-")
    matches = [re.fullmatch(r"(mstd|inc|m|n)(\d+(?:\.\d+)?)", part) for part in parts]
    found = {match[1]: match[2] for match in matches if match}
    wanted = head == "rand" and len(found) == len(parts) and "m" in found and found.get("inc") == "1"
    if not wanted or not found.get("n", "2").isdigit():
        raise ValueError(
            'augment.rand_augment: expected "none" or "rand-mMAGNITUDE[-nOPERATIONS][-mstdDEVIATION]-inc1", '
            f"such as rand-m9-mstd0.5-inc1; found {text!r}"
        )
    return RandAugmentSpec(
        fill,
        operations=int(found.get("n", "2")),
        magnitude=float(found["m"]),
        deviation=float(found.get("mstd", "0")),
    )


def fill_colour(mean: tuple[float, float, float]) -> tuple[int, int, int]:
    """Return the mean colour of the normalisation (0..1) as levels 0..255, so that fill is about 0 for the network."""
    red, green, blue = (min(255, round(255 * channel)) for channel in mean)
    return red, green, blue


def draw_operations(spec: RandAugmentSpec, position: int, seed: int) -> list[Operation]:
    """Draw the operations to apply to one image, in order: a function of (seed, position)."""
    drawn = uniforms(seed, "augment operations", position, _DRAWS * spec.operations)
    found = []
    for name, chosen, radius, angle, sign in zip(*(drawn[k::_DRAWS] for k in range(_DRAWS)), strict=True):
        if chosen < spec.probability:
            magnitude = spec.magnitude + spec.deviation * standard_normal(radius, angle)
            magnitude = min(max(magnitude, 0.0), float(MOST))
            found.append(Operation(NAMES[int(name * len(NAMES))], magnitude, -1 if sign < 0.5 else 1))
    return found


def apply_operations(
    operations: list[Operation], image: np.ndarray, interpolation: str, fill: tuple[int, int, int]
) -> np.ndarray:
    """Apply `operations` to `image [H, W, 3] uint8`, same shape and dtype; raise ValueError for another array."""
    check_image(image)
    if not operations:
        return image
    changed, resample = Image.fromarray(image), INTERPOLATIONS[interpolation]
    for operation in operations:
        _, change = _TABLE[operation.name]
        changed = change(changed, argument(operation), resample, fill)
    return np.array(changed)


def argument(operation: Operation) -> float | None:
    """Return the argument of an operation; see the table above. None for operations without one."""
    of_share, _ = _TABLE[operation.name]
    return None if of_share is None else of_share(operation.magnitude / MOST, operation.sign)


def _plain(change: Callable) -> tuple:
    return None, lambda image, value, resample, fill: change(image)


def _rotate(image, degrees, resample, fill):
    return image.rotate(degrees, resample=resample, fillcolor=fill)


def _posterize(image, bits, resample, fill):
    # Newer versions of Pillow refuse 0 bits; older ones gave black.
    return ImageOps.posterize(image, bits) if bits else Image.new("RGB", image.size)


def _solarize(image, threshold, resample, fill):
    return ImageOps.solarize(image, threshold)


def _solarize_add(image, added, resample, fill):
    return image.point([min(255, value + added) if value < 128 else value for value in range(256)] * 3)


def _enhance_with(enhance: Callable) -> tuple:
    def change(image, factor, resample, fill):
        return enhance(image).enhance(factor)

    return lambda share, sign: 1 + sign * share * 0.9, change


def _move_by(most: float, matrix: Callable) -> tuple:
    """Make an affine change: `matrix(value, image size)` maps places in the result to places in the image."""

    def change(image, value, resample, fill):
        where = matrix(value, image.size)
        return image.transform(image.size, Image.Transform.AFFINE, where, resample=resample, fillcolor=fill)

    return lambda share, sign: sign * share * most, change


# Argument from (magnitude / 10, sign), and change from (image, argument, resample, fill).
_TABLE: dict[str, tuple[Callable | None, Callable]] = {
    "auto_contrast": _plain(ImageOps.autocontrast),
    "equalize": _plain(ImageOps.equalize),
    "invert": _plain(ImageOps.invert),
    "rotate": (lambda share, sign: sign * share * 30, _rotate),
    "posterize": (lambda share, sign: 4 - int(share * 4), _posterize),
    "solarize": (lambda share, sign: 256 - int(share * 256), _solarize),
    "solarize_add": (lambda share, sign: int(share * 110), _solarize_add),
    "color": _enhance_with(ImageEnhance.Color),
    "contrast": _enhance_with(ImageEnhance.Contrast),
    "brightness": _enhance_with(ImageEnhance.Brightness),
    "sharpness": _enhance_with(ImageEnhance.Sharpness),
    "shear_x": _move_by(0.3, lambda value, size: (1, value, 0, 0, 1, 0)),
    "shear_y": _move_by(0.3, lambda value, size: (1, 0, 0, value, 1, 0)),
    "translate_x_rel": _move_by(0.45, lambda value, size: (1, 0, value * size[0], 0, 1, 0)),
    "translate_y_rel": _move_by(0.45, lambda value, size: (1, 0, 0, 0, 1, value * size[1])),
}
NAMES = tuple(_TABLE)
