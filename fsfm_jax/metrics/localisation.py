"""Localisation of a known region by a heat map: overlap, and whether the peak lies inside.

A heat map `[H, W]` holds the evidence at each pixel; a region `[H, W] bool` marks where it should be.
"""

import numpy as np


def intersection_over_union(heat: np.ndarray, region: np.ndarray, share: float) -> float:
    """Return the IoU (0..1) of the region and the pixels whose heat is at least `share` of the maximum.

    A map without a positive value gives 0.

    Raises:
      ValueError: if shapes differ, the region is empty, the heat is negative or non-finite, or `share` is not in
        (0, 1].
    """
    heat, region = _check(heat, region)
    if not 0 < share <= 1:
        raise ValueError(f"share: expected more than 0 and at most 1, found {share}")
    marked = (heat >= share * heat.max()) & (heat > 0)
    return float((marked & region).sum() / (marked | region).sum())


def pointing_game(heat: np.ndarray, region: np.ndarray) -> float:
    """Return 1 if the hottest pixel lies in the region, else 0; for several hottest pixels the share that does.

    This is the pointing game of Zhang et al. ("Top-down neural attention by excitation backprop", ECCV 2016) without
    its margin of 15 pixels. A map without a positive value gives 0.

    Raises:
      ValueError: if shapes differ, the region is empty, or the heat is negative or non-finite.
    """
    heat, region = _check(heat, region)
    return float(region[heat == heat.max()].mean()) if heat.max() > 0 else 0.0


def _check(heat: np.ndarray, region: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    heat, region = np.asarray(heat, np.float64), np.asarray(region)
    if heat.ndim != 2 or heat.shape != region.shape or region.dtype != bool:
        raise ValueError(
            f"expected heat [H, W] and a bool region of the same shape; found {heat.shape} and {region.dtype} "
            f"{region.shape}"
        )
    if not region.any():
        raise ValueError("region: expected at least one pixel, found none; leave this picture out")
    if not np.isfinite(heat).all() or heat.min() < 0:
        raise ValueError("heat: expected finite numbers of at least 0; found negative or non-finite numbers")
    return heat, region
