"""Segment the person in a window of a picture, with MediaPipe's selfie segmentation model."""

import numpy as np

from fsfm_jax.prepare.tflite import TfliteModel

MATTE_SIZE = 256  # pixels of the model's input and output


class PersonMatte:
    """A model of how much of each pixel belongs to a person."""

    def __init__(self):
        self._model = TfliteModel("selfie_segmentation.tflite")

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return the matte of `[256, 256, 3] uint8` RGB, `[256, 256] float32` in 0..1."""
        (matte,) = self._model(image.astype(np.float32) / 255).values()
        return matte.reshape(MATTE_SIZE, MATTE_SIZE)
