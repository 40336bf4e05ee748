"""The detector that a fine-tuning run ends with: a checkpoint in `WORKDIR/detector` whose `run` item is its card.

Apart from `detection.detector`, so that a detector of another kind is loaded without the library of checkpoints.
"""

import glob
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from fsfm_jax.detection.detector import FOLDER, REPEATS, Detector
from fsfm_jax.resolve.task import task_of
from fsfm_jax.run.checkpoint import Checkpoints, Retention, read_parameters, read_parts
from fsfm_jax.train.identity import check_place, parameters_of


class Kept(NamedTuple):
    """Parameters of a step, stored without the optimizer.

    carried: arrays of an official file that its network does not use, by official name; an export writes them back.
    """

    step: jax.Array
    params: Any
    carried: Any


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
