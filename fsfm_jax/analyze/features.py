"""Features of many faces in two dimensions, by t-SNE or by their principal components.

UMAP is not offered: its package needs numba, a compiler beside XLA for one more view of the same distances.
"""

import csv
import os
from collections.abc import Sequence

import numpy as np

from fsfm_jax.figures.plot import save
from fsfm_jax.figures.scatter import plot_groups

METHODS = ("tsne", "pca")
MISSING = "t-SNE needs scikit-learn (requirements/dev.txt has it); --method=pca needs nothing"


def principal_components(features: np.ndarray) -> np.ndarray:
    """The first two, `[n, D] -> [n, 2] float64`; each points to where its largest coefficient is positive."""
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * np.sign(axes[:2][np.arange(2), np.abs(axes[:2]).argmax(axis=1)])[:, None]
    return centred @ axes.T


def embed(features: np.ndarray, method: str) -> np.ndarray:
    """Places of the rows of `[n, D]` in the plane, `[n, 2]`.

    Raises:
      ValueError: another method, or fewer than four rows. ModuleNotFoundError: t-SNE without scikit-learn.
    """
    if method not in METHODS:
        raise ValueError(f"--method: expected one of {', '.join(METHODS)}; found {method!r}")
    if len(features) < 4:
        raise ValueError(f"--images: expected at least 4 faces to compare, found {len(features)}")
    if method == "pca":
        return principal_components(features)
    try:
        from sklearn.manifold import TSNE
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(MISSING) from error
    # A perplexity must be less than the number of points; 30 is the usual one.
    perplexity = min(30.0, (len(features) - 1) / 3)
    start = principal_components(features)
    start = start / max(start[:, 0].std(), 1e-30) * 1e-4  # as scikit-learn scales its own start
    return TSNE(perplexity=perplexity, init=start.astype(np.float32), random_state=0).fit_transform(features)


def draw_features(
    features: np.ndarray, groups: Sequence[str], videos: Sequence[str], method: str, title: str, folder: str
) -> np.ndarray:
    """Writes `features.png`, a point for each face in the colour of its group, and `features.csv` with the places.

    Raises:
      ValueError: see `embed`. ModuleNotFoundError: see `embed`.
    """
    places = embed(features, method)
    axes = {"tsne": ("t-SNE", ""), "pca": ("first principal component", "second principal component")}[method]
    save(os.path.join(folder, "features.png"), plot_groups(title, places, groups, *axes))
    with open(os.path.join(folder, "features.csv"), "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["group", "video", "x", "y"])
        writer.writerows([g, v, *map(float, at)] for g, v, at in zip(groups, videos, places, strict=True))
    return places
