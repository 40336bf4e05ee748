"""FS-Adapter: a bottleneck on the pooled features of a frozen encoder, and the features of its contrastive loss."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from fsfm_jax.models.heads import l2_normalise
from fsfm_jax.models.layers import Linear, torch_uniform


class Adapted(NamedTuple):
    """Output of the adapter.

    features: `[B, 2 D]`, the pooled features and behind them what the bottleneck makes of them.
    contrast: `[B, D / r]` float32, unit rows, of the bottleneck.
    open_units: `[]`, the share of the bottleneck's units that at least one image of the batch passes. Without biases
      they close for good if every face closes them; at 0 the adapter adds nothing to the features.
    """

    features: jax.Array
    contrast: jax.Array
    open_units: jax.Array


def adapt(features: jax.Array, reduction: int) -> Adapted:
    """Applies modules `adapter` and `projector` inside the calling module, `[B, D]` -> see `Adapted`.

    `b = relu(W1 f)`, `a = relu(W2 b)` without biases, W1 to D / `reduction`; the result is `[f, a]`, and
    `normalise(P b)` with a linear P for the real-anchor loss (FS-VFM, FS-Adapter).

    Raises:
      ValueError: a width that `reduction` does not divide.
    """
    width = features.shape[-1]
    if reduction < 1 or width % reduction:
        raise ValueError(f"tuning.reduction: expected a divisor of the width {width}; found {reduction}")
    bottleneck, back = Adapter(width // reduction, name="adapter")(features)
    start = uniform_bias(bottleneck.shape[-1])
    project = Linear(bottleneck.shape[-1], bottleneck.dtype, torch_uniform, start, name="projector")
    share = jnp.mean(jnp.any(bottleneck > 0, axis=0).astype(jnp.float32))
    return Adapted(jnp.concatenate([features, back], axis=-1), l2_normalise(project(bottleneck)), share)


class Adapter(nn.Module):
    """Two linear maps without bias, each before a ReLU: `[B, D] -> [B, width], [B, D]`."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        bottleneck = nn.relu(_Product(self.width, name="linear1")(x))
        return bottleneck, nn.relu(_Product(x.shape[-1], name="linear2")(bottleneck))


def uniform_bias(fan_in: int):
    """PyTorch's default start for the bias of a linear layer: U(+-1/sqrt(fan in))."""
    bound = fan_in**-0.5
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)


class _Product(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return x @ self.param("kernel", torch_uniform, (x.shape[-1], self.features)).astype(x.dtype)
