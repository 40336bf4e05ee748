"""What `import fsfm_jax` offers: encoders, detectors, masks and the face parser. The page docs/python.md shows each."""

import dataclasses
import os
from collections.abc import Iterable, Iterator
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from fsfm_jax import records
from fsfm_jax.apps.certainty import limits_of
from fsfm_jax.apps.drawn_masks import Masks, crfr_p, crfr_r, fasking_i, frp, random
from fsfm_jax.apps.outputs import warnings
from fsfm_jax.apps.readers import Readers
from fsfm_jax.apps.reading import EVERY, Settings
from fsfm_jax.apps.scoring import score_readings
from fsfm_jax.apps.verdict import FALSE_ALARM, Verdict, choose_rule
from fsfm_jax.data.resizing import for_evaluation, resize_whole
from fsfm_jax.detection.encoder import LoadedEncoder, open_encoder
from fsfm_jax.detection.opener import Unsaid
from fsfm_jax.detection.predictor import Predictor, open_predictor
from fsfm_jax.models.bases import OWN
from fsfm_jax.models.vit import patchify
from fsfm_jax.prepare.crop import NoFace, square_of
from fsfm_jax.prepare.detect.detector import make_detector
from fsfm_jax.prepare.parse.parser import make_parser
from fsfm_jax.tasks.normalisation import normalise
from fsfm_jax.weights.bundled import as_text

__all__ = [
    "Detector", "Encoder", "Masks", "Parser", "crfr_p", "crfr_r", "fasking_i", "frp", "load_detector", "load_encoder",
    "load_parser", "random",
]  # fmt: skip


class Encoder:
    """A ViT encoder of faces, with its parameters and its normalisation of pixels.

    Attributes:
      name: what it was loaded from.
      params: nested dictionary of float32 arrays.
      image_size: side of its images in pixels; images of another size are resized whole.
      patch_size: side of a patch in pixels.
      width: D, the length of a feature.
    """

    def __init__(self, opened: LoadedEncoder, batch: int):
        self.name, self.params, self.image_size = opened.name, opened.params, opened.image_size
        self.patch_size, self.width = opened.patch_size, opened.encoder.size.width
        self._opened, self._batch = opened, batch
        self._tokens, self._features = jax.jit(self.apply_tokens), jax.jit(self.apply)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Compute features, the mean over the patch tokens, `[B, H, W, 3] uint8 -> [B, D] float32`.

        Raises:
          ValueError: images of another type or shape.
        """
        return self._in_batches(self._features, images, (0, self.width))

    def tokens(self, images: np.ndarray) -> np.ndarray:
        """Compute the tokens of the last block, `[B, H, W, 3] uint8 -> [B, 1 + N, D] float32`, class token first.

        Base models without a class token give `[B, N, D]`. Patches are in the order of reading.

        Raises:
          ValueError: images of another type or shape.
        """
        return self._in_batches(self._tokens, images, (0, 0, self.width))

    def apply(self, params: dict, images: jax.Array) -> jax.Array:
        """Compute features as a pure function, to differentiate, compile and shard: `[B, S, S, 3] -> [B, D] float32`.

        Args:
          params: in the form of `self.params`.
          images: pixels 0..255, uint8 or float32, of side `image_size`.
        """
        tokens = self.apply_tokens(params, images)
        return jnp.mean(tokens[:, self._opened.encoder.style.prefix :], axis=1)

    def apply_tokens(self, params: dict, images: jax.Array) -> jax.Array:
        """Compute tokens as a pure function, `[B, S, S, 3] -> [B, 1 + N, D] float32`; arguments as of `apply`."""
        patches = patchify(normalise(images, self._opened.statistics), self.patch_size)
        tokens = cast(jax.Array, self._opened.encoder.apply({"params": params}, patches))
        return tokens.astype(jnp.float32)

    def _in_batches(self, function: Any, images: np.ndarray, empty: tuple[int, ...]) -> np.ndarray:
        records.check_images(images)
        parts = [np.zeros(empty, np.float32)]
        for start in range(0, len(images), self._batch):
            part = _of_side(images[start : start + self._batch], self.image_size)
            size = self._batch if start else len(part)  # a short first batch is compiled as it is
            padded = np.concatenate([part, np.zeros((size - len(part), *part.shape[1:]), np.uint8)])
            parts.append(np.asarray(function(self.params, padded))[: len(part)])
        return np.concatenate(parts[1:] or parts)


class Detector:
    """A detector of forged or spoofed faces.

    Attributes:
      name: what it was loaded from.
      class_names: of its outputs. real: the index of real (bona fide) faces.
      image_size: side of its images in pixels.
      card: what gives its scores their meaning: thresholds, the data it was trained on, its configuration.
      warnings: what to know before a verdict is believed, a sentence each; empty for most detectors.
    """

    def __init__(self, predictor: Predictor, settings: Settings, threshold: str):
        self.name, self.image_size, self.card = predictor.name, predictor.image_size, predictor.card
        self.class_names, self.real = predictor.class_names, predictor.real
        self._predictor, self._settings = predictor, settings
        self._rule = choose_rule(predictor, threshold, limits_of(settings.detector), settings.faces == EVERY)
        self.warnings = tuple(warnings(predictor, self._rule))
        self._readers: Readers | None = None

    def __enter__(self) -> "Detector":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def score(self, crops: np.ndarray) -> np.ndarray:
        """Score face crops: the probability of being real, `[B, H, W, 3] uint8 -> [B] float64`.

        Crops should be squares 1.3 times as large as the face, as `predict` and the preparation cut them.

        Raises:
          ValueError: crops of another type or shape, or scores that are not finite.
        """
        return self.probabilities(crops)[:, self.real]

    def probabilities(self, crops: np.ndarray) -> np.ndarray:
        """Compute the probability of each class, `[B, H, W, 3] uint8 -> [B, C] float64`; raises as `score`."""
        records.check_images(crops)
        sized = [for_evaluation(self._predictor.transform, crop, self.image_size) for crop in crops]
        side = (0, self.image_size, self.image_size, 3)
        found = self._predictor.log_probabilities(np.stack(sized) if sized else np.zeros(side, np.uint8))
        return np.exp(found.astype(np.float64))

    def predict(self, path: str | os.PathLike) -> Verdict:
        """Find, crop and score the faces of a photo or video; what cannot be read says why and has no score."""
        return next(self.predict_all([path]))

    def predict_all(self, paths: Iterable[str | os.PathLike]) -> Iterator[Verdict]:
        """Predict many files in order, with full batches; files are decoded in processes of their own."""
        self._readers = self._readers or Readers(self._settings, len(os.sched_getaffinity(0)))
        found = self._readers.read_all(os.fspath(path) for path in paths)
        return (verdict for _, verdict in score_readings(self._predictor, self._rule, found))

    def close(self) -> None:
        """End the processes that decode files."""
        if self._readers is not None:
            self._readers.close()
            self._readers = None


class Parser:
    """A face parser with the detector that finds the face."""

    def __init__(self, name: str, weights: str, detector: str):
        self._parser, self._detector = make_parser(name, weights), make_detector(detector)

    def __call__(self, photo: np.ndarray) -> np.ndarray:
        """Parse the largest face of a photo into `regions.CLASSES`, `[H, W, 3] uint8 -> [H, W] uint8`.

        Raises:
          ValueError: a photo of another type or shape, or no face is found.
        """
        records.check_image(photo)
        height, width = photo.shape[:2]
        boxes = self._detector(photo)
        if not boxes:
            raise ValueError(f"parser: expected a face, found none in a photo of {height}x{width} (height x width)")
        box = max(boxes, key=lambda one: (one.right - one.left) * (one.bottom - one.top))
        side = max(height, width)
        whole = dataclasses.replace(square_of(box, height, width), x=0, y=0, size=side)
        try:
            return np.ascontiguousarray(self._parser(photo, box, whole, side)[:height, :width])
        except NoFace as error:
            raise ValueError(f"parser: {error}") from error


def load_encoder(
    checkpoint: str | os.PathLike | None = None, base: str = OWN, classes: str = "", batch: int = 32
) -> Encoder:
    """Load an encoder from a run, an official file, an export, or a base model's file, or the one of the package.

    Args:
      checkpoint: working directory of a pretraining or fine-tuning run, a .pth or .safetensors file, a folder for
        Hugging Face, or an address `hf://...`; "small", or nothing, for the small encoder of the package.
      base: whose weights a file holds, if not FSFM's: "mae", "dino", "clip", ... as `model.base` of a recipe.
      classes: of an official fine-tuned file, its outputs by index, such as "fake,real".
      batch: images that are computed at a time.

    Raises:
      FileNotFoundError: nothing is there. ModuleNotFoundError: an address without the extra hub.
      ValueError: a damaged file, or one that holds something else. OSError: an address cannot be fetched.
    """
    return Encoder(open_encoder(as_text(checkpoint), Unsaid(classes), base), batch)


def load_detector(
    checkpoint: str | os.PathLike | None = None,
    classes: str = "",
    statistics: str = "",
    dtype: str = "", batch: int = 16, threshold: str = FALSE_ALARM, runtime: str = "", **reading: Any,
) -> Detector:  # fmt: skip
    """Load a detector from a fine-tuning run, an official file, an export or an artifact, or the one of the package.

    Args:
      checkpoint: working directory, .pth, .safetensors, .jax or .onnx file, folder for Hugging Face, or an address
        `hf://...`; "small", or nothing, for the small demonstration detector of the package.
      classes: of an official file, its outputs by index, such as "fake,real".
      statistics: of an official file without any next to it, "vggface2", "ffpp" or "imagenet".
      dtype: of the matrix products, "float32" or "bfloat16"; by default the detector's own.
      batch: crops that are scored at a time.
      threshold: which kept threshold `predict` uses, "false_alarm" or "equal_error", or a number as text.
      runtime: what runs the network, "jax", "onnx" or "openvino"; by default JAX, and ONNX Runtime for .onnx files.
      reading: how `predict` reads files: `faces`, `frames`, `detector`, ... as the flags of `fsfm predict`.

    Raises:
      FileNotFoundError, OSError, ModuleNotFoundError: as `load_encoder`.
      ValueError: a damaged file, another kind of file, or a setting that is not allowed.
    """
    predictor = open_predictor(as_text(checkpoint), Unsaid(classes, statistics), dtype, batch, runtime)
    return Detector(predictor, Settings(predictor.image_size, predictor.transform, **reading), threshold)


def load_parser(name: str = "embedded", weights: str = "", detector: str = "dlib+blazeface") -> Parser:
    """Load a face parser: "embedded" needs nothing, "farl" and "bisenet" a file of weights.

    Raises:
      ValueError: an unknown name.
      FileNotFoundError: the file of weights is not there.
      RuntimeError: a package that the parser needs is not installed.
    """
    return Parser(name, weights, detector)


def _of_side(images: np.ndarray, side: int) -> np.ndarray:
    if images.shape[1:3] == (side, side):
        return images
    return np.stack([resize_whole(image, side) for image in images])
