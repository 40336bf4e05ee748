"""Prepare parameters for other libraries: checked against their network, LoRA merged, fixed positions included."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from fsfm_jax.models.adapter import CONCAT
from fsfm_jax.models.bases import BASES
from fsfm_jax.models.classifier import POSITIONS, Classifier, ClassifierSpec
from fsfm_jax.models.fsfm import ModelSpec, OnlineNetwork
from fsfm_jax.models.layers import sincos_positions
from fsfm_jax.models.lora import merge
from fsfm_jax.models.style import PLAIN, Style
from fsfm_jax.models.vit import Encoder, Size
from fsfm_jax.weights.encoder_size import check_shapes, shapes_of

# Wiring that parameters show, by the path of an encoder module or parameter that exists or not.
_SHOWN = {
    "cls_token": ("class_token", "a class token"), "pre_norm": ("pre_norm", "a norm before the first block"),
    "reg_token": ("registers", "registers"), "block_00/ls1": ("layer_scale", "layer scale"),
    "block_00/attn/relative_positions": ("relative", "relative positions"),
    "block_00/mlp/gate": ("gated", "a gated MLP"),
}  # fmt: skip
REMEDY = "fsfm_jax.export.serialize writes any network of this project as one file"


def encoder_arrays(params: dict, size: Size, image_size: int, style: Style = PLAIN) -> dict[str, np.ndarray]:
    """Return path `encoder/...` -> array of a pretrained encoder, always with its positions `[1, 1 + N, D]`.

    Positions that are no parameter are the sine-cosine table. The arrays are float32, and nothing else refers to them.

    Raises:
      ValueError: no encoder, another wiring than `style`, or arrays that are not those of `size` and `image_size`; the
        message names them.
    """
    grid = size.grid(image_size)
    encoder = params.get("encoder")
    if encoder is None:
        raise ValueError(f"expected parameters with an encoder; found {', '.join(sorted(params)) or 'none'}")
    _check_wiring(encoder, style)
    network = Encoder(size, grid, jnp.float32, "none", learnt_positions="pos_embed" in encoder, style=style)
    expected = shapes_of(network, jnp.zeros((1, grid**2, size.pixels)))
    check_shapes({"encoder": encoder}, {"encoder": expected}, f"an encoder for images of {image_size} pixels")
    arrays = _flat({"encoder": encoder})
    if POSITIONS not in arrays:
        arrays[POSITIONS] = np.array(sincos_positions(size.width, grid)[None])
    return arrays


def pixel_decoder_arrays(params: dict, spec: ModelSpec) -> dict[str, np.ndarray]:
    """Return path -> float32 array of `mask_token [1, 1, D]` and of the pixel decoder, `pixel_decoder/...`.

    Raises:
      ValueError: they are missing, or are not those of `spec`; the message names them.
    """
    names = ("mask_token", "pixel_decoder")
    if missing := [name for name in names if name not in params]:
        raise ValueError(
            f"expected the parameters of a pretraining; {' and '.join(missing)} not found, so there is no decoder to "
            "export (the target network, published encoders and detectors have none); export the encoder alone"
        )
    plain = OnlineNetwork(dataclasses.replace(spec, instance_discrimination=False))
    patches = jnp.zeros((1, spec.patches, spec.size.pixels))
    expected = shapes_of(plain, patches, jnp.zeros((1, spec.patches), bool))
    found = {name: params[name] for name in names}
    check_shapes(found, {name: expected[name] for name in names}, "the pixel decoder")
    return _flat(found)


def classifier_arrays(params: dict, spec: ClassifierSpec, library: str) -> dict[str, np.ndarray]:
    """Return path -> float32 array of a classifier, with LoRA merged into its matrices.

    Raises:
      ValueError: an FS-Adapter or features of unit length, which networks of `library` do not have, or arrays that
        are not those of `spec`.
    """
    if spec.reduction is not None:
        official = "export it with the names of the official code (official or safetensors), or "
        raise ValueError(
            f"this detector has an FS-Adapter (tuning.reduction {spec.reduction}): {library} has no network with a "
            f"bottleneck; {official if spec.insertion == CONCAT else ''}serialize it: {REMEDY}"
        )
    if spec.unit_features:
        raise ValueError(
            f"this detector scales its features to length 1 (model.unit_features): {library} has no such network; "
            f"serialize it: {REMEDY}"
        )
    spec.size.grid(spec.image_size)
    _check_wiring(params.get("encoder", {}), spec.style)
    expected = shapes_of(Classifier(spec), jnp.zeros((1, spec.image_size, spec.image_size, 3)), False)
    # Before merging: a tree without the updates of its `spec.lora` would pass for a merged one.
    check_shapes(params, expected, "a classifier")
    return _flat(params if spec.lora is None else merge(params, spec.lora))


def base_named(style: Style) -> str:
    """Return the name of a wiring in errors: the base models that have it."""
    return " or ".join(name for name, base in BASES.items() if base.style == style) or repr(style)


def _check_wiring(encoder: dict, style: Style) -> None:
    paths = [f"{path}/" for path in flatten_dict(encoder, sep="/")]
    for part, (field, what) in _SHOWN.items():
        shown = any(path.startswith(f"{part}/") for path in paths)
        if shown != bool(getattr(style, field)):
            found, wanted = ("with", "without") if shown else ("without", "with")
            raise ValueError(
                f"expected an encoder {wanted} {what}, as the base model {base_named(style)} has it; found one {found} "
                "it: these parameters belong to another base model (model.base)"
            )


def _flat(params: dict) -> dict[str, np.ndarray]:
    # Copies: what is exported may be changed, and arrays of JAX are read-only.
    return {path: np.array(value, np.float32, order="C") for path, value in flatten_dict(params, sep="/").items()}
