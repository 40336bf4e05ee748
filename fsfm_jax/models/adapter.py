"""FS-Adapter: a bottleneck on the pooled features of a frozen encoder, and the features of its contrastive loss.

Its ablations put the bottleneck elsewhere: `INSERTIONS`.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from fsfm_jax.models.block_adapter import PARALLEL, SEQUENTIAL, BlockAdapterSpec, bottleneck_width
from fsfm_jax.models.heads import l2_normalise
from fsfm_jax.models.layers import Linear, torch_uniform

CONCAT, ADD = "concat", "add"
INSERTIONS = {
    CONCAT: "behind the encoder, and the head sees its output beside the features (released)",
    ADD: "behind the encoder, and its output is added to the features",
    PARALLEL: "in each block beside the MLP",
    SEQUENTIAL: "in each block behind the MLP",
}
IN_BLOCKS = (PARALLEL, SEQUENTIAL)


class Adapted(NamedTuple):
    """Output of the adapter.

    features: `[B, 2 D]`, the pooled features and behind them what the bottleneck makes of them; `[B, D]` where it is
      not concatenated.
    contrast: `[B, D / r]` float32, unit rows, of the bottleneck.
    open_units: `[]`, the share of the bottleneck's units that at least one image of the batch passes. Without biases
      they close for good if every face closes them; at 0 the adapter adds nothing to the features. None in blocks.
    """

    features: jax.Array
    contrast: jax.Array
    open_units: jax.Array | None


def adapt(features: jax.Array, reduction: int, insertion: str = CONCAT) -> Adapted:
    """Applies modules `adapter` and `projector` inside the calling module, `[B, D]` -> see `Adapted`.

    `b = relu(W1 f)`, `a = relu(W2 b)` without biases, W1 to D / `reduction`; the result is `[f, a]`, and
    `normalise(P b)` with a linear P for the contrastive loss (FS-VFM, FS-Adapter). With the insertion `add` it is
    `f + a`. With one of `IN_BLOCKS` the features have been adapted already, and P is of f.

    Raises:
      ValueError: a width that `reduction` does not divide.
    """
    narrow = bottleneck_width(features.shape[-1], reduction)
    if insertion in IN_BLOCKS:
        return Adapted(features, _project(features, narrow), None)
    bottleneck, back = Adapter(narrow, name="adapter")(features)
    share = jnp.mean(jnp.any(bottleneck > 0, axis=0).astype(jnp.float32))
    fused = features + back if insertion == ADD else jnp.concatenate([features, back], axis=-1)
    return Adapted(fused, _project(bottleneck, narrow), share)


def block_adapter(spec: Any) -> BlockAdapterSpec | None:
    """The bottleneck that each block has with the fields `reduction` and `insertion` of a network's spec."""
    inside = spec.reduction is not None and spec.insertion in IN_BLOCKS
    return BlockAdapterSpec(spec.insertion, spec.reduction) if inside else None


def _project(x: jax.Array, features: int) -> jax.Array:
    start = uniform_bias(x.shape[-1])
    return l2_normalise(Linear(features, x.dtype, torch_uniform, start, name="projector")(x))


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
