"""The interface of a network in any runtime."""

from typing import NamedTuple, Protocol

import numpy as np

FLOAT32, BFLOAT16 = "float32", "bfloat16"


class Port(NamedTuple):
    """An input or output: its name, NumPy's name of its dtype, and its shape behind the batch."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Network(Protocol):
    """A network that a runtime holds.

    Attributes:
      ports: inputs, then outputs.
    """

    ports: tuple[Port, ...]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Compute the output, `[n, S, S, 3] uint8 -> [n, C] float32`, n >= 1."""
        ...
