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

    step: `[] int32`, steps that are done.
    params: online network, float32.
    optimizer: optax state of the trained part of `params`.
    target: target network, or the average of what a fine-tuning trains (an empty tree without either).
    key: `[]` typed PRNG key, root of every random choice on the device.
    failed: `[] bool`, whether step `step + 1` was not finite with `nonfinite` "stop"; from then on nothing changes (see
      `train.step`). It is not stored, since a failed state is never saved.
    """

    step: jax.Array
    params: Any
    optimizer: optax.OptState
    target: TargetState
    key: jax.Array
    failed: jax.Array


def init_state(
    seed: jax.Array,
    task: Task,
    optimizer: optax.GradientTransformation,
    target: TargetUpdate,
    trained: str = tuning.TUNINGS[tuning.FULL],
) -> TrainState:
    """Return the state at step 0, a pure function of `seed [] uint32`; the target starts as a copy of the online part.

    `trained` matches the paths of the parameters that are trained (see `optim.tuning`).
    """
    key = jax.random.key(seed)
    params = task.init(named_key(key, "init"))
    moments = optimizer.init(tuning.split(params, trained)[0])
    step, failed = jnp.zeros((), jnp.int32), jnp.zeros((), bool)
    return TrainState(step, params, moments, target.init(params), named_key(key, "train"), failed)


def named_key(key: jax.Array, name: str) -> jax.Array:
    """Return the stream `name` of a root key."""
    for byte in name.encode():
        key = jax.random.fold_in(key, byte)
    return key
