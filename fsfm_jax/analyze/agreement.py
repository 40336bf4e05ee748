"""Agreement of two parsers on the same faces: classes of pixels, regions of patches, and masks drawn from them."""

import numpy as np

from fsfm_jax import regions
from fsfm_jax.data.masking import MaskSpec, draw_masks


def overlap(one: np.ndarray, other: np.ndarray) -> float | None:
    """Return the intersection over union of two sets, `[...] bool`, over all faces; None if both are empty."""
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else None


def class_overlaps(one: np.ndarray, other: np.ndarray) -> dict[str, float | None]:
    """Return the overlap of the pixels of each class in parsing maps `[n, S, S] uint8`."""
    return {name: overlap(one == number, other == number) for number, name in enumerate(regions.CLASSES)}


def region_overlaps(one: np.ndarray, other: np.ndarray) -> dict[str, float | None]:
    """Return the overlap of the patches of each region in class bits `[n, N] uint16`."""
    mine, theirs = regions.membership(one), regions.membership(other)
    return {name: overlap(mine[:, number], theirs[:, number]) for number, name in enumerate(regions.REGIONS)}


def mask_agreement(
    strategy: str, ratio: float, one: np.ndarray, other: np.ndarray, rolls: int, seed: int
) -> dict[str, float | None]:
    """Compare the masks that a strategy draws from class bits `[n, N] uint16` of two parsers.

    Both parsers get the same seed and positions, so the same random numbers and the same covered region. All
    differences are due to the maps. Each face gets `rolls` masks.

    Returns:
      hidden: share of hidden patches that both masks hide; for independent masks its mean is the mask ratio.
      covered: overlap of the completely covered regions; None if the strategy covers none, or no face has it.
      identical: share of masks that are equal in every patch.
    """
    spec = MaskSpec(strategy, ratio, "image", "exact")
    bits = [np.repeat(each, rolls, axis=0) for each in (one, other)]
    positions = np.arange(len(bits[0]))
    (mine, my_region), (theirs, their_region) = (draw_masks(spec, each, positions, seed, 1) for each in bits)
    return {
        "hidden": np.count_nonzero(mine & theirs) / np.count_nonzero(mine),
        "covered": overlap(my_region, their_region),
        "identical": float((mine == theirs).all(axis=1).mean()),
    }
