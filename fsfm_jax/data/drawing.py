"""Procedural faces as a source: drawn when asked for, and remembered."""

import hashlib
from functools import cached_property

import numpy as np

from fsfm_jax import records, regions
from fsfm_jax.data.photo import encode_png
from fsfm_jax.data.statistics import PixelSums
from fsfm_jax.data.synthetic import synthetic_face

SUMMED = 256  # pixel sums are taken over at most so many faces
COMPRESSION = 1  # drawing is slow enough
KEPT = 1024  # faces that a source remembers, 80 MB


class SyntheticSource:
    """`count` procedural faces of the series `seed`; drawing one takes 30 ms, the first 1024 are remembered."""

    def __init__(self, count: int, seed: int = 0):
        self.name = f"synthetic:{count}:{seed}"
        self._count, self._seed = count, seed
        self._drawn: dict[int, dict] = {}

    def __len__(self) -> int:
        return self._count

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_drawn": {}}  # a loader process draws its own

    def __getitem__(self, index: int) -> dict:
        if not 0 <= index < self._count:
            raise IndexError(f"{self.name}: example {index} of {self._count}")
        example = self._drawn.get(index) or self._draw(index)
        if index < KEPT:
            self._drawn[index] = example
        return dict(example)

    def _draw(self, index: int) -> dict:
        image, parsing_map = self._face(index)
        return {
            records.IMAGE: encode_png(image, COMPRESSION),
            records.PARSING_MAP: parsing_map,
            records.REGION_BITS: regions.patch_bits(parsing_map, records.BITS_PATCH_SIZE),
            records.SOURCE: f"{self.name} face {index}",
        }

    @cached_property
    def pixel_sums(self) -> PixelSums:
        """Sums over the first 256 faces at most, drawn once when first asked for."""
        summed = range(min(self._count, SUMMED))
        return sum((PixelSums.of(self._face(index)[0]) for index in summed), PixelSums())

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over count, seed and the first face, which stands for the way faces are drawn."""
        image, parsing_map = self._face(0)
        return hashlib.sha256(self.name.encode() + image.tobytes() + parsing_map.tobytes()).hexdigest()

    def _face(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return synthetic_face(self._seed, index, records.IMAGE_SIZE)
