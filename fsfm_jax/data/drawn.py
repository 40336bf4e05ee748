"""The base class of synthetic sources, whose examples are drawn on demand."""

import abc
from functools import cached_property

from fsfm_jax import records
from fsfm_jax.data.photo import decode_image
from fsfm_jax.data.statistics import PixelSums

KEPT = 1024  # examples cached by a process, about 150 MB
SUMMED = 256  # pictures summed; enough for the channel statistics


class DrawnSource(abc.ABC):
    """A random-access source of `count` examples, each a function of its index; the first 1024 are cached."""

    def __init__(self, name: str, count: int):
        self.name, self._count = name, count
        self._drawn: dict[int, dict] = {}

    @abc.abstractmethod
    def draw(self, index: int) -> dict:
        """Draw the example `index`."""

    def __len__(self) -> int:
        return self._count

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_drawn": {}}  # a loader process draws its own

    def __getitem__(self, index: int) -> dict:
        if not 0 <= index < self._count:
            raise IndexError(f"{self.name}: example {index} of {self._count}")
        example = self._drawn.get(index) or self.draw(index)
        if index < KEPT:
            self._drawn[index] = example
        return dict(example)

    @cached_property
    def pixel_sums(self) -> PixelSums:
        """Sums over at most the first 256 pictures, computed on first use."""
        photos = (self[index][records.IMAGE] for index in range(min(self._count, SUMMED)))
        return sum((PixelSums.of(decode_image(photo, self.name)) for photo in photos), PixelSums())
