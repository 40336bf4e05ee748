"""A source of procedural faces, drawn on demand and cached."""

import hashlib
from functools import cached_property

import numpy as np

from fsfm_jax import records, regions
from fsfm_jax.data.drawn import DrawnSource
from fsfm_jax.data.photo import encode_png
from fsfm_jax.data.synthetic import synthetic_face

COMPRESSION = 0  # drawing is slow enough, and a PNG that is only stored is decoded three times as fast


class SyntheticSource(DrawnSource):
    """`count` procedural faces of the series `seed`; drawing one takes 30 ms."""

    def __init__(self, count: int, seed: int = 0):
        super().__init__(f"synthetic:{count}:{seed}", count)
        self._seed = seed

    def draw(self, index: int) -> dict:
        """Draw the example `index`."""
        image, parsing_map = self._face(index)
        return {
            records.IMAGE: encode_png(image, COMPRESSION),
            records.PARSING_MAP: parsing_map,
            records.REGION_BITS: regions.patch_bits(parsing_map, records.BITS_PATCH_SIZE),
            records.SOURCE: f"{self.name} face {index}",
        }

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over count, seed and the first face, which represents the drawing code."""
        image, parsing_map = self._face(0)
        return hashlib.sha256(self.name.encode() + image.tobytes() + parsing_map.tobytes()).hexdigest()

    def _face(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return synthetic_face(self._seed, index, records.IMAGE_SIZE)
