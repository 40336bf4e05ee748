"""Published files of base models, turned into our encoder, with an account of every array.

Nothing in a file is executed, and unused arrays are never read.
"""

import dataclasses
import math
import os
import re
from typing import Any

import numpy as np
from flax.traverse_util import unflatten_dict

from fsfm_jax.weights import torch_file
from fsfm_jax.weights.base_names import NAMINGS, Naming, refusal
from fsfm_jax.weights.base_still import TUBELETS, compute_positions, still_kernel, still_positions
from fsfm_jax.weights.key_report import KeyReport
from fsfm_jax.weights.names import from_official_array
from fsfm_jax.weights.official_file import (
    PATCH_KERNEL,
    PRETRAINED,
    Content,
    OfficialFile,
    content_of,
    float32,
    torch_state,
)

CLASS_TOKEN, POSITIONS = "encoder/cls_token", "encoder/pos_embed"
PATCH_BIAS = "encoder/patch_embed/bias"
PARTS = ("query", "key", "value")
TAIL = 1 << 20  # bytes in which the directory of an archive is looked for


@dataclasses.dataclass(frozen=True)
class BaseFile:
    """A converted file.

    Attributes:
      file: where it is and what it holds, by the names in the file.
      params: `{"encoder": ...}`, float32 NumPy arrays.
      report: the account of all names.
      notes: further remarks, such as numbers that were not float32.
    """

    file: OfficialFile
    params: dict
    report: KeyReport
    notes: list[str]


def open_base(path: str, base: str, field: str, content: Content | None = None) -> BaseFile:
    """Open a published file of the base model `base` (a key of `NAMINGS`) that `field` of the configuration names.

    Args:
      content: of the file, if it was read before.

    Raises:
      FileNotFoundError: there is no file.
      ValueError: the file is damaged or has another architecture, unknown names, missing arrays or non-finite numbers.
    """
    naming, where = NAMINGS[base], f"{field}: {path}"
    file, skipped = _open(path, base, field, content)
    paths, reasons = _sort_names(where, list(file.tensors), base)
    skipped |= reasons
    pieces: dict[str, dict[str, np.ndarray]] = {}  # our path -> third, or "" for the whole -> array
    names: dict[str, str] = {}
    kinds: dict[str, int] = {}
    for name, ours in paths.items():
        if ours in names:
            raise ValueError(f"{where}: {names[ours]} and {name} are two names of one array; expected one of them")
        names[ours] = name
        ours, _, third = ours.partition(":")
        kind = file.tensors[name].dtype.name
        kinds[kind] = kinds.get(kind, 0) + 1
        pieces.setdefault(ours, {})[third] = float32(path, name, file.tensors[name])
    filled = _share(pieces) | _zeros(naming, pieces)
    if naming.tubelets:
        filled |= _still(where, pieces, names)
    _check_complete(where, naming, pieces, base)
    arrays = {ours: _array(where, naming, ours, names, found) for ours, found in pieces.items()}
    kinds.pop("float32", None)
    notes = [f"{count} arrays were {kind} and became float32" for kind, count in sorted(kinds.items())]
    params = unflatten_dict({ours: np.ascontiguousarray(array) for ours, array in arrays.items()}, sep="/")
    return BaseFile(file, params, KeyReport(tuple(sorted(paths)), skipped, filled), notes)


def _open(path: str, base: str, field: str, content: Content | None) -> tuple[OfficialFile, dict[str, str]]:
    """Return the tensors of the network, and the other contents of the file."""
    try:
        kind, digest, value = content_of(path, field) if content is None else content
    except ValueError as error:
        if os.path.isfile(path) and _is_script(path):
            raise ValueError(
                f"{field}: {path} is a program (TorchScript), as OpenAI publishes CLIP, and nothing in a file is "
                "executed here; take the same weights as the model.safetensors of openai/clip-vit-* from Hugging Face"
            ) from error
        raise
    if isinstance(value, dict) and {"student", "teacher"} <= value.keys() and base != "dino":
        raise ValueError(f"{field}: {path} is a checkpoint of DINO, with student and teacher; set model.base to dino")
    state, said = torch_state(path, value, NAMINGS[base].wrappers) if kind == "pth" else (value, {})
    skipped = {}
    for key, value in said.items():
        reason = "the student of DINO; its teacher is taken" if key == "student" else "outside the network"
        for name in _tensor_names(value):
            skipped[f"{key}/{name}" if name else str(key)] = reason
    epoch = said.get("epoch")
    file = OfficialFile(path, kind, digest, PRETRAINED, state, epoch if type(epoch) is int else None, None)
    return file, skipped


def _tensor_names(value: Any) -> list[str]:
    """Return the names in a state dict; one empty name for anything else."""
    if isinstance(value, dict) and value and all(isinstance(item, torch_file.Tensor) for item in value.values()):
        return [str(name) for name in value]
    return [""]


def _is_script(path: str) -> bool:
    """Return whether an archive has the parts of a program, by the names in its directory."""
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - TAIL))
        tail = file.read()
    return b"/constants.pkl" in tail or b"/code/__torch__" in tail


def _sort_names(where: str, names: list[str], base: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return name -> our path, and name -> why it is skipped; every name is in one of them."""
    naming = NAMINGS[base]
    for name in names:
        if naming.our_path(name) is None and naming.reason_to_skip(name) is None and (reason := refusal(name)):
            hint = _names_of_others(names, base)
            raise ValueError(f"{where}: {name}: expected the encoder of {base}; this file has {reason}{hint}")
    paths = {name: ours for name in names if (ours := naming.our_path(name)) is not None}
    skipped = {name: why for name in names if name not in paths and (why := naming.reason_to_skip(name)) is not None}
    unknown = [name for name in names if name not in paths and name not in skipped]
    if unknown or not paths:
        listed = ", ".join(name[:100] for name in unknown) if unknown else "none of them is an array of the encoder"
        raise ValueError(
            f"{where}: {len(unknown) or len(names)} of {len(names)} names are not known in a file of {base}: "
            f"{listed}{_names_of_others(names, base)}"
        )
    if not naming.marks(names):
        raise ValueError(
            f"{where}: no name in the file is like {naming.mark}, as every file of {base} has one"
            f"{_names_of_others(names, base)}"
        )
    return paths, skipped


def _names_of_others(names: list[str], base: str) -> str:
    """Return a sentence on which bases know all of `names`; empty if none does."""
    others = [
        other
        for other, its in NAMINGS.items()
        if other != base
        and its.marks(names)
        and all(its.our_path(name) or its.reason_to_skip(name) for name in names)
        and any(map(its.our_path, names))
    ]
    return f". These are names of {' or '.join(others)}: see model.base" if others else ""


def _share(pieces: dict) -> dict[str, str]:
    """Yield each block the array that all of them share, in `pieces`."""
    filled = {}
    for ours in [ours for ours in pieces if "{every}" in ours]:
        shared = pieces.pop(ours)
        for block in sorted({path.split("/")[1] for path in pieces if path.startswith("encoder/block_")}):
            path = ours.replace("block_{every}", block)
            pieces[path] = shared  # the same array: a file does not decide how often it is there
            filled[path] = "that of all blocks, which share it in the file"
    return filled


def _zeros(naming: Naming, pieces: dict) -> dict[str, str]:
    """Add to `pieces` zeros for the arrays that such a network does not have."""
    filled = {}
    if naming.no_attention_bias:
        for path in [path for path in pieces if path.endswith("attn/qkv/kernel")]:
            bias, whole = path.replace("kernel", "bias"), pieces[path].get("")
            if bias not in pieces and whole is not None:
                pieces[bias] = {"": np.zeros(len(whole), np.float32)}
                filled[bias] = "zeros, its queries, keys and values have no bias"
    positions = pieces.get(POSITIONS, {}).get("")
    if naming.folded_positions and positions is not None and positions.ndim == 3 and _is_square(positions.shape[1]):
        pieces[POSITIONS][""] = np.concatenate([np.zeros_like(positions[:, :1]), positions], axis=1)
        filled[POSITIONS] = "a row of zeros for the class token, which has its position in it"
    kernel = pieces.get(PATCH_KERNEL, {}).get("")
    if naming.no_patch_bias and PATCH_BIAS not in pieces and kernel is not None:
        pieces[PATCH_BIAS] = {"": np.zeros(len(kernel), np.float32)}
        filled[PATCH_BIAS] = "zeros, its patch embedding has no bias"
    for ours in [ours for ours in pieces if ours.endswith("attn/qkv/bias")] if naming.no_key_bias else []:
        if pieces[ours].keys() == {"0", "2"}:
            pieces[ours]["1"] = np.zeros_like(pieces[ours]["0"])
            filled[ours] = "zeros in the third of the key, which has no bias"
    return filled


def _is_square(number: int) -> bool:
    return math.isqrt(number) ** 2 == number


def _still(where: str, pieces: dict, names: dict[str, str]) -> dict[str, str]:
    """Convert the patch embedding and the positions of a video to those of a still picture, in `pieces`."""
    filled = {}
    if PATCH_KERNEL in pieces:
        kernel = pieces[PATCH_KERNEL][""]
        still = pieces[PATCH_KERNEL][""] = still_kernel(where, names[PATCH_KERNEL], kernel)
        filled[PATCH_KERNEL] = f"a still picture, repeated over the {kernel.shape[2]} frames of one tubelet: summed"
        if POSITIONS not in pieces:
            pieces[POSITIONS] = {"": compute_positions(still.shape[-1], len(still))}
            filled[POSITIONS] = "a still picture: the sinusoids of the first tubelet, computed"
            return filled
    if POSITIONS in pieces:
        pieces[POSITIONS] = {"": still_positions(where, names[POSITIONS], pieces[POSITIONS][""])}
        filled[POSITIONS] = f"a still picture: the rows of the first of {TUBELETS} tubelets"
    return filled


def _check_complete(where: str, naming: Naming, pieces: dict, base: str) -> None:
    """Raise ValueError with the names of all arrays that the encoder needs and the file lacks."""
    rows = {ours.partition(":")[0] for ours in naming.rows.values() if "{every}" not in ours}
    blocks = sorted({ours.split("/")[1] for ours in pieces if ours.startswith("encoder/block_")})
    depth = 1 + int(blocks[-1].removeprefix("block_")) if blocks else 1
    needed = {row.replace("{i}", f"{index:02d}") for row in rows for index in range(depth)}
    needed |= {PATCH_BIAS}
    missing = sorted(path for path in needed - pieces.keys() if not re.fullmatch(naming.optional, path))
    for ours, found in pieces.items():
        if "" not in found:
            missing += [f"{ours} ({part})" for place, part in zip("012", PARTS, strict=True) if place not in found]
    if missing:
        raise ValueError(
            f"{where}: {len(missing)} arrays of the encoder of {base} are not in the file: {', '.join(missing)}"
        )


def _array(where: str, naming: Naming, ours: str, names: dict[str, str], found: dict[str, np.ndarray]) -> np.ndarray:
    """Return one of our arrays in our layout, from one array of the file or from three."""
    if "" in found and len(found) > 1:
        raise ValueError(f"{where}: {ours}: query, key and value are there together and apart; expected one of both")
    if "" not in found and len({array.shape for array in found.values()}) > 1:
        shapes = ", ".join(str(list(found[place].shape)) for place in "012")
        raise ValueError(f"{where}: {ours}: query, key and value have to have one shape; found {shapes}")
    array = found[""] if "" in found else np.concatenate([found[place] for place in "012"])
    if ours == PATCH_KERNEL and not (array.ndim == 4 and array.shape[1] == 3 and array.shape[2] == array.shape[3]):
        raise ValueError(f"{where}: {names[ours]}: expected a convolution [D, 3, p, p]; found {list(array.shape)}")
    if naming.flat_tokens and ours == CLASS_TOKEN and array.ndim == 1:
        return array[None, None]
    if naming.flat_tokens and ours == POSITIONS and array.ndim == 2:
        return array[None]
    return from_official_array(ours, array)
