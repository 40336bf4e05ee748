"""Apply the colour part of a strong augmentation: jitter, grey, blur.

Values are those of SimSiam (Chen and He, 2021, appendix A), whose loss FSFM uses. FSFM's supplement (C.2) gives none.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from fsfm_jax.data.distributions import between, uniforms
from fsfm_jax.records import check_image

_ENHANCED = {"brightness": ImageEnhance.Brightness, "contrast": ImageEnhance.Contrast, "saturation": ImageEnhance.Color}
JITTERED = (*_ENHANCED, "hue")
_DRAWS = 4 + 2 * len(JITTERED)


@dataclasses.dataclass(frozen=True)
class ColourSpec:
    """How colours are changed.

    Attributes:
      jitter: probability of the jitter, 0..1.
      strength: strength of the jitter: factors of brightness, contrast and saturation are uniform over 1 +- strength,
        hue is turned by up to that share of the circle.
      grey: probability of a greyscale picture.
      blur: probability of a Gaussian blur; sigma: smallest and largest standard deviation in pixels.
    """

    jitter: float = 0.8
    strength: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)
    grey: float = 0.2
    blur: float = 0.5
    sigma: tuple[float, float] = (0.1, 2.0)


class ColourDraw(NamedTuple):
    """The draw for one picture.

    jitter: names of `JITTERED` in order of application, with a factor (for hue, the turn); empty: none.
    sigma: standard deviation of the blur in pixels; 0: none.
    """

    jitter: tuple[tuple[str, float], ...]
    grey: bool
    sigma: float


def draw_colour(spec: ColourSpec, position: int, seed: int, stream: str) -> ColourDraw:
    """Draw the change of one picture, a function of (seed, stream, position)."""
    jittered, grey, blurred, size, *rest = uniforms(seed, stream, position, _DRAWS)
    amounts, order = rest[: len(JITTERED)], rest[len(JITTERED) :]
    jitter = []
    if jittered < spec.jitter:
        for index in sorted(range(len(JITTERED)), key=order.__getitem__):
            usual = 0 if JITTERED[index] == "hue" else 1
            jitter.append((JITTERED[index], usual + between(amounts[index], -1, 1) * spec.strength[index]))
    sigma = between(size, *spec.sigma) if blurred < spec.blur else 0.0
    return ColourDraw(tuple(jitter), grey < spec.grey, sigma)


def apply_colour(draw: ColourDraw, image: np.ndarray) -> np.ndarray:
    """Apply `draw` to `image [H, W, 3] uint8`, same shape and dtype; raise ValueError if it is not an image."""
    check_image(image)
    changed = Image.fromarray(image)
    for name, amount in draw.jitter:
        changed = _turn_hue(changed, amount) if name == "hue" else _ENHANCED[name](changed).enhance(amount)
    if draw.grey:
        changed = changed.convert("L").convert("RGB")
    if draw.sigma:
        changed = changed.filter(ImageFilter.GaussianBlur(draw.sigma))
    return np.array(changed)


def _turn_hue(image: Image.Image, turn: float) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    turned = (np.array(hue, np.int32) + round(256 * turn)) % 256
    return Image.merge("HSV", (Image.fromarray(turned.astype(np.uint8)), saturation, value)).convert("RGB")
