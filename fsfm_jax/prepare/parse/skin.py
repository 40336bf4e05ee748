"""Model the colour of bare skin all over a head, fitted to the face in the picture.

The colour of surely bare skin is fitted as a linear function of the normals of an ellipsoid, which is what soft light
on a smooth head gives. Continued over the head, it says how skin would look there: neither the dark side of a bald
head nor its bright top is then far from skin.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from fsfm_jax.prepare.parse.head import Head

ELLIPSOID = (0.85, 1.15)  # half axes of a head, across and up, in head units
ELLIPSOID_UP = -0.05  # its centre
CORE_UP = (-0.5, 0.12)  # cheeks, nose and the place between the brows: bare skin unless something covers the face
FOREHEAD_UP = 0.42  # up to here the face is a sample too, where it looks like the core; hair may fall over it
ENOUGH = 60  # pixels of the core without which there is nothing to learn from
FITS = 3
FIRST, KEPT = 80, 85  # per cent of the core in the first fit, and in the next ones
OUTLIER = 4.0  # times the median of the squared distance; a twentieth of a Gaussian's samples are that far
LIGHT_RIDGE = 0.03  # holds the light back where half of the face is hidden; a share of the samples' weight
NOISE = (16.0, 4.0, 4.0)  # variance of L, a, b that the light does not explain, at least
GLOSS_COST = 0.25  # squared distance for one unit of gloss
# Ears and neck: not on the ellipsoid, darker than the face, any shade of it.
SHADE, SHADE_NOISE = (-8.0, 0.0, 0.0), (150.0, 10.0, 10.0)


@dataclass(frozen=True)
class Skin:
    """Skin of one head; `[H, W]` arrays are those of its window, colours are CIE Lab with L in 0..100."""

    distance: np.ndarray  # [H, W] float32: squared Mahalanobis distance from lit skin
    matte_distance: np.ndarray  # [H, W] float32: the same if gloss may be added to skin
    brighter: np.ndarray  # [H, W] float32: L above that of lit skin
    log_determinant: float  # of the covariance behind `distance`
    mean: np.ndarray  # [3] colour of the face
    covariance: np.ndarray  # [3, 3] of that colour

    def cost(self, squared_distance: np.ndarray) -> np.ndarray:
        """Return the negative log likelihood of lit skin at a squared distance, up to a constant; nats."""
        return (squared_distance + np.float32(self.log_determinant)) / 2

    def shaded_cost(self, lab: np.ndarray) -> np.ndarray:
        """Return the negative log likelihood of ears and neck, `[H, W, 3] -> [H, W] float32`, to the same constant."""
        covariance = self.covariance + np.diag(SHADE_NOISE)
        squared = squared_distance(lab - np.float32(self.mean + SHADE), np.linalg.inv(covariance))
        return (squared + np.float32(np.linalg.slogdet(covariance)[1])) / 2


def squared_distance(difference: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Return the squared Mahalanobis length of `[H, W, 3]` under an inverse covariance `[3, 3]`, `[H, W] float32`."""
    root = np.linalg.cholesky(inverse).astype(np.float32)
    first, second, third = cv2.split(cv2.transform(difference, root.T))
    # NumPy's sum over an axis of three takes five times as long.
    return first * first + second * second + third * third


def skin_of(lab: np.ndarray, head: Head) -> Skin | None:
    """Fit the skin of a head window, `[H, W, 3] float32` Lab; None if the window shows too little of the face."""
    core = head.bare & (head.up > CORE_UP[0]) & (head.up < CORE_UP[1])
    if core.sum() < ENOUGH:
        return None
    sample_of = core | (head.bare & (head.up < FOREHEAD_UP) & (head.up >= CORE_UP[1]))
    normals = _normals(head)
    # Glasses, beards and hands are far from the middle colour; the dark side of the face comes back with the light.
    aside = sum(np.abs(channel) for channel in cv2.split(lab - np.median(lab[core], axis=0)))
    sample = core & (aside <= np.percentile(aside[core], FIRST))
    for _ in range(FITS):
        difference = lab - cv2.transform(normals, _light(normals[sample], lab[sample]).T)
        inverse = np.linalg.inv(np.cov(difference[sample].T) + np.diag(NOISE))
        distance = squared_distance(difference, inverse)
        limit = min(np.percentile(distance[core], KEPT), OUTLIER * np.median(distance[core]))
        sample = sample_of & (distance <= limit)
    mean = lab[sample].mean(0)
    gloss, matte = _without_gloss(difference, mean)
    return Skin(
        distance=distance,
        matte_distance=squared_distance(matte, inverse) + np.float32(GLOSS_COST) * gloss,
        brighter=difference[..., 0],
        log_determinant=float(-np.linalg.slogdet(inverse)[1]),
        mean=mean,
        covariance=np.cov(lab[sample].T),
    )


def _normals(head: Head) -> np.ndarray:
    """Return 1 and the normals of the ellipsoid, `[H, W, 4] float32`."""
    across = (head.across - np.float32(head.centre_across)) / np.float32(ELLIPSOID[0])
    up = (head.up - np.float32(ELLIPSOID_UP)) / np.float32(ELLIPSOID[1])
    forward = np.sqrt(np.clip(1 - across**2 - up**2, 0, 1))
    return np.stack([np.ones_like(across), across, up, forward], -1)


def _light(normals: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Fit `[4, 3]` by least squares from normals `[N, 4]` to colours `[N, 3]`, with a ridge on all but the constant."""
    normals, colours = normals.astype(np.float64), colours.astype(np.float64)
    ridge = LIGHT_RIDGE * len(normals) * np.diag([0.0, 1.0, 1.0, 1.0])
    return np.linalg.solve(normals.T @ normals + ridge, normals.T @ colours).astype(np.float32)


def _without_gloss(difference: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split differences from skin `[H, W, 3]` into their part towards white, `[H, W]`, and the rest."""
    white = np.array([100.0, 0.0, 0.0]) - mean
    # White skin (an overexposed face) has no way left towards white.
    white = (white / max(float(np.linalg.norm(white)), 1.0)).astype(np.float32)
    gloss = np.clip(difference @ white, 0, None)
    return gloss, difference - gloss[..., None] * white
