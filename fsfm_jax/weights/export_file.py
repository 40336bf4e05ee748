"""Import weight files that `to_torch` wrote: the JSON next to them says what they are.

| `format`      | where the JSON lies                         | names of the arrays                                    |
|---------------|---------------------------------------------|--------------------------------------------------------|
| `official`    | `fsfm_jax.json` in the folder               | official                                               |
| `timm`        | `FILE.json`                                 | timm's                                                 |
| `safetensors` | `FILE.json`                                 | timm's; official where timm has no such network        |
| `huggingface` | `fsfm_jax.json` in the folder               | those of transformers                                  |
"""

import dataclasses
import os

import numpy as np
from flax.traverse_util import unflatten_dict

from fsfm_jax.models.bases import BASES, OWN
from fsfm_jax.models.vit import SIZES
from fsfm_jax.tasks.normalisation import Statistics
from fsfm_jax.text import join_first
from fsfm_jax.weights import huggingface, official_file
from fsfm_jax.weights.base_file import open_base
from fsfm_jax.weights.names import CLASSIFIER, from_official_array, our_path
from fsfm_jax.weights.rounding import INT8, widen_arrays
from fsfm_jax.weights.sidecar_file import COPY, MAX_SIDE, check_detector, check_types, is_number, read_table, refuse
from fsfm_jax.weights.timm_state import PRE_NORM, without_patch_bias

FORMATS = ("official", "timm", "safetensors", "huggingface")
CARD = "fsfm_jax.json"  # in folders; a file has its name and .json
README = "README.md"  # the model card of a Hugging Face folder
PRETRAINED, CLASSIFYING, ANTISPOOF = "pretrained", "classifier", "antispoof"
TARGET = "checkpoint-te-"
_TYPES = {"kind": str, "size": str, "image_size": int, "config": dict, "files": dict}
_DETECTOR_TYPES = {"class_names": list, "real": int, "statistics": dict, "selection": dict, "calibration": dict | None}


@dataclasses.dataclass(frozen=True)
class Export:
    """An export that was found; its weights have not been read.

    Attributes:
      path: of the weight file.
      beside: of the sidecar. said: its content, checked.
    """

    path: str
    beside: str
    said: dict

    @property
    def is_detector(self) -> bool:
        """Return whether it is a detector; otherwise it is a pretrained encoder."""
        return self.said["kind"] != PRETRAINED

    @property
    def statistics(self) -> Statistics | None:
        """Return the channel statistics of its images; None for an encoder whose statistics are unknown."""
        kept = self.said["statistics"]
        return None if kept is None else Statistics(tuple(kept["mean"]), tuple(kept["std"]))


@dataclasses.dataclass(frozen=True)
class Weights:
    """The arrays of an export.

    Attributes:
      params: nested, in our layout, float32. An encoder's are `{"encoder": ...}`.
      kind: "pth" or "safetensors". sha256: of the file.
      unused: official name -> array that the official network has and does not use.
    """

    params: dict
    kind: str
    sha256: str
    unused: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


def find_export(path: str | os.PathLike) -> Export | None:
    """Find the export at `path`, a weight file or its folder; None if it has no sidecar of fsfm_jax.

    Raises:
      ValueError: the sidecar is damaged or lacks a field.
    """
    path = os.fspath(path)
    if not path or "://" in path:
        return None
    if os.path.isdir(path):
        return _in_folder(path)
    if official_file.kind_of(path) is None or not os.path.isfile(path):
        return None
    own, shared = f"{path}.json", os.path.join(os.path.dirname(path), CARD)
    if os.path.isfile(own):
        found = _open(own, path)
        if found is not None:
            return found
    if os.path.isfile(shared):
        found = _open(shared, path)
        if found is not None and os.path.basename(path) in found.said["files"]:
            return found
    return None


def read_vouched(export: Export, field: str) -> official_file.Content:
    """Read the weight file of an export and compare it with the digest in its sidecar.

    Raises:
      FileNotFoundError: no such file.
      ValueError: the digest differs, or `content_of` refuses the file.
    """
    content, files = official_file.content_of(export.path, field), export.said["files"]
    entry = files.get(os.path.basename(export.path))
    vouched = entry.get("sha256") if isinstance(entry, dict) else None
    if vouched != content.sha256:
        raise ValueError(
            f"{field}: {export.path}: expected the SHA-256 {str(vouched)[:64]} of {export.beside}; found "
            f"{content.sha256}. They do not belong together: {COPY}, or take the JSON away if the file is another one"
        )
    if export.said.get("dtype") == INT8 and content.kind == "safetensors":
        content = content._replace(value=widen_arrays(export.path, content.value))
    return content


def read_weights(export: Export, field: str) -> Weights:
    """Read the arrays of an export; `pretrained` reads those of a pretraining in official files.

    Args:
      field: names it in errors.

    Raises:
      FileNotFoundError: no such file.
      ValueError: the digest differs from the sidecar, or the arrays are not those of such an export.
    """
    path, said, content = export.path, export.said, read_vouched(export, field)
    if said["format"] == "huggingface":
        if not export.is_detector:
            # A ViTModel, or a ViTMAE whose decoder is left out; both have the names of a published MAE.
            return Weights(open_base(path, "mae", field, content).params, content.kind, content.sha256)
        arrays = {key: official_file.float32(path, key, tensor) for key, tensor in content.value.items()}
        params = huggingface.parameters_of(f"{field}: {path}", arrays, str(said.get("architecture")))
        return Weights(params, content.kind, content.sha256)
    if said.get("timm"):
        tensors = official_file.torch_state(path, content.value, ())[0] if content.kind == "pth" else content.value
        return Weights(_of_timm(path, tensors, export.is_detector), content.kind, content.sha256)
    file = official_file.open_file(path, field, content)
    table = official_file.TABLES[file.network]
    params, _ = official_file.parameters(file, table)
    unused = {n: official_file.float32(path, n, file.tensors[n]) for n in table.unused if n in file.tensors}
    return Weights(params, content.kind, content.sha256, unused)


def _in_folder(path: str) -> Export | None:
    shared = os.path.join(path, CARD)
    if os.path.isfile(shared):
        said = _open(shared, "")
        weights = [] if said is None else [
            name for name in said.said["files"]
            if official_file.kind_of(name) and not name.startswith(TARGET) and os.path.basename(name) == name
        ]  # fmt: skip
        return dataclasses.replace(said, path=os.path.join(path, weights[0])) if weights else None
    try:
        names = os.listdir(path)
    except OSError:
        return None
    # A file of fsfm_jax in a folder of its own.
    cards = [name for name in names if name.endswith(".json") and official_file.kind_of(name.removesuffix(".json"))]
    if len(cards) != 1:
        return None
    return find_export(os.path.join(path, cards[0].removesuffix(".json")))


def _open(beside: str, path: str) -> Export | None:
    """Return the checked sidecar; None for a table of another program."""
    said = read_table(beside)
    if said.get("format") not in FORMATS or "files" not in said:
        return None
    check_types(beside, said, _TYPES)
    if said["kind"] not in (PRETRAINED, CLASSIFYING, ANTISPOOF):
        refuse(beside, "kind", f"expected {PRETRAINED}, {CLASSIFYING} or {ANTISPOOF}", said["kind"])
    said = {"base": OWN, **said}  # older sidecars of detectors do not say it
    for name, known in (("size", SIZES), ("base", BASES)):
        if type(said[name]) is not str or said[name] not in known:
            refuse(beside, name, f"expected one of {', '.join(known)}", said[name])
    if not 1 <= said["image_size"] <= MAX_SIDE:
        refuse(beside, "image_size", f"expected from 1 to {MAX_SIDE} pixels", said["image_size"])
    if said["kind"] != PRETRAINED:
        said = {"calibration": _calibration(said), **said}
        check_types(beside, said, _DETECTOR_TYPES)
        check_detector(beside, said)
    _check_statistics(beside, said.get("statistics", "none"), said["kind"] == PRETRAINED)
    return Export(path, beside, said)


def _calibration(said: dict) -> dict | None:
    """Return the calibration of an older sidecar, which has it in separate fields."""
    thresholds = said.get("thresholds")
    if not isinstance(thresholds, dict):
        return None
    return {"temperature": said.get("temperature"), "thresholds": thresholds, "undefined": None}


def _check_statistics(beside: str, kept: object, optional: bool) -> None:
    if kept is None and optional:
        return
    for name in ("mean", "std"):
        values = kept.get(name) if isinstance(kept, dict) else None
        if not isinstance(values, list) or len(values) != 3 or not all(map(is_number, values)):
            refuse(beside, f"statistics.{name}", "expected three numbers", values)


def _of_timm(path: str, tensors: dict, classifier: bool) -> dict:
    """Return the nested parameters of a timm network, with or without a head."""
    flat, unknown = {}, []
    for name, tensor in tensors.items():
        try:
            ours = PRE_NORM.get(name) or our_path(name, CLASSIFIER)
        except ValueError:
            unknown.append(name)
            continue
        flat[ours] = np.ascontiguousarray(from_official_array(ours, official_file.float32(path, name, tensor)))
    if unknown:
        raise ValueError(f"{path}: names that no network of fsfm_jax has in timm: {join_first(unknown)}")
    without_patch_bias(flat)
    params = unflatten_dict(flat, sep="/")
    # Of an encoder for mean pooling, the norm behind it is the identity that fine-tuning starts with.
    return params if classifier else {"encoder": params.get("encoder", {})}
