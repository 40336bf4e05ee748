"""Detect faces with dlib's frontal face detector (HOG), as FSFM's preprocessing does."""

import dlib
import numpy as np

from fsfm_jax.prepare.crop import Detection


class DlibHog:
    """dlib's detector on the original picture (faces from 80 pixels) or upsampled once (faces from 40 pixels)."""

    name = "dlib"

    def __init__(self, upsampled: bool = True):
        self._detector = dlib.get_frontal_face_detector()
        self._times = int(upsampled)
        self.version = f"dlib {dlib.__version__} HOG, {'upsampled once' if upsampled else 'not upsampled'}"

    def __call__(self, image: np.ndarray) -> list[Detection]:
        """Return the faces of a picture `[H, W, 3] uint8`, the highest score first."""
        boxes, scores, _ = self._detector.run(np.ascontiguousarray(image), self._times, 0.0)
        return [
            Detection(box.left(), box.top(), box.right(), box.bottom(), float(score))
            for box, score in zip(boxes, scores, strict=True)
        ]
