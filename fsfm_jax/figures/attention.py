"""What the heads of an encoder look at: their weights, how far they look, and how much they differ.

The encoder is watched from outside, by an interceptor of Flax: the queries and keys of each block are caught, and the
weights computed once more, `softmax(q k^T E**-0.5)` in float32, with the bias of relative positions where there is one.
FSFM supplement, Fig. 2 and 3.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from fsfm_jax.figures import plot
from fsfm_jax.models.ops import at_least_float32
from fsfm_jax.models.vit import Encoder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROJECTION, RELATIVE = "qkv", "relative_positions"
# Weights below are taken for this much, so that a divergence is finite: float32 has none smaller that is exact.
LEAST = float(np.finfo(np.float32).tiny)


def attention_weights(encoder: Encoder, params: dict, patches: jax.Array) -> jax.Array:
    """Weights of all blocks on whole images, `[B, N, P] -> [L, B, H, T, T] float32`; rows are queries and sum to 1."""
    caught = {PROJECTION: [], RELATIVE: []}

    def watch(call, arguments, keywords, context):
        out = call(*arguments, **keywords)
        if context.method_name == "__call__" and context.module.name in caught:
            caught[context.module.name].append(out)
        return out

    with nn.intercept_methods(watch):
        encoder.apply({"params": params}, patches)
    biases = caught[RELATIVE] or [None] * len(caught[PROJECTION])
    pairs = zip(caught[PROJECTION], biases, strict=True)
    return jnp.stack([_weights(query, key, bias) for (query, key, _), bias in pairs])


def _weights(query: jax.Array, key: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    query, key = at_least_float32(query), at_least_float32(key)
    logits = jnp.einsum("bhqe,bhke->bhqk", query, key, precision=jax.lax.Precision.HIGHEST) * query.shape[-1] ** -0.5
    return jax.nn.softmax(logits if bias is None else logits + bias[None], axis=-1)


def patch_distances(grid: int, patch_size: int) -> np.ndarray:
    """Between the centres of all patches in pixels, `[N, N] float32`."""
    row, column = np.divmod(np.arange(grid * grid), grid)
    across, down = column[:, None] - column[None], row[:, None] - row[None]
    return (patch_size * np.hypot(across, down)).astype(np.float32)


def mean_distances(weights: jax.Array, grid: int, patch_size: int) -> jax.Array:
    """How far each head looks on average, in pixels, `[..., B, H, T, T] -> [..., B, H]`.

    For each patch as query the mean distance to the patches as keys, by their weights; then the mean over queries. The
    class token, which is nowhere, is left out of both, and the weights of the patches are scaled to sum to 1.
    """
    patches = weights[..., -(grid**2) :, -(grid**2) :]
    patches = patches / jnp.maximum(jnp.sum(patches, axis=-1, keepdims=True), LEAST)
    distances = jnp.asarray(patch_distances(grid, patch_size)).reshape((1,) * (weights.ndim - 2) + (grid**2, grid**2))
    return jnp.mean(jnp.sum(patches * distances, axis=-1), axis=-1)


def head_divergences(weights: jax.Array) -> jax.Array:
    """How much each head differs from the others of its block, in nats, `[..., B, H, T, T] -> [..., B, H]`.

    The mean over the other heads g, and over all tokens as queries, of KL(w_h || w_g) between their weights over all
    tokens as keys. One head alone has 0.
    """
    heads = weights.shape[-3]
    logs = jnp.log(jnp.maximum(weights, LEAST))
    own = jnp.sum(weights * logs, axis=-1)  # [..., H, T]
    cross = jnp.einsum("...hqk,...gqk->...hgq", weights, logs, precision=jax.lax.Precision.HIGHEST)
    pairs = jnp.mean(own[..., :, None, :] - cross, axis=-1)  # [..., H, H], zero between a head and itself
    return jnp.sum(pairs, axis=-1) / max(heads - 1, 1)


def class_token_maps(weights: jax.Array, grid: int) -> jax.Array:
    """What the class token looks at, `[..., B, H, T, T] -> [..., B, H, G, G]`; shares of the patches, which sum to
    less than 1 by what it keeps for itself and registers.

    Raises:
      ValueError: an encoder without a class token.
    """
    if weights.shape[-1] <= grid**2:
        raise ValueError(f"expected a class token before {grid**2} patches, found {weights.shape[-1]} tokens")
    return weights[..., 0, -(grid**2) :].reshape(*weights.shape[:-2], grid, grid)


def plot_heads(encoders: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> "Figure":
    """Plot distances in pixels and divergences in nats, `[L, H]` each, by block: a row for each named encoder.

    A head is a point, the mean of a block's heads is on the line. All encoders have the same vertical axes.
    """
    figure = plot.make_figure(7, 2.2 * len(encoders) + 0.5, "How far the heads look, and how much they differ")
    grid = figure.subplots(len(encoders), 2, sharey="col", squeeze=False)
    for row, (name, *quantities) in zip(grid, encoders, strict=True):
        for axes, values, unit in zip(row, quantities, ("distance, pixels", "divergence, nats"), strict=True):
            blocks = np.arange(1, len(values) + 1)
            points = axes.plot(blocks, values, "o", color=plot.BLUE, alpha=0.6, markersize=4, markeredgewidth=0)
            (mean,) = axes.plot(blocks, values.mean(axis=1), color=plot.INK, linewidth=1.5)
            plot.style(axes, "block", unit)
            axes.locator_params(axis="x", integer=True)
        plot.add_legend(row[0], [(points[0], "a head"), (mean, "mean of the block")], 1.2, name, ncols=2)
    for axes in grid[0]:  # once all values are there: it ends the search for the upper limit
        axes.set_ylim(bottom=0)
    return figure
