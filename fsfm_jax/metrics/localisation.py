"""How well a heat map finds a region that is known: overlap, and whether its peak lies inside.

A map `[H, W]` says how much of the evidence lies at each pixel, a region `[H, W] bool` where it should lie.
"""

import numpy as np


def intersection_over_union(heat: np.ndarray, region: np.ndarray, share: float) -> float:
    """IoU of the region and the pixels whose heat is at least `share` of the largest, 0..1.

    A map without a value above 0 marks nothing: 0.

    Raises:
      ValueError: other shapes, an empty region, heat that is negative or not finite, a share that is not in (0, 1].
    """
    heat, region = _check(heat, region)
    if not 0 < share <= 1:
        raise ValueError(f"share: expected more than 0 and at most 1, found {share}")
    marked = (heat >= share * heat.max()) & (heat > 0)
    return float((marked & region).sum() / (marked | region).sum())


def pointing_game(heat: np.ndarray, region: np.ndarray) -> float:
    """Whether the hottest pixel lies in the region, 1 or 0; of several hottest ones the share that does.

    The pointing game of Zhang et al. ("Top-down neural attention by excitation backprop", ECCV 2016) without its margin
    of 15 pixels. A map without a value above 0 points nowhere: 0.

    Raises:
      ValueError: other shapes, an empty region, heat that is negative or not finite.
    """
    heat, region = _check(heat, region)
    return float(region[heat == heat.max()].mean()) if heat.max() > 0 else 0.0


def _check(heat: np.ndarray, region: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    heat, region = np.asarray(heat, np.float64), np.asarray(region)
    if heat.ndim != 2 or heat.shape != region.shape or region.dtype != bool:
        raise ValueError(
            f"expected heat [H, W] and a region of its shape of truth values; found {heat.shape} and {region.dtype} "
            f"{region.shape}"
        )
    if not region.any():
        raise ValueError("region: expected at least one pixel, found none; leave this picture out")
    if not np.isfinite(heat).all() or heat.min() < 0:
        raise ValueError("heat: expected finite numbers from 0 on; found others")
    return heat, region
