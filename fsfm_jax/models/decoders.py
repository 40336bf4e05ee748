"""The visible tokens of a network, and the two decoders that insert tokens for the hidden patches."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from fsfm_jax.models.layers import Linear, blocks, sincos_positions
from fsfm_jax.models.ops import layer_norm


class View(NamedTuple):
    """The K of N patches that a network sees.

    places: `[B, K] int32`, grid places of the visible patches, ascending.
    rank: `[B, N] int32`, index of each grid place among the visible patches; K or more for hidden patches.
    """

    places: jax.Array
    rank: jax.Array

    @property
    def seen(self) -> int:
        return self.places.shape[1]

    def take(self, patches: jax.Array) -> jax.Array:
        """Return the visible patches, `[B, N, P] -> [B, K, P]`."""
        return jnp.take_along_axis(patches, self.places[:, :, None], axis=1)

    @property
    def hidden(self) -> jax.Array:
        """The grid places of the hidden patches, `[B, N - K] int32`; ascending if the mask hides exactly N - K."""
        return jnp.argsort(self.rank, axis=1)[:, self.seen :].astype(jnp.int32)

    def fill(self, tokens: jax.Array, mask_token: jax.Array) -> jax.Array:
        """Put visible tokens at their places and `mask_token [D]` elsewhere, `[B, K, D] -> [B, N, D]`."""
        here = _put(tokens, self.places, self.rank)
        return jnp.where((self.rank < self.seen)[:, :, None], here, mask_token[None, None].astype(tokens.dtype))


@jax.custom_vjp
def _put(tokens: jax.Array, places: jax.Array, rank: jax.Array) -> jax.Array:
    """Put token `rank[b, n]` at place `n`, and the last token at hidden places, `[B, K, D] -> [B, N, D]`."""
    return jnp.take_along_axis(tokens, jnp.minimum(rank, tokens.shape[1] - 1)[:, :, None], axis=1)


def _put_forward(tokens, places, rank):
    return _put(tokens, places, rank), places


def _put_backward(places, gradient):
    # Each token has one visible place, so its gradient is gathered from there. The automatic gradient of a gather is a
    # scatter-add, which is slow on every backend. Hidden places have zero gradient.
    return jnp.take_along_axis(gradient, places[:, :, None], axis=1), None, None


_put.defvjp(_put_forward, _put_backward)


def view_of(mask: jax.Array, seen: int) -> View:
    """Return the first `seen` patches that `mask [B, N] bool` leaves visible (True = hidden).

    If a mask leaves more than `seen` patches visible, the surplus is dropped. The released code does so for ratios that
    do not divide the grid. Masks of this project always leave exactly `seen` patches visible.
    """
    order = jnp.argsort(mask, axis=1, stable=True).astype(jnp.int32)
    rank = jnp.argsort(order, axis=1).astype(jnp.int32)
    return View(order[:, :seen], rank)


class RepresentationDecoder(nn.Module):
    """A network that predicts the representation of the whole face from encoder tokens, as one pooled vector.

    It consists of a linear map, inserted mask tokens, added positions, `depth` blocks, a norm, the mean over all
    N + 1 tokens (class token included), and a linear map. The mean is taken before the last map, because both are
    linear and this is cheaper.

    With `positions="zeros"`, as in all released weights, all mask tokens of an image are equal in every layer. One of
    them is computed and counted N - K times in softmax and mean. This is exact and saves a tenth of a ViT-B training
    step.
    """

    depth: int
    heads: int
    grid: int
    positions: str  # "zeros" | "sincos"
    dtype: jnp.dtype
    remat: str

    @nn.compact
    def __call__(self, tokens: jax.Array, mask_token: jax.Array, view: View | None) -> jax.Array:
        """Predict from `tokens [B, 1 + K, D]` and `mask_token [D]`, `-> [B, D]`.

        `view` None means that all patches are visible, in order.
        """
        width, patches = tokens.shape[-1], self.grid**2
        x = Linear(width, self.dtype, name="embed")(tokens)
        count = np.ones(x.shape[1])
        if self.positions == "sincos":
            if view is not None:
                x = jnp.concatenate([x[:, :1], view.fill(x[:, 1:], mask_token)], axis=1)
            x = x + sincos_positions(width, self.grid)[None].astype(x.dtype)
            count = np.ones(1 + patches)
        elif view is not None:
            one = jnp.broadcast_to(mask_token[None, None].astype(x.dtype), (x.shape[0], 1, width))
            x = jnp.concatenate([x, one], axis=1)
            count = np.append(count, patches - view.seen)
        x = blocks(x, self.depth, self.heads, self.dtype, self.remat, None if (count == 1).all() else count)
        x = layer_norm(self.dtype, "norm")(x)
        pooled = mean_tokens(x, count)
        return Linear(width, self.dtype, name="pred")(pooled)


def mean_tokens(x: jax.Array, count: np.ndarray | None = None) -> jax.Array:
    """Return the mean over tokens in float32, token `t` counted `count[t]` times, `[B, T, D] -> [B, D]`."""
    share = np.full(x.shape[1], 1 / x.shape[1]) if count is None else count / count.sum()
    wide = jnp.promote_types(x.dtype, jnp.float32)
    return jnp.einsum("btd,t->bd", x.astype(wide), share.astype(wide)).astype(x.dtype)


class PixelDecoder(nn.Module):
    """A decoder that predicts the pixels of every patch from encoder tokens, `[B, 1 + K, D] -> [B, N, P]`.

    The mask token has the encoder's width and passes the same linear map as the visible tokens. It is mapped once and
    then inserted, which gives the same result.
    """

    width: int
    depth: int
    heads: int
    grid: int
    pixels: int
    dtype: jnp.dtype
    remat: str

    @nn.compact
    def __call__(self, tokens: jax.Array, mask_token: jax.Array, view: View) -> jax.Array:
        embed = Linear(self.width, self.dtype, name="embed")
        x, hidden = embed(tokens), embed(mask_token)
        x = jnp.concatenate([x[:, :1], view.fill(x[:, 1:], hidden)], axis=1)
        x = x + sincos_positions(self.width, self.grid)[None].astype(x.dtype)
        x = blocks(x, self.depth, self.heads, self.dtype, self.remat)
        x = layer_norm(self.dtype, "norm")(x)
        return Linear(self.pixels, self.dtype, name="pred")(x[:, 1:])
