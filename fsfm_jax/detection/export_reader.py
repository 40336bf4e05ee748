"""Read detectors that `to_torch` exported, with their cards."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from fsfm_jax.detection.detector import Detector
from fsfm_jax.metrics.card import MERGED
from fsfm_jax.metrics.demonstration import FIELD as DEMONSTRATION
from fsfm_jax.resolve.task import task_of
from fsfm_jax.weights.encoder_size import check_shapes
from fsfm_jax.weights.export_file import PRETRAINED, Export, read_weights
from fsfm_jax.weights.sidecar_file import COPY

FIELD = "checkpoint"
_EXPORT = "export"  # key of the card: the file that it was imported from
_KEPT = ("class_names", "real", "statistics", "image_size", "step", "selection", "calibration", "config", "versions")


def open_export(export: Export) -> tuple[Detector, Mapping[str, np.ndarray]]:
    """Open an exported detector.

    Returns:
      The detector, with its card and the network that its configuration names; and the arrays of the official file
      that this network does not use, by official name.

    Raises:
      FileNotFoundError: the file does not exist.
      ValueError: the file holds a pretrained encoder, does not match its sidecar, or has arrays of another network.
    """
    path, said = export.path, export.said
    if not export.is_detector:
        raise ValueError(
            f"{FIELD}: {path}: expected a detector, but {export.beside} says {PRETRAINED}: an encoder without a "
            f"classifier. Fine-tune it first, with init={path}"
        )
    card = _card(export)
    try:
        task = task_of(card)
        shapes = jax.eval_shape(task.init, jax.random.key(0))
    except (KeyError, TypeError, AttributeError, ArithmeticError, ValueError) as error:
        raise ValueError(f"{export.beside}: config: not a network of fsfm_jax ({str(error)[:200]}); {COPY}") from error
    weights = read_weights(export, FIELD)
    check_shapes(weights.params, shapes, f"{FIELD}: {path}, as {export.beside} describes it")
    card[_EXPORT] = {"format": said["format"], "path": path, "kind": weights.kind, "sha256": weights.sha256}
    return Detector(path, task, weights.params, card), weights.unused


def _card(export: Export) -> dict[str, Any]:
    """Return the card that the detector had before its export, as far as the sidecar stores it."""
    said = export.said
    card = {name: said.get(name) for name in _KEPT} | {"origin": said.get("origin"), "seen": said.get("seen")}
    card |= {name: said[name] for name in ("official", MERGED, DEMONSTRATION) if name in said}
    data = said.get("data")
    if isinstance(data, dict):
        card |= {"data": data.get("sets"), "all_fields": {"data.train": data.get("train")}}
    return card


def with_dtype(detector: Detector, dtype: Any) -> Detector:
    """Return the same detector with matrix products in another dtype."""
    model = dataclasses.replace(detector.task.model, dtype=dtype)
    return dataclasses.replace(detector, task=dataclasses.replace(detector.task, model=model))
