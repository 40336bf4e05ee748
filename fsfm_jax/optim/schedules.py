"""Learning rate, target momentum and the rate of a weight average as traceable functions of the step.

The step may be a traced number and may be fractional. The reference counts micro-iterations; pass fractions of steps
to get its values.
"""

import math

import jax
import jax.numpy as jnp


def warmup_cosine(step: jax.Array, peak: float, floor: float, warmup: float, total: float) -> jax.Array:
    """Return a learning rate that rises linearly from 0 to `peak`, then falls along half a cosine to `floor`.

    It is `peak s / w` for s < w, else `floor + (peak - floor) (1 + cos(pi (s - w) / (T - w))) / 2`
    (FSFM supplement D.1). `warmup` and `total` are in steps and need not be whole.
    """
    step = jnp.asarray(step).astype(jnp.result_type(float))
    rising = peak * step / max(warmup, 1e-9)
    angle = math.pi * jnp.clip((step - warmup) / max(total - warmup, 1e-9), 0.0, 1.0)
    return jnp.where(step < warmup, rising, floor + (peak - floor) * 0.5 * (1 + jnp.cos(angle)))


def constant(step: jax.Array, rate: float) -> jax.Array:
    """Return the learning rate `rate` at every step (face anti-spoofing)."""
    return jnp.full_like(jnp.asarray(step), rate, jnp.result_type(float))


def target_rate(
    count: jax.Array, momentum: float, total: float, warmup: float = 0.0, warmup_momentum: float = 0.0
) -> jax.Array:
    """Return 1 - momentum of the target network at update `count` of `total`.

    `m_t = 1 - (1 - m_0) (1 + cos(pi t / T)) / 2` (BYOL, implementation details; FSFM supplement D.1). During the first
    `warmup` updates, if any, the momentum goes linearly from `warmup_momentum` to `momentum`, ends included. The result
    is 1 - m because float32 has no number between 1 - 6e-8 and 1. The half-angle form avoids cancellation.
    """
    count = jnp.asarray(count).astype(jnp.result_type(float))
    angle = 0.5 * math.pi * jnp.clip((count - warmup) / max(total - warmup, 1e-9), 0.0, 1.0)
    rate = (1 - momentum) * jnp.square(jnp.cos(angle))
    share = count / max(warmup - 1, 1e-9)
    rising = 1 - warmup_momentum - (momentum - warmup_momentum) * share
    return jnp.where(count < warmup, rising, rate)


def average_rate(count: jax.Array, decay: float) -> jax.Array:
    """Return 1 - decay of the weight average at update `count`, 0 = first: `1 - min(decay, (1 + t) / (10 + t))`.

    Weight averaging is due to Polyak and Juditsky (1992). Inception v3 (section 8) evaluates an exponential average.
    The ramp follows TensorFlow's ExponentialMovingAverage with `num_updates`. Without it the average of a short run
    would be dominated by the initial weights.
    """
    count = jnp.asarray(count).astype(jnp.result_type(float))
    return jnp.maximum(1 - decay, 9 / (10 + count))
