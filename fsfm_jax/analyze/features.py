"""Projection of the features of many faces to two dimensions, by t-SNE or principal components.

t-SNE is implemented in `tsne.py`, because a hundred lines do not justify a dependency on scikit-learn. UMAP is not
offered, because its package needs numba, a second compiler next to XLA.
"""

import csv
import os
from collections.abc import Sequence

import numpy as np

from fsfm_jax.analyze import tsne
from fsfm_jax.figures.plot import save
from fsfm_jax.figures.scatter import plot_groups

METHODS = ("tsne", "pca")
PERPLEXITY = 30.0  # the common value; a third of the number of points if that is smaller


def principal_components(features: np.ndarray) -> np.ndarray:
    """Project to the first two components, `[n, D] -> [n, 2] float64`; the sign makes the largest coefficient > 0."""
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * np.sign(axes[:2][np.arange(2), np.abs(axes[:2]).argmax(axis=1)])[:, None]
    return centred @ axes.T


def embed(features: np.ndarray, method: str) -> np.ndarray:
    """Project the rows of `[n, D]` to the plane, `-> [n, 2]`.

    Raises:
      ValueError: if `method` is unknown, there are fewer than four rows, or more than 5000 for t-SNE.
    """
    if method not in METHODS:
        raise ValueError(f"--method: expected one of {', '.join(METHODS)}; found {method!r}")
    if len(features) < 4:
        raise ValueError(f"--images: expected at least 4 faces to compare, found {len(features)}")
    start = principal_components(features)
    if method == "pca":
        return start
    start = start / max(start[:, 0].std(), 1e-30) * 1e-4  # so small that initially all points attract each other
    return tsne.embed(features, start, min(PERPLEXITY, (len(features) - 1) / 3))


def draw_features(
    features: np.ndarray, groups: Sequence[str], videos: Sequence[str], method: str, title: str, folder: str
) -> np.ndarray:
    """Write `features.png`, a point for each face in the colour of its group, and `features.csv` with coordinates.

    Raises:
      ValueError: see `embed`.
    """
    places = embed(features, method)
    axes = {"tsne": ("t-SNE", ""), "pca": ("first principal component", "second principal component")}[method]
    save(os.path.join(folder, "features.png"), plot_groups(title, places, groups, *axes))
    with open(os.path.join(folder, "features.csv"), "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["group", "video", "x", "y"])
        writer.writerows([g, v, *map(float, at)] for g, v, at in zip(groups, videos, places, strict=True))
    return places
