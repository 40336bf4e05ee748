"""Apply the colour jitter of face anti-spoofing: scale the saturation of a face crop by a random factor."""

import dataclasses

import cv2
import numpy as np

from fsfm_jax.data.boxes import check_probability
from fsfm_jax.data.distributions import between, uniforms
from fsfm_jax.records import check_image

OVERFLOWS = ("clip", "wrap")
SPAN = (0.8, 1.2)  # as in the released code


@dataclasses.dataclass(frozen=True)
class SaturationSpec:
    """How the saturation is changed.

    Attributes:
      probability: share of changed images, 0..1.
      factor: smallest and largest factor, 0 <= low <= high.
      overflow: `clip` limits saturation to 1 and rounds to the nearest level. `wrap` repeats the released code: a
        saturation above 1 makes negative colours, which wrap around to bright ones (modulo 256), and every value is
        rounded down, even in images whose saturation is not changed.
    """

    probability: float = 0.5
    factor: tuple[float, float] = SPAN
    overflow: str = "clip"

    def __post_init__(self):
        check_probability("augment.saturation.probability", self.probability)
        if len(self.factor) != 2 or not 0 <= self.factor[0] <= self.factor[1] < float("inf"):
            raise ValueError(
                f"augment.saturation.factor: expected two numbers, 0 <= low <= high; found {self.factor!r}"
            )
        if self.overflow not in OVERFLOWS:
            raise ValueError(
                f"augment.saturation.overflow: expected one of {', '.join(OVERFLOWS)}; found {self.overflow!r}"
            )


def draw_factor(spec: SaturationSpec, position: int, seed: int) -> float:
    """Draw the factor of one image, 1 for unchanged ones: a function of (seed, position)."""
    chosen, size = uniforms(seed, "augment saturation", position, 2)
    return between(size, *spec.factor) if chosen < spec.probability else 1.0


def scale_saturation(image: np.ndarray, factor: float, overflow: str) -> np.ndarray:
    """Scale the HSV saturation of `image [H, W, 3] uint8` (RGB) by `factor`; raise ValueError for another array."""
    check_image(image)
    if overflow == "clip" and factor == 1:
        return image
    hsv = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2HSV)
    hsv[..., 1] *= factor
    if overflow == "clip":
        # Clipping here, not the colours afterwards, keeps the hue.
        np.minimum(hsv[..., 1], 1, out=hsv[..., 1])
        return np.clip(np.rint(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)), 0, 255).astype(np.uint8)
    # Via int32: the conversion of a negative float to uint8 depends on the processor.
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).astype(np.int32).astype(np.uint8)
