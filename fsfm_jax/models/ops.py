"""The parts that all networks share: precision, platform, GELU, affine maps and layer norm.

A few forms of the same numbers suit one of CPU, GPU and TPU. The choice is part of the key of JAX's caches of traced,
lowered and compiled functions: what was traced for one platform is never used for another.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

NORM_EPSILON = 1e-6  # every norm of the transformers; torch's default 1e-5 only in the heads

_PLATFORM = jax.make_user_context(default_value=None)
# JAX's names of kinds of GPU in lowering and export; both have one form.
_GPUS = ("cuda", "rocm")


@contextlib.contextmanager
def trace_for(platform: str) -> Iterator[None]:
    """What is traced inside is for `platform`, one of jax's names, instead of the one that this process computes on."""
    with _PLATFORM("gpu" if platform in _GPUS else platform):
        yield


def for_each(platforms: tuple[str, ...], function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` in the form of each of `platforms`, "cuda" and not "gpu"; where it is lowered for decides which runs.

    Without it, a function that is exported for other platforms carries the form of the platform it was traced on.
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
    """Whether what is traced now is for a TPU."""
    return _platform() == "tpu"


def for_cpu() -> bool:
    """Whether what is traced now is for a CPU."""
    return _platform() == "cpu"


def _platform() -> str:
    """That of `trace_for`, of `jax.default_device`, which is in the keys of the caches too, or of the process."""
    device = jax.config.jax_default_device
    if _PLATFORM.value is not None or device is None:
        return _PLATFORM.value or jax.default_backend()
    return device if isinstance(device, str) else device.platform


def at_least_float32(x: jax.Array) -> jax.Array:
    """`x` in float32, or in float64 if it is that already: for statistics, softmaxes and losses."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
    """`x Phi(x)`, Phi the distribution function of the normal distribution; any shape, in the type of `x`.

    Computed in float32 or higher: in bfloat16 `1 + erf` would lose all digits on the left. Reverse mode only.
    """
    wide = at_least_float32(x)
    return (wide * (0.5 * (1 + jax.lax.erf(wide * math.sqrt(0.5))))).astype(x.dtype)


def _gelu_forward(x):
    return gelu(x), x


def _gelu_backward(x, gradient):
    wide = at_least_float32(x)
    # With erf(x) here XLA would see the expression of the forward pass and keep a third array of this size; erf is odd.
    below = 0.5 * (1 - jax.lax.erf(wide * -math.sqrt(0.5)))
    slope = below + wide * (jnp.exp(-0.5 * wide * wide) / math.sqrt(2 * math.pi))
    return ((gradient * slope).astype(x.dtype),)


gelu.defvjp(_gelu_forward, _gelu_backward)


# Affine maps, in the form that the compiler of the platform does best. CPUs want one product of two matrices,
# `[B T, D]`. The TPU compiler would have to copy arrays for that, since 197 tokens are no multiple of the rows of its
# tiles, and likes queries, keys and values to be projected straight to heads.


def affine(x: jax.Array, kernel: jax.Array, bias: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """`x kernel + bias` in `dtype`, `[..., D], [D, F], [F] -> [..., F]`."""
    x, kernel, bias = (a.astype(dtype) for a in (x, kernel, bias))
    if for_tpu():
        return x @ kernel + bias.reshape(*[1] * (x.ndim - 1), -1)
    flat = x.reshape(-1, x.shape[-1]) @ kernel + bias[None]
    return flat.reshape(*x.shape[:-1], kernel.shape[-1])


def to_heads(
    x: jax.Array, kernel: jax.Array, bias: jax.Array, heads: int, dtype: jnp.dtype, maps: int = 3
) -> list[jax.Array]:
    """`affine` for several maps side by side, each cut into heads, `[B, T, D], [D, 3 F], [3 F] -> 3 x [B, H, T, E]`."""
    if not for_tpu():
        # Cut before they are transposed: so their gradients are put side by side, otherwise they are padded and added.
        parts = jnp.split(affine(x, kernel, bias, dtype), maps, axis=-1)
        return [part.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3) for part in parts]
    x, kernel = x.astype(dtype), kernel.astype(dtype).reshape(x.shape[-1], maps, heads, -1)
    bias = bias.astype(dtype).reshape(maps, 1, heads, 1, -1)
    # Three products: of one, the compiler would copy the parts.
    return [jnp.einsum("btd,dhe->bhte", x, kernel[:, part]) + bias[part] for part in range(maps)]


def from_heads(x: jax.Array, kernel: jax.Array, bias: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """`affine` of heads side by side, `[B, H, T, E], [D, F], [F] -> [B, T, F]`."""
    if not for_tpu():
        side_by_side = x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)
        return affine(side_by_side, kernel, bias, dtype)
    kernel = kernel.astype(dtype).reshape(x.shape[1], x.shape[3], -1)
    return jnp.einsum("bhte,hef->btf", x.astype(dtype), kernel) + bias.astype(dtype)[None, None]


def layer_norm(dtype: jnp.dtype, name: str, epsilon: float = NORM_EPSILON) -> nn.Module:
    """The norm called `name` with a `scale` and a `bias`, `[..., D] -> [..., D]`, the result in `dtype`."""
    if for_cpu():
        return _OnCpu(dtype, epsilon, name=name)
    # The one-pass variance E[x^2] - E[x]^2 in float32 is off by about E[x]^2 / 2**23, where rounding x itself to 8 bits
    # is off by E[x]^2 / 2**17: nothing is lost there, and a pass is saved. In float32 half the digits would be.
    one_pass = jnp.finfo(dtype).bits < 32
    return nn.LayerNorm(epsilon=epsilon, dtype=dtype, use_fast_variance=one_pass, name=name)


class _OnCpu(nn.Module):
    """Flax's layer norm with `normalise`: the same parameters and numbers."""

    dtype: jnp.dtype
    epsilon: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones_init(), (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros_init(), (x.shape[-1],))
        return normalise(x, scale, bias, self.epsilon).astype(self.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalise(x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float) -> jax.Array:
    """`scale (x - mean) / sqrt(variance + epsilon) + bias`, `[..., D], [D], [D] -> [..., D]`. Reverse mode only.

    Computed and given in float32 or higher. With the gradient that jax would derive, XLA's compiler for CPUs computes
    the gradient of the residual stream anew, from the last block on, wherever it is needed; with this one it does not.
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
    """`[..., D] -> [rows, D]`, float32 or higher."""
    return at_least_float32(x).reshape(-1, x.shape[-1])
