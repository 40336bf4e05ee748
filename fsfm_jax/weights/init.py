"""Initial weights of fine-tuning: from a pretraining run, an official weight file, or a file of a base model."""

import dataclasses
import os
import re
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from fsfm_jax import records
from fsfm_jax.models.bases import BASES, OWN
from fsfm_jax.models.positions import RELEASED, Resizing
from fsfm_jax.models.relative import TABLES, table_shape
from fsfm_jax.models.style import Style
from fsfm_jax.models.vit import SIZES, Encoder, Size
from fsfm_jax.run.foreign_file import read_as
from fsfm_jax.tasks.normalisation import STATISTICS, Statistics
from fsfm_jax.train.identity import parameters_of
from fsfm_jax.weights import bundled, hub_file, official_file
from fsfm_jax.weights.base_file import open_base
from fsfm_jax.weights.encoder_size import check_shapes, position_grid, recognise_size, shapes_of
from fsfm_jax.weights.export_file import Export, find_export, read_vouched, read_weights
from fsfm_jax.weights.key_report import KeyReport
from fsfm_jax.weights.names import PRETRAINING
from fsfm_jax.weights.official_statistics import statistics_beside

FIELD = "init"
# Positions are fixed in pretraining, and trained from these values in fine-tuning. The decoders' are not used again.
POSITIONS = {"encoder/pos_embed": "pos_embed"}
DROPPED = ("decoder_pos_embed", "rep_decoder_pos_embed")
TABLE = dataclasses.replace(PRETRAINING, rows=PRETRAINING.rows | POSITIONS)
PROJECTOR = "projector.projection_head."  # a network of FSFM has one, and no other


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """The initial weights of fine-tuning.

    Attributes:
      params: nested NumPy arrays with an `encoder`, float32; the other parts are for `models.classifier.initialise`
        to leave out and report.
      statistics: the channel statistics of pretraining; None if nothing says what they were.
      origin: as JSON: `kind` ("run", "pth" or "safetensors"), `path`, `sha256` (None for a run), `size`, `step` of a
        run, `epoch` of a file that says it (counted from 0 by the official code), and `notes`, a list of text.
      report: the account of every name of a file, or of a run's parameters.
      grid: rows of patches of the pretraining images.
      resizing: how its positions are fitted to another grid.
    """

    params: dict
    statistics: Statistics | None
    origin: dict
    report: KeyReport
    grid: int
    resizing: Resizing = RELEASED


def open_pretrained(
    path: str,
    base: str = OWN,
    sizes: Mapping[str, Size] | None = None,
    content: official_file.Content | None = None,
) -> Pretrained:
    """Open the --workdir of a pretraining run, a .pth, .pt, .pth.tar or .safetensors file, hf://, or `small`.

    A file may hold the online or the target network of FSFM, or with another `base` the published network of that name.
    All its names must be known, and all used numbers finite. The arrays do not show the number of heads: see
    `recognise_size`. The JSON next to an encoder that `to_torch` exported, file or folder, says all of this.

    Args:
      base: a key of `models.bases.BASES`, the field `model.base`.
      sizes: the sizes that it may have, by name; None for those of the base, and all for a run, which says its size.
      content: of a file, if it was read before.

    Raises:
      FileNotFoundError: nothing there.
      ValueError: a run of another job, a damaged file, a fine-tuned network, a network that is not of this base,
        unknown names, missing arrays, or an unknown size.
      ModuleNotFoundError, ValueError, OSError: an address that `hub_file.fetch_checkpoint` refuses.
    """
    if base not in BASES:
        raise ValueError(f"model.base: expected one of {', '.join(BASES)}; found {base!r}")
    if hub_file.is_address(path):
        fetched = open_pretrained(hub_file.fetch_checkpoint(path), base, sizes)
        return dataclasses.replace(fetched, origin=fetched.origin | {"path": path})
    path = bundled.resolve_name(path, bundled.ENCODER)
    export = find_export(path)
    if export is not None:
        return _of_export(path, export, base, SIZES if sizes is None else sizes)
    if official_file.kind_of(path) is not None:
        known = {name: SIZES[name] for name in BASES[base].sizes} if sizes is None else sizes
        return _of_file(path, known, content) if base == OWN else _of_base(path, base, known, content)
    if os.path.isfile(path):
        endings, what = ", ".join(official_file.SUFFIXES), read_as(path) or "a file"
        raise ValueError(f"{FIELD}: {path} is {what}; expected a --workdir, or a name that ends in {endings}")
    return _of_run(path, base, SIZES if sizes is None else sizes)


def _of_run(path: str, base: str, sizes: Mapping[str, Size]) -> Pretrained:
    """Open a run of fsfm_jax, or a run that `export.from_torch` imported."""
    params, saved = parameters_of(path, "pretrain", FIELD)
    known = saved["base"] if "base" in saved else OWN
    if base != known:
        raise ValueError(f"{FIELD}: {path} is no weight file, but a run with model.base {known}; found {base}")
    size = saved["config"]["model.size"]
    if size not in sizes:
        raise ValueError(f"{FIELD}: {path} has model.size {size!r}; known are {', '.join(sizes)}")
    _check_encoder(path, params, size, sizes[size], BASES[base].style)
    origin = {
        "kind": "run", "path": path, "sha256": None, "size": size, "step": saved["step"], "notes": [],
    }  # fmt: skip
    kept = saved["statistics"]
    statistics = None if kept is None else Statistics(tuple(kept["mean"]), tuple(kept["std"]))
    report = KeyReport(tuple(sorted(flatten_dict(params, sep="/"))), {}, {})
    # Older runs do not say the side of their images, which was that of all records.
    side = saved.get("image_size", records.IMAGE_SIZE)
    grid = _grid(params, sizes[size], BASES[base].style, side)
    return Pretrained(params, statistics, origin, report, grid, BASES[base].resizing)


def _of_export(path: str, export: Export, base: str, sizes: Mapping[str, Size]) -> Pretrained:
    """Open an export by `to_torch` of a pretraining run or of an imported encoder."""
    said = export.said
    if export.is_detector:
        raise ValueError(
            f"{FIELD}: {path} holds a fine-tuned detector, as {export.beside} says; fine-tuning starts from "
            f"{official_file.NETWORKS[official_file.PRETRAINED]}: take an export of the pretraining run"
        )
    if base != said["base"]:
        raise ValueError(f"{FIELD}: {export.beside} says model.base {said['base']}; found {base}")
    size = said["size"]
    if size not in sizes:
        raise ValueError(f"{FIELD}: {path} has model.size {size!r}; known are {', '.join(sizes)}")
    if said["format"] == "official":
        return _of_file(export.path, {size: sizes[size]}, read_vouched(export, FIELD), ours=True)
    weights = read_weights(export, FIELD)
    _check_encoder(path, weights.params, size, sizes[size], BASES[base].style)
    origin = {
        "kind": weights.kind, "path": export.path, "sha256": weights.sha256, "size": size, "step": said.get("step"),
        "notes": [f"exported as {said['format']}"],
    }  # fmt: skip
    names = tuple(sorted(flatten_dict(weights.params, sep="/")))
    # Those with a pixel decoder leave fixed positions out, as a run does.
    grid = _grid(weights.params, sizes[size], BASES[base].style, said["image_size"])
    return Pretrained(
        weights.params, export.statistics, origin, KeyReport(names, {}, {}), grid, BASES[base].resizing
    )  # fmt: skip


def _of_file(
    path: str, sizes: Mapping[str, Size], content: official_file.Content | None, ours: bool = False
) -> Pretrained:
    """Open a network of FSFM, or for an export of `ours` also a masked autoencoder."""
    file = official_file.open_file(path, FIELD, content)
    others = ", ".join(name for name in BASES if name != OWN)
    if file.network == official_file.CLASSIFIER and "head.weight" not in file.tensors:
        raise ValueError(
            f"{FIELD}: {path} holds an encoder without a head, as an export for timm has it, but not the JSON that was "
            f"written with it and says what it is: copy {os.path.basename(path)}.json next to it"
        )
    if file.network != official_file.PRETRAINED:
        raise ValueError(
            f"{FIELD}: {path} holds {official_file.NETWORKS[file.network]}; fine-tuning starts from "
            f"{official_file.NETWORKS[official_file.PRETRAINED]}, take the file that this one was made from. "
            f"The classifier of a base model is left out if model.base says which: {others}"
        )
    if not ours and not any(name.startswith(PROJECTOR) for name in file.tensors):
        raise ValueError(
            f"{FIELD}: {path} holds no network of FSFM: it has no {PROJECTOR}*. Say what it is with model.base: "
            f"{others}; that decides its heads, and how its pixels are normalised. If it is an export of this program, "
            f"copy its {os.path.basename(path)}.json next to it"
        )
    notes = _kind_notes(file.tensors)
    dropped = [name for name in DROPPED if name in file.tensors]
    if dropped:
        notes.append(f"not used: {', '.join(dropped)}")
        kept = {name: tensor for name, tensor in file.tensors.items() if name not in dropped}
        file = dataclasses.replace(file, tensors=kept)
    params, converted = official_file.parameters(file, TABLE)
    size = _size(path, params, sizes, BASES[OWN].style)
    skipped = {name: "the fixed positions of a decoder" for name in dropped}
    report = KeyReport(tuple(sorted(file.tensors)), skipped, {})
    grid = _grid(params, sizes[size], BASES[OWN].style)
    return Pretrained(params, statistics_beside(path), file.origin(size, notes + converted), report, grid)


def _of_base(path: str, base: str, sizes: Mapping[str, Size], content: official_file.Content | None) -> Pretrained:
    """Open the published network of a base model."""
    opened, family = open_base(path, base, FIELD, content), BASES[base]
    size = _size(path, opened.params, sizes, family.style)
    statistics = statistics_beside(path) if family.statistics is None else STATISTICS[family.statistics]
    origin = opened.file.origin(size, [*opened.report.summary(), *opened.notes])
    grid = _grid(opened.params, sizes[size], family.style)
    return Pretrained(opened.params, statistics, origin, opened.report, grid, family.resizing)


def _grid(params: dict, size: Size, style: Style, side: int = records.IMAGE_SIZE) -> int:
    """Return the grid of the positions in `params`; without any, that of images of `side` pixels."""
    return position_grid(params, size, style) or side // size.patch_size


def _kind_notes(names: Mapping) -> list[str]:
    if any(name.startswith("predictor.") for name in names):
        return []
    return ["the target network of pretraining: it has no predictor"]


def _size(path: str, params: dict, sizes: Mapping[str, Size], style: Style) -> str:
    """Return the size of the encoder, and check that all of its arrays are there."""
    try:
        name = recognise_size(params, sizes)
    except ValueError as error:
        raise ValueError(f"{FIELD}: {path}: {error}") from error
    _check_encoder(path, params, name, sizes[name], style)
    return name


def _check_encoder(file: str, params: dict, name: str, size: Size, style: Style) -> None:
    encoder, grid = params["encoder"], position_grid(params, size, style) or 1
    network = Encoder(
        size, grid, jnp.float32, "none", learnt_positions="pos_embed" in encoder, final_norm="norm" in encoder,
        style=style,
    )  # fmt: skip
    # Bounded, because the file decides how much memory is used here: one patch at a place, or a grid of one patch.
    places = None if style.relative else jnp.zeros((1, 1), jnp.int32)
    shapes = dict(flatten_dict(shapes_of(network, jnp.zeros((1, 1, size.pixels)), places), sep="/"))
    for path in shapes:
        if re.fullmatch(TABLES, f"encoder/{path}"):
            shapes[path] = jax.ShapeDtypeStruct(table_shape(grid, size.heads), jnp.float32)
    check_shapes(encoder, unflatten_dict(shapes, sep="/"), f"{FIELD}: {file}, taken for {name}, part encoder")
