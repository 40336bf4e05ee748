"""Load the encoder of a pretraining run, a detector or an official file, to inspect it."""

import dataclasses
import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fsfm_jax.data.resizing import resize_whole
from fsfm_jax.detection.detector import FOLDER
from fsfm_jax.detection.opener import Unsaid, open_detector
from fsfm_jax.models.adapter import block_adapter
from fsfm_jax.models.bases import BASES, OWN
from fsfm_jax.models.style import Style
from fsfm_jax.models.vit import SIZES, Encoder, Size, patchify
from fsfm_jax.records import check_images
from fsfm_jax.tasks.normalisation import Statistics, normalise
from fsfm_jax.weights import bundled, checkpoint_place
from fsfm_jax.weights.export_file import find_export
from fsfm_jax.weights.init import open_pretrained


@dataclasses.dataclass(frozen=True)
class LoadedEncoder:
    """An encoder with its parameters.

    Attributes:
      name: the checkpoint's name. encoder: the module; it computes in float32.
      statistics: channel statistics. image_size: side of its images in pixels.
    """

    name: str
    encoder: Encoder
    params: dict
    statistics: Statistics
    image_size: int

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return self.encoder.size.patch_size

    def patches(self, faces: np.ndarray) -> jax.Array:
        """Return normalised patches of `[B, H, W, 3] uint8`, resized without cropping to `image_size`, `[B, N, P]`.

        Raises:
          ValueError: the faces have another shape or dtype.
        """
        check_images(faces)
        if faces.shape[1:3] != (self.image_size, self.image_size):
            faces = np.stack([resize_whole(face, self.image_size) for face in faces])
        return patchify(normalise(jnp.asarray(faces), self.statistics), self.patch_size)

    def features(self, faces: np.ndarray, batch: int = 8) -> np.ndarray:
        """Return the mean over the last block's patch tokens, `[n, H, W, 3] uint8 -> [n, D] float32`.

        Raises:
          ValueError: there is no face, or the faces have another shape or dtype.
        """
        check_images(faces)
        if not len(faces):
            raise ValueError("faces: expected at least one face, found none")
        apply = jax.jit(functools.partial(_pool, encoder=self.encoder))
        parts = []
        for start in range(0, len(faces), batch):
            part = faces[start : start + batch]
            padded = np.concatenate([part, np.repeat(part[-1:], batch - len(part), axis=0)])
            parts.append(np.asarray(apply(self.params, self.patches(padded)))[: len(part)])
        return np.concatenate(parts)


def _pool(params: dict, patches: jax.Array, encoder: Encoder) -> jax.Array:
    tokens = encoder.apply({"params": params}, patches)
    return jnp.mean(tokens[:, encoder.style.prefix :].astype(jnp.float32), axis=1)


def open_encoder(checkpoint: str | None, unsaid: Unsaid, base: str = OWN) -> LoadedEncoder:
    """Open the encoder of a run, an export, a weight file or the package.

    Args:
      checkpoint: working directory of a pretraining or fine-tuning run, a file, a folder or a Hub address; `small` or
        None opens the encoder of the package.
      unsaid: with `classes`, a weight file is read as a fine-tuned one.
      base: layout of a weight file that is not from FSFM, a key of `models.bases.BASES`.

    Raises:
      FileNotFoundError: the checkpoint does not exist.
      ValueError: an opener refuses the checkpoint, or the channel statistics are unknown.
    """
    name = bundled.NAME if checkpoint is None else checkpoint
    checkpoint = checkpoint_place.resolve(checkpoint, bundled.ENCODER)
    export = find_export(checkpoint)
    if os.path.isdir(os.path.join(checkpoint, FOLDER)) or unsaid.classes or (export is not None and export.is_detector):
        detector = open_detector(checkpoint, unsaid, "float32")
        model = detector.task.model
        inside = {"lora": model.lora, "adapter": block_adapter(model)}
        made = _make(detector.params["encoder"], model.size, model.style, model.grid, **inside)
        return LoadedEncoder(name, made, detector.params["encoder"], detector.task.statistics, model.image_size)
    found = open_pretrained(checkpoint, base)
    if found.statistics is None:
        raise ValueError(f"--checkpoint: the channel statistics of {checkpoint} are unknown; see docs/interchange.md")
    size = SIZES[found.origin["size"]]
    made = _make(found.params["encoder"], size, BASES[base].style, found.grid)
    return LoadedEncoder(name, made, found.params["encoder"], found.statistics, made.grid * size.patch_size)


def _make(params: dict, size: Size, style: Style, grid: int, **inside: Any) -> Encoder:
    """Return the module that `params` belong to."""
    return Encoder(
        size, grid, jnp.float32, "none", learnt_positions="pos_embed" in params, final_norm="norm" in params,
        style=style, **inside,
    )  # fmt: skip
