"""Detect faces with YuNet, a detector that OpenCV runs; the user supplies its model file."""

import hashlib
from pathlib import Path

import cv2
import numpy as np

from fsfm_jax.prepare.crop import Detection

LEAST_SCORE = 0.7
SAME_FACE = 0.3  # overlap
MOST_FACES = 1000
# Width of dlib's box over the distance of the eyes plus that from the eyes to the mouth, and how far the box lies below
# the middle between eyes and mouth, in widths of it. Medians over portraits of 433 people, with BlazeFace's points.
WIDTH_OF_DLIB = 1.108
BELOW_MIDDLE = -0.036


class YuNet:
    """YuNet from a file `face_detection_yunet_*.onnx`.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: OpenCV cannot load it.
    """

    name = "yunet"

    def __init__(self, file: str):
        path = Path(file)
        if not path.is_file():
            raise FileNotFoundError(
                f"detector yunet: expected YuNet's ONNX file (face_detection_yunet_*.onnx of opencv_zoo), found no "
                f"file {file!r}; nothing is downloaded, so fetch it and pass --detector=yunet:FILE"
            )
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self.version = f"YuNet {path.name} sha256 {digest[:16]}, OpenCV {cv2.__version__}"
        try:
            self._detector = cv2.FaceDetectorYN.create(str(path), "", (320, 320), LEAST_SCORE, SAME_FACE, MOST_FACES)
        except cv2.error as error:
            raise ValueError(f"detector yunet: OpenCV cannot load {file!r} as YuNet: {error}") from error

    def __call__(self, image: np.ndarray) -> list[Detection]:
        """Return the faces of a picture `[H, W, 3] uint8`, the highest score first; boxes approximate dlib's."""
        height, width = image.shape[:2]
        self._detector.setInputSize((width, height))
        _, rows = self._detector.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        if rows is None:
            return []
        return sorted((_detection(row) for row in rows.astype(float)), key=lambda box: -box.score)


def _detection(row: np.ndarray) -> Detection:
    """Convert one row of the output: box (4), two eyes, nose, two corners of the mouth (x, y each), score."""
    points = row[4:14].reshape(5, 2)
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    side = WIDTH_OF_DLIB * (np.hypot(*(points[0] - points[1])) + np.hypot(*(eyes - mouth)))
    x, y = (eyes + mouth) / 2 + (0, BELOW_MIDDLE * side)
    left, top, right, bottom = (round(float(edge)) for edge in (x - side / 2, y - side / 2, x + side / 2, y + side / 2))
    return Detection(left, top, right, bottom, float(row[14]))
