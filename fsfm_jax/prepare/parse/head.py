"""Where on a head a pixel lies: the upright window of a head and its coordinates, from the face mesh.

Lengths are in head units: from the line of the eyes to the chin. `across` runs to the right of the window, 0 between
the eyes. `up` is 0 at the eyes, about 0.55 at the upper end of the face oval, about 1 at the top of the head, and -1 at
the chin.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from fsfm_jax.prepare.parse import mesh

# The window holds the whole head with long hair down to the shoulders, which the matte needs to see.
SPAN, CENTRE_UP = 3.0, 0.1
FEATURES = (
    mesh.RIGHT_BROW, mesh.LEFT_BROW, mesh.RIGHT_EYE, mesh.LEFT_EYE, mesh.UPPER_LIP, mesh.LOWER_LIP, mesh.INNER_MOUTH,
)  # fmt: skip
OVAL_MARGIN, FEATURE_MARGIN = 0.05, 0.04  # the mesh may be off by that much


@dataclass(frozen=True)
class Head:
    """Geometry of an upright head window; all arrays are `[size, size]`."""

    unit: float  # pixels of the window in a head unit
    across: np.ndarray  # float32
    up: np.ndarray  # float32
    oval: np.ndarray  # bool: in the face oval
    outside: np.ndarray  # float32: distance to the face oval, 0 inside
    bare: np.ndarray  # bool: well inside the oval and off brows, eyes and mouth
    centre_across: float  # of the oval; off 0 when the head is turned
    chin_across: float
    turn: float  # -1..1: how far the nose is off the middle of the face; positive to the right of the window


def head_window(points: np.ndarray, size: int) -> mesh.Window:
    """Return the upright window of a head, `size` x `size`, around the mesh points `[468, 2]` of its face."""
    eyes = (points[mesh.RIGHT_EYE_CORNER] + points[mesh.LEFT_EYE_CORNER]) / 2
    # A mesh of no extent (a face of a pixel) still has a window.
    unit = max(float(np.hypot(*(eyes - points[mesh.CHIN]))), 1.0)
    angle = mesh.eye_angle(points)
    centre = eyes + CENTRE_UP * unit * np.array([np.sin(angle), -np.cos(angle)])
    return mesh.Window((float(centre[0]), float(centre[1])), SPAN * unit, size, angle)


def head_of(points: np.ndarray, size: int) -> Head:
    """Compute the geometry of a head window of `size` pixels from mesh points `[468, 2]` in the window."""
    unit = size / SPAN
    x, y = np.meshgrid(np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32))
    eyes = (points[mesh.RIGHT_EYE_CORNER] + points[mesh.LEFT_EYE_CORNER]) / 2
    outline = points[list(mesh.FACE_OVAL)]
    oval = mesh.fill(outline, size, size)
    features = np.zeros((size, size), bool)
    for part in FEATURES:
        features |= mesh.fill(points[list(part)], size, size)
    outside = cv2.distanceTransform((~oval).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return Head(
        unit=unit,
        across=(x - np.float32(eyes[0])) / np.float32(unit),
        up=(np.float32(eyes[1]) - y) / np.float32(unit),
        oval=oval,
        outside=outside / np.float32(unit),
        bare=shrunk(oval, OVAL_MARGIN * unit) & ~grow(features, FEATURE_MARGIN * unit),
        centre_across=float((outline[:, 0].mean() - eyes[0]) / unit),
        chin_across=float((points[mesh.CHIN, 0] - eyes[0]) / unit),
        turn=_turn(points),
    )


def _turn(points: np.ndarray) -> float:
    right, left, nose = points[[mesh.RIGHT_SIDE, mesh.LEFT_SIDE, mesh.NOSE_TIP], 0]
    # A mesh without width is turned nowhere.
    return float(np.clip((2 * nose - right - left) / max(abs(left - right), 1.0), -1, 1))


def disk(radius: float) -> np.ndarray:
    """Make a round structuring element of `radius` pixels."""
    side = 2 * max(int(round(radius)), 0) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))


def grow(mask: np.ndarray, radius: float) -> np.ndarray:
    """Grow a mask `[H, W] bool` by `radius` pixels all round."""
    return cv2.dilate(mask.astype(np.uint8), disk(radius)) > 0


def shrunk(mask: np.ndarray, radius: float) -> np.ndarray:
    """Shrink a mask `[H, W] bool` by `radius` pixels all round; the border of the window takes nothing away."""
    return cv2.erode(mask.astype(np.uint8), disk(radius)) > 0


def open_mask(mask: np.ndarray, radius: float) -> np.ndarray:
    """Remove from a mask `[H, W] bool` what is thinner than a disk of `radius` pixels."""
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, disk(radius)) > 0
