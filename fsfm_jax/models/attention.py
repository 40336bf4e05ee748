"""Softmax attention on a joint array of queries, keys and values, with a gradient of its own.

Differentiating the formula transposes the large arrays `[B, H, T, T]` and keeps several of them. Here the only
transposes are of arrays `[B, T, D]`, and one large array is kept: the weights, in the type of the products.
"""

import functools

import jax
import jax.numpy as jnp


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def attend(qkv: jax.Array, log_weight: jax.Array | None, heads: int) -> jax.Array:
    """Each query's mean of the values, `[B, T, 3 D] -> [B, T, D]`; scale `E**-0.5`. Reverse mode only.

    `qkv` holds all queries, then keys, then values, each of them head by head. `log_weight [T]`, if given, is added to
    the logits of each key. Products are in the type of `qkv`, the softmax in float32 or higher.
    """
    return _forward(qkv, log_weight, heads)[0]


def _forward(qkv, log_weight, heads):
    batch, tokens, width = qkv.shape
    size = width // 3 // heads
    query, key, value = qkv.reshape(batch, tokens, 3, heads, size).transpose(2, 0, 3, 1, 4)  # each [B, H, T, E]
    query = query * size**-0.5
    logits = _product(query, key, 3, 3)
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    if log_weight is not None:
        logits += log_weight.astype(logits.dtype)[None, None, None]
    weights = jax.nn.softmax(logits, axis=-1).astype(qkv.dtype)
    mixed = _product(weights, value, 3, 2).transpose(0, 2, 1, 3).reshape(batch, tokens, width // 3)
    return mixed, (query, key, value, weights, log_weight)


def _backward(heads, kept, gradient):
    query, key, value, weights, log_weight = kept
    batch, _, tokens, size = query.shape
    gradient = gradient.reshape(batch, tokens, heads, size).transpose(0, 2, 1, 3)  # [B, H, T, E]
    of_weights = _product(gradient, value, 3, 3)
    shares = weights.astype(jnp.promote_types(weights.dtype, jnp.float32))
    of_logits = shares * of_weights.astype(shares.dtype)
    of_logits -= shares * jnp.sum(of_logits, axis=-1, keepdims=True)
    of_log_weight = None if log_weight is None else jnp.sum(of_logits, axis=(0, 1, 2)).astype(log_weight.dtype)
    of_logits = of_logits.astype(query.dtype)
    of_query = _product(of_logits, key, 3, 2) * size**-0.5
    of_key = _product(of_logits, query, 2, 2)
    of_value = _product(weights, gradient, 2, 2)
    together = jnp.stack([of_query, of_key, of_value]).transpose(1, 3, 0, 2, 4)
    return together.reshape(batch, tokens, 3 * heads * size), of_log_weight


attend.defvjp(_forward, _backward)


def _product(a: jax.Array, b: jax.Array, axis_of_a: int, axis_of_b: int) -> jax.Array:
    """Matrix products over one axis of each, image by image and head by head."""
    return jax.lax.dot_general(a, b, (((axis_of_a,), (axis_of_b,)), ((0, 1), (0, 1))))
