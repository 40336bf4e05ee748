"""The state of an imported run, in `WORKDIR/imported`, from which a pretraining run resumes.

It is stored apart from the checkpoints of the run, because its step depends on the data and the batch size of the run
that resumes from it.
"""

import dataclasses
import json
import logging
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from fsfm_jax import records
from fsfm_jax.config.fields import horizon_of, same_value
from fsfm_jax.optim.optimizer import OPTIMIZERS, Optimizer
from fsfm_jax.run.checkpoint import Checkpoints, Retention, read_parts
from fsfm_jax.tasks.normalisation import Statistics
from fsfm_jax.train.identity import IMPORTED
from fsfm_jax.train.program import Program
from fsfm_jax.train.state import TrainState
from fsfm_jax.weights.encoder_size import check_shapes
from fsfm_jax.weights.official_optimizer import Moments

LOG = logging.getLogger("fsfm_jax")
ACCOUNT = "import.json"  # where it comes from, for people and for the checkpoints that follow
SAME_STATISTICS = 0.01  # larger differences of channel means and deviations are reported


class Imported(NamedTuple):
    """The arrays of an imported run; an empty dict for each part that its files lack.

    step: `[] int32`, updates that its optimizer made.
    params, target: of the networks. moments: `count`, `mu` and `nu` of Adam.
    carried: arrays by name that we compute or do not use, so that an export restores the files exactly.
    """

    step: Any
    params: dict
    target: dict
    moments: dict
    carried: dict


def save_imported(
    workdir: str, params: dict, target: dict | None, moments: Moments | None, carried: Mapping, run: dict
) -> None:
    """Write `WORKDIR/imported`, and of the `run` item the `origin` as `import.json` next to it.

    Raises:
      ValueError: there is a run in `workdir` already.
    """
    for folder in ("checkpoints", "detector", IMPORTED):
        if os.path.isdir(os.path.join(workdir, folder)):
            raise ValueError(f"--output: {workdir} has a folder {folder} already; expected a new one")
    kept = {} if moments is None else {"count": np.int32(moments.count), "mu": moments.mu, "nu": moments.nu}
    names = {network: unflatten_dict(tables, sep=".") for network, tables in carried.items()}
    step = 0 if moments is None else moments.count
    checkpoints = Checkpoints(os.path.join(workdir, IMPORTED), Retention(1, 0), asynchronous=False)
    try:
        checkpoints.save(Imported(np.int32(step), params, target or {}, kept, names), run)
        checkpoints.wait()
    finally:
        checkpoints.close()
    with open(os.path.join(workdir, ACCOUNT), "w", encoding="utf-8") as file:
        file.write(json.dumps(run["origin"], indent=1) + "\n")


def lineage(workdir: str) -> dict:
    """Return `{"imported": ORIGIN}` for a working directory with an imported run, else {}: part of a `run` item."""
    path = os.path.join(workdir, ACCOUNT)
    if "://" in workdir or not os.path.isfile(path):
        return {}
    with open(path, encoding="utf-8") as file:
        return {IMPORTED: json.load(file)}


def open_imported(workdir: str, parts: tuple[str, ...] = Imported._fields) -> tuple[Imported, dict] | None:
    """Return the imported state in `workdir` and its `run` item, or None. Parts not in `parts` are empty."""
    directory = os.path.join(workdir, IMPORTED)
    if "://" in workdir or not os.path.isdir(directory):
        return None
    kept, run = read_parts(directory, parts)
    carried = {network: flatten_dict(tables, sep=".") for network, tables in kept.get("carried", {}).items()}
    found = {name: kept.get(name, {}) for name in Imported._fields} | {"carried": carried}
    return Imported(**found), run


def adopt_state(
    workdir: str,
    program: Program,
    fields: Mapping[str, Any],
    statistics: Statistics,
    examples: int,
    batch: int,
    steps: int,
    updates: int,
) -> TrainState | None:
    """Return the state in which this run resumes the imported one of `workdir`; None if there is none.

    Its step is the same number of epochs from the start. Schedules and data continue there, in our own order.
    Differing recorded settings are named in a warning, since the files' own code would silently use new ones.

    Args:
      fields: the configuration of this run, by name; statistics: of its channels.
      examples, batch: images of an epoch and of a step; steps: of the whole run.
      updates: of the target, in a step.

    Raises:
      ValueError: the networks have other shapes or positions, their progress is unknown, or the run has ended.
    """
    found = open_imported(workdir)
    if found is None:
        return None
    imported, run = found
    if run["epochs"] is None:
        raise ValueError(f"{workdir}: the imported files do not say how far they were; use it with init= to fine-tune")
    what = f"{workdir}/{IMPORTED}, for model.size {fields['model.size']}"
    check_shapes(imported.params, program.like.params, what)
    positions = "model.rep_positions"  # the only difference of the networks that shapes do not show
    if run["config"][positions] != fields[positions]:
        raise ValueError(f"{positions}: expected {run['config'][positions]}, as in {what}; found {fields[positions]}")
    if imported.target:
        check_shapes(imported.target, program.like.target.params, f"{what}, target network")
    step = round(run["epochs"] * examples / batch)
    if step > steps:
        raise ValueError(
            f"duration: {fields['duration']!r} is {steps} steps, but the imported run has done {run['epochs']:g} "
            f"epochs, which are {step} steps with these {examples} images; choose a longer one"
        )
    there, here = ({**part, "duration": horizon_of(part)} for part in (run["config"], fields))
    differing = [
        f"{'horizon' if name == 'duration' and fields['horizon'] else name}: {there[name]} there, {here[name]} here"
        for name in run["known"]
        if not same_value(there[name], here[name])
    ]
    side = run.get("image_size", records.IMAGE_SIZE)
    if side != fields["model.image_size"]:
        differing.append(f"model.image_size: {side} there, {fields['model.image_size']} here")
    own = run["statistics"]
    if own is not None:
        apart = np.abs(np.subtract([own["mean"], own["std"]], [statistics.mean, statistics.std])).max()
        if apart > SAME_STATISTICS:
            differing.append(f"data.statistics: {own} there, {dataclasses.asdict(statistics)} here")
    if differing:
        LOG.warning("This run resumes with other settings than the imported one:\n  %s", "\n  ".join(differing))
    LOG.info("From %s: %g epochs done, which is step %d", what, run["epochs"], step)
    optimizer = fields["optimizer.name"]
    row = OPTIMIZERS[optimizer]
    if imported.moments and row.counterpart is None:
        LOG.warning("The imported moments are of AdamW and not used: %s starts with its own at zero", optimizer)
    return _place(program, fields["seed"], imported, step, updates, row)


def _place(
    program: Program, seed: int, imported: Imported, step: int, updates: int, row: Optimizer
) -> TrainState:
    state = program.initial_state(seed)
    params = imported.params
    target = imported.target or program.task.target_part(params)
    state = state._replace(
        step=jnp.int32(step),
        params=params,
        target=state.target._replace(count=jnp.int32(step * updates), params=target),
        optimizer=row.with_moments(state.optimizer, imported.moments),
    )
    return jax.device_put(state, program.shardings)
