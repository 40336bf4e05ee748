"""The pretraining job: data, task, state and loop put together, and the picture at its end."""

import functools
import logging
import os
import time
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from fsfm_jax import config as configuration
from fsfm_jax import fields, partition, records
from fsfm_jax.analyze import reconstruction
from fsfm_jax.checkpoint import Checkpoints, same_json
from fsfm_jax.config import Pretraining, Schedule
from fsfm_jax.data.sources import Source, open_mixture, open_source
from fsfm_jax.data.statistics import PixelSums
from fsfm_jax.data.stream import Stream
from fsfm_jax.optim import ema, schedules
from fsfm_jax.optim.optimizer import make_optimizer
from fsfm_jax.report import METRICS_FILE, Reporter, Silent
from fsfm_jax.tasks.pretrain import PretrainTask, Statistics
from fsfm_jax.train.loop import train
from fsfm_jax.train.state import TrainState, init_state
from fsfm_jax.train.step import make_step

LOG = logging.getLogger("fsfm_jax")
PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
FIGURE = "reconstruction.png"

Mixture = Sequence[tuple[Source, float | None]]


def run(config: ConfigDict, workdir: str, stop_after: str = "") -> None:
    """Pretrains in `workdir`, going on from its last checkpoint if there is one, and draws the result.

    Raises:
      ValueError: a configuration, data set or checkpoint that does not fit; see the message.
      FileNotFoundError: data that is not there.
      NonFinite: a loss term or the gradient is NaN or infinite.
    """
    sources = open_mixture(config.data.train)
    examples = sum(len(source) for source, _ in sources)
    resolved = configuration.resolve_pretraining(config, examples, jax.device_count(), stop_after)
    faces = open_source(resolved.figure_data)  # opened now: its absence must not show after days
    statistics = _statistics(config.data.statistics, sources)
    program = Program(resolved, statistics, partition.make_mesh())
    identity = run_identity(config, resolved, sources, statistics)

    def describe(number: int) -> dict:
        return {
            **identity,
            "step": number,
            "examples_seen": number * resolved.stream.global_batch,
            "all_fields": same_json(fields.flat(config)),
            "versions": {name: metadata.version(name) for name in PACKAGES},
        }

    checkpoints = Checkpoints(os.path.join(workdir, "checkpoints"), resolved.retention)
    try:
        state = _start(checkpoints, program, identity, workdir)
        first = int(state.step)
        _announce(resolved, sources, program, first)
        if first < resolved.loop.stop_after:
            state = _train(state, program, sources, checkpoints, describe, workdir)
        saved = checkpoints.directory / str(int(state.step))
        if int(state.step) < resolved.loop.steps:
            LOG.info(
                "Stopped after step %d of %d; the same command goes on from %s",
                int(state.step), resolved.loop.steps, saved,
            )  # fmt: skip
            return
        _draw(program, faces, state.params, os.path.join(workdir, FIGURE), saved)
    finally:
        checkpoints.close()


class Program:
    """The jitted functions of a resolved run and where their arrays live."""

    def __init__(self, resolved: Pretraining, statistics: Statistics, mesh: Mesh):
        self.resolved, self.mesh = resolved, mesh
        self.task = PretrainTask(resolved.model, resolved.loss, statistics)
        self._optimizer, self._update = make_optimizer(resolved.optimizer), target_update(resolved, self.task)
        init = functools.partial(init_state, task=self.task, optimizer=self._optimizer, target=self._update)
        abstract = jax.eval_shape(init, jnp.uint32(resolved.seed))
        self.shardings = partition.state_shardings(abstract, mesh, resolved.fsdp, resolved.fsdp_min_size)
        self.like = jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), abstract, self.shardings
        )
        self._init = jax.jit(init, out_shardings=self.shardings)

    def initial_state(self) -> TrainState:
        """The state at step 0, created where it lives."""
        return self._init(jnp.uint32(self.resolved.seed))

    def compiled_step(self) -> Any:
        """The train step, compiled for exactly the shapes of this run; other shapes raise.

        Compiled ahead, so that a program that does not fit the device says so before any data is read.
        """
        resolved = self.resolved
        rate = functools.partial(learning_rate_of, resolved.schedule)
        step = make_step(self.task, self._optimizer, self._update, rate, resolved.step)
        placed = self.shardings, partition.replicated(self.mesh)
        started = time.monotonic()
        lowered = jax.jit(step, donate_argnums=0, out_shardings=placed).lower(self.like, self._batch_like())
        compiled = lowered.compile()
        memory = compiled.memory_analysis()
        if memory is not None:
            LOG.info(
                "train step compiled in %.0f s; %.2f GB of state, %.2f GB of temporaries per device",
                time.monotonic() - started, memory.argument_size_in_bytes / 1e9, memory.temp_size_in_bytes / 1e9,
            )  # fmt: skip
        return compiled

    def _batch_like(self) -> dict[str, jax.ShapeDtypeStruct]:
        spec, model = self.resolved.stream, self.resolved.model
        sharding = partition.batch_sharding(self.mesh)

        def array(shape, dtype):
            return jax.ShapeDtypeStruct((spec.global_batch, *shape), dtype, sharding=sharding)

        masks = [records.MASK, records.REGION_MASK] + [records.OTHER_MASK] * spec.other_mask
        image = array((model.image_size, model.image_size, 3), np.uint8)
        return {records.IMAGE: image, **{name: array((model.patches,), np.bool_) for name in masks}}


def target_update(resolved: Pretraining, task: PretrainTask) -> ema.TargetUpdate:
    """The target's update rule of a resolved run."""
    if resolved.schedule.target_frozen:
        return ema.frozen(task.target_part)
    return ema.moving_average(functools.partial(target_rate_of, resolved.schedule), task.target_part)


def target_rate_of(s: Schedule, count: jax.Array) -> jax.Array:
    """1 - momentum at update `count`."""
    return schedules.target_rate(count, s.momentum, s.target_total, s.target_warmup, s.target_warmup_momentum)


def learning_rate_of(s: Schedule, step: jax.Array) -> jax.Array:
    """Learning rate of step `step`."""
    return schedules.warmup_cosine(step, s.peak, s.floor, s.warmup, s.total)


def run_identity(config: ConfigDict, resolved: Pretraining, sources: Mixture, statistics: Statistics) -> dict:
    """What a continuation must share with the run it continues, as JSON."""
    return same_json({
        "config": configuration.binding_fields(config, resolved.step.accumulation),
        "data": [{"fingerprint": s.fingerprint, "examples": len(s), "weight": w} for s, w in sources],
        "statistics": {"mean": statistics.mean, "std": statistics.std},
    })  # fmt: skip


def check_same_run(saved: dict, identity: dict, workdir: str) -> None:
    """Refuses to continue a run with another model, recipe or data set.

    Raises:
      ValueError: with every differing field, saved and asked for.
    """
    have, want = fields.flat(saved["config"]), fields.flat(identity["config"])
    changed = [
        f"{name}: {have.get(name, 'absent')} saved, {want.get(name, 'absent')} asked for"
        for name in sorted(have.keys() | want.keys())
        if have.get(name, "absent") != want.get(name, "absent")
    ]
    if saved["data"] != identity["data"]:
        counts = [[entry["examples"] for entry in run["data"]] for run in (saved, identity)]
        changed.append(f"data.train: another data set ({counts[0]} images saved, {counts[1]} asked for)")
    elif saved["statistics"] != identity["statistics"]:
        changed.append("data.statistics: other normalisation constants")
    if changed:
        raise ValueError(
            f"{workdir} holds step {saved['step']} of a different run:\n  "
            + "\n  ".join(changed)
            + "\nTake another --workdir, or the configuration and data of that run."
        )


def _start(checkpoints: Checkpoints, program: Program, identity: dict, workdir: str) -> TrainState:
    step = checkpoints.latest_step()
    if step is None:
        return program.initial_state()
    check_same_run(checkpoints.run(step), identity, workdir)
    return checkpoints.restore(step, program.like)


def _train(state, program: Program, sources: Mixture, checkpoints: Checkpoints, describe, workdir: str) -> TrainState:
    resolved, first = program.resolved, int(state.step)
    step = program.compiled_step()
    stream = Stream(sources, resolved.stream, first, jax.process_index(), jax.process_count())
    reporter = _reporter(workdir, first, resolved)

    def write(number: int, values: dict[str, float]) -> None:
        shown = ("loss", *program.task.term_weights, "learning_rate", "gradient_norm")
        values = {name: values[name] for name in shown}  # jit sorts names; this is the order to read them in
        if resolved.model.instance_discrimination:
            last_update = number * resolved.schedule.target_total // resolved.schedule.total - 1
            values = {**values, "momentum": 1 - float(target_rate_of(resolved.schedule, last_update))}
        reporter.write(number, values)

    to_device = functools.partial(partition.to_global, mesh=program.mesh)
    try:
        return train(state, step, stream, to_device, checkpoints, describe, write, resolved.loop)
    finally:
        stream.close()
        reporter.close()


def _draw(program: Program, faces: Source, params: Any, path: str, saved: Any) -> None:
    resolved = program.resolved
    untrained = program.initial_state().params
    error = reconstruction.draw(
        path,
        faces,
        resolved.figure_faces,
        program.task,
        resolved.stream.mask,
        resolved.seed,
        untrained,
        params,
    )
    LOG.info(
        "Masked loss on %d faces of %s: %.3f untrained, %.3f now",
        error.faces,
        faces.name,
        error.before,
        error.after,
    )
    LOG.info("Checkpoint: %s", saved)
    LOG.info("Picture: %s", path)


def _statistics(name: str, sources: Mixture) -> Statistics:
    if name == "records":
        return Statistics(*sum((source.pixel_sums for source, _ in sources), PixelSums()).mean_std())
    named = configuration.STATISTICS
    return named[fields.one_of("data.statistics", name, ("records", *named))]


def _reporter(workdir: str, first: int, resolved: Pretraining) -> Reporter | Silent:
    if jax.process_index():
        return Silent()
    path = os.path.join(workdir, METRICS_FILE)
    return Reporter(path, first, resolved.loop.steps, resolved.stream.global_batch)


def _announce(resolved: Pretraining, sources: Mixture, program: Program, first: int) -> None:
    parameters = sum(leaf.size for leaf in jax.tree.leaves(program.like.params))
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    LOG.info("%s; %d device(s): %s", versions, jax.device_count(), jax.devices()[0].device_kind)
    for source, weight in sources:
        LOG.info(
            "data: %s, %d images%s",
            source.name,
            len(source),
            "" if weight is None else f", weight {weight:g}",
        )
    LOG.info(
        "model: %.1f million parameters; batch %d in %d part(s); at step %d of %d",
        parameters / 1e6, resolved.stream.global_batch, resolved.step.accumulation, first, resolved.loop.steps,
    )  # fmt: skip
