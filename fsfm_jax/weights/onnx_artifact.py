"""A detector in ONNX, run by ONNX Runtime or OpenVINO; `fsfm export` writes it, with a JSON sidecar next to it.

Neither runtime is among the packages of requirements.txt. The warning in `artifact` about untrusted files applies here
as well: the digest in the sidecar detects damage, not an attacker. `onnx_structure` lists what a file may contain.
"""

import dataclasses
import os

import numpy as np

from fsfm_jax.metrics.card import Carded
from fsfm_jax.weights.artifact import check_images, read_card, read_vouched
from fsfm_jax.weights.network import Network, Port
from fsfm_jax.weights.onnx_structure import check_structure
from fsfm_jax.weights.runtime import ONNX, open_runtime

KIND = "onnx"
INPUT, OUTPUT = "images", "log_probabilities"


@dataclasses.dataclass(frozen=True)
class OnnxArtifact(Carded):
    """A detector in ONNX, with the names that `artifact.Artifact` has.

    Attributes:
      path: of the file.
      card: the sidecar.
      runtime: "onnx" or "openvino".
      params: nothing; they are in the file.
    """

    path: str
    card: dict
    runtime: str
    _network: Network
    params: None = None

    @property
    def name(self) -> str:
        """Return the name that messages use."""
        return self.path

    @property
    def image_size(self) -> int:
        """Return the side of the square images in pixels."""
        return self.card["image_size"]

    def log_probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return the log probabilities of the classes, `[n, S, S, 3] uint8` RGB -> `[n, C] float32`, n >= 1.

        Raises:
          ValueError: another shape or dtype.
        """
        check_images(self.path, images, self.image_size)
        return self._network(images)


def read(path: str | os.PathLike, runtime: str = ONNX) -> OnnxArtifact:
    """Open a detector in ONNX. The runtime receives exactly the bytes whose digest the sidecar names.

    Raises:
      FileNotFoundError: the file or its sidecar is not there.
      ValueError: the runtime is not installed, or the file is damaged or does something other than score images.
    """
    path = os.fspath(path)
    card = read_card(path)
    if card["artifact"]["kind"] != KIND:
        raise ValueError(f"{path}: expected ONNX; its sidecar says {str(card['artifact']['kind'])[:100]!r}")
    load = open_runtime(runtime, path)
    content = read_vouched(path, card)
    check_structure(path, content)
    network = load(content)
    check_signature(path, network, card["image_size"], len(card["class_names"]))
    return OnnxArtifact(path, card, runtime, network)


def check_signature(path: str, network: Network, side: int, classes: int) -> None:
    """Check that the network maps images of `side` pixels to `classes` numbers each; ValueError otherwise."""
    wanted = (Port(INPUT, "uint8", (side, side, 3)), Port(OUTPUT, "float32", (classes,)))
    if network.ports != wanted:
        said = [tuple(port) for port in wanted]
        raise ValueError(
            f"{path}: its sidecar says {side} pixels and {classes} classes, so {said} is expected; found "
            f"{str([tuple(port) for port in network.ports])[:300]}. They do not belong together"
        )
