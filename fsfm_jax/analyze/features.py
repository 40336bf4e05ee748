"""Features of many faces in two dimensions, by t-SNE or by their principal components.

t-SNE is computed here (`tsne.py`): a hundred lines need no package, and scikit-learn would come along for them alone.
UMAP is not offered: its package needs numba, a compiler beside XLA for one more view of the same distances.
"""

import csv
import os
from collections.abc import Sequence

import numpy as np

from fsfm_jax.analyze import tsne
from fsfm_jax.figures.plot import save
from fsfm_jax.figures.scatter import plot_groups

METHODS = ("tsne", "pca")
PERPLEXITY = 30.0  # the usual one; of fewer points a third


def principal_components(features: np.ndarray) -> np.ndarray:
    """The first two, `[n, D] -> [n, 2] float64`; each points to where its largest coefficient is positive."""
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * np.sign(axes[:2][np.arange(2), np.abs(axes[:2]).argmax(axis=1)])[:, None]
    return centred @ axes.T


def embed(features: np.ndarray, method: str) -> np.ndarray:
    """Places of the rows of `[n, D]` in the plane, `[n, 2]`.

    Raises:
      ValueError: another method, fewer than four rows, or for t-SNE more than 5000.
    """
    if method not in METHODS:
        raise ValueError(f"--method: expected one of {', '.join(METHODS)}; found {method!r}")
    if len(features) < 4:
        raise ValueError(f"--images: expected at least 4 faces to compare, found {len(features)}")
    start = principal_components(features)
    if method == "pca":
        return start
    start = start / max(start[:, 0].std(), 1e-30) * 1e-4  # so small that all points pull at each other
    return tsne.embed(features, start, min(PERPLEXITY, (len(features) - 1) / 3))


def draw_features(
    features: np.ndarray, groups: Sequence[str], videos: Sequence[str], method: str, title: str, folder: str
) -> np.ndarray:
    """Writes `features.png`, a point for each face in the colour of its group, and `features.csv` with the places.

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
