"""The pretraining job: data, task, state and loop put together, and the picture at its end."""

import functools
import logging
import os
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from fsfm_jax import partition, records
from fsfm_jax.config import fields
from fsfm_jax.data.sources import Source, open_mixture, open_source
from fsfm_jax.data.stream import FirstBatch, Stream, ordered
from fsfm_jax.figures import reconstruction
from fsfm_jax.figures.picture_file import read_picture
from fsfm_jax.optim import ema, schedules
from fsfm_jax.resolve import pretrain
from fsfm_jax.resolve.pretrain import Pretraining, Schedule
from fsfm_jax.run.checkpoint import Checkpoints
from fsfm_jax.run.lock import held
from fsfm_jax.run.writers import RunInfo, Writer, Writers, open_writers
from fsfm_jax.tasks.pretrain import PretrainTask, Statistics
from fsfm_jax.train.alarms import ALARMS_FILE, Alarms
from fsfm_jax.train.identity import PACKAGES, description, named_statistics, run_identity, saved_state
from fsfm_jax.train.loop import train
from fsfm_jax.train.program import Program
from fsfm_jax.train.state import TrainState
from fsfm_jax.train.suspects import Suspects
from fsfm_jax.train.vitals import WATCHED
from fsfm_jax.weights.run_import import adopted_state, lineage

LOG = logging.getLogger("fsfm_jax")
FIGURE = "reconstruction.png"

Mixture = Sequence[tuple[Source, float | None]]


def run(config: ConfigDict, workdir: str, stop_after: str = "", writers: Sequence[Writer] = ()) -> None:
    """Pretrains in `workdir`, going on from its last checkpoint if there is one, and draws the result.

    `writers` get the metrics, too; they stay open.

    Raises:
      ValueError: a configuration, data set or checkpoint that does not fit; see the message.
      FileNotFoundError: data that is not there.
      NonFinite: a loss term or the gradient is NaN or infinite.
      NotSaved: something cannot be written.
      Interrupted: the process was told to stop; everything is saved.
    """
    with held(workdir):
        _run(config, workdir, stop_after, writers)


def _run(config: ConfigDict, workdir: str, stop_after: str, lent: Sequence[Writer]) -> None:
    sources = open_mixture(config.data.train)
    examples = sum(len(source) for source, _ in sources)
    resolved = pretrain.resolve_pretraining(config, examples, jax.device_count(), stop_after)
    faces = open_source(resolved.figure_data)  # opened now: its absence must not show after days
    statistics = named_statistics(config.data.statistics, sources, pretrain.STATISTICS)
    program = make_program(resolved, statistics)
    binding = pretrain.binding_fields(config, resolved.step.accumulation)
    identity = run_identity(binding, sources, statistics)

    def describe(number: int) -> dict:
        run = description(identity, config, number, resolved.stream.global_batch) | lineage(workdir)
        return run | {"image_size": resolved.model.image_size}

    checkpoints = Checkpoints(os.path.join(workdir, "checkpoints"), resolved.retention)
    writers = None
    try:
        state = saved_state(checkpoints, program, identity, workdir)
        if state is None:
            schedule = resolved.schedule
            state = adopted_state(
                workdir, program, fields.flat(config), statistics, examples, resolved.stream.global_batch,
                schedule.total, schedule.target_total // schedule.total,
            )  # fmt: skip
            if state is not None:
                checkpoints.save(state, describe(int(state.step)))  # from here on it is a run of ours
        state = state or program.initial_state()
        first = int(state.step)
        _announce(resolved, sources, program, first)
        loop = resolved.loop
        if first < loop.stop_after:
            checkpoints.check_room(state)
        info = RunInfo(
            workdir, first, loop.steps, loop.stop_after, resolved.stream.global_batch, fields.flat(config)
        )
        writers = open_writers(resolved.writers, info, lent)
        if first < loop.stop_after:
            state = _train(
                state, program, resolved, sources, checkpoints, describe, workdir, config.data.repeat_batch, writers
            )
        saved = checkpoints.directory / str(int(state.step))
        if int(state.step) < resolved.loop.steps:
            LOG.info(
                "Stopped after step %d of %d; the same command goes on from %s",
                int(state.step), resolved.loop.steps, saved,
            )  # fmt: skip
            return
        _draw(program, resolved, faces, state.params, os.path.join(workdir, FIGURE), saved, writers)
    finally:
        try:
            if writers is not None:
                writers.close()
        finally:
            checkpoints.close()


def make_program(resolved: Pretraining, statistics: Statistics, mesh: Mesh | None = None) -> Program:
    """The program of a resolved run on `mesh`, by default on all devices."""
    task = PretrainTask(resolved.model, resolved.loss, statistics)
    patches, size = (resolved.model.patches,), resolved.model.image_size
    masks = [records.MASK, records.REGION_MASK] + [records.OTHER_MASK] * resolved.stream.other_mask
    # Rows of pixels: a TPU would keep images apart by channel, and cutting them into patches cost a tenth of a step.
    rows = (size, 3 * size)
    return Program(
        task=task,
        optimizer=resolved.optimizer,
        target=target_update(resolved, task),
        learning_rate=functools.partial(learning_rate_of, resolved.schedule),
        step=resolved.step,
        example={records.IMAGE: (rows, np.uint8), **{name: (patches, np.bool_) for name in masks}},
        global_batch=resolved.stream.global_batch,
        seed=resolved.seed,
        mesh=partition.make_mesh(replicas=resolved.replicas) if mesh is None else mesh,
        fsdp=resolved.fsdp,
        fsdp_min_size=resolved.fsdp_min_size,
    )


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


def _train(
    state: TrainState, program: Program, resolved: Pretraining, sources: Mixture, checkpoints: Checkpoints, describe,
    workdir: str, repeat_batch: bool, writers: Writers,
) -> TrainState:  # fmt: skip
    first = int(state.step)
    step = program.compiled_step()
    stream = Stream(sources, resolved.stream, first, jax.process_index(), jax.process_count())
    if repeat_batch:
        LOG.warning("data.repeat_batch: one batch again and again; what is trained is of no use")
        stream = FirstBatch(stream)
    if resolved.schedule.target_frozen:
        LOG.warning("target.rule: frozen, as the released code acts on several GPUs; its alarm is off")
    alarms = Alarms(resolved.alarms, None if jax.process_index() else os.path.join(workdir, ALARMS_FILE), first)
    examples, size = ordered(sources, resolved.stream.seed), resolved.stream.global_batch

    def record(position: int) -> str:
        return examples[first * size + position % size if repeat_batch else position][records.SOURCE]

    def write(number: int, values: dict[str, float]) -> None:
        shown = ("loss", *program.task.term_weights, "learning_rate", "gradient_norm")
        shown += (*(name for name in WATCHED if name in values), "input_wait")
        values = {name: values[name] for name in shown}  # jit sorts names; this is the order to read them in
        if resolved.model.instance_discrimination:
            last_update = number * resolved.schedule.target_total // resolved.schedule.total - 1
            values = {**values, "momentum": 1 - float(target_rate_of(resolved.schedule, last_update))}
        writers.write_step(number, values)

    try:
        return train(
            state, step, stream, program.to_device, checkpoints, describe, write, resolved.loop, alarms,
            Suspects(program.task, resolved.step.accumulation, program.mesh, record),
            flush=writers.flush,
        )  # fmt: skip
    finally:
        stream.close()
        alarms.close()


def _draw(
    program: Program, resolved: Pretraining, faces: Source, params: Any, path: str, saved: Any, writers: Writers
) -> None:
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
    if writers:  # of process 0, which wrote the file
        writers.write_image(resolved.loop.steps, "reconstruction", read_picture(path))
    LOG.info(
        "Masked loss on %d faces of %s: %.3f untrained, %.3f now",
        error.faces,
        faces.name,
        error.before,
        error.after,
    )
    LOG.info("Checkpoint: %s", saved)
    LOG.info("Picture: %s", path)


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
