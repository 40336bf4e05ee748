"""The latent regressor of CAE: it predicts the representation of hidden patches (FSFM supplement, C.1, view b)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from fsfm_jax.models.attention import attend
from fsfm_jax.models.decoders import View, mean_tokens
from fsfm_jax.models.layers import Linear, Mlp, sincos_positions
from fsfm_jax.models.ops import layer_norm, to_heads
from fsfm_jax.models.remat import rematerialise_attention, rematerialise_block


class LatentRegressor(nn.Module):
    """A network that predicts the representation of the hidden patches from encoder tokens, as one pooled vector.

    The encoder tokens pass a linear map, and positions are added. Each hidden patch starts as the mask token plus its
    position. In every block the hidden patches are the queries. Keys and values are all tokens: the encoder tokens,
    which no block changes, and the hidden patches from the previous block (CAE, section 3.1). The output is normed,
    averaged over the hidden patches and passed through a linear map. The mean is taken before the last map, because
    both are linear and this is cheaper.

    Positions are always sine-cosine. Without positions all queries, and so all predictions, would be equal.
    """

    depth: int
    heads: int
    grid: int
    dtype: jnp.dtype
    remat: str

    @nn.compact
    def __call__(self, tokens: jax.Array, mask_token: jax.Array, view: View) -> jax.Array:
        """Predict from `tokens [B, 1 + K, D]`, the class token and the K patches of `view`, and `mask_token [D]`.

        Returns `[B, D]`.
        """
        width = tokens.shape[-1]
        shown = Linear(width, self.dtype, name="embed")(tokens)
        positions = jnp.asarray(sincos_positions(width, self.grid), shown.dtype)
        places = jnp.pad(1 + view.places, ((0, 0), (1, 0)))  # row 0, the class token's, is zero
        shown = shown + jnp.take(positions, places, axis=0)
        x = mask_token[None, None].astype(shown.dtype) + jnp.take(positions, 1 + view.hidden, axis=0)
        kind = rematerialise_block(CrossBlock, self.remat)
        for index in range(self.depth):
            x = kind(self.heads, self.dtype, self.remat, name=f"block_{index:02d}")(x, shown)
        x = layer_norm(self.dtype, "norm")(x)
        return Linear(width, self.dtype, name="pred")(mean_tokens(x))


class CrossBlock(nn.Module):
    """A block with cross-attention, `[B, M, D], [B, T, D] -> [B, M, D]`.

    `x += attention(norm1(x), norm_all([shown, x])); x += mlp(norm2(x))`.
    """

    heads: int
    dtype: jnp.dtype
    remat: str

    @nn.compact
    def __call__(self, x: jax.Array, shown: jax.Array) -> jax.Array:
        everything = layer_norm(self.dtype, "norm_all")(jnp.concatenate([shown, x], axis=1))
        attention = CrossAttention(self.heads, self.dtype, self.remat, name="attn")
        x = x + attention(layer_norm(self.dtype, "norm1")(x), everything)
        return x + Mlp(self.dtype, name="mlp")(layer_norm(self.dtype, "norm2")(x))


class CrossAttention(nn.Module):
    """Multi-head attention of queries to other tokens, `[B, M, D], [B, T, D] -> [B, M, D]`; scale `E**-0.5`.

    Keys have no bias, because it would not change the softmax.
    """

    heads: int
    dtype: jnp.dtype
    remat: str

    @nn.compact
    def __call__(self, x: jax.Array, others: jax.Array) -> jax.Array:
        width = x.shape[-1]
        query = self._to_heads("query", x, True)
        key, value = self._to_heads("key", others, False), self._to_heads("value", others, True)
        mixed = rematerialise_attention(attend, self.remat)(query, key, value, None)
        side_by_side = mixed.transpose(0, 2, 1, 3).reshape(*x.shape[:2], width)
        return Linear(width, self.dtype, name="proj")(side_by_side)

    def _to_heads(self, name: str, x: jax.Array, biased: bool) -> jax.Array:
        return _Heads(self.heads, self.dtype, biased, name=name)(x)


class _Heads(nn.Module):
    """A linear map whose output is split into heads, `[B, T, D] -> [B, H, T, E]`."""

    heads: int
    dtype: jnp.dtype
    biased: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        kernel = self.param("kernel", nn.initializers.xavier_uniform(), (width, width))
        bias = jnp.zeros(width)
        if self.biased:
            bias = self.param("bias", nn.initializers.zeros_init(), (width,))
        return to_heads(x, kernel, bias, self.heads, self.dtype, maps=1)[0]
