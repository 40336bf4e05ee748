"""What a masking strategy is given, and what a row of `masking.STRATEGIES` says of one."""

import dataclasses
from collections.abc import Callable

import numpy as np

from fsfm_jax.data import counter_random


@dataclasses.dataclass(frozen=True)
class Faces:
    """What a strategy draws from: images of a batch by the class bits of their patches.

    Attributes:
      bits: `[B, N] uint16`, bit c is set where class c of `regions.CLASSES` has a pixel in the patch.
      region: `[B] int64`, the region to cover, an index into `regions.REGIONS`; None unless `Strategy.covers_region`.
      seen: patches that stay visible, K.
      budget: float32, patches to hide: N - K, or the product that the released code truncates at every use.
      seed: of all masks. positions: `[B]`, of the images in the stream.
    """

    bits: np.ndarray
    region: np.ndarray | None
    seen: int
    budget: np.float32
    seed: int
    positions: np.ndarray

    def random(self, purpose: str, count: int) -> np.ndarray:
        """Random bits, `[B, count] uint64`, a function of seed, purpose and position."""
        return counter_random.bits(self.seed, purpose, self.positions, count)

    @property
    def none(self) -> np.ndarray:
        """A mask that hides nothing, `[B, N] bool`."""
        return np.zeros(self.bits.shape, bool)


@dataclasses.dataclass(frozen=True)
class Strategy:
    """A row of `STRATEGIES`.

    Attributes:
      draw: `Faces` -> mask `[B, N] bool`, True = hidden, N - K of each image, and the covered patches `[B, N] bool`, a
        subset of it; with `covers_region` False, none.
      title: what pictures and pages call it.
      about: one sentence, what it hides.
      covers_region: whether a drawn region is hidden completely.
    """

    draw: Callable[[Faces], tuple[np.ndarray, np.ndarray]]
    title: str
    about: str
    covers_region: bool = False
