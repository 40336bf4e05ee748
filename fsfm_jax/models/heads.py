"""Heads on pooled features."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from fsfm_jax.models.layers import Linear
from fsfm_jax.models.ops import at_least_float32, layer_norm

# PyTorch's default. The released code of FSFM sets 1e-6 in its transformers but not in the heads.
HEAD_NORM_EPSILON = 1e-5


class ProjectionHead(nn.Module):
    """Linear map, layer norm, ReLU, linear map, `[B, D] -> [B, features]`, not normalised.

    Used as the projector (D -> 4096 -> 256) and the predictor (256 -> 4096 -> 256).
    """

    hidden: int
    features: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        hidden = Linear(self.hidden, self.dtype, name="fc1")(x)
        hidden = nn.relu(layer_norm(self.dtype, "norm", HEAD_NORM_EPSILON)(hidden))
        return Linear(self.features, self.dtype, name="fc2")(hidden)


def l2_normalise(x: jax.Array) -> jax.Array:
    """Scale each row to unit length, in float32 or higher, `[B, E] -> [B, E]`; a zero row stays zero.

    A non-finite row becomes NaN and never zero.
    """
    x = at_least_float32(x)
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    # The inner `where` keeps the derivative of the square root finite on a zero row.
    norm = jnp.sqrt(jnp.where(square == 0, 1.0, square))
    return jnp.where(square == 0, 0.0, x / jnp.maximum(norm, 1e-12))
