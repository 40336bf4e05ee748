"""The face mesh of MediaPipe: 468 points on a face, and upright windows of a picture around it.

Coordinates are (x, y) in pixels, x to the right, y down; a whole number is the centre of a pixel. "Right" and "left" in
names are the person's: the right eye is on the left side of a picture that is not mirrored.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from fsfm_jax.prepare.crop import Detection, NoFace
from fsfm_jax.prepare.tflite import TfliteModel

INPUT_SIZE = 192  # pixels of the mesh model's input
POINTS_OUTPUT, SCORE_OUTPUT = "conv2d_21", "conv2d_31"
# Side of the window over the longer side of the face: the margin that the mesh model was trained with.
MARGIN = 1.5
# Each pass turns and centres the face better for the next. On portraits a fourth moves points by 0.6 % of the face's
# width on average, 1.5 % at most.
PASSES = 3
# Score, a probability, from which a window holds a face.
FACE_SCORE = 0.5

POINTS = 468
RIGHT_EYE_CORNER, LEFT_EYE_CORNER, CHIN = 33, 263, 152
RIGHT_SIDE, LEFT_SIDE, NOSE_TIP = 234, 454, 1

# Outlines of the parts of a face as indices of mesh points, each a closed polygon.
FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
RIGHT_BROW = (46, 53, 52, 65, 55, 107, 66, 105, 63, 70)
LEFT_BROW = (276, 283, 282, 295, 285, 336, 296, 334, 293, 300)
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
NOSE = (
    168, 193, 122, 174, 217, 198, 209, 129, 64, 98, 97, 2,
    326, 327, 294, 358, 429, 420, 437, 399, 351, 417,
)  # fmt: skip
UPPER_LIP = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191, 78)
INNER_MOUTH = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
LOWER_LIP = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95, 78)


def _mirror() -> np.ndarray:
    """Return `[468] int`: the point on the other side of the face, for the points named above; -1 for all others."""
    mirror = np.full(POINTS, -1)
    mirror[NOSE_TIP] = NOSE_TIP
    for right, left in ((RIGHT_EYE, LEFT_EYE), (RIGHT_BROW, LEFT_BROW)):
        mirror[list(right)], mirror[list(left)] = left, right
    # Outlines across the face run the other way in a mirror; two begin in the middle, three at the corner of the mouth.
    for outline, middle in ((FACE_OVAL, 0), (NOSE, 0), (UPPER_LIP, 5), (INNER_MOUTH, 5), (LOWER_LIP, 5)):
        mirror[list(outline)] = np.roll(outline[::-1], 2 * middle + 1)
    return mirror


MIRROR = _mirror()


@dataclass(frozen=True)
class Window:
    """A square of a picture, perhaps turned: `size` x `size` pixels over `span` pixels of the picture."""

    centre: tuple[float, float]
    span: float
    size: int
    angle: float = 0.0  # radians; a window at the angle of a head shows it upright

    @property
    def matrix(self) -> np.ndarray:
        """Affine map from points of the picture to points of the window, `[2, 3] float64`."""
        scale = self.size / self.span
        cos, sin = scale * np.cos(self.angle), scale * np.sin(self.angle)
        turn = np.array([[cos, sin], [-sin, cos]])
        return np.column_stack([turn, (self.size - 1) / 2 - turn @ np.array(self.centre)])

    def place(self, points: np.ndarray) -> np.ndarray:
        """Map points of the picture `[N, 2]` into the window."""
        return points @ self.matrix[:, :2].T + self.matrix[:, 2]

    def place_back(self, points: np.ndarray) -> np.ndarray:
        """Map points of the window `[N, 2]` into the picture."""
        inverse = cv2.invertAffineTransform(self.matrix)
        return points @ inverse[:, :2].T + inverse[:, 2]

    def show(self, image: np.ndarray) -> np.ndarray:
        """Return the part of a picture `[H, W, C] uint8` in the window, `[size, size, C]`; mirrored beyond its border.

        Only the part under the window is read, so that the time does not grow with the picture. A strong reduction is
        done by averaging first, since the warp reads four pixels only. Mirroring lets a crop through the hair go on
        as hair, which the matte needs to see a person.
        """
        height, width = image.shape[:2]
        corners = self.place_back(np.array([[-1, -1], [self.size, -1], [-1, self.size], [self.size, self.size]], float))
        left, top = np.clip(np.floor(corners.min(0)).astype(int) - 1, 0, [width - 1, height - 1])
        right, bottom = np.clip(np.ceil(corners.max(0)).astype(int) + 2, [left + 1, top + 1], [width, height])
        part = image[top:bottom, left:right]
        matrix = self.matrix.copy()
        matrix[:, 2] += matrix[:, :2] @ [left, top]
        factor = int(self.span / self.size)
        if factor > 1:
            reduced = (max(1, part.shape[1] // factor), max(1, part.shape[0] // factor))
            step = np.array([part.shape[1] / reduced[0], part.shape[0] / reduced[1]])
            part = cv2.resize(part, reduced, interpolation=cv2.INTER_AREA)
            # Pixel i of the reduced part has its centre at (i + 0.5) * step - 0.5.
            matrix[:, 2] += matrix[:, :2] @ (step / 2 - 0.5)
            matrix[:, :2] *= step
        return cv2.warpAffine(
            np.ascontiguousarray(part),
            matrix,
            (self.size, self.size),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )

    def inside(self, height: int, width: int) -> np.ndarray:
        """Return which pixels of the window lie in a picture of `height` x `width`, `[size, size] bool`."""
        grid = np.stack(np.meshgrid(np.arange(self.size), np.arange(self.size)), -1).reshape(-1, 2)
        x, y = self.place_back(grid).T
        covered = (x >= -0.5) & (y >= -0.5) & (x < width - 0.5) & (y < height - 0.5)
        return covered.reshape(self.size, self.size)


class FaceMesh:
    """Finds the mesh of the face under a detector's box."""

    def __init__(self):
        self._model = TfliteModel("face_landmark.tflite")

    def __call__(self, image: np.ndarray, box: Detection) -> np.ndarray:
        """Find the mesh points `[468, 2] float64` of the face under `box` in a picture `[H, W, 3] uint8` RGB.

        The points named in this file are the mean of what the model reads in the picture and in its mirror image, which
        lowers their noise and treats left and right alike; the others are not found twice and are nan.

        Raises:
          NoFace: the score of the mesh is below 0.5.
        """
        low = np.array([box.left, box.top], float)
        high = np.array([box.right, box.bottom], float)
        angle = 0.0
        for _ in range(PASSES):
            span = MARGIN * max(float((high - low).max()), 1.0)
            window = Window(tuple((low + high) / 2), span, INPUT_SIZE, angle)
            points, score = self._read_twice(window.show(image))
            points = window.place_back(points)
            low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
            angle = eye_angle(points)
        if score < FACE_SCORE:
            raise NoFace(
                f"no face under the box {box}: the mesh scores it {score:.2f}, a face has {FACE_SCORE} or more; "
                "is the detection a false one?"
            )
        return points

    def _read_twice(self, face: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the mean of the points in the window and in its mirror image, and the lower of their two scores."""
        points, score = self._read(face)
        mirrored, mirrored_score = self._read(np.ascontiguousarray(face[:, ::-1]))
        mirrored[:, 0] = INPUT_SIZE - 1 - mirrored[:, 0]
        mean = np.full_like(points, np.nan)
        known = MIRROR >= 0
        mean[known] = (points[known] + mirrored[MIRROR[known]]) / 2
        return mean, min(score, mirrored_score)

    def _read(self, face: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the mesh points in the window and the probability that it holds a face."""
        outputs = self._model(face.astype(np.float32) / 255)
        points = outputs[POINTS_OUTPUT].reshape(-1, 3)[:, :2].astype(np.float64)
        # The model counts from the edge of its input, a point here from the centre of the first pixel.
        return points - 0.5, float(1 / (1 + np.exp(-np.float64(outputs[SCORE_OUTPUT].item()))))


def eye_angle(points: np.ndarray) -> float:
    """Return the angle in radians of the line from the right to the left eye of a mesh `[468, 2]`; 0 is level."""
    x, y = points[LEFT_EYE_CORNER] - points[RIGHT_EYE_CORNER]
    return float(np.arctan2(y, x))


def fill(polygon: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the pixels whose centres lie in a polygon, `[N, 2] float -> [height, width] bool`.

    Crossings are counted row by row (even-odd rule). The polygon drawing of OpenCV would add the pixels of the outline:
    half a pixel all round, which is much for a lip.
    """
    start, end = polygon, np.roll(polygon, -1, axis=0)
    # Rows and columns that the polygon does not reach cost nothing.
    (left, top), (right, bottom) = polygon.min(axis=0), polygon.max(axis=0)
    left, right = np.clip([math.floor(left), math.ceil(right) + 1], 0, width)
    top, bottom = np.clip([math.floor(top), math.ceil(bottom) + 1], 0, height)
    rows = np.arange(top, bottom)[:, None]
    crosses = (start[:, 1] <= rows) != (end[:, 1] <= rows)
    row, edge = np.nonzero(crosses)
    first, last = start[edge], end[edge]
    x = first[:, 0] + (row + top - first[:, 1]) * (last[:, 0] - first[:, 0]) / (last[:, 1] - first[:, 1])
    column = np.clip(np.ceil(x), left, right).astype(int) - left
    flips = np.zeros((bottom - top, right - left + 1), bool)
    np.logical_xor.at(flips, (row, column), True)
    filled = np.zeros((height, width), bool)
    filled[top:bottom, left:right] = np.logical_xor.accumulate(flips, axis=1)[:, :-1]
    return filled
