"""The jitted functions of a training run and where their arrays live; the same for every task."""

import dataclasses
import functools
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from fsfm_jax import partition
from fsfm_jax.optim import tuning
from fsfm_jax.optim.ema import TargetUpdate
from fsfm_jax.optim.optimizer import OptimizerSpec, make_optimizer
from fsfm_jax.tasks.base import Task
from fsfm_jax.train.state import TrainState, init_state
from fsfm_jax.train.step import StepSpec, make_step

LOG = logging.getLogger("fsfm_jax")
# Programs that a job keeps: a comparison comes back to each of its tunings with every model.
KEPT = 4
# Shape of one example and type, by the key of the batch.
Example = dict[str, tuple[tuple[int, ...], Any]]


@dataclasses.dataclass(eq=False)
class Program:
    """Initial state and train step of a task on a mesh; one program serves all seeds, compiled once.

    Attributes:
      target: update rule of the target network.
      learning_rate: of a step, traceable.
      example: what a batch holds. others: what the batches of other steps hold, in other shapes; the step is compiled
        for each.
      global_batch: images of a step, over all hosts.
      fsdp: whether parameters are sharded, those of `fsdp_min_size` elements and more.
      trained: matches the paths of trained parameters.
      shardings, like: places of the state's arrays, and the arrays with shapes, types and places.
    """

    task: Task
    optimizer: OptimizerSpec
    target: TargetUpdate
    learning_rate: Callable[[jax.Array], jax.Array]
    step: StepSpec
    example: Example
    global_batch: int
    mesh: Mesh
    fsdp: bool
    fsdp_min_size: int
    trained: str = tuning.TUNINGS[tuning.FULL]
    others: tuple[Example, ...] = ()
    shardings: Any = dataclasses.field(init=False, repr=False)
    like: Any = dataclasses.field(init=False, repr=False)

    def __post_init__(self):
        task, target, mesh, fsdp, trained = self.task, self.target, self.mesh, self.fsdp, self.trained
        transformation = make_optimizer(self.optimizer)
        local = partition.batch_sharding(mesh) if task.per_image and mesh.size > 1 else None
        gather = functools.partial(partition.gather, mesh=mesh, fsdp=fsdp)
        scatter = functools.partial(partition.scatter, mesh=mesh, fsdp=fsdp, fsdp_min_size=self.fsdp_min_size)
        self._step = make_step(
            task, transformation, target, self.learning_rate, self.step, trained, local, gather, scatter
        )
        init = functools.partial(init_state, task=task, optimizer=transformation, target=target, trained=trained)
        abstract = jax.eval_shape(init, jnp.uint32(0))
        self.shardings = partition.state_shardings(abstract, mesh, fsdp, self.fsdp_min_size)
        self.like = jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), abstract, self.shardings
        )
        self._init = jax.jit(init, out_shardings=self.shardings)
        self._compiled = None

    def initial_state(self, seed: int) -> TrainState:
        """Return the state at step 0, created where it lives."""
        return self._init(jnp.uint32(seed))

    def lower_step(self, example: Example | None = None) -> jax.stages.Lowered:
        """Return the train step for batches of `example`, not compiled; the mesh may be one that is not here."""
        placed = self.shardings, partition.replicated(self.mesh)
        return jax.jit(self._step, donate_argnums=0, out_shardings=placed).lower(self.like, self.batch_like(example))

    def compile_step(self) -> Any:
        """Return the train step, compiled for exactly the shapes of this run; other shapes raise.

        Compiled ahead, so that a program that does not fit the device fails before any data is read.
        """
        if self._compiled is None:
            first, *others = (_compile(lowered) for lowered in self._lowered())
            shaped = [_shapes(self.batch_like(example)) for example in (self.example, *self.others)]
            steps = dict(zip(shaped, [first, *others], strict=True))
            self._compiled = (lambda state, batch: steps[_shapes(batch)](state, batch)) if others else first
        return self._compiled

    def _lowered(self) -> Iterator[jax.stages.Lowered]:
        yield self.lower_step()
        for example in self.others:
            yield self.lower_step(example)

    def to_device(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """Return this process's rows of a batch as arrays over all devices, each example in its shape of `example`."""
        known = [{name: shape for name, (shape, _) in example.items()} for example in (self.example, *self.others)]
        found = {name: rows.shape[1:] for name, rows in batch.items()}
        shapes = found if found in known[1:] else known[0]
        shaped = {name: rows.reshape(len(rows), *shapes[name]) for name, rows in batch.items()}
        return partition.to_global(shaped, self.mesh)

    def batch_like(self, example: Example | None = None) -> dict[str, jax.ShapeDtypeStruct]:
        """Return shapes, types and shardings of the images of one step, by default of one of `example`."""
        sharding = partition.batch_sharding(self.mesh)
        return {
            name: jax.ShapeDtypeStruct((self.global_batch, *shape), dtype, sharding=sharding)
            for name, (shape, dtype) in (example or self.example).items()
        }


def _compile(lowered: jax.stages.Lowered) -> Any:
    started = time.monotonic()
    compiled = lowered.compile()
    memory = compiled.memory_analysis()
    if memory is not None:
        LOG.info(
            "train step compiled in %.0f s; %.2f GB of state, %.2f GB of temporaries per device",
            time.monotonic() - started, memory.argument_size_in_bytes / 1e9, memory.temp_size_in_bytes / 1e9,
        )  # fmt: skip
    return compiled


def _shapes(batch: Mapping[str, Any]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple(sorted((name, rows.shape) for name, rows in batch.items()))
