"""Weight files with the names of the official code: recognise their network and read its parameters.

Nothing in a file is executed, and tensors are read only when they are used.
"""

import dataclasses
import hashlib
import math
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import unflatten_dict

from fsfm_jax.run import foreign_file
from fsfm_jax.text import join_first
from fsfm_jax.weights import names as tables
from fsfm_jax.weights import safetensors_file, torch_file
from fsfm_jax.weights.names import NameTable, from_official_array, our_path

SUFFIXES = {".pth": "pth", ".pt": "pth", ".pth.tar": "pth", ".safetensors": "safetensors"}
STATES = ("model", "state_dict")  # keys of the network: in pretraining and fine-tuning, in anti-spoofing
FLOATS = ("float16", "bfloat16", "float32", "float64")
PATCH_KERNEL = "encoder/patch_embed/kernel"

PRETRAINED, CLASSIFIER, ANTISPOOF = "pretrained", "classifier", "antispoof"
ADAPTER, ANTISPOOF_ADAPTER = "adapter", "antispoof_adapter"
TABLES = {
    PRETRAINED: tables.PRETRAINING,
    CLASSIFIER: tables.CLASSIFIER,
    ADAPTER: tables.CLASSIFIER_ADAPTER,
    ANTISPOOF: tables.ANTISPOOF,
    ANTISPOOF_ADAPTER: tables.ANTISPOOF_ADAPTER,
}
# Their names in errors.
NETWORKS = {
    PRETRAINED: "a pretrained network",
    CLASSIFIER: "a fine-tuned classifier",
    ANTISPOOF: "a fine-tuned network of face anti-spoofing",
    ADAPTER: "a fine-tuned classifier with FS-Adapter",
    ANTISPOOF_ADAPTER: "a fine-tuned network of face anti-spoofing with FS-Adapter",
}


@dataclasses.dataclass(frozen=True)
class OfficialFile:
    """An open weight file.

    Attributes:
      kind: "pth" or "safetensors".
      sha256: of the whole file, in hexadecimal.
      network: one of `NETWORKS`, recognised by the names of its tensors.
      tensors: official name -> tensor; `np.asarray` reads it.
      epoch, threshold: read from the file; None if it does not have them.
      beside: the rest of a .pth, such as `optimizer`, `scaler` and `args`; empty for a .safetensors.
    """

    path: str
    kind: str
    sha256: str
    network: str
    tensors: Mapping[str, Any]
    epoch: int | None
    threshold: float | None
    beside: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def origin(self, size: str, notes: Iterable[str]) -> dict:
        """Return the origin of the parameters as JSON; values that the file does not have are left out."""
        said = {"epoch": self.epoch, "threshold": self.threshold}
        return {
            "kind": self.kind, "path": self.path, "sha256": self.sha256, "size": size,
            **{name: value for name, value in said.items() if value is not None}, "notes": list(notes),
        }  # fmt: skip


def kind_of(path: str) -> str | None:
    """Return the kind of a weight file, "pth" or "safetensors", by its suffix; None for any other."""
    return next((kind for suffix, kind in SUFFIXES.items() if path.lower().endswith(suffix)), None)


class Content(NamedTuple):
    """The contents of a weight file, read once.

    kind: "pth" or "safetensors". sha256: of the whole file, in hexadecimal.
    value: the object in a .pth, or name -> tensor of a .safetensors.
    """

    kind: str
    sha256: str
    value: Any


def content_of(path: str, field: str) -> Content:
    """Read a weight file that `field` of the configuration names.

    Raises:
      FileNotFoundError: no file there.
      ValueError: the name has another suffix or is an address, or the file is damaged or no weight file.
    """
    foreign_file.check_place(path, field, file=True)
    kind = kind_of(path)
    if kind is None:
        raise ValueError(f"{field}: {path} is no weight file; expected a name that ends in {', '.join(SUFFIXES)}")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{field}: {path} is {foreign_file.describe_path(path)}")
    if other := foreign_file.read_as(path) or foreign_file.suggest_ending(path, kind):
        raise ValueError(f"{field}: {path} is {other}")
    content = torch_file.read(path) if kind == "pth" else safetensors_file.read(path)[0]
    with open(path, "rb") as file:
        return Content(kind, hashlib.file_digest(file, "sha256").hexdigest(), content)


def open_file(path: str, field: str, content: Content | None = None) -> OfficialFile:
    """Open a weight file that `field` of the configuration names.

    Args:
      content: of the file, if it was read before.

    Raises:
      FileNotFoundError: no file there.
      ValueError: the name has another suffix, the file is damaged, or it has no network with these names.
    """
    kind, digest, value = content_of(path, field) if content is None else content
    tensors, said = torch_state(path, value, STATES) if kind == "pth" else (value, {})
    epoch, threshold = said.get("epoch"), said.get("threshold")
    return OfficialFile(
        path, kind, digest, _network(path, tensors), tensors,
        epoch=epoch if type(epoch) is int else None,
        threshold=threshold if type(threshold) is float and math.isfinite(threshold) else None,
        beside=said,
    )  # fmt: skip


def parameters(file: OfficialFile, table: NameTable) -> tuple[dict, list[str]]:
    """Return our nested parameters of a file, all float32, and notes about them.

    Raises:
      ValueError: names are not in `table`, arrays are not floating-point or not finite, a second name of an array has
        other values, or the patch embedding is no convolution of square RGB patches.
    """
    unknown = [name for name in file.tensors if not _is_known(name, table)]
    if unknown:
        raise ValueError(
            f"{file.path}: {len(unknown)} of {len(file.tensors)} names are not known in {NETWORKS[file.network]}: "
            f"{join_first(unknown)}"
        )
    flat, others = {}, {}
    used = {name: tensor for name, tensor in file.tensors.items() if name not in table.unused}
    for name, tensor in used.items():
        array = float32(file.path, name, tensor)
        others.setdefault(tensor.dtype.name, []).append(name)
        if name in table.copies:
            original = table.copies[name]
            if original not in file.tensors or not np.array_equal(array, np.asarray(file.tensors[original])):
                raise ValueError(
                    f"{file.path}: {name}: expected the same values as {original}, of which it is a second name"
                )
            continue
        path = our_path(name, table)
        if path == PATCH_KERNEL and not (array.ndim == 4 and array.shape[1] == 3 and array.shape[2] == array.shape[3]):
            raise ValueError(f"{file.path}: {name}: expected a convolution [D, 3, p, p]; found {list(array.shape)}")
        flat[path] = np.ascontiguousarray(from_official_array(path, array))
    others.pop("float32", None)
    notes = [f"not used: {name} ({table.unused[name]})" for name in file.tensors if name in table.unused]
    notes += [f"{len(names)} arrays were {dtype} and became float32" for dtype, names in sorted(others.items())]
    return unflatten_dict(flat, sep="/"), notes


def torch_state(path: str, content: Any, wrappers: tuple[str, ...]) -> tuple[dict, dict]:
    """Return the state dict of a .pth, below one of the keys `wrappers` or by itself, and the rest of the content.

    Raises:
      ValueError: there is no state dict, or more than one.
    """
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected the weights of a network; found a {type(content).__name__}")
    keys = [key for key in wrappers if isinstance(content.get(key), dict)]
    if len(keys) > 1:
        raise ValueError(f"{path}: it has both {' and '.join(keys)}; which of them is meant?")
    state = content[keys[0]] if keys else content
    said = {key: value for key, value in content.items() if key != keys[0]} if keys else {}
    strange = [str(k) for k, v in state.items() if type(k) is not str or not isinstance(v, torch_file.Tensor)]
    if strange or not state:
        raise ValueError(
            f"{path}: expected a network under {' or '.join(wrappers)}, or nothing but tensors; "
            + (f"these are none: {join_first(strange)}" if strange else "found nothing")
        )
    return state, said


def _network(path: str, names: Iterable[str]) -> str:
    adapted = any(re.search(r"(^|\.)adapter\.", name) for name in names)
    if any(name.startswith("backbone.vit.") for name in names):
        return ANTISPOOF_ADAPTER if adapted else ANTISPOOF
    if adapted:
        return ADAPTER
    if any(name.startswith(("head.", "fc_norm.")) for name in names):
        return CLASSIFIER
    if "patch_embed.proj.weight" in names:
        return PRETRAINED
    raise ValueError(
        f"{path}: no vision transformer with the names of FSFM, such as patch_embed.proj.weight; "
        f"found {join_first(list(names)) or 'nothing'}"
    )


def _is_known(name: str, table: NameTable) -> bool:
    """Return whether the table has `name`, or lists it as a second name or as unused."""
    if name in table.copies or name in table.unused:
        return True
    try:
        our_path(name, table)
    except ValueError:
        return False
    return True


def float32(path: str, name: str, tensor: Any) -> np.ndarray:
    """Return a tensor of a file as float32.

    Raises:
      ValueError: the numbers are not floating-point, or some are not finite.
    """
    if tensor.dtype.name not in FLOATS:
        raise ValueError(f"{path}: {name} has the dtype {tensor.dtype.name}; expected one of {', '.join(FLOATS)}")
    with np.errstate(over="ignore", invalid="ignore"):  # checked below
        array = np.array(tensor, np.float32)
    bad = array.size - np.count_nonzero(np.isfinite(array))
    if bad:
        raise ValueError(
            f"{path}: {name} has {bad} of {array.size} values that are not finite in float32; "
            "the run that wrote it diverged, or the file is damaged"
        )
    return array
