"""A network in OpenVINO, on the CPU."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fsfm_jax.weights.network import BFLOAT16, Port

INSTALL = "pip install --no-deps openvino==2026.4.1, or the extra openvino of fsfm-jax"
_DEVICE = "CPU"
_HINTS = {"float32": "f32", BFLOAT16: "bf16"}
_DTYPES = {"u8": "uint8", "f32": "float32"}


class OpenvinoNetwork:
    """See `network.Network`."""

    def __init__(self, compiled: Any):
        self._compiled = compiled
        ports = (*compiled.inputs, *compiled.outputs)
        self.ports = tuple(_read_port(port) for port in ports)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Compute the output, `[n, S, S, 3] uint8 -> [n, C] float32`, n >= 1."""
        return np.array(self._compiled([np.ascontiguousarray(images)])[0])  # OpenVINO reuses its own memory


def open_openvino(path: str, dtype: str) -> Callable[[bytes], OpenvinoNetwork]:
    """Import OpenVINO, see `runtime.open_runtime`.

    The precision is always set: by default OpenVINO rounds float32 to bfloat16 on processors that have it, and the
    same file would give other scores there.
    """
    try:
        import openvino
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{path}: --runtime=openvino needs OpenVINO, which is not installed here: {INSTALL}"
        ) from error
    core = openvino.Core()
    if dtype == BFLOAT16 and "BF16" not in core.get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES"):
        raise ValueError(
            f"{path}: --dtype=bfloat16: this processor has no products in bfloat16 (AVX-512 BF16 or AMX); say "
            "--dtype=float32"
        )
    settings = {"INFERENCE_PRECISION_HINT": _HINTS[dtype], "PERFORMANCE_HINT": "LATENCY"}

    def load(content: bytes) -> OpenvinoNetwork:
        try:
            compiled = core.compile_model(core.read_model(content), _DEVICE, settings)
        except RuntimeError as error:
            raise ValueError(
                f"{path}: OpenVINO {openvino.__version__} cannot read it ({str(error)[:200]}); it is another file, or "
                "of a newer version"
            ) from error
        return OpenvinoNetwork(compiled)

    return load


def _read_port(port: Any) -> Port:
    shape = port.get_partial_shape()
    known = tuple(int(side.get_length()) if side.is_static else -1 for side in list(shape)[1:])
    dtype = port.get_element_type().get_type_name()
    return Port(port.get_any_name(), _DTYPES.get(dtype, dtype), known)
