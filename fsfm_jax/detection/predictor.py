"""Load a detector from a run, a weight file or a serialized detector, and score face crops with it."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fsfm_jax.detection.detector import Detector, digest_parameters
from fsfm_jax.detection.export_reader import with_dtype
from fsfm_jax.detection.opener import Unsaid, open_scorer
from fsfm_jax.figures.cam import class_activation
from fsfm_jax.metrics.card import Carded
from fsfm_jax.records import check_images
from fsfm_jax.weights import onnx_artifact, onnx_file
from fsfm_jax.weights.network import Network
from fsfm_jax.weights.runtime import JAX, open_runtime

# Of images at a time, beside the largest: what does not fill one is padded to the next, and each is compiled once.
SMALL = (1, 4)
TRANSFORM = "resize_center"  # of detectors that do not say theirs; the released code validates with it
NO_HEAT = "a serialized detector has no gradient, which the heat map is made of: name the run or the file it came from"


class Predictor(Carded):
    """Scores crops in batches of a few fixed sizes.

    Attributes:
      name: what messages call it.
      card: what gives its scores their meaning, see `detection.detector`.
      image_size: side of its images in pixels.
      transform: what makes such an image of a crop, "resize" or "resize_center".
      explains: whether there are heat maps.
      runtime: what runs the network, one of `weights.runtime.RUNTIMES`.
    """

    def __init__(
        self,
        name: str,
        card: dict,
        image_size: int,
        transform: str,
        score: Callable[[np.ndarray], jax.Array],
        heat: Callable[[np.ndarray, int], jax.Array] | None,
        batch: int,
        digest: Callable[[], str],
        runtime: str = JAX,
    ):
        """`score` and `heat` take `[n, S, S, 3] uint8`; `batch` is the largest n that they are given.

        `digest` returns the SHA-256 of the parameters, or of the file of a serialized detector.
        """
        if batch < 1:
            raise ValueError(f"batch: expected at least 1 image at a time, found {batch}")
        self.name, self.card, self.image_size, self.transform = name, card, image_size, transform
        self.explains, self.batch, self.runtime = heat is not None, batch, runtime
        self._score, self._heat, self._digest = score, heat, digest
        self._sizes = (*(size for size in SMALL if size < batch), batch)

    @functools.cached_property
    def weights_sha256(self) -> str:
        """Says which weights these are: the digest of `facts.describe_detector`, in hexadecimal."""
        return self._digest()

    def log_probabilities(self, crops: np.ndarray) -> np.ndarray:
        """Natural logarithms of the class probabilities, `[n, S, S, 3] uint8 -> [n, C] float32`, any n from 0 on.

        Raises:
          ValueError: crops of another kind, or a score that is not finite: damaged weights, or bfloat16 is too coarse.
        """
        check_images(crops, self.image_size)
        found = self._in_batches(self._score, crops, (0, len(self.class_names)))
        if not np.isfinite(found).all():
            raise ValueError(
                f"{self.name}: scores that are not finite; its weights or statistics are damaged, or bfloat16 is too "
                "coarse for it (try --dtype=float32)"
            )
        return found

    def heat(self, crops: np.ndarray) -> np.ndarray:
        """Where Grad-CAM finds what speaks for a forgery, `[n, S, S, 3] uint8 -> [n, G, G] float32`, 0..1.

        It is that of the forged class that is likeliest over these crops.

        Raises:
          ValueError: a serialized detector.
        """
        if self._heat is None:
            raise ValueError(f"{self.name}: {NO_HEAT}")
        log_probabilities = self.log_probabilities(crops)
        if not len(crops):
            return np.zeros((0, 1, 1), np.float32)
        likely = np.exp(log_probabilities.astype(np.float64)).mean(axis=0)
        likely[self.real] = -1
        return self._in_batches(functools.partial(self._heat, of=int(np.argmax(likely))), crops, (0, 1, 1))

    def _in_batches(self, function, crops: np.ndarray, empty: tuple[int, ...]) -> np.ndarray:
        parts = [np.zeros(empty, np.float32)]
        for start in range(0, len(crops), self.batch):
            part = crops[start : start + self.batch]
            size = next(size for size in self._sizes if size >= len(part))
            padded = np.concatenate([part, np.zeros((size - len(part), *part.shape[1:]), np.uint8)])
            parts.append(np.asarray(function(padded))[: len(part)])
        return np.concatenate(parts[1:] or parts)


def open_predictor(
    checkpoint: str | None, unsaid: Unsaid, dtype: str = "", batch: int = 16, runtime: str = ""
) -> Predictor:
    """Opens whatever holds a detector, see `open_scorer`.

    Args:
      unsaid, dtype: see `open_scorer`.
      batch: images at a time.
      runtime: what runs the network, one of `weights.runtime.RUNTIMES`; "": JAX, and ONNX Runtime for files in ONNX.
        A detector with parameters is converted for ONNX Runtime and OpenVINO each time it is opened.

    Raises:
      FileNotFoundError: nothing there.
      ModuleNotFoundError: the packages that convert a detector are not installed.
      ValueError: not a detector, a flag for another kind of checkpoint, or a runtime that is not installed.
    """
    opened = open_scorer(checkpoint, unsaid, dtype, runtime=runtime)
    if isinstance(opened, Detector):
        return predictor_of(opened, batch, runtime or JAX)
    score, transform = opened.log_probabilities, opened.own_transform or TRANSFORM
    digest = opened.card["artifact"]["sha256"]
    return Predictor(
        opened.name, opened.card, opened.image_size, transform, score, None, batch, lambda: digest,
        opened.runtime if isinstance(opened, onnx_artifact.OnnxArtifact) else JAX,
    )  # fmt: skip


def predictor_of(detector: Detector, batch: int = 16, runtime: str = JAX) -> Predictor:
    """A detector of fsfm_jax, its parameters placed on the first device; heat maps are JAX's with every runtime.

    Raises:
      ModuleNotFoundError, ValueError: as `open_predictor`.
    """
    params = jax.device_put(jax.tree.map(jnp.asarray, detector.params))
    if runtime == JAX:
        score = functools.partial(jax.jit(detector.task.log_probabilities), params)
    else:
        score = _convert(detector, params, runtime)
    heat = jax.jit(functools.partial(class_activation, detector.task), static_argnames="of")
    return Predictor(
        detector.name,
        detector.card,
        detector.task.model.image_size,
        detector.own_transform or TRANSFORM,
        score,
        lambda crops, of: heat(params, crops, of=of),
        batch,
        lambda: digest_parameters(params),
        runtime,
    )


def _convert(detector: Detector, params: Any, runtime: str) -> Network:
    """The network of a detector in another runtime, which rounds products to the detector's dtype if it can."""
    dtype = np.dtype(detector.task.model.dtype).name
    load = open_runtime(runtime, detector.name, dtype)  # what is not installed is told before the conversion
    content, _ = onnx_file.convert(with_dtype(detector, jnp.float32).task, params)
    return load(content)
