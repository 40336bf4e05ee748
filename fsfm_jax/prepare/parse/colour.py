"""Model the colours of a region by a few Gaussians."""

from dataclasses import dataclass

import cv2
import numpy as np

from fsfm_jax.prepare.parse.skin import squared_distance

PARTS = 3
NOISE = 16.0  # variance added to each part: a thing's colours in the rest of the picture differ from its samples
FEW = 200  # samples below which one part must do
SMALLEST = 10  # samples; a smaller part is left out
SEED = 0


@dataclass(frozen=True)
class Colours:
    """Mixture of Gaussians over `[..., 3]` colours."""

    parts: tuple[tuple[np.ndarray, np.ndarray, float], ...]  # mean, inverse covariance, constant of the cost

    def cost(self, lab: np.ndarray) -> np.ndarray:
        """Return the negative log likelihood under the best part, up to a constant, `[H, W, 3] -> [H, W] float32`."""
        costs = [(squared_distance(lab - mean, inverse) + constant) / 2 for mean, inverse, constant in self.parts]
        return np.minimum.reduce(costs).astype(np.float32)


def colours_of(samples: np.ndarray) -> Colours:
    """Fit the colours of `samples`, `[N, 3] float32` Lab with N of at least 10."""
    count = PARTS if len(samples) >= FEW else 1
    labels = np.zeros(len(samples), int)
    if count > 1:
        cv2.setRNGSeed(SEED)
        stop = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 8, 1.0)
        labels = cv2.kmeans(samples, count, None, stop, 1, cv2.KMEANS_PP_CENTERS)[1].ravel()
    parts = []
    for label in range(count):
        chosen = samples[labels == label].astype(np.float64)
        if len(chosen) < SMALLEST:
            continue
        covariance = np.cov(chosen.T) + NOISE * np.eye(3)
        constant = np.linalg.slogdet(covariance)[1] - 2 * np.log(len(chosen) / len(samples))
        parts.append((chosen.mean(0).astype(np.float32), np.linalg.inv(covariance), np.float32(constant)))
    return Colours(tuple(parts))
