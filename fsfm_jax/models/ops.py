"""The parts that all networks share: precision, platform, GELU, affine maps and layer norm.

Some operations have a different implementation for CPU, GPU or TPU. The platform is part of the key of JAX's caches of
traced, lowered and compiled functions, so a function traced for one platform is never reused for another.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

NORM_EPSILON = 1e-6  # of all norms in the transformers; only heads have PyTorch's default 1e-5

_PLATFORM = jax.make_user_context(default_value=None)
# JAX's platform names for GPUs in lowering and export; both use the same implementation.
_GPUS = ("cuda", "rocm")


@contextlib.contextmanager
def trace_for(platform: str) -> Iterator[None]:
    """Trace functions inside this context for `platform`, a JAX name, instead of the platform of this process."""
    with _PLATFORM("gpu" if platform in _GPUS else platform):
        yield


def for_each(platforms: tuple[str, ...], function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` with an implementation for each of `platforms`, selected by the platform it is lowered for.

    Platforms are JAX's names for lowering: "cuda", not "gpu". Without this wrapper an exported function carries the
    implementation for the platform that it was traced on.
    """

    def form(platform: str) -> Callable[..., Any]:
        def traced(*arguments: Any) -> Any:
            with trace_for(platform):
                return function(*arguments)

        return traced

    on_gpus = form("gpu")  # one function, so that it is traced once
    forms = {platform: on_gpus if platform in _GPUS else form(platform) for platform in platforms}
    return lambda *arguments: jax.lax.platform_dependent(*arguments, **forms)


def for_tpu() -> bool:
    """Return whether the current trace is for a TPU."""
    return _platform() == "tpu"


def for_cpu() -> bool:
    """Return whether the current trace is for a CPU."""
    return _platform() == "cpu"


def _platform() -> str:
    """Return the platform of `trace_for`, else of `jax.default_device`, else of the process.

    The first two are part of JAX's cache keys.
    """
    device = jax.config.jax_default_device
    if _PLATFORM.value is not None or device is None:
        return _PLATFORM.value or jax.default_backend()
    return device if isinstance(device, str) else device.platform


def at_least_float32(x: jax.Array) -> jax.Array:
    """Return `x` as float32, or as float64 if it already is; for statistics, softmaxes and losses."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
    """Compute `x Phi(x)`, Phi the cumulative normal distribution; any shape, in the type of `x`.

    The computation runs in float32 or higher, because in bfloat16 `1 + erf` loses all digits for negative `x`.
    Reverse-mode gradients only.
    """
    wide = at_least_float32(x)
    return (wide * (0.5 * (1 + jax.lax.erf(wide * math.sqrt(0.5))))).astype(x.dtype)


def _gelu_forward(x):
    return gelu(x), x


def _gelu_backward(x, gradient):
    wide = at_least_float32(x)
    # erf is odd. With erf(x) XLA would reuse the expression of the forward pass and store a third array of this size.
    below = 0.5 * (1 - jax.lax.erf(wide * -math.sqrt(0.5)))
    slope = below + wide * (jnp.exp(-0.5 * wide * wide) / math.sqrt(2 * math.pi))
    return ((gradient * slope).astype(x.dtype),)


gelu.defvjp(_gelu_forward, _gelu_backward)


# Affine maps, in the fastest implementation for each platform. CPUs are fastest with one product of two matrices,
# `[B T, D]`. The TPU compiler would copy arrays for that, since 197 tokens are not a multiple of its tile rows. It is
# faster when queries, keys and values are projected directly to heads.


def affine(x: jax.Array, kernel: jax.Array, bias: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Compute `x kernel + bias` in `dtype`, `[..., D], [D, F], [F] -> [..., F]`."""
    x, kernel, bias = (a.astype(dtype) for a in (x, kernel, bias))
    if for_tpu():
        return x @ kernel + bias.reshape(*[1] * (x.ndim - 1), -1)
    flat = x.reshape(-1, x.shape[-1]) @ kernel + bias[None]
    return flat.reshape(*x.shape[:-1], kernel.shape[-1])


def to_heads(
    x: jax.Array, kernel: jax.Array, bias: jax.Array, heads: int, dtype: jnp.dtype, maps: int = 3
) -> list[jax.Array]:
    """Apply `maps` concatenated affine maps and split each into heads.

    `[B, T, D], [D, 3 F], [3 F] -> 3 x [B, H, T, E]` for three maps.
    """
    if not for_tpu():
        # With the split before the transpose the gradients are concatenated; after it they would be padded and added.
        parts = jnp.split(affine(x, kernel, bias, dtype), maps, axis=-1)
        return [part.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3) for part in parts]
    x, kernel = x.astype(dtype), kernel.astype(dtype).reshape(x.shape[-1], maps, heads, -1)
    bias = bias.astype(dtype).reshape(maps, 1, heads, 1, -1)
    # One product per map: the compiler would copy the parts of a single product.
    return [jnp.einsum("btd,dhe->bhte", x, kernel[:, part]) + bias[part] for part in range(maps)]


def from_heads(x: jax.Array, kernel: jax.Array, bias: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Apply an affine map to the concatenated heads, `[B, H, T, E], [D, F], [F] -> [B, T, F]`."""
    if not for_tpu():
        side_by_side = x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)
        return affine(side_by_side, kernel, bias, dtype)
    kernel = kernel.astype(dtype).reshape(x.shape[1], x.shape[3], -1)
    return jnp.einsum("bhte,hef->btf", x.astype(dtype), kernel) + bias.astype(dtype)[None, None]


def layer_norm(dtype: jnp.dtype, name: str, epsilon: float = NORM_EPSILON) -> nn.Module:
    """Return the layer norm module `name` with `scale` and `bias`, `[..., D] -> [..., D]`, result in `dtype`."""
    if for_cpu():
        return _OnCpu(dtype, epsilon, name=name)
    # The one-pass variance E[x^2] - E[x]^2 has an error of about E[x]^2 / 2**23 in float32. Rounding x itself to 8 bits
    # has an error of E[x]^2 / 2**17, so in bfloat16 one pass loses nothing. In float32 it would lose half the digits.
    one_pass = jnp.finfo(dtype).bits < 32
    return nn.LayerNorm(epsilon=epsilon, dtype=dtype, use_fast_variance=one_pass, name=name)


class _OnCpu(nn.Module):
    """Flax's layer norm computed by `normalise`, with the same parameters and results."""

    dtype: jnp.dtype
    epsilon: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones_init(), (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros_init(), (x.shape[-1],))
        return normalise(x, scale, bias, self.epsilon).astype(self.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalise(x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float) -> jax.Array:
    """Compute `scale (x - mean) / sqrt(variance + epsilon) + bias`, `[..., D], [D], [D] -> [..., D]`.

    The computation and the result are in float32 or higher; reverse-mode gradients only. With JAX's own gradient, XLA
    for CPUs recomputes the gradient of the residual stream from the last block on at each use. With this one it does
    not.
    """
    return _norm_forward(x, scale, bias, epsilon)[0]


def _norm_forward(x, scale, bias, epsilon):
    flat = _rows(x)
    mean = jnp.mean(flat, axis=-1, keepdims=True)
    share = jax.lax.rsqrt(jnp.mean(jnp.square(flat - mean), axis=-1, keepdims=True) + epsilon)
    out = (flat - mean) * (share * scale[None]) + bias[None]  # in Flax's order
    return out.reshape(x.shape), (x, mean, share, scale)


def _norm_backward(_, kept, gradient):
    x, mean, share, scale = kept
    gradient, plain = _rows(gradient), (_rows(x) - mean) * share
    of_plain = gradient * scale[None]
    along = jnp.mean(of_plain * plain, axis=-1, keepdims=True)
    of_x = share * (of_plain - jnp.mean(of_plain, axis=-1, keepdims=True) - along * plain)
    of_scale, of_bias = jnp.sum(gradient * plain, axis=0), jnp.sum(gradient, axis=0)
    return of_x.reshape(x.shape).astype(x.dtype), of_scale.astype(scale.dtype), of_bias.astype(scale.dtype)


normalise.defvjp(_norm_forward, _norm_backward)


def _rows(x: jax.Array) -> jax.Array:
    """Flatten to rows in float32 or higher, `[..., D] -> [rows, D]`."""
    return at_least_float32(x).reshape(-1, x.shape[-1])
