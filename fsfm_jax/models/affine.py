"""Affine maps, in the form that the compiler of the platform does best; the numbers are the same.

CPUs want one product of two matrices, `[B T, D]`. The TPU compiler would have to copy arrays for that, since 197 tokens
are no multiple of the rows of its tiles, and likes queries, keys and values to be projected straight to heads.
"""

import jax
import jax.numpy as jnp

from fsfm_jax.models.platform import for_tpu


def affine(x: jax.Array, kernel: jax.Array, bias: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """`x kernel + bias` in `dtype`, `[..., D], [D, F], [F] -> [..., F]`."""
    x, kernel, bias = (a.astype(dtype) for a in (x, kernel, bias))
    if for_tpu():
        return x @ kernel + bias.reshape(*[1] * (x.ndim - 1), -1)
    flat = x.reshape(-1, x.shape[-1]) @ kernel + bias[None]
    return flat.reshape(*x.shape[:-1], kernel.shape[-1])


def to_heads(x: jax.Array, kernel: jax.Array, bias: jax.Array, heads: int, dtype: jnp.dtype) -> list[jax.Array]:
    """`affine` for three maps side by side, each cut into heads, `[B, T, D], [D, 3 F], [3 F] -> 3 x [B, H, T, E]`."""
    if not for_tpu():
        # Cut before they are transposed: so their gradients are put side by side, otherwise they are padded and added.
        parts = jnp.split(affine(x, kernel, bias, dtype), 3, axis=-1)
        return [part.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3) for part in parts]
    x, kernel = x.astype(dtype), kernel.astype(dtype).reshape(x.shape[-1], 3, heads, -1)
    bias = bias.astype(dtype).reshape(3, 1, heads, 1, -1)
    # Three products: of one, the compiler would copy the parts.
    return [jnp.einsum("btd,dhe->bhte", x, kernel[:, part]) + bias[part] for part in range(3)]


def from_heads(x: jax.Array, kernel: jax.Array, bias: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """`affine` of heads side by side, `[B, H, T, E], [D, F], [F] -> [B, T, F]`."""
    if not for_tpu():
        side_by_side = x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)
        return affine(side_by_side, kernel, bias, dtype)
    kernel = kernel.astype(dtype).reshape(x.shape[1], x.shape[3], -1)
    return jnp.einsum("bhte,hef->btf", x.astype(dtype), kernel) + bias.astype(dtype)[None, None]
