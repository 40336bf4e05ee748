"""A fine-tuned official file as a detector in a working directory of ours, as if a run of ours had ended with it."""

import json

import jax.numpy as jnp

from configs import finetuning
from fsfm_jax.detection.detector import Detector, save_detector
from fsfm_jax.detection.official import open_official
from fsfm_jax.export import names, official_file
from fsfm_jax.fields import flat
from fsfm_jax.models.antispoof import AntiSpoofSpec
from fsfm_jax.models.vit import SIZES
from fsfm_jax.optim.tuning import ADAPTER
from fsfm_jax.tasks.normalisation import Statistics

_UNUSED = {official_file.ANTISPOOF_ADAPTER: names.ANTISPOOF_ADAPTER.unused}


def import_detector(
    path: str, workdir: str, classes: str, statistics: Statistics | None, norm_over: str
) -> Detector:
    """Reads a fine-tuned file and writes `WORKDIR/detector`; the arguments are those of `open_official`.

    Raises:
      ValueError: see `open_official`.
      FileNotFoundError: no such file.
    """
    detector = open_official(path, classes, statistics, norm_over, jnp.float32)
    file = official_file.open_file(path, "checkpoint")
    unused = _UNUSED[file.network] if file.network in _UNUSED else {}
    carried = {name: official_file.float32(path, name, file.tensors[name]) for name in unused if name in file.tensors}
    said = {name: value for name, value in file.beside.items() if name not in ("optimizer", *official_file.STATES)}
    card = detector.card | {
        "config": _fields(detector),
        "image_size": detector.task.model.image_size,
        "official": json.loads(json.dumps(said, default=str)),
    }
    save_detector(workdir, file.epoch or 0, detector.params, card, carried)
    return Detector(workdir, detector.task, detector.params, card)


def _fields(detector: Detector) -> dict:
    """A configuration with the network of this detector; of its recipe nothing is known."""
    model, c = detector.task.model, finetuning.finetune()
    c.init = detector.name
    c.model.size = next(name for name, size in SIZES.items() if size == model.size)
    c.model.dtype = "float32"
    c.tuning.method = "full" if model.reduction is None else ADAPTER
    c.tuning.reduction = c.tuning.reduction if model.reduction is None else model.reduction
    if isinstance(model, AntiSpoofSpec):
        c.model.network, c.model.norm_over, c.model.dropout = "antispoof", model.norm_over, model.dropout
    else:
        c.model.pooling = model.pooling
    return dict(flat(c))
