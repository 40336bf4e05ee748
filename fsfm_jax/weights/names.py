"""Tables between our parameter paths and the names of the official PyTorch files, in both directions.

There is one for each kind of file: pretraining (online and target network), the fine-tuned classifier, the
anti-spoofing network, and the latter two with FS-Adapter, which adds names and changes none. A row holds our path, the
official name and the official layout. Linear weights are `[in, out]` here and `[out, in]` in official files; the patch
embedding is a product here and a convolution in official files.
"""

import dataclasses
import functools
import re
from collections.abc import Iterable

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from fsfm_jax.models.fsfm import ModelSpec
from fsfm_jax.models.layers import sincos_positions

LINEAR = {"kernel": "weight", "bias": "bias"}
NORM = {"scale": "weight", "bias": "bias"}

# (our module path, official module name, our leaf -> official leaf); {i} is a block's index.
_BLOCK = (
    ("norm1", "norm1", NORM),
    ("attn/qkv", "attn.qkv", LINEAR),
    ("attn/proj", "attn.proj", LINEAR),
    ("norm2", "norm2", NORM),
    ("mlp/fc1", "mlp.fc1", LINEAR),
    ("mlp/fc2", "mlp.fc2", LINEAR),
)
_HEAD = (
    ("fc1", "projection_head.0", LINEAR),
    ("norm", "projection_head.1", NORM),
    ("fc2", "projection_head.3", LINEAR),
)
_ENCODER = (
    ("encoder/patch_embed", "patch_embed.proj", LINEAR),
    *((f"encoder/block_{{i}}/{a}", f"blocks.{{i}}.{b}", leaves) for a, b, leaves in _BLOCK),
    ("encoder/norm", "norm", NORM),
)
_PRETRAINING = (
    *_ENCODER,
    *((f"projector/{a}", f"projector.{b}", leaves) for a, b, leaves in _HEAD),
    *((f"predictor/{a}", f"predictor.{b}", leaves) for a, b, leaves in _HEAD),
    ("rep_decoder/embed", "rep_decoder_embed", LINEAR),
    *((f"rep_decoder/block_{{i}}/{a}", f"rep_decoder_blocks.{{i}}.{b}", leaves) for a, b, leaves in _BLOCK),
    ("rep_decoder/norm", "rep_decoder_norm", NORM),
    ("rep_decoder/pred", "rep_decoder_pred", LINEAR),
    ("pixel_decoder/embed", "decoder_embed", LINEAR),
    *((f"pixel_decoder/block_{{i}}/{a}", f"decoder_blocks.{{i}}.{b}", leaves) for a, b, leaves in _BLOCK),
    ("pixel_decoder/norm", "decoder_norm", NORM),
    ("pixel_decoder/pred", "decoder_pred", LINEAR),
)
_CLASSIFIER = (*_ENCODER, ("head", "head", LINEAR), ("fc_norm", "fc_norm", NORM))
_ANTISPOOF_BACKBONE = (
    *((ours, f"backbone.vit.{theirs}", leaves) for ours, theirs, leaves in _ENCODER if ours != "encoder/norm"),
    ("fc_norm", "backbone.vit.fc_norm", NORM),
)
_ANTISPOOF_HEAD = (
    ("embedder", "embedder.bottleneck_layer_fc", LINEAR),
    ("classifier", "classifier.classifier_layer", LINEAR),
)
# The two maps of the bottleneck have no bias.
_ADAPTER = (
    ("adapter/linear1", "adapter.linear1", {"kernel": "weight"}),
    ("adapter/linear2", "adapter.linear2", {"kernel": "weight"}),
    ("projector", "projector", LINEAR),
)


def _leaves(modules: tuple) -> dict[str, str]:
    return {f"{ours}/{a}": f"{theirs}.{b}" for ours, theirs, leaves in modules for a, b in leaves.items()}


# The number of a block. Ours only as `our_path` writes it; official ones in any form, so that errors can correct it.
_OUR_INDEX = re.compile(r"(?<=block_)([0-9]{2}|[1-9][0-9]{2,8})(?=/)")
_OFFICIAL_INDEX = re.compile(r"(?<=\.)\d{1,9}(?=\.(norm|attn|mlp))")


@dataclasses.dataclass(frozen=True)
class NameTable:
    """The parameters of one kind of official checkpoint.

    Attributes:
      kind: what errors call it.
      rows: our path -> official name; `{i}` stands for a block's index.
      copies: official names under which a file has an array a second time -> the name that we read.
      unused: official names that a file has and its network does not use -> why.
    """

    kind: str
    rows: dict[str, str]
    copies: dict[str, str]
    unused: dict[str, str] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def inverse(self) -> dict[str, str]:
        """Return official name -> our path."""
        return {theirs: ours for ours, theirs in self.rows.items()}

    @functools.cached_property
    def order(self) -> list[str]:
        """Return official rows, second names and unused names in the order of a `state_dict`.

        A second name stands behind the module that it repeats. A head stands before `fc_norm`, used or not.
        """
        rows = [*self.inverse]
        for copy, original in self.copies.items():
            module, second = (name.rpartition(".")[0] for name in (original, copy))
            rows.insert(1 + max(i for i, row in enumerate(rows) if row.rpartition(".")[0] in (module, second)), copy)
        for name in self.unused:
            rows.insert(next(i for i, row in enumerate(rows) if ".fc_norm." in f".{row}"), name)
        return rows


PRETRAINING = NameTable(
    "pretraining", {"encoder/cls_token": "cls_token", "mask_token": "mask_token", **_leaves(_PRETRAINING)}, {}
)
CLASSIFIER = NameTable(
    "fine-tuned", {"encoder/cls_token": "cls_token", "encoder/pos_embed": "pos_embed", **_leaves(_CLASSIFIER)}, {}
)
_ANTISPOOF_TOKENS = {
    "encoder/cls_token": "backbone.vit.cls_token",
    "encoder/pos_embed": "backbone.vit.pos_embed",
}
ANTISPOOF = NameTable(
    "anti-spoofing",
    _ANTISPOOF_TOKENS | _leaves((*_ANTISPOOF_BACKBONE, *_ANTISPOOF_HEAD)),
    {f"embedder.bottleneck_layer.0.{leaf}": f"embedder.bottleneck_layer_fc.{leaf}" for leaf in ("weight", "bias")},
)
CLASSIFIER_ADAPTER = NameTable("FS-Adapter", CLASSIFIER.rows | _leaves(_ADAPTER), CLASSIFIER.copies)
ANTISPOOF_ADAPTER = NameTable(
    "anti-spoofing FS-Adapter",
    _ANTISPOOF_TOKENS
    | _leaves((
        *_ANTISPOOF_BACKBONE,
        *((ours, f"backbone.vit.{theirs}", leaves) for ours, theirs, leaves in _ADAPTER),
        *_ANTISPOOF_HEAD,
    )),
    ANTISPOOF.copies,
    {
        f"backbone.vit.head.{leaf}": "a head of the backbone, frozen and without use: the classifier stands behind it"
        for leaf in ("weight", "bias")
    },
)


def official_name(path: str, table: NameTable = PRETRAINING) -> str:
    """Return the official name of a parameter, `encoder/block_03/mlp/fc1/kernel` -> `blocks.3.mlp.fc1.weight`.

    Raises:
      ValueError: `path` is not in the table, or its block does not have a number of two digits (more from 100 on).
    """
    index = _OUR_INDEX.search(path)
    row = table.rows.get(_OUR_INDEX.sub("{i}", path))
    if row is None or "{" in path:
        raise ValueError(f"parameter {path}: no official name is known; add a row to the {table.kind} name table")
    return row.replace("{i}", index[0].removeprefix("0")) if index else row


def our_path(name: str, table: NameTable = PRETRAINING) -> str:
    """Return our path for an official parameter name; the inverse of `official_name`, so no two names have one path.

    Raises:
      ValueError: `name` is not in the table, or has a block's number in another form than `official_name` writes.
    """
    index = _OFFICIAL_INDEX.search(name)
    row = table.inverse.get(_OFFICIAL_INDEX.sub("{i}", name))
    if row is None or "{" in name:
        raise ValueError(f"official parameter {name}: unknown; is this a {table.kind} checkpoint of FSFM?")
    path = row.replace("{i}", f"{int(index[0]):02d}") if index else row
    if (written := official_name(path, table)) != name:
        raise ValueError(
            f"official parameter {name}: the name of this parameter is {written}; expected a block's number in the "
            "digits 0 to 9 without zeros in front"
        )
    return path


@dataclasses.dataclass(frozen=True)
class Positions:
    """The fixed position tables that official files carry and we compute, by official name."""

    tables: dict[str, np.ndarray]

    @classmethod
    def of(cls, spec: ModelSpec, names) -> "Positions":
        rep = sincos_positions(spec.size.width, spec.grid)
        tables = {
            "pos_embed": sincos_positions(spec.size.width, spec.grid),
            "decoder_pos_embed": sincos_positions(spec.pixel_width, spec.grid),
            "rep_decoder_pos_embed": rep if spec.rep_positions == "sincos" else np.zeros_like(rep),
        }
        return cls({name: table[None] for name, table in tables.items() if name in names})


# Names that precede all others, in the order of the official modules: the parameters that belong to no layer.
_FIRST = ("cls_token", "pos_embed", "mask_token", "rep_decoder_pos_embed", "decoder_pos_embed")


def official_order(names: Iterable[str], table: NameTable = PRETRAINING) -> list[str]:
    """Return official names in the order of a `state_dict`, block by block, in which optimizers number parameters.

    Names that the table does not have come behind all others.
    """
    rows = table.order
    ranks = {row: rank for rank, row in enumerate(rows)}
    parts: dict[str, int] = {}
    for rank, row in enumerate(rows):
        parts.setdefault(row.split(".{i}.")[0] if "{i}" in row else row, rank)

    def place(name: str) -> tuple[int, int, int, int]:
        if name in _FIRST:
            return 0, _FIRST.index(name), 0, 0
        index = _OFFICIAL_INDEX.search(name)
        row = _OFFICIAL_INDEX.sub("{i}", name)
        if row not in ranks:
            return 2, 0, 0, 0
        return 1, parts[row.split(".{i}.")[0]], int(index[0]) if index else 0, ranks[row]

    return sorted(names, key=place)


def to_official_array(path: str, array: np.ndarray, patch_size: int) -> np.ndarray:
    """Return our array in the official layout."""
    if path == "encoder/patch_embed/kernel":
        return array.reshape(patch_size, patch_size, 3, -1).transpose(3, 2, 0, 1)
    return array.T if path.endswith("kernel") else array


def from_official_array(path: str, array: np.ndarray) -> np.ndarray:
    """Return an official array in our layout."""
    if path == "encoder/patch_embed/kernel":
        return array.transpose(2, 3, 1, 0).reshape(-1, array.shape[0])
    return array.T if path.endswith("kernel") else array


def from_official(state: dict[str, np.ndarray], spec: ModelSpec) -> dict:
    """Return our nested parameters from an official state dict of the online or the target network.

    Raises:
      ValueError: an unknown name, or a fixed position table that is not the one `spec` asks for.
    """
    positions = Positions.of(spec, state)
    for name, table in positions.tables.items():
        found = np.asarray(state[name])
        if found.shape != table.shape or np.abs(found - table).max() > 1e-6:
            raise ValueError(
                f"{name}: the checkpoint's table is not the one that the configuration asks for "
                f"(shape {found.shape}, expected {table.shape}); set model.rep_positions or model.size to match"
            )
    return _tree({name: value for name, value in state.items() if name not in positions.tables}, PRETRAINING)


def to_official(params: dict, spec: ModelSpec) -> dict[str, np.ndarray]:
    """Return the official state dict of our nested parameters, position tables included."""
    names = {"pos_embed", "rep_decoder_pos_embed"} | ({"decoder_pos_embed"} if "pixel_decoder" in params else set())
    return official_state(params, PRETRAINING, spec.size.patch_size) | Positions.of(spec, names).tables


def finetuned_from_official(state: dict[str, np.ndarray], table: NameTable) -> dict:
    """Return our nested parameters, learnt positions included, from the official state dict of a fine-tuned network.

    `table` is `CLASSIFIER`, `ANTISPOOF` or one of those with FS-Adapter. What the table calls unused is left out.

    Raises:
      ValueError: an unknown name, or an array that the file has twice with different values.
    """
    for copy, original in table.copies.items():
        if copy in state and not (original in state and np.array_equal(state[copy], state[original])):
            raise ValueError(f"{copy}: expected the same values as {original}, of which it is a second name")
    return _tree({name: value for name, value in state.items() if name not in table.copies | table.unused}, table)


def finetuned_to_official(params: dict, table: NameTable, patch_size: int) -> dict[str, np.ndarray]:
    """Return the official state dict of a fine-tuned network; the inverse of `finetuned_from_official`.

    Arrays that the official network has but does not use are left out.
    """
    state = official_state(params, table, patch_size)
    return state | {copy: state[original] for copy, original in table.copies.items() if original in state}


def _tree(state: dict[str, np.ndarray], table: NameTable) -> dict:
    paths = {name: our_path(name, table) for name in state}
    flat = {
        path: np.ascontiguousarray(from_official_array(path, np.asarray(state[name]))) for name, path in paths.items()
    }
    return unflatten_dict(flat, sep="/")


def official_state(params: dict, table: NameTable, patch_size: int) -> dict[str, np.ndarray]:
    """Return the arrays of nested parameters under the official names of `table`, in the official layout."""
    flat = flatten_dict(params, sep="/")
    return {
        official_name(path, table): to_official_array(path, np.asarray(value), patch_size)
        for path, value in flat.items()
    }
