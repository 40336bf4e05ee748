"""The pretraining job: combine data, task, state and training loop, and draw reconstructions at the end."""

import functools
import logging
import os
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from fsfm_jax import partition, records
from fsfm_jax.config import fields
from fsfm_jax.data.sources import open_mixture, open_source
from fsfm_jax.data.stream import FirstBatch, Stream, order
from fsfm_jax.figures import reconstruction
from fsfm_jax.figures.picture_file import read_picture
from fsfm_jax.optim import ema, schedules
from fsfm_jax.optim.optimizer import OptimizerSpec
from fsfm_jax.resolve import pretrain
from fsfm_jax.resolve.pretrain import Pretraining, Schedule
from fsfm_jax.run.lock import locks_workdir
from fsfm_jax.run.writers import Writer
from fsfm_jax.tasks.normalisation import STATISTICS
from fsfm_jax.tasks.pretrain import PretrainTask, Statistics
from fsfm_jax.train.identity import PACKAGES, named_statistics, run_identity
from fsfm_jax.train.program import KEPT, Program
from fsfm_jax.train.run import Batches, Ended, Hooks, RunSpec, run_training
from fsfm_jax.train.state import TrainState
from fsfm_jax.train.step import StepSpec
from fsfm_jax.train.vitals import WATCHED
from fsfm_jax.weights.run_import import adopt_state, lineage

LOG = logging.getLogger("fsfm_jax")
FIGURE = "reconstruction.png"


@locks_workdir
def run(config: ConfigDict, workdir: str, stop_after: str = "", writers: Sequence[Writer] = ()) -> None:
    """Pretrain in `workdir`, resume from the last checkpoint if there is one, and draw reconstructions at the end.

    `writers` receive the metrics and stay open.

    Raises:
      ValueError: a configuration, data set or checkpoint does not fit; the message says how.
      FileNotFoundError: data is missing.
      NonFinite: a loss term or the gradient is NaN or infinite.
      NotSaved: a file cannot be written.
      Interrupted: the process was told to stop; everything is saved.
    """
    job = _Pretraining(config, workdir, stop_after)
    run_training(job.spec(writers))


def check(config: ConfigDict) -> None:
    """Open all inputs of a pretraining and resolve its configuration, without training. Raises as `run`."""
    _Pretraining(config, "", "")


def make_program(resolved: Pretraining, statistics: Statistics, mesh: Mesh | None = None) -> Program:
    """Return the program of a resolved run on `mesh`, by default all devices; runs that differ in seed share it."""
    return _make_program(
        PretrainTask(resolved.model, resolved.loss, statistics), resolved.stream.other_mask,
        resolved.stream.target is not None, resolved.optimizer, resolved.schedule, resolved.step,
        resolved.stream.global_batch, partition.make_mesh(replicas=resolved.replicas) if mesh is None else mesh,
        resolved.fsdp, resolved.fsdp_min_size,
    )  # fmt: skip


@functools.lru_cache(maxsize=KEPT)
def _make_program(
    task: PretrainTask, other_mask: bool, other_image: bool, optimizer: OptimizerSpec, schedule: Schedule,
    step: StepSpec, global_batch: int, mesh: Mesh, fsdp: bool, fsdp_min_size: int,
) -> Program:  # fmt: skip
    patches, size = (task.model.patches,), task.model.image_size
    masks = [records.MASK, records.REGION_MASK] + [records.OTHER_MASK] * other_mask
    # Images are passed as rows of pixels: a TPU would lay them out by channel, and patchifying then cost 0.1 of a step.
    rows = (size, 3 * size)
    images = [records.IMAGE] + [records.TARGET_IMAGE] * other_image
    return Program(
        task=task,
        optimizer=optimizer,
        target=target_update(schedule, task),
        learning_rate=functools.partial(learning_rate_of, schedule),
        step=step,
        example={name: (rows, np.uint8) for name in images} | {name: (patches, np.bool_) for name in masks},
        global_batch=global_batch,
        mesh=mesh,
        fsdp=fsdp,
        fsdp_min_size=fsdp_min_size,
    )


def target_update(schedule: Schedule, task: PretrainTask) -> ema.TargetUpdate:
    """Return the update rule of the target network."""
    if schedule.target_frozen:
        return ema.frozen(task.target_part)
    return ema.moving_average(functools.partial(target_rate_of, schedule), task.target_part)


def target_rate_of(s: Schedule, count: jax.Array) -> jax.Array:
    """Return 1 - momentum at update `count`."""
    return schedules.target_rate(count, s.momentum, s.target_total, s.target_warmup, s.target_warmup_momentum)


def learning_rate_of(s: Schedule, step: jax.Array) -> jax.Array:
    """Return the learning rate of step `step`."""
    return schedules.warmup_cosine(step, s.peak, s.floor, s.warmup, s.total)


class _Pretraining(Hooks):
    """The hooks of a pretraining run: resume an imported run, repeat one batch, draw the final picture."""

    def __init__(self, config: ConfigDict, workdir: str, stop_after: str):
        self._config, self._workdir = config, workdir
        self._sources = open_mixture(config.data.train)
        self._examples = sum(len(source) for source, _ in self._sources)
        self._resolved = pretrain.resolve_pretraining(config, self._examples, jax.device_count(), stop_after)
        self._faces = open_source(self._resolved.figure_data)  # opened now, so that missing data fails before training
        self._statistics = named_statistics(config.data.statistics, self._sources, STATISTICS)
        self._program = make_program(self._resolved, self._statistics)

    def spec(self, lent: Sequence[Writer]) -> RunSpec:
        """Return the specification of the run for `run_training`."""
        resolved, config = self._resolved, self._config
        binding = pretrain.binding_fields(config, resolved.step.accumulation)
        return RunSpec(
            workdir=self._workdir,
            config=config,
            program=self._program,
            identity=run_identity(binding, self._sources, self._statistics),
            stream=self._stream,
            loop=resolved.loop,
            retention=resolved.retention,
            alarms=resolved.alarms,
            writers=resolved.writers,
            hooks=self,
            lent=lent,
        )

    def adopt(self) -> TrainState | None:
        """Return the state of the imported run in the working directory; None if there is none."""
        schedule, images = self._resolved.schedule, self._resolved.stream.global_batch
        return adopt_state(
            self._workdir, self._program, fields.flat(self._config), self._statistics, self._examples, images,
            self._resolved.loop.steps, schedule.target_total // schedule.total,
        )  # fmt: skip

    def initial_state(self, program: Program) -> TrainState:
        """Return networks with random parameters."""
        return program.initial_state(self._resolved.seed)

    def details(self) -> Mapping[str, Any]:
        """Return the origin of an imported run and the image size."""
        return lineage(self._workdir) | {"image_size": self._resolved.model.image_size}

    def prepare(self, state: TrainState) -> None:
        """Log versions, devices, data, model size and step."""
        parameters = sum(leaf.size for leaf in jax.tree.leaves(self._program.like.params))
        versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
        LOG.info("%s; %d device(s): %s", versions, jax.device_count(), jax.devices()[0].device_kind)
        for source, weight in self._sources:
            weighted = "" if weight is None else f", weight {weight:g}"
            LOG.info("data: %s, %d images%s", source.name, len(source), weighted)
        LOG.info(
            "model: %.1f million parameters; batch %d in %d part(s); at step %d of %d",
            parameters / 1e6, self._resolved.stream.global_batch, self._resolved.step.accumulation,
            int(state.step), self._resolved.loop.steps,
        )  # fmt: skip

    def _stream(self, first: int) -> Batches:
        stream = Stream(self._sources, self._resolved.stream, first, jax.process_index(), jax.process_count())
        if self._config.data.repeat_batch:
            LOG.warning("data.repeat_batch: one batch again and again; what is trained is of no use")
            stream = FirstBatch(stream)
        if self._resolved.schedule.target_frozen:
            LOG.warning("target.rule: frozen, as the released code acts on several GPUs; its alarm is off")
        return stream

    @functools.cached_property
    def _ordered(self) -> Sequence[dict]:
        return order(self._sources, self._resolved.stream.seed)

    def record(self, first: int, position: int) -> str:
        """Return the source of the face at a position of the stream."""
        size = self._resolved.stream.global_batch
        if self._config.data.repeat_batch:
            position = first * size + position % size
        return self._ordered[position][records.SOURCE]

    def show(self, number: int, values: dict[str, float]) -> dict[str, float]:
        """Return the metrics in reading order (jit sorts names), with the momentum of the step's last update."""
        shown = ("loss", *self._program.task.term_weights, "learning_rate", "gradient_norm")
        shown += (*(name for name in WATCHED if name in values), "input_wait")
        values = {name: values[name] for name in shown}
        if not self._resolved.model.instance_discrimination:
            return values
        schedule = self._resolved.schedule
        last_update = number * schedule.target_total // schedule.total - 1
        return {**values, "momentum": 1 - float(target_rate_of(schedule, last_update))}

    def finish(self, ended: Ended) -> None:
        """Draw reconstructions of held-out faces, if the network predicts pixels."""
        resolved, program, faces = self._resolved, self._program, self._faces
        if not resolved.model.reconstructs:
            LOG.info("No picture: loss.masked_weight and loss.region_weight are 0, so no pixels are predicted")
            LOG.info("Checkpoint: %s", ended.place)
            return
        path = os.path.join(self._workdir, FIGURE)
        untrained = program.initial_state(resolved.seed).params
        error = reconstruction.draw(
            path, faces, resolved.figure_faces, program.task, resolved.stream.mask, resolved.seed, untrained,
            ended.state.params,
        )  # fmt: skip
        if ended.writers:  # only process 0 has writers, and it wrote the file
            ended.writers.write_image(resolved.loop.steps, "reconstruction", read_picture(path))
        LOG.info(
            "Masked loss on %d faces of %s: %.3f untrained, %.3f now",
            error.faces, faces.name, error.before, error.after,
        )  # fmt: skip
        LOG.info("Checkpoint: %s", ended.place)
        LOG.info("Picture: %s", path)
