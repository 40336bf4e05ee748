"""A labelled source with corrupted pictures, to test robustness."""

from collections.abc import Callable

import numpy as np

from fsfm_jax import records
from fsfm_jax.data.corruption import corrupt
from fsfm_jax.data.label_stream import decode
from fsfm_jax.data.labels import LabelledSource
from fsfm_jax.data.photo import encode_png
from fsfm_jax.data.resizing import for_evaluation


class CorruptedSource:
    """A labelled source whose pictures are network inputs, `[size, size, 3]`, after one corruption.

    The corruption follows the transform of the face crop, so a strength means the same for crops of every size.
    The transform "resize" leaves these pictures unchanged.
    """

    def __init__(
        self, source: LabelledSource, transform: str, size: int, chosen: tuple[str, str] | None, seed: int,
        met: Callable[[], None] = lambda: None,
    ):  # fmt: skip
        """Wrap a source.

        Args:
          transform: transform of the crops, as in `for_evaluation`.
          chosen: name and strength as in `corrupt`; None leaves the pictures unchanged.
          seed: seed of noise and places, which also depend on the index of a picture.
          met: callback after each picture, called from any thread.
        """
        self.name, self.dataset = source.name, source.dataset
        self.class_names, self.real = source.class_names, source.real
        self._source, self._transform, self._size = source, transform, size
        self._chosen, self._seed, self._met = chosen, seed, met

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict:
        """Read one example; raise ValueError if its photo cannot be decoded."""
        example = self._source[index]
        image = for_evaluation(self._transform, decode(example), self._size)
        if self._chosen is not None:
            image = corrupt(*self._chosen, image, self._seed, index)
        self._met()
        return {**example, records.IMAGE: encode_png(image, compression=0)}

    @property
    def labels(self) -> np.ndarray:
        return self._source.labels

    @property
    def videos(self) -> np.ndarray:
        return self._source.videos

    @property
    def methods(self) -> np.ndarray:
        return self._source.methods
