"""Convert our encoders and classifiers for timm's vision transformer: a state dict and the call that builds it.

timm's `VisionTransformer` is the network of FSFM, array for array and under the names of the official files, so that
`timm.create_model(**call).load_state_dict(state)` is strict. It has one epsilon for all of its norms, while ours is
1e-6 behind pooling whatever the base model has.
"""

import dataclasses
import re

import numpy as np

from fsfm_jax.models.bases import BASES
from fsfm_jax.models.classifier import POOLINGS, POSITIONS, ClassifierSpec
from fsfm_jax.models.style import PLAIN, Style
from fsfm_jax.models.vit import SIZES, Size
from fsfm_jax.weights.names import CLASSIFIER, official_name, to_official_array
from fsfm_jax.weights.plain_arrays import REMEDY, base_named, classifier_arrays, encoder_arrays

CLIP = BASES["clip"].style
# Pooling of a classifier -> `global_pool` of timm.
GLOBAL_POOL = dict(zip(POOLINGS, ("avg", "token"), strict=True))
IMAGE_SIZE = 224  # of all networks below
# Wiring -> names of timm -> what they build. Those of CLIP have its epsilon, which no JSON argument could say.
_NETWORKS = {
    PLAIN: {
        "vit_small_patch16_224": SIZES["vit_s16_6h"],
        "vit_base_patch16_224": SIZES["vit_b16"],
        "vit_large_patch16_224": SIZES["vit_l16"],
        "vit_large_patch14_224": SIZES["vit_l14"],
        "vit_huge_patch14_224": SIZES["vit_h14"],
    },
    CLIP: {
        "vit_base_patch16_clip_quickgelu_224": SIZES["vit_b16"],
        "vit_large_patch14_clip_quickgelu_224": SIZES["vit_l14"],
    },
}
# Our fields -> timm's arguments.
_ARGUMENTS = {"patch_size": "patch_size", "width": "embed_dim", "depth": "depth", "heads": "num_heads"}
# The order in which timm's networks have their parts.
_ORDER = (
    "cls_token", "pos_embed", "patch_embed", "norm_pre", "norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1",
    "mlp.fc2", "norm", "fc_norm", "head",
)  # fmt: skip
PRE_NORM = {"norm_pre.weight": "encoder/pre_norm/scale", "norm_pre.bias": "encoder/pre_norm/bias"}  # not official
_PATCH_BIAS = "encoder/patch_embed/bias"


@dataclasses.dataclass(frozen=True)
class TimmModel:
    """A network of timm.

    Attributes:
      state: the state dict in timm's order, float32; no array belongs to anything else.
      call: the arguments of `timm.create_model`, as JSON; nothing is downloaded by it.
    """

    state: dict[str, np.ndarray]
    call: dict


def pack_pretrained(params: dict, size: Size, image_size: int, pooling: str, style: Style = PLAIN) -> TimmModel:
    """Build a pretrained encoder without classifier (`num_classes` 0), whose outputs are features `[B, D]`.

    Args:
      params: of the online or target network of a pretraining, of which all but the encoder is left out, or of a
        published encoder; its positions are learnt, then.
      pooling: `token`, the class token behind the final norm of pretraining; or `avg`, the mean of the patches behind
        a fresh norm (scale 1, bias 0), which is where fine-tuning starts: it discards the final norm.
      style: of the encoder's base model.

    Raises:
      ValueError: another pooling, a wiring that timm does not have, or arrays that are not those of the network.
    """
    if pooling not in GLOBAL_POOL.values():
        raise ValueError(f"pooling: expected one of {', '.join(GLOBAL_POOL.values())}; found {pooling!r}")
    call = creation(size, image_size, pooling, 0, style)
    arrays = encoder_arrays(params, size, image_size, style)
    if pooling == "avg":
        del arrays["encoder/norm/scale"], arrays["encoder/norm/bias"]
        arrays["fc_norm/scale"] = np.ones(size.width, np.float32)
        arrays["fc_norm/bias"] = np.zeros(size.width, np.float32)
    return TimmModel(_state(arrays, size.patch_size), call)


def classifier_state(params: dict, spec: ClassifierSpec) -> TimmModel:
    """Build a fine-tuned classifier; timm's outputs are the logits `[B, C]` of `Classifier`, in float32.

    Raises:
      ValueError: an FS-Adapter, a wiring that timm does not have, or arrays that are not those of `spec`.
    """
    if spec.pooling not in GLOBAL_POOL:
        raise ValueError(f"model.pooling: expected one of {', '.join(GLOBAL_POOL)}; found {spec.pooling!r}")
    call = creation(spec.size, spec.image_size, GLOBAL_POOL[spec.pooling], spec.classes, spec.style)
    return TimmModel(_state(classifier_arrays(params, spec, "timm"), spec.size.patch_size), call)


def creation(size: Size, image_size: int, pooling: str, classes: int, style: Style = PLAIN) -> dict:
    """Return the arguments of `timm.create_model`: the name of the nearest network, and all our differences.

    `pooling` is timm's `global_pool`.

    Raises:
      ValueError: a wiring that timm does not have.
    """
    if style not in _NETWORKS or (style == CLIP and pooling == "avg"):
        raise ValueError(_refusal(style))

    def differences(name: str) -> tuple[dict, int]:
        named = _NETWORKS[style][name]
        other = {theirs: getattr(size, ours) for ours, theirs in _ARGUMENTS.items()
                 if getattr(size, ours) != getattr(named, ours)}  # fmt: skip
        return other, abs(size.width - named.width)

    name = min(_NETWORKS[style], key=lambda name: (len(differences(name)[0]), differences(name)[1]))
    sides = {} if image_size == IMAGE_SIZE else {"img_size": image_size}
    return {"model_name": name, "global_pool": pooling, "num_classes": classes} | sides | differences(name)[0]


def _refusal(style: Style) -> str:
    remedy = f"serialize it instead: {REMEDY}"
    if style == CLIP:
        return (
            f"the base model {base_named(style)} with the mean of the patches: its norms have the epsilon 1e-5 and the "
            "norm behind pooling has 1e-6, but timm has one epsilon for all; timm can have it with the class token "
            f"(pooling `token`, model.pooling `cls`); otherwise {remedy}"
        )
    return (
        f"the base model {base_named(style)}: timm has no network with its wiring ({style}) under a name and arguments "
        f"in JSON; {remedy}"
    )


def _state(arrays: dict[str, np.ndarray], patch_size: int) -> dict[str, np.ndarray]:
    if "encoder/pre_norm/scale" in arrays:
        # timm's networks with this norm have no bias before it; every patch has a position that takes it up.
        bias = arrays.pop(_PATCH_BIAS).astype(np.float64)
        arrays[POSITIONS][0, 1:] = (arrays[POSITIONS][0, 1:] + bias[None]).astype(np.float32)
    state, own = {}, {ours: theirs for theirs, ours in PRE_NORM.items()}
    for path, array in arrays.items():
        name = own.get(path) or official_name(path, CLASSIFIER)
        state[name] = np.ascontiguousarray(to_official_array(path, array, patch_size))
    return dict(sorted(state.items(), key=lambda item: _place(item[0])))


def without_patch_bias(arrays: dict[str, np.ndarray]) -> None:
    """Add a zero patch bias, which timm's network lacks because its positions include it."""
    if "encoder/pre_norm/scale" in arrays and "encoder/patch_embed/kernel" in arrays:
        arrays[_PATCH_BIAS] = np.zeros(arrays["encoder/patch_embed/kernel"].shape[1], np.float32)


def _place(name: str) -> tuple[int, int, int, bool]:
    """Return where timm has an array: before, in or behind the blocks; which block; which part; weights first."""
    block = re.match(r"blocks\.(\d+)\.", name)
    part = name[block.end() :] if block else name
    rank = next(rank for rank, known in enumerate(_ORDER) if part == known or part.startswith(f"{known}."))
    return (1 if block else 2 * (rank > _ORDER.index("mlp.fc2"))), int(block[1]) if block else 0, rank, "bias" in part
