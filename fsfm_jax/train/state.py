"""Everything that changes while training, as one tree of arrays."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from fsfm_jax.optim import tuning
from fsfm_jax.optim.ema import TargetState, TargetUpdate
from fsfm_jax.tasks.base import Task


class TrainState(NamedTuple):
    """State of a run after `step` optimizer steps; with the config it determines everything that follows.

    step: `[] int32`; `~step`, which is negative, once that step has failed with `nonfinite` "stop" (see `train.step`).
    params: online network, float32.
    optimizer: optax state of the trained part of `params`.
    target: target network (an empty tree for tasks without one).
    key: `[]` typed PRNG key, root of every random choice on the device.
    """

    step: jax.Array
    params: Any
    optimizer: optax.OptState
    target: TargetState
    key: jax.Array


def init_state(
    seed: jax.Array,
    task: Task,
    optimizer: optax.GradientTransformation,
    target: TargetUpdate,
    trained: str = tuning.TUNINGS[tuning.FULL],
) -> TrainState:
    """The state at step 0, a pure function of `seed [] uint32`; the target starts as a copy of the online part.

    `trained` matches the paths of the parameters that are trained (see `optim.tuning`).
    """
    key = jax.random.key(seed)
    params = task.init(named_key(key, "init"))
    moments = optimizer.init(tuning.split(params, trained)[0])
    return TrainState(jnp.zeros((), jnp.int32), params, moments, target.init(params), named_key(key, "train"))


def named_key(key: jax.Array, name: str) -> jax.Array:
    """The stream `name` of a root key."""
    for byte in name.encode():
        key = jax.random.fold_in(key, byte)
    return key
