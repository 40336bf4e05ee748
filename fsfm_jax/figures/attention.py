"""The attention of an encoder's heads: attention weights, mean attention distance, and divergence between heads.

A Flax interceptor captures the queries and keys of each block, so the encoder's code is unchanged. The weights are
recomputed as `softmax(q k^T E**-0.5)` in float32, plus the bias of relative positions if there is one. FSFM supplement,
Fig. 2 and 3.
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
# Smaller weights are set to this value, the smallest normal number of float32, so that divergences stay finite.
LEAST = float(np.finfo(np.float32).tiny)


def attention_weights(encoder: Encoder, params: dict, patches: jax.Array) -> jax.Array:
    """Return the attention weights of all blocks, `[B, N, P] -> [L, B, H, T, T] float32`; rows (queries) sum to 1."""
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
    """Return the distances between the centres of all patches in pixels, `[N, N] float32`."""
    row, column = np.divmod(np.arange(grid * grid), grid)
    across, down = column[:, None] - column[None], row[:, None] - row[None]
    return (patch_size * np.hypot(across, down)).astype(np.float32)


def mean_distances(weights: jax.Array, grid: int, patch_size: int) -> jax.Array:
    """Return the mean attention distance of each head in pixels, `[..., B, H, T, T] -> [..., B, H]`.

    For each query patch this is the weighted mean distance to the key patches, then the mean over query patches. The
    class token has no position and is left out of queries and keys; the weights of the patches are scaled to sum to 1.
    """
    patches = weights[..., -(grid**2) :, -(grid**2) :]
    patches = patches / jnp.maximum(jnp.sum(patches, axis=-1, keepdims=True), LEAST)
    distances = jnp.asarray(patch_distances(grid, patch_size)).reshape((1,) * (weights.ndim - 2) + (grid**2, grid**2))
    return jnp.mean(jnp.sum(patches * distances, axis=-1), axis=-1)


def head_divergences(weights: jax.Array) -> jax.Array:
    """Return the mean divergence of each head from the others of its block in nats, `[..., B, H, T, T] -> [..., B, H]`.

    It is the mean of KL(w_h || w_g) over the other heads g and over all query tokens, with weights over all key tokens.
    It is 0 for a block with one head.
    """
    heads = weights.shape[-3]
    logs = jnp.log(jnp.maximum(weights, LEAST))
    own = jnp.sum(weights * logs, axis=-1)  # [..., H, T]
    cross = jnp.einsum("...hqk,...gqk->...hgq", weights, logs, precision=jax.lax.Precision.HIGHEST)
    pairs = jnp.mean(own[..., :, None, :] - cross, axis=-1)  # [..., H, H], zero between a head and itself
    return jnp.sum(pairs, axis=-1) / max(heads - 1, 1)


def class_token_maps(weights: jax.Array, grid: int) -> jax.Array:
    """Return the attention from the class token to patches, `[..., B, H, T, T] -> [..., B, H, G, G]`.

    The sum over patches is less than 1, because the class token also attends to itself and registers.

    Raises:
      ValueError: if the encoder has no class token.
    """
    if weights.shape[-1] <= grid**2:
        raise ValueError(f"expected a class token before {grid**2} patches, found {weights.shape[-1]} tokens")
    return weights[..., 0, -(grid**2) :].reshape(*weights.shape[:-2], grid, grid)


def plot_heads(encoders: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> "Figure":
    """Plot distances in pixels and divergences in nats by block, `[L, H]` each, one row for each named encoder.

    A point is a head; the line connects the means over the heads of a block. All encoders share the vertical axes.
    """
    figure = plot.make_figure(7, 2.2 * len(encoders) + 0.5, "Mean attention distance and divergence of heads")
    grid = figure.subplots(len(encoders), 2, sharey="col", squeeze=False)
    for row, (name, *quantities) in zip(grid, encoders, strict=True):
        for axes, values, unit in zip(row, quantities, ("distance, pixels", "divergence, nats"), strict=True):
            blocks = np.arange(1, len(values) + 1)
            points = axes.plot(blocks, values, "o", color=plot.BLUE, alpha=0.6, markersize=4, markeredgewidth=0)
            (mean,) = axes.plot(blocks, values.mean(axis=1), color=plot.INK, linewidth=1.5)
            plot.style(axes, "block", unit)
            axes.locator_params(axis="x", integer=True)
        plot.add_legend(row[0], [(points[0], "a head"), (mean, "mean of the block")], 1.2, name, ncols=2)
    for axes in grid[0]:  # last, because it fixes the upper limit
        axes.set_ylim(bottom=0)
    return figure
