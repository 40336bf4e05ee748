"""A detector in ONNX, opened with ONNX Runtime; `serialize --format=onnx` writes it, with a sidecar in JSON beside it.

ONNX Runtime is not among the packages of requirements.txt. What `artifact` says of untrusted files holds here as well:
the digest in the sidecar finds damage, not an attacker.
"""

import dataclasses
import os
from typing import Any

import numpy as np

from fsfm_jax.metrics.card import Carded
from fsfm_jax.weights.artifact import check_images, read_card, read_vouched

KIND = "onnx"
INPUT, OUTPUT = "images", "log_probabilities"
INSTALL = "pip install --no-deps --require-hashes --requirement requirements/onnx.lock"
# The entry "location" of a tensor whose numbers lie in another file, as protobuf writes it. We write none of them.
_ELSEWHERE = b"\x0a\x08location"
_ERRORS_ONLY = 3  # severity of ONNX Runtime's log


@dataclasses.dataclass(frozen=True)
class OnnxArtifact(Carded):
    """A detector in ONNX, with the names that `artifact.Artifact` has.

    Attributes:
      path: of the file.
      card: the sidecar.
      params: nothing; they are in the file.
    """

    path: str
    card: dict
    _session: Any
    params: None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.path

    @property
    def image_size(self) -> int:
        """Side of the square images in pixels."""
        return self.card["image_size"]

    def log_probabilities(self, images: np.ndarray) -> np.ndarray:
        """Natural logarithms of the class probabilities, `[n, S, S, 3] uint8` RGB -> `[n, C] float32`, n >= 1.

        Raises:
          ValueError: another shape or dtype.
        """
        check_images(self.path, images, self.image_size)
        (found,) = self._session.run([OUTPUT], {INPUT: np.asarray(images)})
        return found


def read(path: str | os.PathLike) -> OnnxArtifact:
    """Opens a detector in ONNX, on the CPU or whatever the installed ONNX Runtime has.

    Raises:
      FileNotFoundError: the file or its sidecar is not there.
      ValueError: ONNX Runtime is not installed, a damaged file, or one that does something else than score images.
    """
    path = os.fspath(path)
    card = read_card(path)
    if card["artifact"]["kind"] != KIND:
        raise ValueError(f"{path}: expected ONNX; its sidecar says {str(card['artifact']['kind'])[:100]!r}")
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise ValueError(f"{path}: ONNX needs ONNX Runtime, which is not installed here: {INSTALL}") from error
    content = read_vouched(path, card)
    if _ELSEWHERE in content:
        raise ValueError(f"{path}: expected all numbers in the file; some lie elsewhere. Not a detector of fsfm_jax")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    try:
        session = onnxruntime.InferenceSession(content, options, providers=onnxruntime.get_available_providers())
    except Exception as error:  # its errors have no common class
        raise ValueError(
            f"{path}: ONNX Runtime {onnxruntime.__version__} cannot read it ({str(error)[:200]}); it is another file, "
            "or of a newer version"
        ) from error
    _check_signature(path, session, card)
    return OnnxArtifact(path, card, session)


def _check_signature(path: str, session: Any, card: dict) -> None:
    """The model takes and gives what the sidecar says; ValueError."""
    side, classes = card["image_size"], len(card["class_names"])
    found = [(a.name, a.type, list(a.shape)[1:]) for a in (*session.get_inputs(), *session.get_outputs())]
    wanted = [(INPUT, "tensor(uint8)", [side, side, 3]), (OUTPUT, "tensor(float)", [classes])]
    if found != wanted:
        raise ValueError(
            f"{path}: its sidecar says {side} pixels and {classes} classes, so {wanted} is expected; found "
            f"{str(found)[:300]}. They do not belong together"
        )
