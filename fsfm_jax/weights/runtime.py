"""Runtimes that run a network in ONNX on CPUs: what each must have, and which there are.

Each is in a file of its own and imports its library when it is asked for. JAX runs detectors from their parameters and
needs nothing of this.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from fsfm_jax.config.fields import one_of

JAX, ONNX, OPENVINO = RUNTIMES = ("jax", "onnx", "openvino")
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


def open_runtime(runtime: str, path: str, dtype: str = FLOAT32) -> Callable[[bytes], Network]:
    """Import a runtime and return what makes a network of a model in ONNX.

    The model must be one that `onnx_structure.check_structure` has accepted. Loading raises ValueError for a model that
    the runtime cannot read.

    Args:
      runtime: "onnx" (ONNX Runtime) or "openvino".
      path: what messages call the network.
      dtype: of the products in float32: "float32", or "bfloat16" where OpenVINO and the processor have it.

    Raises:
      ValueError: a runtime that is not known or not installed, or a dtype that it does not have here.
    """
    if one_of("--runtime", runtime, (ONNX, OPENVINO)) == OPENVINO:
        from fsfm_jax.weights.openvino_network import open_openvino

        return open_openvino(path, dtype)
    from fsfm_jax.weights.onnx_network import open_onnx

    return open_onnx(path, dtype)
