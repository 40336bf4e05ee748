"""Import a fine-tuned weight file as the detector of a working directory, as if a run had saved it."""

import json
from typing import Any

import jax.numpy as jnp

from fsfm_jax.data.class_names import parse_classes
from fsfm_jax.detection.detector import Detector
from fsfm_jax.detection.export_reader import open_export
from fsfm_jax.detection.official import detector_of
from fsfm_jax.detection.official_network import read_detector
from fsfm_jax.detection.saved import save_detector
from fsfm_jax.models.antispoof import AntiSpoofSpec
from fsfm_jax.models.vit import SIZES
from fsfm_jax.optim.tuning import ADAPTER, FULL
from fsfm_jax.tasks.normalisation import Statistics
from fsfm_jax.weights.export_file import Export
from fsfm_jax.weights.official_file import Content

NO_DROP_PATH = "the file does not store its rate of stochastic depth; 0 is recorded, scores do not depend on it"


def import_detector(
    path: str, workdir: str, classes: str, statistics: Statistics | None, norm_over: str, content: Content | None = None
) -> Detector:
    """Read a fine-tuned official file and write `WORKDIR/detector`; the arguments are those of `open_official`.

    Raises:
      ValueError: see `open_official`.
      FileNotFoundError: no such file.
    """
    names, real = parse_classes(classes, "official.classes")
    found = read_detector(path, names, real, statistics, content=content)
    detector = detector_of(path, found, norm_over, jnp.float32)
    if found.drop_path is None:
        detector.card["origin"]["notes"].append(NO_DROP_PATH)
    card = detector.card | {
        "config": _fields(detector, found.drop_path or 0.0),
        "image_size": detector.task.model.image_size,
        "official": json.loads(json.dumps(found.said, default=str)),
    }
    save_detector(workdir, found.origin.get("epoch", 0), detector.params, card, found.unused)
    return Detector(workdir, detector.task, detector.params, card)


def import_export(export: Export, workdir: str) -> Detector:
    """Read a detector that `to_torch` exported and write `WORKDIR/detector`, with its original card.

    Raises:
      ValueError: see `open_export`.
      FileNotFoundError: no such file.
    """
    detector, unused = open_export(export)
    # Arrays that our network never had are made again by the next export.
    carried = unused if "official" in detector.card else {}
    save_detector(workdir, detector.card["step"] or 0, detector.params, detector.card, carried)
    return Detector(workdir, detector.task, detector.params, detector.card)


def _fields(detector: Detector, drop_path: float) -> dict[str, Any]:
    """Return the configuration fields that name the detector's network; the rest of its recipe is unknown."""
    model = detector.task.model
    fields = {
        "job": "finetune",
        "init": detector.name,
        "model.size": next(name for name, size in SIZES.items() if size == model.size),
        "model.dtype": "float32",
        "model.drop_path": drop_path,
        "tuning.method": FULL if model.reduction is None else ADAPTER,
    }
    if model.reduction is not None:
        fields["tuning.reduction"] = model.reduction
    if isinstance(model, AntiSpoofSpec):
        return fields | {
            "model.network": "antispoof", "model.norm_over": model.norm_over, "model.dropout": model.dropout,
        }  # fmt: skip
    return fields | {"model.pooling": model.pooling}
