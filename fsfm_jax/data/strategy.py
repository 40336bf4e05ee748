"""The input of a masking strategy, and the type of a row of `masking.STRATEGIES`."""

import dataclasses
from collections.abc import Callable

import numpy as np

from fsfm_jax.data import counter_random


@dataclasses.dataclass(frozen=True)
class Faces:
    """The input of a strategy: the images of a batch as class bits of their patches.

    Attributes:
      bits: `[B, N] uint16`, bit c is set if class c of `regions.CLASSES` has a pixel in the patch.
      region: `[B] int64`, the region to cover, an index into `regions.REGIONS`; None unless `Strategy.covers_region`.
      seen: number of visible patches, K.
      budget: float32, number of patches to hide: N - K, or the product that the released code truncates at every use.
      seed: seed of all masks. positions: `[B]`, positions of the images in the stream.
    """

    bits: np.ndarray
    region: np.ndarray | None
    seen: int
    budget: np.float32
    seed: int
    positions: np.ndarray

    def random(self, purpose: str, count: int) -> np.ndarray:
        """Draw random bits, `[B, count] uint64`, a function of seed, purpose and position."""
        return counter_random.bits(self.seed, purpose, self.positions, count)

    @property
    def none(self) -> np.ndarray:
        """Return a mask that hides nothing, `[B, N] bool`."""
        return np.zeros(self.bits.shape, bool)


@dataclasses.dataclass(frozen=True)
class Strategy:
    """A row of `STRATEGIES`.

    Attributes:
      draw: maps `Faces` to a mask `[B, N] bool`, True = hidden, N - K for each image, and the covered patches
        `[B, N] bool`, a subset of it; all False if `covers_region` is False.
      title: its name in pictures and pages.
      about: a sentence on what it hides.
      covers_region: whether it hides a drawn region completely.
    """

    draw: Callable[[Faces], tuple[np.ndarray, np.ndarray]]
    title: str
    about: str
    covers_region: bool = False
