"""Our encoders, masked autoencoders and classifiers as folders that transformers loads.

Names are those under which models are published, which transformers 4 and 5 read. Three of its networks are ours:

- `ViTModel` and `ViTForImageClassification`, which always classifies the class token;
- `ViTMAEForPreTraining`, apart from where the mask token comes in;
- `BeitForImageClassification` for the mean of the patches. It has no key bias: softmax does not see one, as it adds the
  same number to a whole row of scores (`layers.Attention` does not add it, either).
"""

import dataclasses
import json
import os
import re

import numpy as np
from flax.traverse_util import unflatten_dict

from fsfm_jax.models.classifier import POOLINGS, ClassifierSpec
from fsfm_jax.models.fsfm import ModelSpec
from fsfm_jax.models.layers import sincos_positions
from fsfm_jax.models.style import PLAIN, Style
from fsfm_jax.run.whole_file import whole_file
from fsfm_jax.tasks.normalisation import Statistics
from fsfm_jax.weights import safetensors_file
from fsfm_jax.weights.base_names import NAMINGS
from fsfm_jax.weights.huggingface_config import (
    decoder_config,
    encoder_config,
    label_config,
    mean_pooling_config,
    preprocessor_config,
)
from fsfm_jax.weights.names import LINEAR, NORM, from_official_array, to_official_array
from fsfm_jax.weights.plain_arrays import REMEDY, base_named, classifier_arrays, encoder_arrays, pixel_decoder_arrays

CONFIG, PREPROCESSOR, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"

# Our path -> the published name of a ViT, with `{i}` and `:0` to `:2` as in `base_names`, where they are read.
_ENCODER = {
    ours: name
    for name, ours in NAMINGS["mae"].rows.items()
    if name.startswith(("embeddings.", "encoder.layer.", "layernorm."))
}
_BLOCK = {
    ours.removeprefix("encoder/"): name.removeprefix("encoder.layer.{i}.")
    for ours, name in _ENCODER.items()
    if ours.startswith("encoder/block_")
}


def _module(ours: str, theirs: str, leaves: dict[str, str]) -> dict[str, str]:
    return {f"{ours}/{a}": f"{theirs}.{b}" for a, b in leaves.items()}


_DECODER = {
    **_module("pixel_decoder/embed", "decoder.decoder_embed", LINEAR),
    **{f"pixel_decoder/{ours}": f"decoder.decoder_layers.{{i}}.{name}" for ours, name in _BLOCK.items()},
    **_module("pixel_decoder/norm", "decoder.decoder_norm", NORM),
    **_module("pixel_decoder/pred", "decoder.decoder_pred", LINEAR),
}
_FOREIGN = f"no network of transformers that is exported to has its wiring; serialize it instead: {REMEDY}"
_HEAD = _module("head", "classifier", LINEAR)
_INDEX = re.compile(r"(?<=block_)\d+(?=/)")
_NUMBER = re.compile(r"(?<=encoder\.layer\.)(0|[1-9]\d?)(?=\.)")
# Architecture of a classifier -> our path -> its name there.
_ROWS = {
    "ViTForImageClassification": {ours: f"vit.{name}" for ours, name in _ENCODER.items()} | _HEAD,
    "BeitForImageClassification": {
        ours: f"beit.{name}" for ours, name in (_ENCODER | _module("fc_norm", "pooler.layernorm", NORM)).items()
    } | _HEAD,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class HuggingFaceModel:
    """The contents of a folder.

    Attributes:
      architecture: the class of transformers.
      state: of `model.safetensors`, float32; no array belongs to anything else.
      config: of `config.json`.
      preprocessor: of `preprocessor_config.json`.
    """

    architecture: str
    state: dict[str, np.ndarray]
    config: dict
    preprocessor: dict


def read_pretrained(
    params: dict, spec: ModelSpec, statistics: Statistics, decoder: bool, style: Style = PLAIN
) -> HuggingFaceModel:
    """Build a pretrained encoder, alone or as masked autoencoder.

    Without `decoder` a `ViTModel` whose `last_hidden_state [B, 1 + N, D]` is that of our encoder. It has no pooler:
    pass `add_pooling_layer=False`, or transformers draws one at random and says so. With `decoder` a
    `ViTMAEForPreTraining`, whose logits and loss are those of our pixel decoder; the rest of the pretraining is left
    out.

    Args:
      params: of the online network; without `decoder` also of the target network or of a published encoder.
      style: of the encoder's base model.

    Raises:
      ValueError: an encoder that is not a plain ViT, no decoder, or arrays that are not those of `spec`.
    """
    _check_plain(style)
    arrays = encoder_arrays(params, spec.size, spec.image_size)
    preprocessor = preprocessor_config(spec.image_size, statistics)
    if not decoder:
        config = encoder_config("ViTModel", "vit", spec.size, spec.image_size) | {"qkv_bias": True}
        return HuggingFaceModel("ViTModel", _state(arrays, _ENCODER, spec.size.patch_size), config, preprocessor)
    name = "ViTMAEForPreTraining"
    config = encoder_config(name, "vit_mae", spec.size, spec.image_size) | {"qkv_bias": True} | decoder_config(spec)
    decoding = pixel_decoder_arrays(params, spec)
    # Ours stands before the map to the decoder's width, theirs behind it.
    token = decoding.pop("mask_token").astype(np.float64) @ decoding["pixel_decoder/embed/kernel"].astype(np.float64)
    state = _prefix("vit.", _state(arrays, _ENCODER, spec.size.patch_size))
    state |= _state(decoding, _DECODER, spec.size.patch_size)
    state["decoder.mask_token"] = (token + decoding["pixel_decoder/embed/bias"][None, None]).astype(np.float32)
    state["decoder.decoder_pos_embed"] = np.array(sincos_positions(spec.pixel_width, spec.grid)[None])
    return HuggingFaceModel(name, state, config, preprocessor)


def classifier_model(
    params: dict, spec: ClassifierSpec, statistics: Statistics, class_names: tuple[str, ...]
) -> HuggingFaceModel:
    """Build a fine-tuned classifier, whose logits `[B, C]` are those of `Classifier` in float32.

    `ViTForImageClassification` for the class token, `BeitForImageClassification` for the mean of the patches.

    Args:
      class_names: in the order of the logits.

    Raises:
      ValueError: an FS-Adapter, an encoder that is not a plain ViT, another pooling, names that do not fit the classes,
        or arrays that are not those of `spec`.
    """
    if spec.pooling not in POOLINGS:
        raise ValueError(f"model.pooling: expected one of {', '.join(POOLINGS)}; found {spec.pooling!r}")
    _check_plain(spec.style)
    labels = label_config(class_names, spec.classes)
    arrays = classifier_arrays(params, spec, "transformers")
    if spec.pooling == "cls":
        name = "ViTForImageClassification"
        config = encoder_config(name, "vit", spec.size, spec.image_size) | {"qkv_bias": True}
    else:
        name = "BeitForImageClassification"
        config = encoder_config(name, "beit", spec.size, spec.image_size) | mean_pooling_config(spec)
    state = _state(arrays, _ROWS[name], spec.size.patch_size)
    if spec.pooling != "cls":
        state = {key: array for key, array in state.items() if not key.endswith(".attention.attention.key.bias")}
    return HuggingFaceModel(name, state, config | labels, preprocessor_config(spec.image_size, statistics))


def _check_plain(style: Style) -> None:
    if style != PLAIN:
        raise ValueError(f"the base model {base_named(style)} is no plain ViT; {_FOREIGN}")


def write(model: HuggingFaceModel, folder: str | os.PathLike) -> None:
    """Write the three files of a model to `folder`, which is made if it is not there.

    An older `config.json` is removed first and the new one is written last, so an incomplete folder does not load.
    """
    os.makedirs(folder, exist_ok=True)
    if os.path.exists(config := os.path.join(folder, CONFIG)):
        os.remove(config)
    # Without this format transformers refuses a file.
    safetensors_file.write(os.path.join(folder, WEIGHTS), model.state, {"format": "pt"})
    for name, content in ((PREPROCESSOR, model.preprocessor), (CONFIG, model.config)):
        with whole_file(os.path.join(folder, name)) as file:
            file.write((json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def parameters_of(where: str, state: dict[str, np.ndarray], architecture: str) -> dict:
    """Return the nested parameters of a classifier from a state that `classifier_model` made.

    The bias of the keys that BEiT lacks is zero, which softmax does not see.

    Raises:
      ValueError: another architecture, or names that it does not have; `where` begins the message.
    """
    if architecture not in _ROWS:
        raise ValueError(f"{where}: expected one of {', '.join(_ROWS)}; found {architecture[:100]!r}")
    paths = {name: ours for ours, name in _ROWS[architecture].items()}
    whole, thirds, unknown = {}, {}, []
    for name, array in state.items():
        index = _NUMBER.search(name)
        row = paths.get(_NUMBER.sub("{i}", name, count=1))
        if row is None:
            unknown.append(name)
            continue
        path, _, place = row.replace("{i}", f"{int(index[0]):02d}" if index else "").partition(":")
        if place:
            thirds.setdefault(path, {})[int(place)] = array
        else:
            whole[path] = array
    incomplete = [path for path, found in thirds.items() if not {0, 2} <= found.keys()]
    if unknown or incomplete:
        raise ValueError(f"{where}: not the arrays of {architecture}: {', '.join([*unknown, *incomplete])[:500]}")
    for path, found in thirds.items():
        whole[path] = np.concatenate([found.get(place, np.zeros_like(found[0])) for place in range(3)])
    flat = {path: np.ascontiguousarray(from_official_array(path, array)) for path, array in whole.items()}
    return unflatten_dict(flat, sep="/")


def _prefix(prefix: str, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {prefix + name: array for name, array in state.items()}


def _state(arrays: dict[str, np.ndarray], rows: dict[str, str], patch_size: int) -> dict[str, np.ndarray]:
    """Return every array under its name in `rows`, in the layout of PyTorch; query, key and value separately."""
    state = {}
    for path, array in arrays.items():
        index = _INDEX.search(path)
        row = _INDEX.sub("{i}", path)
        array = to_official_array(path, array, patch_size)
        thirds = [f"{row}:{place}" for place in range(3)]
        pieces = {row: array} if row in rows else dict(zip(thirds, np.split(array, 3), strict=True))
        for key, piece in pieces.items():
            name = rows[key].replace("{i}", str(int(index[0])) if index else "")
            state[name] = np.ascontiguousarray(piece)
    return state
