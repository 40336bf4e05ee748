"""Moving averages of parameters, such as the target network's: `(init, update)` pairs over a NamedTuple."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class TargetState(NamedTuple):
    """State of the moving average.

    count: `[] int32`, number of scheduled updates so far; the index into the momentum schedule.
    params: the target's parameters, float32, with the structure of a part of the online tree.
    """

    count: jax.Array  # pyright: ignore[reportIncompatibleMethodOverride] its name in checkpoints, as in optax
    params: Any


class TargetUpdate(NamedTuple):
    """Pair of pure functions: `init(params) -> TargetState`, `update(online, state) -> TargetState`."""

    init: Callable[[Any], TargetState]
    update: Callable[[Any, TargetState], TargetState]


def moving_average(rate: Callable[[jax.Array], jax.Array], part: Callable[[Any], Any]) -> TargetUpdate:
    """Return the update `target <- target + rate(count) (online - target)` on the online parameters from `part`.

    `rate` is 1 - momentum. With rate 0 the target stays bit-identical.
    """

    def init(online):
        return TargetState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.copy, part(online)))

    def update(online, state):
        step = rate(state.count)
        moved = jax.tree.map(lambda t, o: t + step.astype(t.dtype) * (o - t), state.params, part(online))
        return TargetState(state.count + 1, moved)

    return TargetUpdate(init, update)


def frozen(part: Callable[[Any], Any]) -> TargetUpdate:
    """Return an update that keeps the initial target, as the released code does on several GPUs."""
    return moving_average(lambda count: jnp.zeros(()), part)
