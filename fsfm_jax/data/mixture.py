"""Draw how a batch is mixed in pairs: mixup (Zhang et al., 2018) or CutMix (Yun et al., 2019), at random.

One draw applies to the whole global batch. It is a function of (seed, step), so all hosts draw the same.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from fsfm_jax.data.boxes import NOTHING, Box, check_probability
from fsfm_jax.data.distributions import symmetric_beta, uniforms


@dataclasses.dataclass(frozen=True)
class MixSpec:
    """How mixing is drawn (the released code's values are the defaults).

    Attributes:
      mixup: alpha of mixup's ratio ~ Beta(alpha, alpha), 0.05..100; 0 for no mixup.
      cutmix: the same for CutMix.
      probability: share of mixed batches, 0..1.
      switch: share of CutMix among mixed batches if both have an alpha, 0..1.
    """

    mixup: float = 0.8
    cutmix: float = 1.0
    probability: float = 1.0
    switch: float = 0.5

    def __post_init__(self):
        for field in ("mixup", "cutmix"):
            if getattr(self, field) != 0 and not 0.05 <= getattr(self, field) <= 100:
                raise ValueError(f"mix.{field}: expected 0 for never, or 0.05 to 100; found {getattr(self, field)!r}")
        check_probability("mix.probability", self.probability)
        check_probability("mix.switch", self.switch)


class Mixture(NamedTuple):
    """The draw of one batch, the arguments of `tasks.mixing`.

    Attributes:
      use_cutmix: `bool`, False for mixup.
      ratio: `float32`, the share of the image itself in mixup, 0..1. CutMix counts the pixels of its box instead.
      box: `[4] int32`, top, left, height, width of the box that CutMix takes from the partner; zero for mixup.
    """

    use_cutmix: np.bool_
    ratio: np.float32
    box: np.ndarray


def draw_mixture(spec: MixSpec, size: int, step: int, seed: int) -> Mixture:
    """Draw the mixture of optimizer step `step` for images of `size` x `size` pixels; ratio 1 for an unmixed batch."""
    mixed, switch, row, column = uniforms(seed, "mixture", step, 4)
    cutmix = switch < spec.switch if spec.mixup and spec.cutmix else bool(spec.cutmix)
    alpha = spec.cutmix if cutmix else spec.mixup
    if mixed >= spec.probability or not alpha:
        return Mixture(np.bool_(False), np.float32(1), np.array(NOTHING, np.int32))
    ratio = symmetric_beta(seed, "mixture ratio", step, alpha)
    box = cut_box(ratio, size, int(row * size), int(column * size)) if cutmix else NOTHING
    return Mixture(np.bool_(cutmix), np.float32(ratio), np.array(box, np.int32))


def cut_box(ratio: float, size: int, row: int, column: int) -> Box:
    """Return CutMix's box around (`row`, `column`): sides `int(size sqrt(1 - ratio))`, half rounded down, clipped."""
    half = int(size * math.sqrt(1 - ratio)) // 2
    top, left = max(row - half, 0), max(column - half, 0)
    return Box(top, left, min(row + half, size) - top, min(column + half, size) - left)
