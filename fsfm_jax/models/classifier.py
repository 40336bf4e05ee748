"""The fine-tuned classifier: a pretrained encoder, pooling and one linear layer, and how it gets its weights."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from fsfm_jax.models.layers import Linear, at_least_float32, layer_norm, resize_positions, sincos_positions
from fsfm_jax.models.vit import Encoder, Size, patchify

POOLINGS = ("mean_patches", "cls")
HEAD_DEVIATION = 2e-5  # so small that the first predictions are even (MAE, released code)
POSITIONS = "encoder/pos_embed"

# Parts of a pretraining tree that a classifier has no use for, by path.
_DROPPED = (
    (r"encoder/norm/.*", "the final norm of pretraining; the pooled features have a fresh norm of their own"),
    (r"mask_token", "stands for hidden patches; a classifier sees all"),
    (r"rep_decoder/.*", "the representation decoder of pretraining"),
    (r"pixel_decoder/.*", "the pixel decoder of pretraining"),
    (r"projector/.*", "the projector of pretraining"),
    (r"predictor/.*", "the predictor of pretraining"),
)
# Parts that only fine-tuned networks have; they keep their fresh values.
_NEW = r"(fc_norm|head|embedder|classifier|adapter|projector)/.*"


@dataclasses.dataclass(frozen=True)
class ClassifierSpec:
    """Everything that fixes a classifier's shapes and wiring.

    Attributes:
      image_size: side of the square image in pixels.
      classes: 2 for real and fake; more for a detector that names the kind of attack.
      pooling: `mean_patches`, the mean without the class token and then a fresh norm (FSFM); or `cls`, the class
        token after the encoder's final norm.
      drop_path: the last block's rate of stochastic depth while training.
    """

    size: Size
    image_size: int
    classes: int
    pooling: str
    drop_path: float
    dtype: jnp.dtype
    remat: bool

    @property
    def grid(self) -> int:
        return self.image_size // self.size.patch_size


class Classified(NamedTuple):
    """Output of the classifier, float32: `features [B, D]`, pooled and normed, and `logits [B, C]`."""

    features: jax.Array
    logits: jax.Array


class Classifier(nn.Module):
    """ViT with learnt positions, pooling and a linear head; parameters `encoder`, `fc_norm` and `head`.

    Raises:
      ValueError: a pooling that is not one of `POOLINGS`.
    """

    spec: ClassifierSpec

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> Classified:
        """`images [B, H, W, 3]` normalised. `train` needs the stream "drop_path" if there is a rate."""
        spec = self.spec
        if spec.pooling not in POOLINGS:
            raise ValueError(f"model.pooling: expected one of {', '.join(POOLINGS)}; found {spec.pooling!r}")
        tokens = fine_tuned_encoder(spec, final_norm=spec.pooling == "cls")(
            patchify(images, spec.size.patch_size), train=train
        )
        features = at_least_float32(tokens[:, 0]) if spec.pooling == "cls" else mean_patches(tokens)
        head_init = nn.initializers.normal(HEAD_DEVIATION)  # the reference's cut at +-2 is far outside
        logits = Linear(spec.classes, features.dtype, head_init, name="head")(features)
        return Classified(features, logits)


def fine_tuned_encoder(spec: Any, final_norm: bool) -> Encoder:
    """The module `encoder` of a fine-tuned network; to be called inside the network's own method.

    `spec` has the fields `size`, `grid`, `dtype`, `remat` and `drop_path`.
    """
    return Encoder(
        spec.size, spec.grid, spec.dtype, spec.remat, learnt_positions=True, final_norm=final_norm,
        drop_path=spec.drop_path, name="encoder",
    )  # fmt: skip


def mean_patches(tokens: jax.Array) -> jax.Array:
    """`fc_norm` of the mean over patches, `[B, 1 + N, D] -> [B, D]` in float32; for use inside a module."""
    mean = jnp.mean(at_least_float32(tokens[:, 1:]), axis=1)
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


def initialise(pretrained: dict, fresh: dict, grid: int) -> tuple[dict, Initialised]:
    """Puts a pretrained encoder into a fresh network; pure, on trees of NumPy or JAX arrays.

    Args:
      pretrained: parameters of the online network (or another tree with an `encoder`), pretrained on
        `grid * grid` patches. Its positions are fixed there, so they are computed unless the tree has them.
      fresh: parameters of a `Classifier` or another network with the same `encoder`.

    Returns:
      A tree with the structure of `fresh`, and the report that accounts for every path of both trees.

    Raises:
      ValueError: arrays of another shape or type, parts of the encoder that pretraining does not have, and
        parts of either tree that are not known; all of them are named.
    """
    source, result = (dict(flatten_dict(tree, sep="/")) for tree in (pretrained, fresh))
    if POSITIONS in result and POSITIONS not in source:
        source[POSITIONS] = jnp.asarray(sincos_positions(result[POSITIONS].shape[-1], grid))[None]
    loaded, resized, dropped, new, complaints = [], [], {}, [], []
    for path in sorted(result):
        if not path.startswith("encoder/"):
            new.append(path)
            if not re.fullmatch(_NEW, path):
                complaints.append(f"{path}: not a known part of a fine-tuned network")
            continue
        if path not in source:
            complaints.append(f"{path}: not in the pretrained parameters")
            continue
        value, want = source.pop(path), result[path]
        kept = loaded
        if path == POSITIONS and value.shape != want.shape:
            value, kept = resize_positions(value, round((want.shape[1] - 1) ** 0.5)), resized
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
