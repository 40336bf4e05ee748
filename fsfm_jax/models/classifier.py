"""The fine-tuned classifier (pretrained encoder, pooling, one linear layer), and the transfer of pretrained weights."""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from fsfm_jax.models.adapter import CONCAT, adapt, block_adapter, uniform_bias
from fsfm_jax.models.heads import l2_normalise
from fsfm_jax.models.layers import Linear, sincos_positions
from fsfm_jax.models.lora import LoraSpec
from fsfm_jax.models.ops import at_least_float32, layer_norm
from fsfm_jax.models.positions import RELEASED, Resizing, resize_positions, resize_relative
from fsfm_jax.models.relative import TABLES, table_grid
from fsfm_jax.models.style import PLAIN, Style
from fsfm_jax.models.vit import Encoder, Size, patchify

POOLINGS = MEAN_PATCHES, CLASS_TOKEN = "mean_patches", "cls"
HEAD_DEVIATION = 2e-5  # so small that the first predictions are uniform (MAE, released code)
POSITIONS = "encoder/pos_embed"
CLASS_TOKEN = "encoder/cls_token"

# Parts of a pretraining tree that a classifier does not use, by path, with the reason.
_DROPPED = (
    (r"encoder/norm/.*", "the final norm of pretraining; the pooled features have a separate fresh norm"),
    (r"mask_token", "stands for hidden patches; a classifier sees all"),
    (r"rep_decoder/.*", "the representation decoder of pretraining"),
    (r"regressor/.*", "the latent regressor of pretraining"),
    (r"pixel_decoder/.*", "the pixel decoder of pretraining"),
    (r"projector/.*", "the projector of pretraining"),
    (r"predictor/.*", "the predictor of pretraining"),
)
# Parts that only fine-tuned networks have; they keep their fresh values.
_NEW = r"(fc_norm|head|embedder|classifier|adapter|projector)/.*|encoder/.*/(lora_(down|up)|adapter/.*)"


@dataclasses.dataclass(frozen=True)
class ClassifierSpec:
    """Everything that fixes a classifier's shapes and wiring.

    Attributes:
      image_size: side of the square image in pixels.
      classes: 2 for real and fake; more for a detector that names the kind of attack.
      pooling: `mean_patches`, the mean without the class token and then a fresh norm (FSFM); or `cls`, the class
        token after the encoder's final norm.
      drop_path: the last block's rate of stochastic depth while training.
      reduction: encoder width divided by the width of FS-Adapter's bottleneck; None: no adapter.
      style: the wiring of the encoder.
      lora: low-rank updates of the encoder; None: no updates.
      insertion: the place of FS-Adapter's bottleneck, one of `adapter.INSERTIONS`.
      any_grid: whether images may have other sizes than `image_size`, as in multi-size training (see `Encoder`).
      unit_features: whether features are scaled to length 1 before the head (GenD).
    """

    size: Size
    image_size: int
    classes: int
    pooling: str
    drop_path: float
    dtype: jnp.dtype
    remat: str
    reduction: int | None = None
    style: Style = PLAIN
    lora: LoraSpec | None = None
    insertion: str = CONCAT
    any_grid: bool = False
    unit_features: bool = False

    @property
    def grid(self) -> int:
        return self.size.grid(self.image_size)

    @property
    def norm_over(self) -> None:
        """None: unlike in anti-spoofing, features are not scaled."""


class ClassifierOutput(NamedTuple):
    """Output of the classifier, float32.

    features: `[B, D]`, pooled and normed; unit rows with `unit_features`.
    logits: `[B, C]`.
    contrast, open_units: outputs of the adapter, see `adapter.Adapted`; None without an adapter.
    """

    features: jax.Array
    logits: jax.Array
    contrast: jax.Array | None
    open_units: jax.Array | None


class Classifier(nn.Module):
    """A ViT with learnt positions, pooling and a linear head; parameters `encoder`, `fc_norm` and `head`.

    An adapter adds the parameters `adapter` and `projector`. If its output is concatenated, the head's input is twice
    as wide.

    Raises:
      ValueError: if `pooling` is not one of `POOLINGS`, or is `cls` for an encoder without class token.
    """

    spec: ClassifierSpec

    @nn.compact
    def __call__(self, images: jax.Array | None, train: bool, features: jax.Array | None = None) -> ClassifierOutput:
        """Classify `images [B, H, W, 3]`, normalised; `train` requires the stream "drop_path" if its rate is not 0.

        `features [B, D]`, if given, are used as the pooled features of the images, and the encoder is not run.
        """
        spec = self.spec
        if features is None:
            features = pool(spec, images, train)
        if spec.unit_features:
            features = l2_normalise(features)
        behind, contrast, open_units = features, None, None
        head_start = nn.initializers.normal(HEAD_DEVIATION)  # the reference truncates at +-2, far outside
        bias_start = nn.initializers.zeros_init()
        if spec.reduction is not None:
            behind, contrast, open_units = adapt(features, spec.reduction, spec.insertion)
            # The released code creates a new head after the initialisation, and then initialises only its weight.
            bias_start = uniform_bias(behind.shape[-1])
        logits = Linear(spec.classes, behind.dtype, head_start, bias_start, name="head")(behind)
        return ClassifierOutput(features, logits, contrast, open_units)


class PooledEncoder(nn.Module):
    """The part of a fine-tuned network before its head: `[B, H, W, 3]`, normalised, to features `[B, D]` in float32.

    It has the parameters `encoder` and `fc_norm` of the whole network.
    """

    spec: Any

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        return pool(self.spec, images, train)


def pool(spec: Any, images: jax.Array, train: bool) -> jax.Array:
    """Return the pooled and normed features `[B, D]` of `images` in float32, for use inside a module.

    Raises:
      ValueError: if `spec.pooling` is not one of `POOLINGS`, or is `cls` for an encoder without class token.
    """
    pooling = spec.pooling
    if pooling not in POOLINGS:
        raise ValueError(f"model.pooling: expected one of {', '.join(POOLINGS)}; found {pooling!r}")
    if pooling == "cls" and not spec.style.class_token:
        raise ValueError(
            "model.pooling: expected mean_patches, since this base model has no class token; found cls"
        )
    encoder = fine_tuned_encoder(spec, final_norm=pooling == "cls")
    tokens = encoder(patchify(images, spec.size.patch_size), train=train)
    return at_least_float32(tokens[:, 0]) if pooling == "cls" else mean_patches(patches_of(spec, tokens))


def fine_tuned_encoder(spec: Any, final_norm: bool) -> Encoder:
    """Return the module `encoder` of a fine-tuned network; call this inside the network's compact method.

    `spec` has the fields `size`, `grid`, `dtype`, `remat`, `drop_path`, `style`, `lora`, `reduction`, `insertion`
    and `any_grid`.
    """
    return Encoder(
        spec.size, spec.grid, spec.dtype, spec.remat, learnt_positions=True, final_norm=final_norm,
        drop_path=spec.drop_path, style=spec.style, lora=spec.lora, adapter=block_adapter(spec),
        any_grid=spec.any_grid, name="encoder",
    )  # fmt: skip


def patches_of(spec: Any, tokens: jax.Array) -> jax.Array:
    """Return the tokens of the patches, `[B, N, D]`: all but the prefix tokens of the encoder."""
    return tokens[:, spec.style.prefix :]


def mean_patches(patches: jax.Array) -> jax.Array:
    """Apply `fc_norm` to the mean over patches, `[B, N, D] -> [B, D]` in float32; for use inside a module."""
    mean = jnp.mean(at_least_float32(patches), axis=1)
    return layer_norm(mean.dtype, "fc_norm")(mean)


@dataclasses.dataclass(frozen=True)
class Initialised:
    """The origin of each parameter of an initialised network, as sorted paths.

    Attributes:
      loaded: parameters copied from pretraining.
      resized: parameters taken from pretraining and resized to another grid.
      dropped: path in the pretraining tree -> the reason why it is not used.
      new: parameters that keep their fresh values.
    """

    loaded: tuple[str, ...]
    resized: tuple[str, ...]
    dropped: Mapping[str, str]
    new: tuple[str, ...]

    def to_json(self) -> dict:
        """Return the report as lists, dicts and text."""
        return {
            "loaded": list(self.loaded), "resized": list(self.resized), "dropped": dict(self.dropped),
            "new": list(self.new),
        }  # fmt: skip

    def summary(self) -> str:
        """Return a text of a few lines for the log of a run."""
        reasons = {reason: sum(other == reason for other in self.dropped.values()) for reason in self.dropped.values()}
        return "\n".join(
            [
                f"from pretraining: {len(self.loaded)} parameters",
                *(f"resized to another grid: {path}" for path in self.resized),
                *(f"not used: {count} ({reason})" for reason, count in reasons.items()),
                f"new: {', '.join(self.new)}",
            ]
        )


def initialise(
    pretrained: dict, fresh: dict, grid: int, resizing: Resizing = RELEASED
) -> tuple[dict, Initialised]:
    """Copy a pretrained encoder into a fresh network; a pure function on trees of NumPy or JAX arrays.

    Args:
      pretrained: parameters of the online network (or another tree with an `encoder`), pretrained on
        `grid * grid` patches. If the tree has no positions, they were fixed and are computed.
      fresh: parameters of a `Classifier` or another network with the same `encoder`.
      grid: side of the pretraining grid in patches.
      resizing: how positions are resized to another grid, see `Base.resizing`.

    Returns:
      A tree with the structure of `fresh`, and a report that accounts for every path of both trees.

    Raises:
      ValueError: if arrays differ in shape or type, parts of the encoder are missing in `pretrained`, or either tree
        has unknown parts. The message lists all of them.
    """
    source, result = (dict(flatten_dict(tree, sep="/")) for tree in (pretrained, fresh))
    if POSITIONS in result and POSITIONS not in source:
        table = sincos_positions(result[POSITIONS].shape[-1], grid)
        source[POSITIONS] = jnp.asarray(table if CLASS_TOKEN in result else table[1:])[None]
    loaded, resized, dropped, new, complaints = [], [], {}, [], []
    for path in sorted(result):
        if re.fullmatch(_NEW, path):
            new.append(path)
            continue
        if not path.startswith("encoder/"):
            new.append(path)
            complaints.append(f"{path}: not a known part of a fine-tuned network")
            continue
        if path not in source:
            complaints.append(f"{path}: not in the pretrained parameters")
            continue
        value, want = source.pop(path), result[path]
        kept = loaded
        if path == POSITIONS and value.shape != want.shape:
            value = resize_positions(value, math.isqrt(want.shape[1]), CLASS_TOKEN in result, resizing)
            kept = resized
        elif re.fullmatch(TABLES, path) and value.shape[0] != want.shape[0]:
            value, kept = resize_relative(value, table_grid(want.shape[0])), resized
        if value.shape != want.shape or value.dtype != want.dtype:
            have = f"{value.dtype}{list(value.shape)}"
            complaints.append(f"{path}: expected {want.dtype}{list(want.shape)}; found {have} in pretraining")
        kept.append(path)
        result[path] = value
    for path in sorted(source):
        reason = next((reason for pattern, reason in _DROPPED if re.fullmatch(pattern, path)), None)
        if reason is None:
            complaints.append(f"{path}: in the pretrained parameters, but unknown to the network")
        else:
            dropped[path] = reason
    if complaints:
        raise ValueError(
            f"the pretrained parameters do not fit the network, {len(complaints)} differences:\n  "
            + "\n  ".join(complaints)
            + "\nSet model.size to the size that was pretrained."
        )
    return unflatten_dict(result, sep="/"), Initialised(tuple(loaded), tuple(resized), dropped, tuple(new))
