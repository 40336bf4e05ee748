"""Parse faces with the bundled parser: nothing to download, about 15 faces a second and core.

MediaPipe's face mesh gives the face oval, brows, eyes, nose and lips; its selfie segmentation gives the person;
colour, texture and place separate hair from bare head (hair.py). The parser uses the whole head, since hair outside the
crop helps to learn the colour of hair, and labels only the crop.
"""

import cv2
import numpy as np

from fsfm_jax import records
from fsfm_jax.prepare.crop import Detection, Square
from fsfm_jax.prepare.parse import mesh
from fsfm_jax.prepare.parse.hair import scalp_of
from fsfm_jax.prepare.parse.head import head_of, head_window
from fsfm_jax.prepare.parse.matte import MATTE_SIZE, PersonMatte
from fsfm_jax.regions import CLASSES, HAIR, SKIN

# Later parts cover earlier ones: lips lie over the opening of the mouth.
PARTS = (
    ("nose", mesh.NOSE),
    ("right_brow", mesh.RIGHT_BROW),
    ("left_brow", mesh.LEFT_BROW),
    ("right_eye", mesh.RIGHT_EYE),
    ("left_eye", mesh.LEFT_EYE),
    ("inner_mouth", mesh.INNER_MOUTH),
    ("upper_lip", mesh.UPPER_LIP),
    ("lower_lip", mesh.LOWER_LIP),
)
EDGE = 0.8  # pixels of blur that take the steps out of the window's masks


class EmbeddedParser:
    """A parser of faces into the 11 classes of `regions.CLASSES`."""

    name = "embedded"
    # Raise the version when the maps change.
    version = f"1 (MediaPipe face mesh and selfie segmentation; OpenCV {cv2.__version__})"

    def __init__(self):
        self._mesh = mesh.FaceMesh()
        self._matte = PersonMatte()

    def __call__(self, image: np.ndarray, box: Detection, square: Square, size: int) -> np.ndarray:
        """Return the parsing map `[size, size] uint8` of the crop `square`, resized to `size`.

        `image` is the whole picture `[H, W, 3] uint8` RGB and `box` the detector's box of the face in it. If there is
        only the crop, it is the picture and the box at once.

        Raises:
          NoFace: the mesh sees no face under the box.
        """
        records.check_image(image)
        points = self._mesh(image, box)
        window = head_window(points, MATTE_SIZE)
        fine = mesh.Window(window.centre, window.span, 2 * MATTE_SIZE, window.angle).show(image)
        matte = self._matte(cv2.resize(fine, (MATTE_SIZE, MATTE_SIZE), interpolation=cv2.INTER_AREA))
        head = head_of(window.place(points), MATTE_SIZE)
        scalp = scalp_of(fine, matte, window.inside(*image.shape[:2]), head)

        placed = in_crop(points, square, size)
        to_crop = _to_crop(window, square, size)
        skin = mesh.fill(placed[list(mesh.FACE_OVAL)], size, size) | _move(scalp.skin, to_crop, size)
        parsing_map = np.where(skin, SKIN, 0).astype(np.uint8)
        parsing_map[_move(scalp.hair, to_crop, size)] = HAIR
        return paint(parsing_map, placed)


def in_crop(points: np.ndarray, square: Square, size: int) -> np.ndarray:
    """Map points of the picture `[N, 2]` to the crop of `size`: pixel j shows (j + 0.5) * square / size - 0.5."""
    return (points - [square.x, square.y] + 0.5) * (size / square.size) - 0.5


def paint(parsing_map: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Paint the parts of the face over a map `[size, size] uint8` in place; `points` `[468, 2]` are in its pixels."""
    height, width = parsing_map.shape
    for name, outline in PARTS:
        parsing_map[mesh.fill(points[list(outline)], height, width)] = CLASSES.index(name)
    return parsing_map


def _to_crop(window: mesh.Window, square: Square, size: int) -> np.ndarray:
    """Return the affine map `[2, 3]` from points of the window to points of the resized crop."""
    inverse = cv2.invertAffineTransform(window.matrix)
    scale = size / square.size
    inverse[:, 2] = (inverse[:, 2] - [square.x, square.y] + 0.5) * scale - 0.5
    inverse[:, :2] *= scale
    return inverse


def _move(mask: np.ndarray, to_crop: np.ndarray, size: int) -> np.ndarray:
    """Move a mask of the window into the resized crop, with a smooth outline, `[size, size] bool`."""
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), EDGE)
    return cv2.warpAffine(soft, to_crop, (size, size), flags=cv2.INTER_LINEAR) > 0.5
