"""A network in ONNX Runtime."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fsfm_jax.weights.network import BFLOAT16, Port

INSTALL = "pip install --no-deps --require-hashes --requirement requirements/onnx.lock"
_ERRORS_ONLY = 3  # severity of its log
_DTYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}


class OnnxNetwork:
    """See `network.Network`."""

    def __init__(self, session: Any):
        self._session = session
        found = (*session.get_inputs(), *session.get_outputs())
        self.ports = tuple(Port(one.name, _DTYPES.get(one.type, one.type), tuple(one.shape[1:])) for one in found)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Compute the output, `[n, S, S, 3] uint8 -> [n, C] float32`, n >= 1."""
        taken, given = self.ports
        (found,) = self._session.run([given.name], {taken.name: np.asarray(images)})
        return found


def open_onnx(path: str, dtype: str) -> Callable[[bytes], OnnxNetwork]:
    """Import ONNX Runtime, for the CPU or the devices of the installed build; see `runtime.open_runtime`."""
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{path}: ONNX needs ONNX Runtime, which is not installed here: {INSTALL}, or the extra onnx of fsfm-jax"
        ) from error
    if dtype == BFLOAT16:
        raise ValueError(
            "--runtime=onnx: expected float32, found bfloat16, for which ONNX Runtime lacks operations on CPUs; say "
            "--dtype=float32 (scores then differ by the rounding)"
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY

    def load(content: bytes) -> OnnxNetwork:
        try:
            session = onnxruntime.InferenceSession(content, options, providers=onnxruntime.get_available_providers())
        except Exception as error:  # its errors have no common class
            raise ValueError(
                f"{path}: ONNX Runtime {onnxruntime.__version__} cannot read it ({str(error)[:200]}); it is another "
                "file, or of a newer version"
            ) from error
        return OnnxNetwork(session)

    return load
