"""The program of a fine-tuning: its network, optimizer and schedule on the devices at hand."""

import functools
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from fsfm_jax import partition, records
from fsfm_jax.data.feature_stream import FEATURES
from fsfm_jax.optim import ema, schedules, tuning
from fsfm_jax.optim.optimizer import OptimizerSpec
from fsfm_jax.resolve.finetune import Finetuning, RateSchedule
from fsfm_jax.tasks.classify import ClassifyTask
from fsfm_jax.train.program import KEPT, Program
from fsfm_jax.train.state import TrainState
from fsfm_jax.train.step import StepSpec


def make_program(resolved: Finetuning, mesh: Mesh | None = None) -> Program:
    """Return the program of a resolved run on `mesh`, by default all devices; runs that differ in seed share it."""
    return _make_program(
        resolved.task, bool(resolved.cache), resolved.optimizer, resolved.schedule, resolved.step,
        resolved.stream.global_batch, partition.make_mesh(replicas=resolved.replicas) if mesh is None else mesh,
        resolved.fsdp, resolved.fsdp_min_size, resolved.trained, resolved.average, resolved.stream.sizes,
    )  # fmt: skip


@functools.lru_cache(maxsize=KEPT)
def _make_program(
    task: ClassifyTask, on_features: bool, optimizer: OptimizerSpec, schedule: RateSchedule, step: StepSpec,
    global_batch: int, mesh: Mesh, fsdp: bool, fsdp_min_size: int, trained: str, average: float,
    sizes: tuple[int, ...],
) -> Program:  # fmt: skip
    model = task.model
    if on_features:
        example = {FEATURES: ((model.size.width,), np.float32), records.LABEL: ((), np.int32)}
    else:
        first = sizes[0] if sizes else model.image_size
        example = {
            records.IMAGE: ((first, first, 3), np.uint8),
            records.LABEL: ((), np.int32),
            records.ERASE: ((4,), np.int32),
            records.MIX_CUTMIX: ((), np.bool_),
            records.MIX_RATIO: ((), np.float32),
            records.MIX_BOX: ((4,), np.int32),
        }
    return Program(
        task=task,
        optimizer=optimizer,
        target=average_update(trained, average) if average else ema.frozen(task.target_part),
        learning_rate=functools.partial(learning_rate_of, schedule),
        step=step,
        example=example,
        global_batch=global_batch,
        mesh=mesh,
        fsdp=fsdp,
        fsdp_min_size=fsdp_min_size,
        trained=trained,
        others=tuple(example | {records.IMAGE: ((size, size, 3), np.uint8)} for size in sizes[1:]),
    )


def average_update(trained: str, decay: float) -> ema.TargetUpdate:
    """Return the moving average of the parameters whose paths `trained` matches; it replaces a target network."""
    rate = functools.partial(schedules.average_rate, decay=decay)
    return ema.moving_average(rate, lambda params: tuning.split(params, trained)[0])


def weights_of(task: ClassifyTask, state: TrainState) -> Any:
    """Return the parameters to evaluate and save: the trained ones are replaced by their average, if there is one."""
    if not jax.tree.leaves(state.target.params):
        return state.params
    return task.constrain(tuning.join(state.params, state.target.params))


def learning_rate_of(s: RateSchedule, step: jax.Array) -> jax.Array:
    """Return the learning rate of step `step`."""
    if s.kind == "constant":
        return schedules.constant(step, s.peak)
    return schedules.warmup_cosine(step, s.peak, s.floor, s.warmup, s.total)
