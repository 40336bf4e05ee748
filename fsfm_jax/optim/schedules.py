"""Learning rate, target momentum and the rate of an average as functions of a step, traceable.

All take the step as a number, so that they can be evaluated inside the jitted step; the reference counts
in micro-iterations, and a caller that wants its values passes fractions of steps.
"""

import math

import jax
import jax.numpy as jnp


def warmup_cosine(step: jax.Array, peak: float, floor: float, warmup: float, total: float) -> jax.Array:
    """Learning rate: linear from 0 to `peak` over `warmup` steps, then half a cosine to `floor` at `total`.

    `peak s / w` for s < w, else `floor + (peak - floor) (1 + cos(pi (s - w) / (T - w))) / 2`
    (FSFM supplement D.1). `warmup` and `total` are in steps and need not be whole.
    """
    step = jnp.asarray(step).astype(jnp.result_type(float))
    rising = peak * step / max(warmup, 1e-9)
    angle = math.pi * jnp.clip((step - warmup) / max(total - warmup, 1e-9), 0.0, 1.0)
    return jnp.where(step < warmup, rising, floor + (peak - floor) * 0.5 * (1 + jnp.cos(angle)))


def constant(step: jax.Array, rate: float) -> jax.Array:
    """Learning rate: `rate` at every step (face anti-spoofing)."""
    return jnp.full_like(jnp.asarray(step), rate, jnp.result_type(float))


def target_rate(
    count: jax.Array, momentum: float, total: float, warmup: float = 0.0, warmup_momentum: float = 0.0
) -> jax.Array:
    """1 - momentum of the target network at update `count` of `total`.

    `m_t = 1 - (1 - m_0) (1 + cos(pi t / T)) / 2` (BYOL, implementation details; FSFM supplement D.1), optionally after
    `warmup` updates that go linearly from `warmup_momentum` to `momentum`, ends included. Returned as 1 - m
    because float32 has nothing between 1 - 6e-8 and 1; the half-angle form keeps it from cancelling.
    """
    count = jnp.asarray(count).astype(jnp.result_type(float))
    angle = 0.5 * math.pi * jnp.clip((count - warmup) / max(total - warmup, 1e-9), 0.0, 1.0)
    rate = (1 - momentum) * jnp.square(jnp.cos(angle))
    share = count / max(warmup - 1, 1e-9)
    rising = 1 - warmup_momentum - (momentum - warmup_momentum) * share
    return jnp.where(count < warmup, rising, rate)


def average_rate(count: jax.Array, decay: float) -> jax.Array:
    """1 - decay of the average of trained weights at update `count`, 0 = first: `1 - min(decay, (1 + t) / (10 + t))`.

    Averaging the iterates is Polyak and Juditsky (1992); Inception v3 (section 8) evaluates an exponential average. The
    ramp is that of TensorFlow's ExponentialMovingAverage with `num_updates`: without it a short run would keep much of
    the weights it starts from.
    """
    count = jnp.asarray(count).astype(jnp.result_type(float))
    return jnp.maximum(1 - decay, 9 / (10 + count))
