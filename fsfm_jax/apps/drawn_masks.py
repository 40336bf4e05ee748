"""Masks of your own parsing maps, by each masking strategy of the papers."""

from typing import NamedTuple

import numpy as np

from fsfm_jax import regions
from fsfm_jax.data.masking import MaskSpec, draw_masks

PATCH_SIZE = 16


class Masks(NamedTuple):
    """Masks of a batch.

    Attributes:
      mask: `[B, N] bool`, True is hidden.
      region_mask: `[B, N] bool`, the region that is covered completely, a part of `mask`; empty for strategies
        without one.
    """

    mask: np.ndarray
    region_mask: np.ndarray


def random(
    parsing_maps: np.ndarray, ratio: float = 0.75, seed: int = 0, patch_size: int = PATCH_SIZE, first: int = 0
) -> Masks:
    """Hide patches drawn uniformly (MAE).

    Each parsing map gets a mask of its own, `[B, H, W] integer -> Masks`.

    Args:
      parsing_maps: labels 0..10 of `regions.CLASSES` for each pixel.
      ratio: share of hidden patches, between 0 and 1.
      seed: masks of other seeds are independent.
      patch_size: side of a patch in pixels; N is (H / patch_size) * (W / patch_size).
      first: position of the first map in a stream; a mask depends on seed and position alone.

    Raises:
      ValueError: maps of another shape or type, labels outside 0..10, or a ratio that hides nothing or everything.
    """
    return _draw("random", parsing_maps, ratio, seed, patch_size, first)


def fasking_i(
    parsing_maps: np.ndarray, ratio: float = 0.75, seed: int = 0, patch_size: int = PATCH_SIZE, first: int = 0
) -> Masks:
    """Hide facial components first; background and skin stay visible. Arguments as of `random`."""
    return _draw("fasking_i", parsing_maps, ratio, seed, patch_size, first)


def frp(
    parsing_maps: np.ndarray, ratio: float = 0.75, seed: int = 0, patch_size: int = PATCH_SIZE, first: int = 0
) -> Masks:
    """Hide the same share of every facial region. Arguments as of `random`."""
    return _draw("frp", parsing_maps, ratio, seed, patch_size, first)


def crfr_r(
    parsing_maps: np.ndarray, ratio: float = 0.75, seed: int = 0, patch_size: int = PATCH_SIZE, first: int = 0
) -> Masks:
    """Cover one random region completely, the rest uniformly. Arguments as of `random`."""
    return _draw("crfr_r", parsing_maps, ratio, seed, patch_size, first)


def crfr_p(
    parsing_maps: np.ndarray, ratio: float = 0.75, seed: int = 0, patch_size: int = PATCH_SIZE, first: int = 0
) -> Masks:
    """Cover one random region completely and every other region in proportion (FSFM). Arguments as of `random`."""
    return _draw("crfr_p", parsing_maps, ratio, seed, patch_size, first)


def _draw(strategy: str, parsing_maps: np.ndarray, ratio: float, seed: int, patch_size: int, first: int) -> Masks:
    maps = np.asarray(parsing_maps)
    if maps.ndim != 3 or maps.shape[1] != maps.shape[2] or maps.shape[1] % patch_size:
        raise ValueError(
            f"parsing_maps: expected [B, S, S] with S a multiple of {patch_size}, found {list(maps.shape)}"
        )
    checked = [regions.check_parsing_map(one, maps.shape[1], f"face {number}") for number, one in enumerate(maps)]
    patches = (maps.shape[1] // patch_size) ** 2
    bits = np.stack([regions.patch_bits(one, patch_size) for one in checked] or [np.zeros(patches, np.uint16)])
    positions = np.arange(first, first + len(bits), dtype=np.int64)
    drawn = draw_masks(MaskSpec(strategy, ratio, "image", "exact"), bits, positions, seed, 1)
    return Masks(*(part[: len(maps)] for part in drawn))
