"""A finished detector: its parameters, and a card that describes its scores.

A fine-tuning run saves it in `WORKDIR/detector`, a checkpoint whose `run` item is the card:

    class_names, real    class names by index, and the index of the real class
    statistics           channel mean and standard deviation of its input pixels
    step, selection      the step of the run, and a sentence on how that step was chosen
    calibration          temperature and thresholds from a validation split, or null
    seen                 hashes of its training videos (`detection.video_overlap`)
    image_size           side of its images in pixels, if it differs from that of the records
    config, origin, ...  the recipe, the origin of its pretraining, versions
"""

import dataclasses
import glob
import hashlib
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.experimental import multihost_utils

from fsfm_jax.metrics.card import Carded
from fsfm_jax.resolve.finetune import task_of
from fsfm_jax.run.checkpoint import Checkpoints, Retention, read_parameters, read_parts
from fsfm_jax.tasks.classify import ClassifyTask
from fsfm_jax.train.identity import check_place, parameters_of

FOLDER = "detector"
REPEATS = "seed_{}"  # folder of one seed of a run with several


class Kept(NamedTuple):
    """Parameters of a step, stored without the optimizer.

    carried: arrays of an official file that its network does not use, by official name; an export writes them back.
    """

    step: jax.Array
    params: Any
    carried: Any


@dataclasses.dataclass(frozen=True)
class Detector(Carded):
    """A network with its parameters and its card.

    Attributes:
      name: the path it was opened from, used in messages.
    """

    name: str
    task: ClassifyTask
    params: Any
    card: dict


def save_detector(workdir: str, step: int, params: Any, card: dict, carried: Mapping | None = None) -> None:
    """Write `WORKDIR/detector`, replacing an existing one; `carried` as in `Kept`."""
    checkpoints = Checkpoints(os.path.join(workdir, FOLDER), Retention(1, 0), asynchronous=False)
    try:
        for old in checkpoints.steps():
            if old == step and checkpoints.run(old) == card:
                return
            checkpoints.delete(old)
        checkpoints.save(Kept(np.int32(step), params, unflatten_dict(carried or {}, sep=".")), card)
        checkpoints.wait()
    finally:
        checkpoints.close()


def open_saved(workdir: str) -> Detector:
    """Open the detector of the finished fine-tuning run in `workdir`, its parameters as NumPy arrays.

    Raises:
      FileNotFoundError: there is no such run, or it has not finished.
      ValueError: the run is of another job, or the folder holds several runs.
    """
    check_place(workdir, "checkpoint")
    directory = os.path.join(workdir, FOLDER)
    if not workdir or ("://" not in workdir and not os.path.isdir(directory)):
        several = sorted(glob.glob(os.path.join(glob.escape(workdir), REPEATS.format("*")))) if workdir else []
        if several:
            raise ValueError(f"checkpoint: {workdir} holds {len(several)} runs; name one of them, such as {several[0]}")
        saved = parameters_of(workdir, "finetune", "checkpoint")[1]
        raise FileNotFoundError(
            f"checkpoint: the run at {workdir} has not finished, it is at step {saved['step']}. Run its command again "
            "to resume it; it saves a detector when it finishes"
        )
    params, card = read_parameters(directory)
    return Detector(workdir, task_of(card), params, card)


def read_carried(workdir: str) -> dict[str, np.ndarray]:
    """Return the unused arrays of the official file that an imported detector carries, by official name."""
    parts, _ = read_parts(os.path.join(workdir, FOLDER), ("carried",))
    return flatten_dict(parts["carried"], sep=".") if parts.get("carried") else {}


def digest_parameters(params: Mapping) -> str:
    """Return the SHA-256 of all parameters by name, dtype, shape and bytes, in hexadecimal.

    A run and its exports hold the same parameters, so their digests are equal. Parameters sharded over hosts are
    gathered, so all hosts must call this function.
    """
    digest = hashlib.sha256()
    for name, leaf in sorted(flatten_dict(params, sep="/").items()):
        if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
            leaf = multihost_utils.process_allgather(leaf, tiled=True)
        array = np.asarray(leaf)
        digest.update(f"{name} {array.dtype} {list(array.shape)}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
