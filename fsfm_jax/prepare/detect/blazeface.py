"""Detect faces with BlazeFace (short range), a small network whose input is 128 x 128 pixels.

It misses faces that are small in its input. So the detector runs on the whole picture, then on windows of half and of
a quarter of its longer side, overlapping by half. Windows cut heads in two and show badges without their wearer.
Each candidate is therefore checked again in the centre of wider windows, where false detections score lower.

Source: the model and what its outputs mean are MediaPipe's (Apache-2.0).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from fsfm_jax.prepare.crop import Detection
from fsfm_jax.prepare.tflite import TfliteModel

SIDE = 128
SURE = 0.5  # score of a candidate in one window
OVERLAP = 0.3  # boxes that overlap more are the same face
LEVELS = 3
SMALLEST_WINDOW = 160  # pixels
SMALLEST_ASKED = 80  # where more levels than these are asked for: a face of 20 pixels is seen in windows of up to 175

# Sides of the windows of the second check, in sides of the box. Each is run plain and mirrored; the mean score counts.
CONTEXTS = (2.5, 4.0, 5.0)
MIDDLE = CONTEXTS[0]
# Smallest mean score of a face. Portraits and group photos gave 0.78 and more, 98 of 100 faces of 20 to 50 pixels in
# coarse JPEG 0.76 and more; the figure on a round badge 0.71.
ALONE = 0.75
# The same if another detector also found the face. False detections of dlib gave 0.4 and less.
AGREED = 0.55

# From BlazeFace's box to dlib's (upsampled once): its width, and how far it lies below the middle between the eyes and
# the mouth, in widths of BlazeFace's box. Medians over portraits of 433 people.
WIDTH_OF_DLIB = 0.96
BELOW_MIDDLE = -0.035


def _anchors() -> np.ndarray:
    """Return the anchor points of the outputs, `[896, 2] float64` in pixels; two per cell of 8, six per cell of 16."""
    grids = []
    for cell, count in ((8, 2), (16, 6)):
        middles = np.arange(cell / 2, SIDE, cell)
        y, x = np.meshgrid(middles, middles, indexing="ij")
        grids.append(np.stack([x, y], -1).reshape(-1, 2).repeat(count, 0))
    return np.concatenate(grids)


ANCHORS = _anchors()


MIRRORED_POINTS = [1, 0, 2, 3, 5, 4]


@dataclass(frozen=True)
class Face:
    """BlazeFace's output for one face, in pixels of the picture."""

    box: np.ndarray  # [4] left, top, right, bottom
    points: np.ndarray  # [6, 2] x, y: the person's right eye, left eye, tip of the nose, mouth, right ear, left ear
    score: float  # 0..1

    def detection(self) -> Detection:
        """Return approximately the box that dlib would draw around this face."""
        eyes, mouth = self.points[:2].mean(0), self.points[3]
        width = self.box[2] - self.box[0]
        x, y = (eyes + mouth) / 2 + (0, BELOW_MIDDLE * width)
        half = WIDTH_OF_DLIB * width / 2
        left, top, right, bottom = (round(float(edge)) for edge in (x - half, y - half, x + half, y + half))
        return Detection(left, top, right, bottom, self.score)


def overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the intersection over union of a box with others, `[4], [N, 4] -> [N]`."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    common = np.clip(high - low, 0, None).prod(1)
    both = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return common / np.maximum(both - common, 1e-9)


def edges_of(box: Detection) -> np.ndarray:
    """Return `[4] float64`: left, top, right, bottom."""
    return np.array([box.left, box.top, box.right, box.bottom], float)


def distinct(faces: list[Face]) -> list[Face]:
    """Return the faces by falling score, without those that overlap a better one."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if not kept or overlap(face.box, np.stack([other.box for other in kept])).max() <= OVERLAP:
            kept.append(face)
    return kept


def windows(height: int, width: int, levels: int = LEVELS) -> Iterator[tuple[int, int, int]]:
    """Yield the windows `(x, y, side)` to search, in pixels: the largest first, each level row by row."""
    longer = max(height, width)
    for level in range(levels):
        side = math.ceil(longer / 2**level)
        if level and side < (SMALLEST_WINDOW if levels <= LEVELS else SMALLEST_ASKED):
            return
        for y in _starts(height, side):
            for x in _starts(width, side):
                yield x, y, side


def _starts(length: int, side: int) -> list[int]:
    """Return where windows of `side` start along a length; a single window is centred."""
    if length <= side:
        return [(length - side) // 2]
    steps = math.ceil((length - side) / (side / 2))
    return [round(step * (length - side) / steps) for step in range(steps + 1)]


def view(image: np.ndarray, x: int, y: int, side: int) -> np.ndarray:
    """Return a window of a picture at the network's size, `[128, 128, 3] uint8`; black outside the picture."""
    height, width = image.shape[:2]
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + side, width), min(y + side, height)
    shown = np.zeros((SIDE, SIDE, 3), np.uint8)
    if left >= right or top >= bottom:
        return shown
    scale = SIDE / side
    columns, rows = max(round((right - left) * scale), 1), max(round((bottom - top) * scale), 1)
    column = min(round((left - x) * scale), SIDE - columns)
    row = min(round((top - y) * scale), SIDE - rows)
    part = cv2.resize(image[top:bottom, left:right], (columns, rows), interpolation=cv2.INTER_AREA)
    shown[row : row + rows, column : column + columns] = part
    return shown


class BlazeFace:
    """The network and its search of a picture.

    Each level of windows has half the side of the one before; one more finds smaller faces in four times the time.
    """

    def __init__(self, levels: int = LEVELS):
        self._levels = levels
        self._model = TfliteModel("face_detection_short_range.tflite")

    def faces(self, image: np.ndarray) -> list[Face]:
        """Return all faces of a picture `[H, W, 3] uint8`, best first; scores are those of the second check."""
        found = [face for window in windows(*image.shape[:2], self._levels) for face in self.look(image, *window)]
        confirmed = [self.confirm(image, face.box, ALONE) for face in distinct(found)]
        return distinct([face for face in confirmed if face is not None])

    def confirm(self, image: np.ndarray, box: np.ndarray, least: float) -> Face | None:
        """Return the face in a box `[4]`, or None if the mean score of the second check is below `least`."""
        scores, place = [], None
        for context in CONTEXTS:
            window = _window(box, context)
            for mirrored in (False, True):
                face = self._face_in(image, window, box, mirrored)
                scores.append(face.score if face else 0.0)
                if face and (place is None or (context == MIDDLE and not mirrored)):
                    place = face
        score = sum(scores) / len(scores)
        return Face(place.box, place.points, score) if place and score >= least else None

    def inside(self, image: np.ndarray, box: np.ndarray) -> Face | None:
        """Return the face in a box `[4]`, detected in one window around it; None if there is none."""
        face = self._face_in(image, _window(box, MIDDLE), box, mirrored=False)
        return face if face and face.score >= SURE else None

    def look(self, image: np.ndarray, x: int, y: int, side: int) -> list[Face]:
        """Return the faces detected in one window, best first."""
        boxes, points, scores = self._outputs(image, x, y, side)
        left, found = scores >= SURE, []
        while left.any():
            first = int(np.argmax(np.where(left, scores, -1)))
            same = left & (overlap(boxes[first], boxes) > OVERLAP)
            found.append(_join(boxes[same], points[same], scores[same]))
            left &= ~same
            left[first] = False  # a box without area overlaps nothing
        return found

    def _face_in(self, image: np.ndarray, window: tuple[int, int, int], box: np.ndarray, mirrored: bool) -> Face | None:
        """Return the best-scoring candidate in the window that overlaps `box`, even with a low score."""
        boxes, points, scores = self._outputs(image, *window, mirrored)
        near = overlap(box, boxes) > OVERLAP
        if not near.any():
            return None
        first = int(np.argmax(np.where(near, scores, -1)))
        same = near & (overlap(boxes[first], boxes) > OVERLAP) & (scores >= min(SURE, scores[first]))
        return _join(boxes[same], points[same], scores[same])

    def _outputs(
        self, image: np.ndarray, x: int, y: int, side: int, mirrored: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return boxes `[896, 4]` and points `[896, 6, 2]` in pixels of the picture, and scores `[896]`."""
        shown = view(image, x, y, side).astype(np.float32) / 127.5 - 1
        outputs = self._model(np.ascontiguousarray(shown[:, ::-1]) if mirrored else shown)
        places = outputs["regressors"][0].astype(float).reshape(-1, 8, 2)
        middles, sizes, points = places[:, 0] + ANCHORS, places[:, 1], places[:, 2:] + ANCHORS[:, None]
        if mirrored:
            middles[:, 0] = SIDE - middles[:, 0]
            points = points[:, MIRRORED_POINTS] * (-1, 1) + (SIDE, 0)
        scale, start = side / SIDE, np.array([x, y], float)
        boxes = np.concatenate([middles - sizes / 2, middles + sizes / 2], 1) * scale + np.tile(start, 2)
        logits = np.clip(outputs["classificators"][0, :, 0].astype(float), -50, 50)
        return boxes, points * scale + start, 1 / (1 + np.exp(-logits))


def _window(box: np.ndarray, context: float) -> tuple[int, int, int]:
    """Return the window `(x, y, side)` of `context` times the box, around its centre."""
    side = max(round(float((box[2:] - box[:2]).max()) * context), 1)
    x, y = (round(float(start)) for start in (box[:2] + box[2:] - side) / 2)
    return x, y, side


def _join(boxes: np.ndarray, points: np.ndarray, scores: np.ndarray) -> Face:
    """Join overlapping faces into one: their mean weighted by score, which is more stable than the best one."""
    weights = scores / scores.sum()
    return Face(np.einsum("n,nk->k", weights, boxes), np.einsum("n,nkd->kd", weights, points), float(scores.max()))
