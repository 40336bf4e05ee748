"""The pure train step: gradients over micro-batches, one optimizer update, target update."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding

from fsfm_jax.optim import tuning
from fsfm_jax.optim.ema import TargetUpdate
from fsfm_jax.tasks.base import ROWS, Batch, Task
from fsfm_jax.train import vitals
from fsfm_jax.train.state import TrainState, named_key

CADENCES = ("optimizer_step", "micro_step")
RATIOS = ("global_batch", "micro_batch")
NONFINITE = ("stop", "skip_step", "skip")

Metrics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class StepSpec:
    """How a step accumulates.

    Attributes:
      accumulation: micro-batches of one optimizer step, A.
      ratio_over: the reconstruction ratios are over the `global_batch` of the step, so accumulation changes
        nothing; or over each `micro_batch`, averaged, as the released code has it.
      target_cadence: the target moves once per `optimizer_step`, or after every `micro_step` (released code:
        its horizon then depends on A).
      nonfinite: what a loss or gradient norm that is not finite does. `stop`: from that step on nothing moves, so
        that the loop finds the parameters that failed. `skip_step`: that step moves nothing and counts. `skip`
        repeats the released code: a micro-batch whose loss is not finite discards the gradients gathered so far, and
        the step moves nothing if it was the last one; gradients are not inspected.
      reduce_dtype: in which gradients are summed over devices, where each device gathers its own (see `make_step`).
    """

    accumulation: int
    ratio_over: str
    target_cadence: str
    nonfinite: str
    reduce_dtype: jnp.dtype = jnp.float32


def split_batch(batch: Batch, parts: int) -> Batch:
    """Split `[B, ...] -> [A, B / A, ...]`; micro-batch `a` has rows a, a + A, ...

    Strided on purpose: neighbouring rows lie on one device, and cutting the batch into contiguous pieces
    would move all of it between devices.
    """
    return jax.tree.map(lambda x: x.reshape(x.shape[0] // parts, parts, *x.shape[1:]).swapaxes(0, 1), batch)


def split_shards(batch: Batch, local: NamedSharding) -> Batch:
    """Split `[B, ...] -> [S, B / S, ...]`: neighbouring rows for each of the S devices, without moving any."""
    shards = local.mesh.size
    cut = jax.tree.map(lambda x: x.reshape(shards, x.shape[0] // shards, *x.shape[1:]), batch)
    return jax.lax.with_sharding_constraint(cut, local)


def _over_shards(tree: Any, dtype: jnp.dtype) -> Any:
    """Average over the first axis, `[S, ...] -> [...]`, in `dtype`: the one place where gradients cross devices."""

    def mean(x):
        # jnp.sum would add in float32 whatever the type is, and so send twice the bytes.
        total = jax.lax.reduce(x.astype(dtype), jnp.zeros((), dtype), jax.lax.add, (0,))
        return total.astype(x.dtype) / x.shape[0]

    return jax.tree.map(mean, tree)


def _choose(condition: jax.Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def make_step(
    task: Task,
    optimizer: optax.GradientTransformation,
    target_update: TargetUpdate,
    learning_rate: Callable[[jax.Array], jax.Array],
    spec: StepSpec,
    trained: str = tuning.TUNINGS[tuning.FULL],
    local: NamedSharding | None = None,
    gather: Callable[[Any], Any] = lambda tree: tree,
    scatter: Callable[[Any], Any] = lambda tree: tree,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Build `step(state, batch) -> (state, metrics)`; everything is over the global batch.

    Parameters whose path `trained` does not match are constants of the step: there is no gradient of them.

    `local` splits a first axis over S devices. With it each device gathers the gradient of its own images over all
    micro-batches, and they are summed over devices once; without it the compiler sums after each micro-batch, in the
    type of the products. It is for tasks that are `per_image`.

    `gather` makes parameters whole that are split over devices, `scatter` splits gradients alike.

    metrics: `loss` and every term of the task, `[A]` (one value per micro-batch), `learning_rate []`,
    `gradient_norm []` before clipping; what is `watched`, `[]`; `skipped`, 1 for a micro-batch (`[A]`) or step (`[]`)
    that was left out, where it may be.
    """
    def loss_of(part, frozen, *arguments):
        return task.loss(tuning.join(part, frozen), *arguments)

    gradient = jax.value_and_grad(loss_of, has_aux=True)
    parts = spec.accumulation
    shards = local.mesh.size if local else 1
    every_micro_step = spec.target_cadence == "micro_step"

    def micro_gradient(part, frozen, target, micro, denominators, key):
        """Loss, terms and gradient of a micro-batch, with an axis of S shards in front if each is for itself."""
        part, frozen, target = gather((part, frozen, target))
        if local is None:
            found, new = gradient(part, frozen, target, micro, denominators, key)
            return found, scatter(new)
        # A mean over equal shards: each has its share of the denominators.
        denominators = jax.tree.map(lambda count: count / shards, denominators)
        of_shards = jax.vmap(gradient, in_axes=(None, None, None, 0, None, None))
        return of_shards(part, frozen, target, split_shards(micro, local), denominators, key)

    def micro_denominators(batch: Batch, micro: Batch) -> Metrics:
        if spec.ratio_over == "micro_batch":
            return task.denominators(micro)
        return jax.tree.map(lambda count: count / parts, task.denominators(batch))

    def accumulate(state: TrainState, batch: Batch):
        """Mean gradient, target after A - 1 micro-steps, whether the last micro-step applies, metrics `[A]`, rows."""
        part, frozen = tuning.split(state.params, trained)
        key = jax.random.fold_in(named_key(state.key, "step"), state.step)

        def micro_step(carry, numbered):
            total, target, _ = carry
            index, micro = numbered
            (loss, terms), new = micro_gradient(
                part, frozen, target.params, micro, micro_denominators(batch, micro), jax.random.fold_in(key, index)
            )
            applies = jnp.all(jnp.isfinite(loss)) if spec.nonfinite == "skip" else jnp.array(True)
            total = jax.tree.map(lambda t, g: jnp.where(applies, t + g / parts, 0), total, new)
            if every_micro_step:
                moved = target_update.update(state.params, target)
                earlier = index < parts - 1  # the last one moves after the optimizer, below
                params = _choose(earlier & applies, moved.params, target.params)
                target = moved._replace(params=params, count=target.count + earlier)
            rows = {name: terms.pop(name) for name in ROWS if name in terms}
            metrics = {"loss": loss, **terms}
            if spec.nonfinite == "skip":
                metrics[vitals.SKIPPED] = jnp.broadcast_to(~applies, loss.shape).astype(jnp.float32)
            return (total, target, applies), (metrics, rows)

        start = (jax.tree.map(zeros, part), state.target, jnp.array(True))
        if parts == 1:  # the same without a loop: the compiler may then fuse across the whole step
            (total, target, applies), found = micro_step(start, (0, batch))
            metrics, rows = jax.tree.map(lambda m: m[None], found)
        else:
            micros = split_batch(batch, parts)
            (total, target, applies), (metrics, rows) = jax.lax.scan(micro_step, start, (jnp.arange(parts), micros))
        if local is not None:
            total = scatter(_over_shards(total, spec.reduce_dtype))
            metrics = jax.tree.map(lambda m: jnp.mean(m, axis=1), metrics)
        return total, target, applies, metrics, rows

    def zeros(x):
        if local is None:
            return jnp.zeros_like(x)
        return jax.lax.with_sharding_constraint(jnp.zeros((shards, *x.shape), x.dtype), local)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        gradients, target, applies, metrics, rows = accumulate(state, batch)
        rate, norm = learning_rate(state.step), optax.tree.norm(gradients)
        part, frozen = tuning.split(state.params, trained)
        updates, moments = optimizer.update(gradients, state.optimizer, part)
        moved_part = jax.tree.map(lambda p, u: p - rate.astype(p.dtype) * u, part, updates)
        params = task.constrain(tuning.join(moved_part, frozen))
        stay = target.params  # of the released code, what earlier micro-batches moved stays
        if spec.nonfinite != "skip":
            applies = ~state.failed & jnp.isfinite(norm) & jnp.all(jnp.isfinite(metrics["loss"]))
            stay = state.target.params
        params = _choose(applies, params, state.params)
        if spec.nonfinite != "stop":  # nobody asks for those of a run that has ended, and keeping them takes memory
            moments = _choose(applies, moments, state.optimizer)
        moved = target_update.update(params, target)
        moved = moved._replace(params=_choose(applies, moved.params, stay))
        number, failed = state.step + 1, state.failed
        if spec.nonfinite == "stop":
            number, failed = jnp.where(applies, number, state.step), ~applies
        if spec.nonfinite == "skip_step":
            metrics[vitals.SKIPPED] = (~applies).astype(jnp.float32)
        metrics |= {"learning_rate": rate, "gradient_norm": norm} | vitals.of_images(rows)
        metrics |= vitals.of_target(task.target_part(params), moved.params, state.target.params)
        return TrainState(number, params, moments, moved, state.key, failed), metrics

    return step
