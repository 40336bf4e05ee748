"""Runtimes that run a network in ONNX on CPUs, by name.

Each is in a file of its own and imports its library on first use. JAX runs detectors from their parameters and does not
use this module.
"""

from collections.abc import Callable

from fsfm_jax.config.fields import one_of
from fsfm_jax.weights.network import FLOAT32, Network

JAX, ONNX, OPENVINO = RUNTIMES = ("jax", "onnx", "openvino")


def open_runtime(runtime: str, path: str, dtype: str = FLOAT32) -> Callable[[bytes], Network]:
    """Import a runtime and return a function that loads a network from an ONNX model.

    The model must be one that `onnx_structure.check_structure` has accepted. Loading raises ValueError for a model that
    the runtime cannot read.

    Args:
      runtime: "onnx" (ONNX Runtime) or "openvino".
      path: names the network in messages.
      dtype: of the products in float32: "float32", or "bfloat16" where OpenVINO and the processor have it.

    Raises:
      ValueError: the runtime is unknown or not installed, or does not have the dtype here.
    """
    if one_of("--runtime", runtime, (ONNX, OPENVINO)) == OPENVINO:
        from fsfm_jax.weights.openvino_network import open_openvino

        return open_openvino(path, dtype)
    from fsfm_jax.weights.onnx_network import open_onnx

    return open_onnx(path, dtype)
