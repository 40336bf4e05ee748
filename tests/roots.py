"""A task of four parameters, whose loss or gradient is not finite where the data say so; compiled in no time."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from fsfm_jax import partition
from fsfm_jax.optim.ema import moving_average
from fsfm_jax.optim.optimizer import OptimizerSpec, make_optimizer
from fsfm_jax.tasks.base import AGREEMENT, PROJECTION
from fsfm_jax.train.state import init_state
from fsfm_jax.train.step import StepSpec, make_step

OPTIMIZER = make_optimizer(OptimizerSpec(0.9, 0.95, 1e-8, ((".*", 0.05),), None))
BATCH, WIDTH = 16, 4


@dataclasses.dataclass(frozen=True)
class Roots:
    """The mean of `sqrt(x . w)`: NaN below zero; at zero it is 0, and its gradient is not finite. With a first number
    above 100 it is infinite, and its gradient is that of the rest."""

    per_image: bool = True

    def init(self, key):
        return {"w": jax.random.uniform(key, (WIDTH,), minval=0.5)}

    def target_part(self, params):
        return params

    def denominators(self, batch):
        return {"root": jnp.float32(len(batch["x"]))}

    def constrain(self, params):
        return params

    def loss(self, params, target, batch, denominators, key):
        product = batch["x"] @ params["w"]
        root = jnp.sum(jnp.sqrt(product) + jnp.where(batch["x"][:, 0] > 100, jnp.inf, 0)) / denominators["root"]
        return root, {"root": root, PROJECTION: batch["x"] * target["w"][None], AGREEMENT: product}


def good(number: int) -> dict:
    return {"x": np.random.default_rng(number).uniform(0.1, 1, (BATCH, WIDTH)).astype(np.float32)}


def bad(number: int, row: int, value: float) -> dict:
    batch = good(number)
    batch["x"][row] = value
    return batch


@functools.cache
def program(nonfinite: str, parts: int, devices: int, cadence: str = "optimizer_step", per_image: bool = True):
    """The jitted step, the state at step 0, and what places a batch on the devices."""
    task, mesh = Roots(per_image), partition.make_mesh(jax.devices()[:devices])
    update = moving_average(lambda count: 0.1 / (1 + count), task.target_part)
    local = partition.batch_sharding(mesh) if devices > 1 and per_image else None
    spec = StepSpec(parts, "global_batch", cadence, nonfinite)
    step = jax.jit(make_step(task, OPTIMIZER, update, lambda s: 1e-2 * (1 + s), spec, local=local))
    init = functools.partial(init_state, task=task, optimizer=OPTIMIZER, target=update)
    state = jax.device_put(jax.jit(init)(jnp.uint32(1)), partition.replicated(mesh))
    return step, state, functools.partial(partition.to_global, mesh=mesh)
