"""Runtimes that run a network in ONNX on CPUs, by name.

Each is in a file of its own and imports its library when it is asked for. JAX runs detectors from their parameters and
needs nothing of this.
"""

from collections.abc import Callable

from fsfm_jax.config.fields import one_of
from fsfm_jax.weights.network import FLOAT32, Network

JAX, ONNX, OPENVINO = RUNTIMES = ("jax", "onnx", "openvino")


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
