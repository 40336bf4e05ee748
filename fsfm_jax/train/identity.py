"""What a run is: the JSON that is saved with each checkpoint, and the refusal to continue another run."""

import logging
import os
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import jax
from ml_collections import ConfigDict

from fsfm_jax.config import fields
from fsfm_jax.data.statistics import PixelSums
from fsfm_jax.run import foreign_file
from fsfm_jax.run.checkpoint import Checkpoints, read_parameters, same_json
from fsfm_jax.run.workdir import check_store, is_remote
from fsfm_jax.tasks.normalisation import Statistics
from fsfm_jax.train.program import Program
from fsfm_jax.train.state import TrainState

LOG = logging.getLogger("fsfm_jax")
Mixture = Sequence[tuple[Any, float | None]]  # data sets with their weights
IMPORTED = "imported"  # folder of what others have trained
PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def run_identity(binding: dict, sources: Mixture, statistics: Statistics) -> dict:
    """Return what a continuation must share with the run it continues, as JSON.

    Args:
      binding: the fields of the configuration that decide about the result.
      sources: data sets with their weights.
    """
    # So a run is described as it was before there were those fields, and its hash stays.
    told = {name: value for name, value in binding.items() if fields.WHEN_ABSENT.get(name, ...) != value}
    return same_json({
        "config": told,
        "data": [{"fingerprint": s.fingerprint, "examples": len(s), "weight": w} for s, w in sources],
        "statistics": {"mean": statistics.mean, "std": statistics.std},
    })  # fmt: skip


def description(identity: dict, config: ConfigDict, step: int, global_batch: int) -> dict:
    """Return the `run` item of a checkpoint."""
    return {
        **identity,
        "step": step,
        "examples_seen": step * global_batch,
        "all_fields": same_json(fields.flat(config)),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "machine": machine(),
    }


def machine() -> dict:
    """Return what else the last bits of a sum depend on: devices, and on CPUs the cores that share the work."""
    device = jax.devices()[0]
    cores = len(os.sched_getaffinity(0)) if device.platform == "cpu" else None
    return {"devices": jax.device_count(), "hosts": jax.process_count(), "kind": device.device_kind, "cores": cores}


def list_changes(saved: dict) -> list[str]:
    """Say how this process differs from the one that saved the run item `saved`; empty if it does not."""
    found = []
    for part, now in (("versions", {name: metadata.version(name) for name in PACKAGES}), ("machine", machine())):
        if part in saved:  # checkpoints from before have no machine
            before = saved[part]
            found += [f"{name} {before[name]} is {now[name]} now" for name in now if before[name] != now[name]]
    return found


def check_same_run(saved: dict, identity: dict, workdir: str) -> None:
    """Refuse to continue a run with another model, recipe or data set.

    Raises:
      ValueError: with every differing field, saved and asked for.
    """
    have, want = fields.flat(saved["config"]), fields.flat(identity["config"])
    changed = [
        f"{name}: {fields.value_of(have, name)} saved, {fields.value_of(want, name)} asked for"
        for name in sorted(have.keys() | want.keys())
        if not fields.same_value(fields.value_of(have, name), fields.value_of(want, name))
    ]
    if saved["data"] != identity["data"]:
        counts = [[entry["examples"] for entry in run["data"]] for run in (saved, identity)]
        changed.append(f"data.train: another data set ({counts[0]} images saved, {counts[1]} asked for)")
    elif saved["statistics"] != identity["statistics"]:
        changed.append("data.statistics: other normalisation constants")
    for name in identity.keys() - {"config", "data", "statistics"}:
        if saved[name] != identity[name]:
            changed.append(f"{name}: {saved[name]} saved, {identity[name]} asked for")
    if changed:
        raise ValueError(
            f"{workdir} holds step {saved['step']} of a different run:\n  "
            + "\n  ".join(changed)
            + "\nTake another --workdir, or the configuration and data of that run."
        )


def read_state(checkpoints: Checkpoints, program: Program, identity: dict, workdir: str) -> TrainState | None:
    """Return the state of the last checkpoint, or None if there is none; ValueError if it is of another run."""
    step = checkpoints.latest_step()
    if step is None:
        return None
    saved = checkpoints.run(step)
    check_same_run(saved, identity, workdir)
    differing = list_changes(saved)
    if differing:
        LOG.warning("From step %d on the last bits may be others than where it began: %s", step, "; ".join(differing))
    return checkpoints.restore(step, program.like)


def check_place(workdir: str, field: str) -> None:
    """Refuse addresses that no run can be read from; `field` names the working directory in errors.

    Raises:
      ValueError: a scheme such as hf://, or the package that reads an object store is not installed.
    """
    foreign_file.check_place(workdir, field)
    if is_remote(workdir):
        check_store(workdir)


def parameters_of(workdir: str, job: str, field: str) -> tuple[dict, dict]:
    """Return parameters and `run` item of the last checkpoint of a run of `job`, whose working directory `field` names.

    For a run that others have trained and that was not resumed, those are the imported ones.

    Raises:
      FileNotFoundError: no such run, or it has saved nothing yet.
      ValueError: a run of another job.
    """
    check_place(workdir, field)
    directory = os.path.join(workdir, "checkpoints")
    imported = os.path.join(workdir, IMPORTED)
    if os.path.isdir(imported) and not (os.path.isdir(directory) and any(map(str.isdigit, os.listdir(directory)))):
        directory = imported
    if not workdir or ("://" not in workdir and not os.path.isdir(directory)):
        found = f" ({foreign_file.lacking_run(workdir)})" if workdir else ""
        raise FileNotFoundError(
            f"{field}: no run at {workdir or 'an empty path'}{found}; expected the --workdir of a run of job {job}"
        )
    params, saved = read_parameters(directory)
    if saved["config"]["job"] != job:
        raise ValueError(f"{field}: {workdir} holds a run of job {saved['config']['job']!r}; expected one of {job}")
    return params, saved


def named_statistics(name: str, sources: Mixture, named: dict[str, Statistics]) -> Statistics:
    """Return the channel statistics that `data.statistics` asks for: of the "records", or one of the `named`."""
    if name == "records":
        return Statistics(*sum((source.pixel_sums for source, _ in sources), PixelSums()).mean_std())
    return named[fields.one_of("data.statistics", name, ("records", *named))]
