"""Smooth evidence along the edges of a picture, so that neighbours of one colour get one label."""

import cv2
import numpy as np

ROUNDS, WEIGHT = 3, 8.0  # of the mean field; nats between neighbours that all agree and that are undecided
EDGE = 0.002  # variance of the guide, in 0..1, from which a change is an edge


def mean_field(evidence: np.ndarray, guide: np.ndarray, radius: int) -> np.ndarray:
    """Return log odds that combine each pixel with similar neighbours within `radius` pixels, `[H, W] float32`.

    `evidence` are the log odds of each pixel alone, `guide` is the lightness in 0..1; both `[H, W] float32`.
    """
    belief = evidence
    for _ in range(ROUNDS):
        probability = 0.5 * (1 + np.tanh(belief / 2))
        belief = evidence + WEIGHT * (guided_filter(probability, guide, radius) - 0.5)
    return belief


def guided_filter(values: np.ndarray, guide: np.ndarray, radius: int) -> np.ndarray:
    """Apply the guided filter (He, Sun and Tang 2010), `[H, W] float32`: a mean that stops at edges of `guide`."""

    def mean(array: np.ndarray) -> np.ndarray:
        return cv2.blur(array, (2 * radius + 1, 2 * radius + 1), borderType=cv2.BORDER_REFLECT)

    mean_guide, mean_values = mean(guide), mean(values)
    covariance = mean(guide * values) - mean_guide * mean_values
    slope = covariance / (mean(guide * guide) - mean_guide * mean_guide + np.float32(EDGE))
    return mean(slope) * guide + mean(mean_values - slope * mean_guide)
