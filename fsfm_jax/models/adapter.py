"""FS-Adapter: a bottleneck on the pooled features of a frozen encoder, and the features for its contrastive loss.

`INSERTIONS` lists other places for the bottleneck, which the ablations use.
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
    CONCAT: "after the encoder, output concatenated to the features (released)",
    ADD: "after the encoder, output added to the features",
    PARALLEL: "in each block, parallel to the MLP",
    SEQUENTIAL: "in each block, after the MLP",
}
IN_BLOCKS = (PARALLEL, SEQUENTIAL)


class Adapted(NamedTuple):
    """Output of the adapter.

    features: `[B, 2 D]`, the pooled features followed by the bottleneck's output; `[B, D]` if not concatenated.
    contrast: `[B, D / r]` float32, unit rows, features for the contrastive loss.
    open_units: `[]`, the share of the bottleneck's units that are positive for at least one image of the batch. A unit
      that is zero for every face gets no gradient and stays zero (dead ReLU). At 0 the adapter adds nothing to the
      features. None for adapters in blocks.
    """

    features: jax.Array
    contrast: jax.Array
    open_units: jax.Array | None


def adapt(features: jax.Array, reduction: int, insertion: str = CONCAT) -> Adapted:
    """Apply the modules `adapter` and `projector` inside the calling module, `[B, D]` -> `Adapted`.

    `b = relu(W1 f)`, `a = relu(W2 b)` without biases, W1 to D / `reduction`. The features are `[f, a]`, or `f + a` with
    the insertion `add`. The contrastive loss gets `normalise(P b)` with a linear P (FS-VFM, FS-Adapter). With an
    insertion from `IN_BLOCKS` the blocks have already adapted f. The features are f, and the loss gets
    `normalise(P f)`.

    Raises:
      ValueError: if `reduction` does not divide the width.
    """
    narrow = bottleneck_width(features.shape[-1], reduction)
    if insertion in IN_BLOCKS:
        return Adapted(features, _project(features, narrow), None)
    bottleneck, back = Adapter(narrow, name="adapter")(features)
    share = jnp.mean(jnp.any(bottleneck > 0, axis=0).astype(jnp.float32))
    fused = features + back if insertion == ADD else jnp.concatenate([features, back], axis=-1)
    return Adapted(fused, _project(bottleneck, narrow), share)


def block_adapter(spec: Any) -> BlockAdapterSpec | None:
    """Return the bottleneck in each block for `spec.reduction` and `spec.insertion`; None if there is none."""
    inside = spec.reduction is not None and spec.insertion in IN_BLOCKS
    return BlockAdapterSpec(spec.insertion, spec.reduction) if inside else None


def _project(x: jax.Array, features: int) -> jax.Array:
    start = uniform_bias(x.shape[-1])
    return l2_normalise(Linear(features, x.dtype, torch_uniform, start, name="projector")(x))


class Adapter(nn.Module):
    """Two linear maps without bias, each followed by a ReLU: `[B, D] -> [B, width], [B, D]`."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        bottleneck = nn.relu(_Product(self.width, name="linear1")(x))
        return bottleneck, nn.relu(_Product(x.shape[-1], name="linear2")(bottleneck))


def uniform_bias(fan_in: int):
    """Return an initialiser U(+-1/sqrt(fan in)), PyTorch's default for the bias of a linear layer."""
    bound = fan_in**-0.5
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)


class _Product(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return x @ self.param("kernel", torch_uniform, (x.shape[-1], self.features)).astype(x.dtype)
