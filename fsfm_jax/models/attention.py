"""Softmax attention with a custom gradient.

Automatic differentiation stores several arrays `[B, H, T, T]` and transposes them. This gradient stores one of them,
the attention weights, in the type of the products.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from fsfm_jax.models.ops import at_least_float32, for_cpu, for_tpu

# Lanes and rows of a TPU vector register. A sum along the lanes of several registers costs more than a product with
# ones. The compiler turns a product with a single column back into such a sum, so there is a column for each row.
LANES, ROWS = 128, 8
# XLA's CPU runtime computes one batched product of small matrices on a single core, but runs independent products in
# parallel. So the heads are split into groups. Fewer groups leave cores idle; more groups cost overhead.
HEADS_OF_A_GROUP = 2


@jax.custom_vjp
def attend(query: jax.Array, key: jax.Array, value: jax.Array, bias: jax.Array | None) -> jax.Array:
    """Compute softmax attention, `3 x [B, H, T, E] -> [B, H, T, E]`; scale `E**-0.5`, reverse-mode gradients only.

    The number of queries may differ from the number of keys. `bias`, if given, is added to the logits: `[T]` per key,
    or `[H, T, T]` per head, query and key. Products run in the type of the arguments, the softmax in float32 or higher.
    """
    if not for_cpu():
        return _forward(query, key, value, bias)[0]
    # This path runs without gradients, so no array `[B, H, T, T]` is stored. With the division at the end XLA fuses
    # everything into one loop on all cores; a softmax would be two loops, one of them on a single core.
    weights = _exponentials(_logits(query * query.shape[-1] ** -0.5, key, bias))
    mixed = _product(weights.astype(value.dtype), value, 3, 2, weights.dtype)
    return (mixed / jnp.sum(weights, axis=-1, keepdims=True)).astype(value.dtype)


def _forward(query, key, value, bias):
    if not for_cpu():
        return _attend(query, key, value, bias)
    groups, biases = _groups(query, key, value), _bias_of_groups(bias, query.shape[1])
    mixed, kept = zip(*(_attend(*group, part) for group, part in zip(groups, biases, strict=True)), strict=True)
    return jnp.concatenate(mixed, axis=1), kept


def _attend(query, key, value, bias):
    query = query * query.shape[-1] ** -0.5
    logits = _logits(query, key, bias)
    if not (for_tpu() and key.shape[2] > LANES):
        weights = jax.nn.softmax(logits, axis=-1).astype(value.dtype)
        return _product(weights, value, 3, 2), (query, key, value, weights, None, bias)
    # The division by the softmax's sum comes after the product, where it needs fewer operations.
    weights = _exponentials(logits).astype(value.dtype)
    ones = jnp.ones((*value.shape[:3], ROWS), value.dtype)
    share = 1 / _product(weights, ones, 3, 2, logits.dtype)[..., :1]
    mixed = (_product(weights, value, 3, 2, logits.dtype) * share).astype(value.dtype)
    return mixed, (query, key, value, weights, share, bias)


def _backward(kept, gradient):
    if not for_cpu():
        return _gradients(kept, gradient)
    found = [_gradients(group, part) for group, (part,) in zip(kept, _groups(gradient), strict=True)]
    *of_heads, of_bias = zip(*found, strict=True)
    if of_bias[0] is None:
        total = None
    else:
        total = functools.reduce(jnp.add, of_bias) if of_bias[0].ndim == 1 else jnp.concatenate(of_bias)
    return *(jnp.concatenate(groups, axis=1) for groups in of_heads), total


def _gradients(kept, gradient):
    query, key, value, weights, share, bias = kept
    if share is not None:
        gradient = (gradient.astype(share.dtype) * share).astype(gradient.dtype)
    of_weights = _product(gradient, value, 3, 3)
    wide = at_least_float32(weights)
    of_logits = wide * of_weights.astype(wide.dtype)
    total = jnp.sum(of_logits, axis=-1, keepdims=True)
    of_logits -= wide * (total if share is None else total * share)
    of_bias = None if bias is None else jnp.sum(of_logits, axis=tuple(range(4 - bias.ndim))).astype(bias.dtype)
    of_logits = of_logits.astype(query.dtype)
    of_query = _product(of_logits, key, 3, 2) * query.shape[-1] ** -0.5
    return of_query, _product(of_logits, query, 2, 2), _product(weights, gradient, 2, 2), of_bias


attend.defvjp(_forward, _backward)


def _groups(*arrays: jax.Array) -> Iterator[tuple[jax.Array, ...]]:
    """Split each array into groups of heads, `[B, H, T, E] -> [B, HEADS_OF_A_GROUP, T, E]`; the last may be smaller."""
    starts = list(range(HEADS_OF_A_GROUP, arrays[0].shape[1], HEADS_OF_A_GROUP))
    return zip(*(jnp.split(array, starts, axis=1) for array in arrays), strict=True)


def _bias_of_groups(bias: jax.Array | None, heads: int) -> list[jax.Array | None]:
    """Return `bias` for each of `_groups`: the whole `[T]`, or the heads of the group from `[H, T, T]`."""
    starts = list(range(HEADS_OF_A_GROUP, heads, HEADS_OF_A_GROUP))
    if bias is None or bias.ndim == 1:
        return [bias] * (len(starts) + 1)
    return jnp.split(bias, starts)


def _logits(query: jax.Array, key: jax.Array, bias: jax.Array | None) -> jax.Array:
    """Return the logits `[B, H, T, T]`, float32 or higher; `query` is already scaled."""
    logits = at_least_float32(_product(query, key, 3, 3))
    return logits if bias is None else logits + bias.astype(logits.dtype)[(None,) * (4 - bias.ndim)]


def _exponentials(logits: jax.Array) -> jax.Array:
    """Return `exp(logits - max)` for each row: the softmax before the division by the row's sum."""
    return jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))


def _product(a: jax.Array, b: jax.Array, axis_of_a: int, axis_of_b: int, dtype: jnp.dtype | None = None) -> jax.Array:
    """Multiply matrices of each image and head over one axis of each; result in `dtype` or the type of both."""
    axes = ((axis_of_a,), (axis_of_b,)), ((0, 1), (0, 1))
    return jax.lax.dot_general(a, b, axes, preferred_element_type=dtype)
