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
from fsfm_jax.weights import bundled, onnx_artifact, onnx_file
from fsfm_jax.weights.network import Network
from fsfm_jax.weights.runtime import JAX, open_runtime
from fsfm_jax.weights.signed_files import open_signed, restore_paths

# Batch sizes besides the largest one. A smaller batch is padded to the next size; each size is compiled once.
SMALL = (1, 4)
TRANSFORM = "resize_center"  # default for detectors that do not store theirs; the released code validates with it
NO_HEAT = "a serialized detector has no gradients, so no heat maps: name the run or the file it came from"


class Predictor(Carded):
    """A scorer of face crops, in batches of a few fixed sizes.

    Attributes:
      name: its name in messages.
      card: the description of its scores, see `detection.detector`.
      image_size: side of its images in pixels.
      transform: how a crop becomes such an image, "resize" or "resize_center".
      explains: whether it can compute heat maps.
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
        """Make a predictor; `score` and `heat` take `[n, S, S, 3] uint8` with n up to `batch`.

        `digest` returns the SHA-256 of the parameters, or of the file of a serialized detector.
        """
        if batch < 1:
            raise ValueError(f"batch: expected at least 1 image, found {batch}")
        self.name, self.card, self.image_size, self.transform = name, card, image_size, transform
        self.explains, self.batch, self.runtime = heat is not None, batch, runtime
        self._score, self._heat, self._digest = score, heat, digest
        self._sizes = (*(size for size in SMALL if size < batch), batch)

    @functools.cached_property
    def weights_sha256(self) -> str:
        """Return the SHA-256 of the weights in hexadecimal, as in `facts.describe_detector`."""
        return self._digest()

    def log_probabilities(self, crops: np.ndarray) -> np.ndarray:
        """Return natural logarithms of class probabilities, `[n, S, S, 3] uint8 -> [n, C] float32`, n >= 0.

        Raises:
          ValueError: the crops have another shape or dtype, or a score is non-finite (damaged weights, or bfloat16
            overflows).
        """
        check_images(crops, self.image_size)
        found = self._in_batches(self._score, crops, (0, len(self.class_names)))
        if not np.isfinite(found).all():
            raise ValueError(
                f"{self.name}: expected finite scores, found non-finite ones. Check its weights and statistics, or try "
                "--dtype=float32 if bfloat16 overflows"
            )
        return found

    def heat(self, crops: np.ndarray) -> np.ndarray:
        """Return Grad-CAM maps of the evidence for a forgery, `[n, S, S, 3] uint8 -> [n, G, G] float32`, 0..1.

        They are for the forged class that is likeliest over these crops.

        Raises:
          ValueError: the detector is serialized.
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
    checkpoint: str | None,
    unsaid: Unsaid,
    dtype: str = "",
    batch: int = 16,
    runtime: str = "",
    signed_by: str | None = None,
) -> Predictor:
    """Open a checkpoint for scoring, see `open_scorer`.

    Args:
      unsaid, dtype: see `open_scorer`.
      batch: largest number of images scored at a time.
      runtime: what runs the network, one of `weights.runtime.RUNTIMES`; "": JAX, and ONNX Runtime for files in ONNX.
        A detector with parameters is converted for ONNX Runtime and OpenVINO each time it is opened.
      signed_by: a public key; only files that it verifies are loaded (`signed_files.open_signed`).

    Raises:
      FileNotFoundError: the checkpoint or its signature does not exist.
      ValueError: the checkpoint is not a detector, a flag is for another kind of checkpoint, the runtime is not
        installed, or the files are not those that were signed.
      ModuleNotFoundError: the packages that convert a detector or check a signature are not installed.
    """
    if signed_by is not None:
        with open_signed(checkpoint, signed_by) as copy:
            predictor = open_predictor(copy, unsaid, dtype, batch, runtime)
        predictor.name = bundled.NAME if checkpoint is None else checkpoint
        predictor.card = restore_paths(predictor.card, copy, predictor.name)
        return predictor
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
    """Make a predictor of a detector of fsfm_jax, with its parameters on the first device.

    JAX computes the heat maps with every runtime.

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
    """Convert a detector's network to another runtime, which rounds products to the detector's dtype if it can."""
    dtype = np.dtype(detector.task.model.dtype).name
    load = open_runtime(runtime, detector.name, dtype)  # a missing package fails before the conversion
    content, _ = onnx_file.convert(with_dtype(detector, jnp.float32).task, params)
    return load(content)
