"""The pre-norm transformer block of timm's ViT, and the sine-cosine positions.

Letters used in every shape of `models/`: B batch, N patches of the grid, K kept patches, T tokens,
D width, H heads, E head dimension, P pixels of a patch (3 p**2).

Matrix products run in `dtype`; softmax and layer norms run in float32 (or higher) whatever `dtype` is,
and parameters are float32.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

NORM_EPSILON = 1e-6  # every norm of the transformers; torch's default 1e-5 only in the heads


@functools.lru_cache
def sincos_positions(width: int, grid: int) -> np.ndarray:
    """Fixed 2-D sine-cosine positions, `[1 + grid**2, width] float32`; the class token's row is zero.

    Row `1 + i * grid + j` is `[sin(j w), cos(j w), sin(i w), cos(i w)]` with `w_k = 10000**(-k / (D / 4))`:
    the first half encodes the column, the second the row (as in MAE).
    """
    if width % 4:
        raise ValueError(f"sine-cosine positions: width {width} is not divisible by 4; change the model's width")
    frequency = 10000.0 ** (-np.arange(width // 4) / (width / 4))
    row, column = np.divmod(np.arange(grid * grid), grid)
    halves = [f(axis[:, None] * frequency) for axis in (column, row) for f in (np.sin, np.cos)]
    table = np.concatenate([np.zeros((1, width)), np.concatenate(halves, 1)]).astype(np.float32)
    table.setflags(write=False)
    return table


def at_least_float32(x: jax.Array) -> jax.Array:
    """`x` in float32, or in float64 if it is that already."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


class Linear(nn.Module):
    """Affine map of the last axis, `[..., D] -> [..., features]`; Xavier-uniform weight, zero bias.

    The operand is flattened to two dimensions: XLA's CPU backend is about twice as fast on `[B T, D]`,
    and the TPU compiler is indifferent.
    """

    features: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", nn.initializers.xavier_uniform(), (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        flat = x.reshape(-1, x.shape[-1]).astype(self.dtype)
        return (flat @ kernel.astype(self.dtype) + bias.astype(self.dtype)[None]).reshape(*x.shape[:-1], self.features)


def layer_norm(dtype: jnp.dtype, name: str, epsilon: float = NORM_EPSILON) -> nn.LayerNorm:
    """Layer norm over the last axis with its statistics in float32, the result in `dtype`."""
    # The one-pass variance E[x^2] - E[x]^2 loses half the digits; the golden numbers notice.
    return nn.LayerNorm(epsilon=epsilon, dtype=dtype, use_fast_variance=False, name=name)


class Attention(nn.Module):
    """Multi-head self-attention, `[B, T, D] -> [B, T, D]`; scale `E**-0.5`, no dropout.

    `key_weight [T]`, if given, counts token `t` as `key_weight[t]` equal keys.
    """

    heads: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, key_weight: jax.Array | np.ndarray | None = None) -> jax.Array:
        batch, tokens, width = x.shape
        qkv = _QueryKeyValue(self.dtype, name="qkv")(x).reshape(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = jnp.moveaxis(qkv, (2, 3), (0, 2))  # each [B, H, T, E]
        logits = jnp.einsum("bhqe,bhke->bhqk", query * (width // self.heads) ** -0.5, key)
        logits = at_least_float32(logits)
        if key_weight is not None:
            logits += jnp.log(jnp.asarray(key_weight, logits.dtype))[None, None, None]
        weights = jax.nn.softmax(logits, axis=-1).astype(self.dtype)
        mixed = jnp.einsum("bhqk,bhke->bqhe", weights, value).reshape(batch, tokens, width)
        return Linear(width, self.dtype, name="proj")(mixed)


class _QueryKeyValue(nn.Module):
    """One product for queries, keys and values, `[B, T, D] -> [B, T, 3 D]`.

    Softmax does not see a key bias (it adds the same number to a whole row), so its exact gradient is zero.
    Applied, Adam would turn the rounding noise of that gradient into steps of up to one learning rate, and
    two machines would disagree about it. The parameter stays, for the checkpoints, and is not added.
    """

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        kernel = self.param("kernel", nn.initializers.xavier_uniform(), (width, 3 * width))
        bias = self.param("bias", nn.initializers.zeros_init(), (3 * width,))
        seen = np.repeat(np.array([1, 0, 1]), width).astype(bias.dtype)
        flat = x.reshape(-1, width).astype(self.dtype)
        return (flat @ kernel.astype(self.dtype) + (bias * seen).astype(self.dtype)[None]).reshape(
            *x.shape[:-1], 3 * width
        )


class Mlp(nn.Module):
    """Two linear maps around an exact (erf) GELU, hidden width 4 D, `[B, T, D] -> [B, T, D]`."""

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        hidden = Linear(4 * x.shape[-1], self.dtype, name="fc1")(x)
        return Linear(x.shape[-1], self.dtype, name="fc2")(jax.nn.gelu(hidden, approximate=False))


class Block(nn.Module):
    """`x += attention(norm1(x)); x += mlp(norm2(x))`, `[B, T, D] -> [B, T, D]`."""

    heads: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, key_weight: jax.Array | np.ndarray | None = None) -> jax.Array:
        x = x + Attention(self.heads, self.dtype, name="attn")(layer_norm(self.dtype, "norm1")(x), key_weight)
        return x + Mlp(self.dtype, name="mlp")(layer_norm(self.dtype, "norm2")(x))


def blocks(x: jax.Array, depth: int, heads: int, dtype: jnp.dtype, remat: bool, key_weight=None) -> jax.Array:
    """Applies `depth` blocks named `block_00`, `block_01`, ... inside the calling module.

    With `remat` the backward pass computes each block's activations again instead of keeping them.
    """
    kind = nn.remat(Block) if remat else Block
    for index in range(depth):
        x = kind(heads, dtype, name=f"block_{index:02d}")(x, key_weight)
    return x
