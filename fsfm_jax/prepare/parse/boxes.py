"""Make coarse parsing maps of boxes at BlazeFace's points, as a baseline for parsers.

They are not meant for pretraining. They are the lower bound in the comparison of parsers: regions in the right place
and of about the right size, without a shape.
"""

import numpy as np

from fsfm_jax import records
from fsfm_jax.prepare.crop import Detection, NoFace, Square
from fsfm_jax.prepare.detect.blazeface import BlazeFace, edges_of
from fsfm_jax.prepare.parse.mesh import fill
from fsfm_jax.regions import CLASSES

# Left, top, right and bottom in distances between the eyes, from a point: the middle of the eyes, an eye, or the mouth.
# Later boxes cover earlier ones. "Right" is the person's, on the left of the picture.
MIDDLE, RIGHT_EYE, LEFT_EYE, MOUTH = range(4)
BOXES = (
    ("hair", MIDDLE, (-1.25, -1.5, 1.25, -0.8)),
    ("skin", MIDDLE, (-1.05, -0.8, 1.05, 1.75)),
    ("nose", MIDDLE, (-0.32, 0.05, 0.32, 0.75)),
    ("right_brow", RIGHT_EYE, (-0.4, -0.5, 0.35, -0.25)),
    ("left_brow", LEFT_EYE, (-0.35, -0.5, 0.4, -0.25)),
    ("right_eye", RIGHT_EYE, (-0.28, -0.14, 0.28, 0.14)),
    ("left_eye", LEFT_EYE, (-0.28, -0.14, 0.28, 0.14)),
    ("upper_lip", MOUTH, (-0.42, -0.16, 0.42, -0.03)),
    ("inner_mouth", MOUTH, (-0.42, -0.03, 0.42, 0.03)),
    ("lower_lip", MOUTH, (-0.42, 0.03, 0.42, 0.2)),
)


class BoxParser:
    """Paints boxes that stand upright on the line between the eyes."""

    name = "boxes"
    version = "1 (boxes around BlazeFace's points)"

    def __init__(self):
        self._network = BlazeFace()

    def __call__(self, image: np.ndarray, box: Detection, square: Square, size: int) -> np.ndarray:
        """Return the parsing map `[size, size] uint8` of the crop `square` of a picture `[H, W, 3] uint8`.

        Raises:
          NoFace: BlazeFace sees no face in the box.
        """
        records.check_image(image)
        face = self._network.inside(image, edges_of(box))
        if face is None:
            raise NoFace(f"parser boxes: BlazeFace sees no face in {box}, so there are no points to place boxes at")
        # BlazeFace's pixel j reaches from j to j + 1; `fill` has its centre at j.
        return paint_boxes((face.points - (square.x, square.y)) * (size / square.size) - 0.5, size)


def paint_boxes(points: np.ndarray, size: int) -> np.ndarray:
    """Paint the map `[size, size] uint8` from BlazeFace's points `[6, 2]`, in its pixels.

    Raises:
      NoFace: both eyes are in one place.
    """
    right_eye, left_eye, mouth = points[0], points[1], points[3]
    across = left_eye - right_eye
    if not np.hypot(*across) > 0:
        raise NoFace("parser boxes: both eyes are in one place, so boxes have no size")
    down = np.array([-across[1], across[0]])
    origins = (right_eye + left_eye) / 2, right_eye, left_eye, mouth
    parsing_map = np.zeros((size, size), np.uint8)
    for name, origin, (left, top, right, bottom) in BOXES:
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        outline = np.array([origins[origin] + x * across + y * down for x, y in corners])
        parsing_map[fill(outline, size, size)] = CLASSES.index(name)
    return parsing_map
