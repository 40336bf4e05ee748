"""Draw the soft mask for replacing a part of a face, from a parsing map, for self-blended images.

"Paper" is section 3.2 of Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images" (CVPR 2022).
"""

import dataclasses
import math

import cv2
import numpy as np

from fsfm_jax import regions
from fsfm_jax.data.distributions import between, uniforms

GRID = 5  # points a side at which the deformation is drawn
OUTLINE = 96  # points on the deformed outline, besides its corners


def _table(*classes: int) -> np.ndarray:
    return np.isin(np.arange(256), classes).astype(np.uint8)


# Membership tables from class to part, `[256] uint8` of 0 and 1; "below_brows" is the face from a row downwards.
_CLASSES_OF = {
    "face": _table(*range(1, 10)), "brows": _table(2, 3), "features": _table(*range(2, 10)),
    "upper": _table(2, 3, 4, 5, 6), "lower": _table(6, 7, 8, 9),
}  # fmt: skip
FEATURES = ("features", "upper", "lower")  # without the skin around them
PARTS = (*(name for name in _CLASSES_OF if name != "brows"), "below_brows")


@dataclasses.dataclass(frozen=True)
class BlendMaskSpec:
    """How masks are drawn; every span is uniform from low to high. "Ours" marks values chosen by eye.

    Attributes:
      parts: candidates for the replaced part, one drawn at random: the convex hull of the whole face, of the area below
        the tops of the brows, of brows, eyes, nose and mouth, of brows, eyes and nose, or of nose and mouth. Paper:
        hulls of landmarks or of some of them.
      margin: growth of feature hulls before anything else, a share of their size, so that boundaries lie in skin, not
        along brows and lips. Ours; it makes up for the shrinking by the first filter.
      elastic: largest shift of the points of a 5 x 5 grid that deforms the outline, in image sides. Paper: an elastic
        deformation; amount ours.
      first_blur, second_blur: standard deviation of the two Gaussian filters, in image sides. Values below 1 after the
        first become 0, so the mask shrinks before the second softens it. Paper: both filters; spans ours.
    """

    parts: tuple[str, ...] = ("face", "below_brows", "features", "upper", "lower")
    margin: float = 0.25
    elastic: float = 0.03
    first_blur: tuple[float, float] = (0.005, 0.02)
    second_blur: tuple[float, float] = (0.005, 0.02)

    def __post_init__(self):
        if not self.parts or not set(self.parts) <= {*PARTS}:
            raise ValueError(f"self_blend.mask.parts: expected some of {', '.join(PARTS)}; found {self.parts!r}")
        for field, most in (("margin", 1), ("elastic", 0.5)):
            if not 0 <= getattr(self, field) < most:
                raise ValueError(f"self_blend.mask.{field}: expected 0 to {most}; found {getattr(self, field)!r}")
        for field in ("first_blur", "second_blur"):
            low, high = getattr(self, field)
            if not 0 <= low <= high < 0.5:
                raise ValueError(
                    f"self_blend.mask.{field}: expected two numbers, 0 <= low <= high < 0.5; found {(low, high)!r}"
                )


def draw_mask(spec: BlendMaskSpec, parsing_map: np.ndarray, matrix: np.ndarray, position: int, seed: int) -> np.ndarray:
    """Draw the soft mask `[H, W] float32`, 0..1, of one face, a function of (seed, position) and the map.

    Args:
      matrix: `[2, 3]`, the motion of the source; the mask moves with it.

    Raises:
      ValueError: the map is not a parsing map, or has no face.
    """
    part, first, second, *shifts = uniforms(seed, "self blend mask", position, 3 + 2 * GRID**2)
    name = spec.parts[int(part * len(spec.parts))]
    outline = _outline(part_corners(parsing_map, name))
    sides = np.array(parsing_map.shape[::-1], np.float32)
    grid = (np.array(shifts, np.float32).reshape(GRID, GRID, 2) * 2 - 1) * np.float32(spec.elastic) * sides
    if name in FEATURES:
        outline += (outline - (outline.max(0) + outline.min(0)) / 2) * np.float32(spec.margin)
    # The grid spans the outline, and parts below half of the image are deformed in proportion to their size.
    low, high = outline.min(0), outline.max(0)
    places = (outline - low) / np.maximum(high - low, 1) * (GRID - 1)
    reach = np.minimum((high - low) / sides / 0.5, 1).astype(np.float32)
    moved = cv2.remap(grid, places[:, :1], places[:, 1:], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    outline = outline @ matrix[:, :2].T + matrix[:, 2] + moved[:, 0] * reach
    mask = np.zeros(parsing_map.shape, np.float32)
    cv2.fillPoly(mask, [np.rint(outline).astype(np.int32)], 1.0)
    side = float(max(sides))
    return soften(mask, side * between(first, *spec.first_blur), side * between(second, *spec.second_blur))


def soften(mask: np.ndarray, first: float, second: float) -> np.ndarray:
    """Shrink a mask of 0 and 1, `[H, W] float32`, by a blur of std `first` pixels, then soften it by one of `second`.

    A part too thin to shrink keeps its size. The largest value is always 1.
    """
    shrunk = mask
    if first > 0:
        shrunk = (_gauss(mask, first) > 1 - 1e-4).astype(np.float32)
        shrunk = shrunk if shrunk.any() else mask
    if second <= 0:
        return shrunk
    soft = _gauss(shrunk, second)
    return soft / soft.max()


def part_corners(parsing_map: np.ndarray, part: str) -> np.ndarray:
    """Return the corners `[K, 2] int32` (x, y) of the convex hull of a part of the largest face of a map.

    A face that lacks the part, such as eyes behind sunglasses, gives the hull of the whole face.

    Raises:
      ValueError: not a parsing map, or one without a face.
    """
    regions.check_labels(parsing_map)
    face = cv2.LUT(parsing_map, _CLASSES_OF["face"])
    count, places, sizes, _ = cv2.connectedComponentsWithStats(face, connectivity=8, ltype=cv2.CV_16U)
    if count < 2:
        raise ValueError(
            "parsing map: found no face to blend; expected pixels of classes 1..9 of regions.CLASSES. Leave this photo "
            "out, or parse it again"
        )
    if count > 2:
        face = (places == 1 + int(sizes[1:, cv2.CC_STAT_AREA].argmax())).astype(np.uint8)
    hull = hull_of(face)
    if part == "face":
        return hull
    if part == "below_brows":
        brows = np.flatnonzero((cv2.LUT(parsing_map, _CLASSES_OF["brows"]) & face).any(1))
        face[: brows[0] if brows.size else 0] = 0
        return hull_of(face)
    # Features may be disconnected from the skin, such as a brow behind hair.
    inside = cv2.fillConvexPoly(np.zeros_like(face), hull, 1)
    chosen = cv2.LUT(parsing_map, _CLASSES_OF[part]) & inside
    return hull_of(chosen) if chosen.any() else hull


def hull_of(chosen: np.ndarray) -> np.ndarray:
    """Return the corners `[K, 2] int32` (x, y) of the convex hull of the nonzero pixels of `chosen [H, W]`."""
    rows = np.flatnonzero(chosen.any(1))
    first = chosen[rows].argmax(1)
    last = chosen.shape[1] - 1 - chosen[rows, ::-1].argmax(1)
    # The row ends have the same hull as all pixels, which would take thirty times as long.
    ends = np.stack([np.concatenate([first, last]), np.concatenate([rows, rows])], 1)
    return cv2.convexHull(ends.astype(np.int32))[:, 0]


def _outline(corners: np.ndarray) -> np.ndarray:
    """Return the corners `[K, 2]` and `OUTLINE` equally spaced points of their polygon, in order, `[P, 2] float32`."""
    closed = np.concatenate([corners, corners[:1]]).astype(np.float32)
    lengths = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    at = np.union1d(np.linspace(0, lengths[-1], OUTLINE, endpoint=False), lengths[:-1])
    return np.stack([np.interp(at, lengths, closed[:, axis]) for axis in range(2)], 1).astype(np.float32)


def _gauss(mask: np.ndarray, deviation: float) -> np.ndarray:
    side = 2 * math.ceil(2.5 * deviation) + 1
    return cv2.GaussianBlur(mask, (side, side), deviation, borderType=cv2.BORDER_REPLICATE)
