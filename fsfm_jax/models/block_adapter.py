"""Bottlenecks inside the blocks of a frozen encoder, an ablation of FS-Adapter: parallel to the MLP, or after it."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from fsfm_jax.models.ops import affine

PARALLEL, SEQUENTIAL = "parallel", "sequential"
# U(-1/sqrt(fan in), 1/sqrt(fan in)), PyTorch's default for a linear layer.
_UNIFORM = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


@dataclasses.dataclass(frozen=True)
class BlockAdapterSpec:
    """Place and width of the bottleneck in each block.

    Attributes:
      place: `parallel` takes the input of the MLP, and the outputs are added (AdaptFormer, section 3.2). `sequential`
        takes the output of the MLP and is added to it (Houlsby et al., 2019, the second of their two adapters).
      reduction: encoder width divided by the bottleneck's width.
    """

    place: str
    reduction: int


def add_adapter(spec: BlockAdapterSpec | None, before: jax.Array, after: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Return `after` plus the output of the module `adapter`, for use inside a block.

    `before` and `after` are the input and the output of the MLP, `[B, T, D]`.
    """
    if spec is None:
        return after
    seen = before if spec.place == PARALLEL else after
    return after + BlockAdapter(spec.reduction, dtype, name="adapter")(seen)


class BlockAdapter(nn.Module):
    """A bottleneck `relu(x W1) W2` without biases, W1 to D / `reduction`, `[B, T, D] -> [B, T, D]`.

    W2 starts at zero, so training starts from the function of the frozen network. Unlike FS-Adapter there is no ReLU
    after W2: it would block the gradient at zero and allow only positive outputs.

    Raises:
      ValueError: if `reduction` does not divide the width.
    """

    reduction: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        narrow = bottleneck_width(width, self.reduction)
        hidden = nn.relu(_Map(narrow, self.dtype, _UNIFORM, name="linear1")(x))
        return _Map(width, self.dtype, nn.initializers.zeros_init(), name="linear2")(hidden)


def bottleneck_width(width: int, reduction: int) -> int:
    """Return `width / reduction`; raise ValueError if `reduction` does not divide `width`."""
    if reduction < 1 or width % reduction:
        raise ValueError(f"tuning.reduction: expected a divisor of the width {width}; found {reduction}")
    return width // reduction


class _Map(nn.Module):
    features: int
    dtype: jnp.dtype
    start: nn.initializers.Initializer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", self.start, (x.shape[-1], self.features))
        return affine(x, kernel, jnp.zeros(self.features), self.dtype)
