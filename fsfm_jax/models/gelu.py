"""The exact GELU, with a gradient that needs its argument alone."""

import math

import jax
import jax.numpy as jnp

from fsfm_jax.models.precision import at_least_float32


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
    """`x Phi(x)`, Phi the distribution function of the normal distribution; any shape, in the type of `x`.

    Computed in float32 or higher: in bfloat16 `1 + erf` would lose all digits on the left. Reverse mode only.
    """
    wide = at_least_float32(x)
    return (wide * (0.5 * (1 + jax.lax.erf(wide * math.sqrt(0.5))))).astype(x.dtype)


def _forward(x):
    return gelu(x), x


def _backward(x, gradient):
    wide = at_least_float32(x)
    # With erf(x) here XLA would see the expression of the forward pass and keep a third array of this size; erf is odd.
    below = 0.5 * (1 - jax.lax.erf(wide * -math.sqrt(0.5)))
    slope = below + wide * (jnp.exp(-0.5 * wide * wide) / math.sqrt(2 * math.pi))
    return ((gradient * slope).astype(x.dtype),)


gelu.defvjp(_forward, _backward)
