"""Layer norm over the last axis, its statistics in float32 or higher."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from fsfm_jax.models.platform import for_cpu
from fsfm_jax.models.precision import at_least_float32

NORM_EPSILON = 1e-6  # every norm of the transformers; torch's default 1e-5 only in the heads


def layer_norm(dtype: jnp.dtype, name: str, epsilon: float = NORM_EPSILON) -> nn.Module:
    """The norm called `name` with a `scale` and a `bias`, `[..., D] -> [..., D]`, the result in `dtype`."""
    if for_cpu():
        return _OnCpu(dtype, epsilon, name=name)
    # The one-pass variance E[x^2] - E[x]^2 in float32 is off by about E[x]^2 / 2**23, where rounding x itself to 8 bits
    # is off by E[x]^2 / 2**17: nothing is lost there, and a pass is saved. In float32 half the digits would be.
    one_pass = jnp.finfo(dtype).bits < 32
    return nn.LayerNorm(epsilon=epsilon, dtype=dtype, use_fast_variance=one_pass, name=name)


class _OnCpu(nn.Module):
    """Flax's layer norm with `normalised`: the same parameters and numbers."""

    dtype: jnp.dtype
    epsilon: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones_init(), (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros_init(), (x.shape[-1],))
        return normalised(x, scale, bias, self.epsilon).astype(self.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalised(x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float) -> jax.Array:
    """`scale (x - mean) / sqrt(variance + epsilon) + bias`, `[..., D], [D], [D] -> [..., D]`. Reverse mode only.

    Computed and given in float32 or higher. With the gradient that jax would derive, XLA's compiler for CPUs computes
    the gradient of the residual stream anew, from the last block on, wherever it is needed; with this one it does not.
    """
    return _forward(x, scale, bias, epsilon)[0]


def _forward(x, scale, bias, epsilon):
    flat = _rows(x)
    mean = jnp.mean(flat, axis=-1, keepdims=True)
    share = jax.lax.rsqrt(jnp.mean(jnp.square(flat - mean), axis=-1, keepdims=True) + epsilon)
    out = (flat - mean) * (share * scale[None]) + bias[None]  # in Flax's order
    return out.reshape(x.shape), (x, mean, share, scale)


def _backward(_, kept, gradient):
    x, mean, share, scale = kept
    gradient, plain = _rows(gradient), (_rows(x) - mean) * share
    of_plain = gradient * scale[None]
    along = jnp.mean(of_plain * plain, axis=-1, keepdims=True)
    of_x = share * (of_plain - jnp.mean(of_plain, axis=-1, keepdims=True) - along * plain)
    of_scale, of_bias = jnp.sum(gradient * plain, axis=0), jnp.sum(gradient, axis=0)
    return of_x.reshape(x.shape).astype(x.dtype), of_scale.astype(scale.dtype), of_bias.astype(scale.dtype)


normalised.defvjp(_forward, _backward)


def _rows(x: jax.Array) -> jax.Array:
    """`[..., D] -> [rows, D]`, float32 or higher."""
    return at_least_float32(x).reshape(-1, x.shape[-1])
