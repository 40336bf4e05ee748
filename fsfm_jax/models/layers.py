"""The pre-norm transformer block of timm's ViT, and the sine-cosine positions.

Letters used in every shape of `models/`: B batch, N patches of the grid, K kept patches, T tokens,
D width, H heads, E head dimension, P pixels of a patch (3 p**2).

Matrix products run in `dtype`. Softmax and layer norms always run in float32 or higher. Parameters are float32.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from fsfm_jax.models.attention import attend
from fsfm_jax.models.block_adapter import BlockAdapterSpec, add_adapter
from fsfm_jax.models.lora import DOWN, MLP, PROJ, QKV, UP, LoraSpec, update_of
from fsfm_jax.models.ops import affine, at_least_float32, from_heads, gelu, layer_norm, to_heads
from fsfm_jax.models.relative import RelativePositions
from fsfm_jax.models.remat import NONE, rematerialise_attention, rematerialise_block
from fsfm_jax.models.rotary import Rotary, rotate
from fsfm_jax.models.style import PLAIN, Style


@functools.lru_cache
def sincos_positions(width: int, grid: int) -> np.ndarray:
    """Return fixed 2-D sine-cosine positions, `[1 + grid**2, width] float32`; the row of the class token is zero.

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


class Linear(nn.Module):
    """Affine map of the last axis, `[..., D] -> [..., features]`; by default with Xavier-uniform weight and zero bias.

    With `lora` a low-rank update with its own parameters is added to the weight.
    """

    features: int
    dtype: jnp.dtype
    kernel_init: Callable = nn.initializers.xavier_uniform()
    bias_init: Callable = nn.initializers.zeros_init()
    lora: LoraSpec | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        bias = self.param("bias", self.bias_init, (self.features,))
        found = affine(x, kernel, bias, self.dtype)
        if self.lora is None:
            return found
        down, up = _low_rank(self, self.lora, *kernel.shape)
        low = affine(x, down, jnp.zeros(self.lora.rank), self.dtype)
        return found + self.lora.scale * affine(low, up, jnp.zeros_like(bias), self.dtype)


def _low_rank(module: nn.Module, lora: LoraSpec, inputs: int, outputs: int) -> tuple[jax.Array, jax.Array]:
    """Create the two factors of a low-rank update in `module`, `[inputs, rank]` and `[rank, outputs]`."""
    # The authors of LoRA start it with PyTorch's default for a linear layer.
    down = module.param(DOWN, torch_uniform, (inputs, lora.rank))
    return down, module.param(UP, nn.initializers.zeros_init(), (lora.rank, outputs))


def torch_uniform(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
    """Draw a weight `[fan in, fan out]` from U(+-1/sqrt(fan in)), PyTorch's default for a linear layer."""
    return jax.random.uniform(key, shape, dtype, -(shape[0] ** -0.5), shape[0] ** -0.5)


class Attention(nn.Module):
    """Multi-head self-attention, `[B, T, D] -> [B, T, D]`; scale `E**-0.5`, no dropout.

    `key_weight [T]`, if given, counts token `t` as `key_weight[t]` equal keys. `turns [2, B or 1, 1, T, E]` are the
    cosines and sines of `style.rotary` (see `rotary.rotate`).
    """

    heads: int
    dtype: jnp.dtype
    lora: LoraSpec | None = None
    remat: str = NONE
    style: Style = PLAIN

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        key_weight: jax.Array | np.ndarray | None = None,
        turns: jax.Array | np.ndarray | None = None,
    ) -> jax.Array:
        lora, rotary = update_of(self.lora, QKV), self.style.rotary
        query, key, value = _QueryKeyValue(self.heads, self.dtype, lora, rotary, name="qkv")(x, turns)
        bias = None if key_weight is None else jnp.log(jnp.asarray(key_weight, at_least_float32(query).dtype))
        if self.style.relative:
            assert bias is None, "no network has both"
            bias = RelativePositions(self.heads, name="relative_positions")(x.shape[1])
        mixed = rematerialise_attention(attend, self.remat)(query, key, value, bias)
        return _Projection(x.shape[-1], self.dtype, update_of(self.lora, PROJ), name="proj")(mixed)


class _QueryKeyValue(nn.Module):
    """Queries, keys and values of each head, `[B, T, D] -> 3 x [B, H, T, E]`; `rotary` rotates queries and keys.

    A key bias adds the same number to a whole row of logits, so softmax ignores it and its exact gradient is zero.
    If the bias were added, Adam would turn the rounding noise of that gradient into steps of up to one learning
    rate, and two machines would get different weights. The parameter stays for compatible checkpoints but is not
    added. A rotated key bias does change the softmax. It is added if `rotary.key_bias` is set.

    With `lora` a low-rank update with its own parameters `lora_down` and `lora_up` is added to the matrix.
    """

    heads: int
    dtype: jnp.dtype
    lora: LoraSpec | None = None
    rotary: Rotary | None = None

    @nn.compact
    def __call__(self, x: jax.Array, turns: jax.Array | np.ndarray | None = None) -> list[jax.Array]:
        query, key, value = self._products(x)
        if self.rotary is None:
            return [query, key, value]
        return [*(rotate(each, turns, self.rotary.neighbours) for each in (query, key)), value]

    def _products(self, x: jax.Array) -> list[jax.Array]:
        width = x.shape[-1]
        kernel = self.param("kernel", nn.initializers.xavier_uniform(), (width, 3 * width))
        bias = self.param("bias", nn.initializers.zeros_init(), (3 * width,))
        of_keys = self.rotary is not None and self.rotary.key_bias
        seen = np.repeat(np.array([1, of_keys, 1]), width).astype(bias.dtype)
        products = to_heads(x, kernel, bias * seen, self.heads, self.dtype)
        if self.lora is None:
            return products
        down, up = _low_rank(self, self.lora, *kernel.shape)
        low = affine(x, down, jnp.zeros(self.lora.rank), self.dtype)
        updates = to_heads(low, up, jnp.zeros_like(bias), self.heads, self.dtype)
        return [product + self.lora.scale * update for product, update in zip(products, updates, strict=True)]


class _Projection(nn.Module):
    """Affine map of the concatenated heads, `[B, H, T, E] -> [B, T, features]`; `lora` as in `Linear`."""

    features: int
    dtype: jnp.dtype
    lora: LoraSpec | None = None

    @nn.compact
    def __call__(self, mixed: jax.Array) -> jax.Array:
        shape = mixed.shape[1] * mixed.shape[3], self.features
        kernel = self.param("kernel", nn.initializers.xavier_uniform(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        found = from_heads(mixed, kernel, bias, self.dtype)
        if self.lora is None:
            return found
        down, up = _low_rank(self, self.lora, *shape)
        low = from_heads(mixed, down, jnp.zeros(self.lora.rank), self.dtype)
        return found + self.lora.scale * affine(low, up, jnp.zeros_like(bias), self.dtype)


class Mlp(nn.Module):
    """Two linear maps around a GELU, exact (erf) or `quick`, hidden width 4 D, `[B, T, D] -> [B, T, D]`.

    With `gated` it is SwiGLU: the hidden features are multiplied by the SiLU, `y sigmoid(y)`, of a third map `gate`.
    With `lora` each map has a low-rank update.
    """

    dtype: jnp.dtype
    gelu: str = "erf"
    gated: bool = False
    lora: LoraSpec | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        linear = functools.partial(Linear, dtype=self.dtype, lora=self.lora)
        hidden = linear(4 * x.shape[-1], name="fc1")(x)
        if self.gated:
            active = jax.nn.silu(linear(4 * x.shape[-1], name="gate")(x)) * hidden
        elif self.gelu == "quick":
            active = hidden * jax.nn.sigmoid(1.702 * hidden)
        else:
            active = gelu(hidden)
        return linear(x.shape[-1], name="fc2")(active)


def drop_path(x: jax.Array, rate: float, key: jax.Array) -> jax.Array:
    """Apply stochastic depth: zero each image's branch with probability `rate`, else divide it by `1 - rate`.

    `[B, T, D] -> [B, T, D]`; the mean over draws is `x`. `key` is a typed key.
    """
    kept = jax.random.bernoulli(key, 1 - rate, (x.shape[0], 1, 1))
    return jnp.where(kept, x / (1 - rate), 0)


def drop_path_rates(rate: float, depth: int) -> tuple[float, ...]:
    """Return the rate of each of `depth` blocks, in equal steps from 0 in the first to `rate` in the last.

    Raises:
      ValueError: if `rate` is outside [0, 1).
    """
    if not 0 <= rate < 1:
        raise ValueError(f"drop_path: expected a probability of at least 0 and less than 1; found {rate}")
    return tuple(np.linspace(0.0, rate, depth).tolist())


class LayerScale(nn.Module):
    """A learnt factor for each feature of a branch, `[B, T, D] -> [B, T, D]` (CaiT, section 2)."""

    start: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.constant(self.start), (x.shape[-1],))
        return x * scale.astype(x.dtype)[None, None]


class Block(nn.Module):
    """A transformer block: `x += attention(norm1(x)); x += mlp(norm2(x))`, `[B, T, D] -> [B, T, D]`.

    `drop_path` is the probability that an addition is skipped for an image; draws use the random stream "drop_path".
    An `adapter` adds its output to the second addition.
    """

    heads: int
    dtype: jnp.dtype
    drop_path: float = 0.0
    style: Style = PLAIN
    lora: LoraSpec | None = None
    remat: str = NONE
    adapter: BlockAdapterSpec | None = None

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        key_weight: jax.Array | np.ndarray | None = None,
        turns: jax.Array | np.ndarray | None = None,
    ) -> jax.Array:
        attention = Attention(self.heads, self.dtype, self.lora, self.remat, self.style, name="attn")
        epsilon = self.style.epsilon
        mlp = Mlp(self.dtype, self.style.gelu, self.style.gated, update_of(self.lora, MLP), name="mlp")
        mixed = attention(layer_norm(self.dtype, "norm1", epsilon)(x), key_weight, turns)
        x = x + self._drop(self._scale("ls1", mixed))
        hidden = layer_norm(self.dtype, "norm2", epsilon)(x)
        return x + self._drop(add_adapter(self.adapter, hidden, self._scale("ls2", mlp(hidden)), self.dtype))

    def _scale(self, name: str, branch: jax.Array) -> jax.Array:
        start = self.style.layer_scale
        return branch if start is None else LayerScale(start, name=name)(branch)

    def _drop(self, branch: jax.Array) -> jax.Array:
        return drop_path(branch, self.drop_path, self.make_rng("drop_path")) if self.drop_path else branch


def blocks(
    x: jax.Array,
    depth: int,
    heads: int,
    dtype: jnp.dtype,
    remat: str,
    key_weight=None,
    drop_path: float = 0.0,
    style: Style = PLAIN,
    lora: LoraSpec | None = None,
    turns: jax.Array | np.ndarray | None = None,
    adapter: BlockAdapterSpec | None = None,
) -> jax.Array:
    """Apply `depth` blocks named `block_00`, `block_01`, ... inside the calling module, `[B, T, D] -> [B, T, D]`.

    `remat` is one of `remat.REMATS`: it selects the activations that the backward pass recomputes instead of storing.
    `drop_path` is the last block's rate (see `drop_path_rates`). `turns` are the cosines and sines of `style.rotary`.
    """
    kind = rematerialise_block(Block, remat)
    for index, rate in enumerate(drop_path_rates(drop_path, depth)):
        updates = None if lora is None else lora.in_block(index)
        x = kind(heads, dtype, rate, style, updates, remat, adapter, name=f"block_{index:02d}")(x, key_weight, turns)
    return x
