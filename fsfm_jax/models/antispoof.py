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
      norm_over: the axis over which the scale of embedded features is computed, one of `NORM_AXES`. `tokens`: each
        feature is scaled by its length over all tokens of the image. The released code does so in full fine-tuning;
        the prediction from the pooled token then also depends on the tokens of the patches. `features`: the pooled
        token is scaled by the length of its feature vector, as published for few-shot anti-spoofing and as in the
        released adapters.
      drop_path: the last block's rate of stochastic depth while training (0 in the released recipes).
      dropout: dropout rate after the bottleneck while training (0.5 in the released recipes).
      reduction: encoder width divided by the width of FS-Adapter's bottleneck; None: no adapter. With an adapter
        behind the encoder, the network's own bottleneck sees only the pooled token, so `norm_over` is `features`.
      style: the wiring of the encoder.
      lora: low-rank updates of the encoder; None: no updates.
      insertion: the place of FS-Adapter's bottleneck, one of `adapter.INSERTIONS`.
      any_grid: whether images may have other sizes than `image_size`, as in multi-size training (see `Encoder`).
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
        """The pooling of patch tokens; this network has only one."""
        return MEAN_PATCHES


class AntiSpoofed(NamedTuple):
    """Output of the network, float32.

    features: `[B, T, 512]`, scaled; slot 0 is the pooled token. T is 1 + N with `tokens`, 1 with `features`.
    logits: `[B, 2]` of slot 0, attack and bona fide.
    contrast, open_units: outputs of the adapter, see `adapter.Adapted`; None without an adapter.
    """

    features: jax.Array
    logits: jax.Array
    contrast: jax.Array | None
    open_units: jax.Array | None


class AntiSpoof(nn.Module):
    """The anti-spoofing network, with parameters `encoder`, `fc_norm`, `embedder` and `classifier`.

    With an adapter it also has the parameters `adapter` and `projector`.

    Raises:
      ValueError: if `norm_over` is not one of `NORM_AXES`, or is `tokens` when only the pooled token is available.
    """

    spec: AntiSpoofSpec

    @nn.compact
    def __call__(self, images: jax.Array | None, train: bool, features: jax.Array | None = None) -> AntiSpoofed:
        """Classify `images [B, H, W, 3]`, normalised.

        With `train` the random stream "dropout" is required, and "drop_path" if its rate is not 0. `features [B, D]`,
        if given, are used as the pooled tokens of the images, and the encoder is not run.
        """
        spec = self.spec
        if spec.norm_over not in NORM_AXES:
            raise ValueError(f"model.norm_over: expected one of {', '.join(NORM_AXES)}; found {spec.norm_over!r}")
        behind = spec.reduction is not None and block_adapter(spec) is None
        if _sees_all(spec) and (behind or features is not None):
            raise ValueError(
                "model.norm_over: expected features, since an adapter and stored features only have the pooled token; "
                "found tokens"
            )
        patches, contrast, open_units = None, None, None
        if features is None:
            tokens = fine_tuned_encoder(spec, final_norm=False)(patchify(images, spec.size.patch_size), train=train)
            patches = patches_of(spec, tokens)
            features = mean_patches(patches)
        if spec.reduction is not None:
            features, contrast, open_units = adapt(features, spec.reduction, spec.insertion)
        tokens = features[:, None]
        if _sees_all(spec):
            # The pooled token replaces the class token in slot 0; the patches are not normed.
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
    """Return `x / sqrt(2 |x|)` with the length over `axis`; the result keeps the square root of the length."""
    square = jnp.sum(x * x, axis=axis, keepdims=True)
    # A feature that ReLU or dropout zeroes everywhere has length 0; the floor keeps root and derivative finite.
    length = jnp.sqrt(jnp.maximum(square, LENGTH_FLOOR**2))
    return x / jnp.sqrt(2 * length)


def unit_columns(kernel: jax.Array) -> jax.Array:
    """Scale the two weights of each feature to length 1, `[E, 2] -> [E, 2]`; a feature with two zeros gives NaN."""
    return kernel / jnp.sqrt(jnp.sum(kernel * kernel, axis=-1, keepdims=True))


class _UnitClassifier(nn.Module):
    """Linear map with unit columns, `[B, E] -> [B, 2]`.

    The released code overwrites the weight by its unit columns before each use and differentiates with respect
    to the overwritten weight. This module does the same: its value uses the unit columns, and the gradient of the
    parameter is the gradient of the unit columns. The projection and the division by the length, which the derivative
    of the normalisation would add, are left out. `with_unit_classifier` overwrites the weight.
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
    """Return `params` with the classifier's weight replaced by its unit columns; predictions do not change.

    Call this after every optimizer step to train as the released code does. There each forward pass begins with this
    replacement, so gradient, decay and moments see the unit weight. Fresh parameters already have unit columns.
    Without this call each forward pass still normalises, but the lengths drift away from 1, because the radial part of
    Adam's steps is not removed. A step then turns a column of length n by only 1 / n of the angle.
    """
    classifier = params["classifier"]
    return params | {"classifier": classifier | {"kernel": unit_columns(classifier["kernel"])}}
