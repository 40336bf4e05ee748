"""The fine-tuned classifier: a pretrained encoder, pooling and one linear layer, and how it gets its weights."""

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
HEAD_DEVIATION = 2e-5  # so small that the first predictions are even (MAE, released code)
POSITIONS = "encoder/pos_embed"
CLASS_TOKEN = "encoder/cls_token"

# Parts of a pretraining tree that a classifier has no use for, by path.
_DROPPED = (
    (r"encoder/norm/.*", "the final norm of pretraining; the pooled features have a fresh norm of their own"),
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
      reduction: by how much the bottleneck of FS-Adapter is narrower than the encoder; None: no adapter.
      style, lora: of the encoder.
      insertion: where FS-Adapter's bottleneck is, one of `adapter.INSERTIONS`.
      any_grid: whether images may be of other sizes than `image_size`, as in training with several (`Encoder`).
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
        """Features are not scaled, as those of anti-spoofing are."""


class ClassifierOutput(NamedTuple):
    """Output of the classifier, float32.

    features: `[B, D]`, pooled and normed; with `unit_features` unit rows.
    logits: `[B, C]`.
    contrast, open_units: of an adapter, see `adapter.Adapted`; None without one.
    """

    features: jax.Array
    logits: jax.Array
    contrast: jax.Array | None
    open_units: jax.Array | None


class Classifier(nn.Module):
    """ViT with learnt positions, pooling and a linear head; parameters `encoder`, `fc_norm` and `head`.

    With an adapter `adapter` and `projector` are added, and the head is twice as wide where they are concatenated.

    Raises:
      ValueError: a pooling that is not one of `POOLINGS`, or that the encoder has no token for.
    """

    spec: ClassifierSpec

    @nn.compact
    def __call__(self, images: jax.Array | None, train: bool, features: jax.Array | None = None) -> ClassifierOutput:
        """Classifies `images [B, H, W, 3]`, normalised; `train` needs the stream "drop_path" if there is a rate.

        `features [B, D]`, if given, are taken for those of the images, and the encoder is not run.
        """
        spec = self.spec
        if features is None:
            features = pool(spec, images, train)
        if spec.unit_features:
            features = l2_normalise(features)
        behind, contrast, open_units = features, None, None
        head_start = nn.initializers.normal(HEAD_DEVIATION)  # the reference's cut at +-2 is far outside
        bias_start = nn.initializers.zeros_init()
        if spec.reduction is not None:
            behind, contrast, open_units = adapt(features, spec.reduction, spec.insertion)
            # The released code replaces the head after its initialisation, and then only the weight.
            bias_start = uniform_bias(behind.shape[-1])
        logits = Linear(spec.classes, behind.dtype, head_start, bias_start, name="head")(behind)
        return ClassifierOutput(features, logits, contrast, open_units)


class PooledEncoder(nn.Module):
    """The part of a fine-tuned network before its head: `[B, H, W, 3]`, normalised, to features `[B, D]` in float32.

    Parameters `encoder` and `fc_norm`, as they are in the whole network.
    """

    spec: Any

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        return pool(self.spec, images, train)


def pool(spec: Any, images: jax.Array, train: bool) -> jax.Array:
    """Pooled and normed features `[B, D]` in float32 of `images`, for use inside a module.

    Raises:
      ValueError: a pooling that is not one of `POOLINGS`, or that the encoder has no token for.
    """
    pooling = spec.pooling
    if pooling not in POOLINGS:
        raise ValueError(f"model.pooling: expected one of {', '.join(POOLINGS)}; found {pooling!r}")
    if pooling == "cls" and not spec.style.class_token:
        raise ValueError("model.pooling: this base model has no class token; use mean_patches")
    encoder = fine_tuned_encoder(spec, final_norm=pooling == "cls")
    tokens = encoder(patchify(images, spec.size.patch_size), train=train)
    return at_least_float32(tokens[:, 0]) if pooling == "cls" else mean_patches(patches_of(spec, tokens))


def fine_tuned_encoder(spec: Any, final_norm: bool) -> Encoder:
    """The module `encoder` of a fine-tuned network; to be called inside the network's own method.

    `spec` has the fields `size`, `grid`, `dtype`, `remat`, `drop_path`, `style`, `lora`, `reduction`, `insertion`
    and `any_grid`.
    """
    return Encoder(
        spec.size, spec.grid, spec.dtype, spec.remat, learnt_positions=True, final_norm=final_norm,
        drop_path=spec.drop_path, style=spec.style, lora=spec.lora, adapter=block_adapter(spec),
        any_grid=spec.any_grid, name="encoder",
    )  # fmt: skip


def patches_of(spec: Any, tokens: jax.Array) -> jax.Array:
    """The tokens of the patches, `[B, N, D]`: all but those that the encoder has in front."""
    return tokens[:, spec.style.prefix :]


def mean_patches(patches: jax.Array) -> jax.Array:
    """`fc_norm` of the mean over patches, `[B, N, D] -> [B, D]` in float32; for use inside a module."""
    mean = jnp.mean(at_least_float32(patches), axis=1)
    return layer_norm(mean.dtype, "fc_norm")(mean)


@dataclasses.dataclass(frozen=True)
class Initialised:
    """Where each parameter of an initialised network comes from; paths, sorted.

    Attributes:
      loaded: taken from pretraining as they are.
      resized: taken from pretraining and fitted to another grid.
      dropped: path in the pretraining tree -> why it is not used.
      new: keep their fresh values.
    """

    loaded: tuple[str, ...]
    resized: tuple[str, ...]
    dropped: Mapping[str, str]
    new: tuple[str, ...]

    def to_json(self) -> dict:
        """The report as lists, dicts and text."""
        return {
            "loaded": list(self.loaded), "resized": list(self.resized), "dropped": dict(self.dropped),
            "new": list(self.new),
        }  # fmt: skip

    def summary(self) -> str:
        """A text of a few lines for the start of a run."""
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
    """Puts a pretrained encoder into a fresh network; pure, on trees of NumPy or JAX arrays.

    Args:
      pretrained: parameters of the online network (or another tree with an `encoder`), pretrained on
        `grid * grid` patches. Its positions are fixed there, so they are computed unless the tree has them.
      fresh: parameters of a `Classifier` or another network with the same `encoder`.
      resizing: how positions are fitted to another grid, as `Base.resizing` says.

    Returns:
      A tree with the structure of `fresh`, and the report that accounts for every path of both trees.

    Raises:
      ValueError: arrays of another shape or type, parts of the encoder that pretraining does not have, and
        parts of either tree that are not known; all of them are named.
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
            complaints.append(f"{path}: {have} pretrained, {want.dtype}{list(want.shape)} expected")
        kept.append(path)
        result[path] = value
    for path in sorted(source):
        reason = next((reason for pattern, reason in _DROPPED if re.fullmatch(pattern, path)), None)
        if reason is None:
            complaints.append(f"{path}: pretrained, but the network has no place for it")
        else:
            dropped[path] = reason
    if complaints:
        raise ValueError(
            f"the pretrained parameters do not fit the network, {len(complaints)} differences:\n  "
            + "\n  ".join(complaints)
            + "\nChoose the model.size that was pretrained."
        )
    return unflatten_dict(result, sep="/"), Initialised(tuple(loaded), tuple(resized), dropped, tuple(new))
