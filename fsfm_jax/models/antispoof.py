"""The network of face anti-spoofing: the fine-tuned encoder, a bottleneck and a classifier of unit columns."""

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from fsfm_jax.models.adapter import CONCAT, adapt, block_adapter
from fsfm_jax.models.classifier import MEAN_PATCHES, fine_tuned_encoder, mean_patches, patches_of
from fsfm_jax.models.layers import Linear
from fsfm_jax.models.lora import LoraSpec
from fsfm_jax.models.ops import at_least_float32
from fsfm_jax.models.style import PLAIN, Style
from fsfm_jax.models.vit import Size, patchify

NORM_AXES = ("tokens", "features")
EMBEDDING = 512
CLASSES = 2  # attack, bona fide
LENGTH_FLOOR = 1e-12


@dataclasses.dataclass(frozen=True)
class AntiSpoofSpec:
    """Everything that fixes the network's shapes and wiring.

    Attributes:
      image_size: side of the square image in pixels.
      norm_over: what each embedded feature is scaled by. `tokens`: its length over all tokens of the image, as
        the released code does when it fine-tunes everything; so the prediction, made from the pooled token,
        also depends on each patch's token. `features`: the length of the pooled token's feature vector, the method
        as it was published for few-shot anti-spoofing and as the released adapters have it.
      drop_path: the last block's rate of stochastic depth while training (0 in the released recipes).
      dropout: rate after the bottleneck while training (0.5 there).
      reduction: by how much the bottleneck of FS-Adapter is narrower than the encoder; None: no adapter. With one
        behind the encoder the bottleneck of this network sees the pooled token alone, so `norm_over` is `features`.
      style, lora: of the encoder.
      insertion: where FS-Adapter's bottleneck is, one of `adapter.INSERTIONS`.
      any_grid: whether images may be of other sizes than `image_size`, as in training with several (`Encoder`).
    """

    size: Size
    image_size: int
    norm_over: str
    drop_path: float
    dropout: float
    dtype: jnp.dtype
    remat: str
    reduction: int | None = None
    style: Style = PLAIN
    lora: LoraSpec | None = None
    insertion: str = CONCAT
    any_grid: bool = False

    @property
    def grid(self) -> int:
        return self.size.grid(self.image_size)

    @property
    def pooling(self) -> str:
        """How patch tokens become one; there is no choice."""
        return MEAN_PATCHES


class AntiSpoofed(NamedTuple):
    """Output of the network, float32.

    features: `[B, T, 512]`, scaled; slot 0 is the pooled token. T is 1 + N with `tokens`, 1 with `features`.
    logits: `[B, 2]` of slot 0, attack and bona fide.
    contrast, open_units: of an adapter, see `adapter.Adapted`; None without one.
    """

    features: jax.Array
    logits: jax.Array
    contrast: jax.Array | None
    open_units: jax.Array | None


class AntiSpoof(nn.Module):
    """Parameters `encoder`, `fc_norm`, `embedder` and `classifier`; with an adapter also `adapter` and `projector`.

    Raises:
      ValueError: a `norm_over` that is not one of `NORM_AXES`, or tokens where only the pooled one is there.
    """

    spec: AntiSpoofSpec

    @nn.compact
    def __call__(self, images: jax.Array | None, train: bool, features: jax.Array | None = None) -> AntiSpoofed:
        """Classifies `images [B, H, W, 3]`, normalised; `train` needs "dropout" and (with a rate) "drop_path".

        `features [B, D]`, if given, are taken for the pooled tokens of the images, and the encoder is not run.
        """
        spec = self.spec
        if spec.norm_over not in NORM_AXES:
            raise ValueError(f"model.norm_over: expected one of {', '.join(NORM_AXES)}; found {spec.norm_over!r}")
        behind = spec.reduction is not None and block_adapter(spec) is None
        if _sees_all(spec) and (behind or features is not None):
            raise ValueError("model.norm_over: an adapter and stored features are pooled; use features, not tokens")
        patches, contrast, open_units = None, None, None
        if features is None:
            tokens = fine_tuned_encoder(spec, final_norm=False)(patchify(images, spec.size.patch_size), train=train)
            patches = patches_of(spec, tokens)
            features = mean_patches(patches)
        if spec.reduction is not None:
            features, contrast, open_units = adapt(features, spec.reduction, spec.insertion)
        tokens = features[:, None]
        if _sees_all(spec):
            # Slot 0 is the class token's; the patches go on without any norm.
            tokens = jnp.concatenate([tokens, patches.astype(tokens.dtype)], axis=1)
        embed = Linear(
            EMBEDDING, spec.dtype, nn.initializers.normal(0.005), nn.initializers.constant(0.1), name="embedder"
        )
        hidden = nn.relu(at_least_float32(embed(tokens)))
        hidden = nn.Dropout(spec.dropout, rng_collection="dropout", name="dropout")(hidden, deterministic=not train)
        scaled = _scale(hidden, axis=1 if _sees_all(spec) else 2)
        logits = _UnitClassifier(name="classifier")(scaled[:, 0])
        return AntiSpoofed(scaled, logits, contrast, open_units)


def _sees_all(spec: AntiSpoofSpec) -> bool:
    return spec.norm_over == "tokens"


def _scale(x: jax.Array, axis: int) -> jax.Array:
    """`x / sqrt(2 |x|)` with the length over `axis`: half of the scale stays in the result."""
    square = jnp.sum(x * x, axis=axis, keepdims=True)
    # A feature that ReLU or dropout closed everywhere has length 0; the floor keeps root and derivative finite.
    length = jnp.sqrt(jnp.maximum(square, LENGTH_FLOOR**2))
    return x / jnp.sqrt(2 * length)


def unit_columns(kernel: jax.Array) -> jax.Array:
    """Scales the two weights of each feature to length 1, `[E, 2] -> [E, 2]`; a feature with two zeros gives NaN."""
    return kernel / jnp.sqrt(jnp.sum(kernel * kernel, axis=-1, keepdims=True))


class _UnitClassifier(nn.Module):
    """Linear map with unit columns, `[B, E] -> [B, 2]`.

    The released code overwrites the weight by its unit columns before each use and differentiates with respect
    to what it wrote. So does this: the value is that of the unit columns, and the gradient of the parameter
    is the gradient of the unit columns, without the projection and the division by the length that
    differentiating the normalisation would add. See `with_unit_classifier` for the writing.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def start(key, shape, dtype=jnp.float32):
            return unit_columns(nn.initializers.normal(0.01)(key, shape, dtype))

        kernel = self.param("kernel", start, (x.shape[-1], CLASSES))
        bias = self.param("bias", nn.initializers.zeros_init(), (CLASSES,))
        # Exactly the unit columns, plus a zero that carries the gradient.
        unit = jax.lax.stop_gradient(unit_columns(kernel)) + (kernel - jax.lax.stop_gradient(kernel))
        return x @ unit.astype(x.dtype) + bias.astype(x.dtype)[None]


def with_unit_classifier(params: dict) -> dict:
    """`params` with the classifier's weight replaced by its unit columns; predictions stay as they are.

    Called after every optimizer step, it makes training the released one: there each forward pass starts by
    this, and gradient, decay and moments then see the unit weight. Fresh parameters are unit already. Left
    out, each forward pass still normalises, but the lengths drift away from 1 (Adam's steps have a radial
    part that is no longer removed), and a step turns a column of length n by 1 / n of the angle.
    """
    classifier = params["classifier"]
    return params | {"classifier": classifier | {"kernel": unit_columns(classifier["kernel"])}}
