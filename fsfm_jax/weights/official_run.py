"""An official pretraining run, read from its files: both networks, the optimizer, its progress and its options.

Official code saves a pair: `checkpoint-N.pth` with the online network and `checkpoint-te-N.pth` with the target. N is
the number of the last epoch, counted from 0.
"""

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from fsfm_jax.config import pretrain
from fsfm_jax.config.fields import flat, to_steps
from fsfm_jax.models.fsfm import ModelSpec
from fsfm_jax.models.layers import sincos_positions
from fsfm_jax.models.vit import SIZES
from fsfm_jax.optim.schedules import warmup_cosine
from fsfm_jax.resolve.pretrain import pretraining_model
from fsfm_jax.tasks.normalisation import Statistics
from fsfm_jax.tasks.pretrain import LossSpec, PretrainTask
from fsfm_jax.weights import official_arguments, official_file
from fsfm_jax.weights.encoder_size import check_shapes, recognise_size
from fsfm_jax.weights.names import PRETRAINING
from fsfm_jax.weights.official_optimizer import FIXED, Moments, read_moments
from fsfm_jax.weights.official_statistics import statistics_beside

FIELD = "from_torch"
ONLINE, TARGET = "online", "target"
PREDICTOR = "predictor."
# Libraries compute positions with different rounding; official ones differed from ours by up to 6e-8.
TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True)
class OfficialRun:
    """The state from which an official run can be resumed.

    Attributes:
      params: of the online network, nested, float32. target: of the target network; None without its file.
      moments: of AdamW; None if the file has none or no step was made.
      carried: `online` and `target` -> official name -> fixed position table as the file has it. Ours are computed and
        may differ in the last bit; with these an export restores the files exactly.
      fields: of our configuration, by name, from arrays and options. known: names of those from options.
      spec: the networks.
      epochs: done so far; None if the file does not say it.
      said: `epoch`, `scaler` and `args` as JSON.
      statistics: those next to the file, or None.
      files: path and SHA-256 of each; notes: remarks for the user.
    """

    params: dict
    target: dict | None
    moments: Moments | None
    carried: dict[str, dict[str, np.ndarray]]
    fields: dict[str, Any]
    known: tuple[str, ...]
    spec: ModelSpec
    epochs: float | None
    said: dict
    statistics: Statistics | None
    files: dict[str, dict]
    notes: list[str]


def read_run(
    path: str, target: str | None, pixel_heads: int, rep_heads: int, content: official_file.Content | None = None
) -> OfficialRun:
    """Read the file of the online network and that of the target.

    Args:
      pixel_heads, rep_heads: of the two decoders; the arrays do not show them, and official ones have 16.
      content: of the file at `path`, if it was read before.

    Raises:
      FileNotFoundError: no file there.
      ValueError: other networks than these, two files of different runs or sizes, unknown names, arrays of other shapes
        or not finite, positions that are neither zeros nor sine and cosine, or another optimizer.
    """
    online = official_file.open_file(path, FIELD, content)
    if not is_plain(online):
        _check(online, "the first file", True)
    elif target is not None:
        raise ValueError(f"{FIELD}: {path} is a masked autoencoder, which has no target; leave {target}")
    params, carried, notes = _network(online)
    spec, fields, known = _spec(online, params, carried, pixel_heads, rep_heads)
    expected = jax.eval_shape(lambda: _task(spec).init(jax.random.key(0)))
    check_shapes(params, expected, f"{FIELD}: {path}, taken for {fields['model.size']}")
    shapes = {name: tuple(tensor.shape) for name, tensor in online.tensors.items()}
    moments = read_moments(path, online.beside["optimizer"], shapes) if "optimizer" in online.beside else None
    if moments is None:
        notes.append("the file has no moments of the optimizer: they would start at zero")
    notes += _schedule_notes(fields, known, _epochs(online))
    files, carried = {ONLINE: {"path": path, "sha256": online.sha256}}, {ONLINE: carried}
    second = None
    if target is not None:
        opened = official_file.open_file(target, FIELD)
        _check(opened, "the second file", False)
        if opened.epoch != online.epoch:
            raise ValueError(
                f"{FIELD}: {target} is of epoch {opened.epoch}, {path} of epoch {online.epoch}; expected the pair that "
                "was saved together"
            )
        second, carried[TARGET], more = _network(opened)
        check_shapes(second, _task(spec).target_part(expected), f"{FIELD}: {target}, the target of {path}")
        files[TARGET] = {"path": target, "sha256": opened.sha256}
        notes += more
    elif not is_plain(online):
        notes.append("no file of the target network: it would start as a copy of the online one")
        pair = os.path.basename(path).replace("checkpoint-", "checkpoint-te-", 1)
        if pair != os.path.basename(path) and os.path.isfile(beside := os.path.join(os.path.dirname(path), pair)):
            notes.append(f"{beside} is in the same folder; name it as the second file to resume the run")
    return OfficialRun(
        params, second, moments, carried, fields, known, spec, _epochs(online), _what_it_says(online),
        statistics_beside(path), files, notes,
    )  # fmt: skip


def _schedule_notes(fields: Mapping[str, Any], known: tuple[str, ...], done: float | None) -> list[str]:
    """Return a note on the rest of a schedule that was not run to its end."""
    if done is None or not {"duration", "optimizer.warmup"} <= {*known}:
        return []
    planned, warmup = (to_steps(fields[name], name, 1, 1) for name in ("duration", "optimizer.warmup"))
    if not warmup < planned or done >= planned:
        return []
    peak = fields["optimizer.base_learning_rate"] * fields["batch.size"] / 256
    rate = float(warmup_cosine(np.float32(done), peak, fields["optimizer.min_learning_rate"], warmup, planned))
    share = f"{rate / peak:.0%}" if peak else "0"
    return [f"its schedule is over {planned:g} epochs, {done:g} are done: the learning rate is at {share} of its peak"]


def is_plain(file: official_file.OfficialFile) -> bool:
    """Return whether a file holds a masked autoencoder that was pretrained here and exported.

    MAE inserts its mask token elsewhere, which names and shapes need not show; our exports have their own option.
    """
    options = file.beside.get("args")
    ours = isinstance(options, dict) and official_arguments.EPOCHS_DONE in options
    return ours and not any(name.startswith("projector.") for name in file.tensors)


def _check(file: official_file.OfficialFile, which: str, expected: bool) -> None:
    """Check that a file has the expected network, online or target; ValueError otherwise."""
    online = any(name.startswith(PREDICTOR) for name in file.tensors)
    if file.network != official_file.PRETRAINED or online != expected:
        found = official_file.NETWORKS[file.network]
        if file.network == official_file.PRETRAINED:
            found += " with a predictor, as the online one has" if online else " without a predictor, as the target is"
        wanted = "online (checkpoint-N.pth)" if expected else "target (checkpoint-te-N.pth)"
        raise ValueError(
            f"{FIELD}: {file.path} holds {found}; expected the {wanted} network of pretraining as {which}"
        )


def _network(file: official_file.OfficialFile) -> tuple[dict, dict[str, np.ndarray], list[str]]:
    """Return parameters, fixed position tables by official name, and notes."""
    tables = {
        name: official_file.float32(file.path, name, tensor)
        for name, tensor in file.tensors.items()
        if name.endswith(FIXED)
    }
    kept = {name: tensor for name, tensor in file.tensors.items() if name not in tables}
    params, notes = official_file.parameters(dataclasses.replace(file, tensors=kept), PRETRAINING)
    return params, tables, notes


def _spec(
    file: official_file.OfficialFile, params: dict, tables: Mapping, pixel_heads: int, rep_heads: int
) -> tuple[ModelSpec, dict[str, Any], tuple[str, ...]]:
    try:
        size = recognise_size(params)
    except ValueError as error:
        raise ValueError(f"{FIELD}: {file.path}: {error}") from error
    grid = math.isqrt(max(tables["pos_embed"].shape[1] - 1, 1)) if "pos_embed" in tables else 0
    if not grid:
        raise ValueError(f"{FIELD}: {file.path}: there is no pos_embed to tell the size of the images from")
    facts = {
        "model.size": size,
        "model.pixel_width": params["pixel_decoder"]["embed"]["kernel"].shape[1],
        "model.pixel_depth": _blocks(params["pixel_decoder"]),
        "model.pixel_heads": pixel_heads,
        "model.rep_heads": rep_heads,
        "model.rep_positions": _positions(file, tables, SIZES[size].width, params, grid),
        "model.instance_discrimination": not is_plain(file),
    }
    if not is_plain(file):
        facts |= {
            "model.rep_depth": _blocks(params["rep_decoder"]),
            "model.projection_hidden": params["projector"]["fc1"]["kernel"].shape[1],
            "model.projection_features": params["projector"]["fc2"]["kernel"].shape[1],
        }
    options = file.beside["args"] if isinstance(file.beside.get("args"), dict) else {}
    said = official_arguments.fields_of(options)
    config = pretrain.vary(pretrain.pretrain(), "released", said.get("batch.accumulation", 1))
    config.update_from_flattened_dict(facts | said)
    config.model.image_size = grid * SIZES[size].patch_size
    return pretraining_model(config), dict(flat(config)), tuple(sorted(said))


def _positions(file, tables: Mapping[str, np.ndarray], width: int, params: dict, grid: int) -> str:
    """Return the kind of positions of the representation decoder; all tables must equal the computed ones."""
    wanted = {"pos_embed": width, "decoder_pos_embed": params["pixel_decoder"]["embed"]["kernel"].shape[1]}
    kinds = {}
    for name, table in tables.items():
        sincos = sincos_positions(wanted.get(name, width), grid)[None]
        if table.shape == sincos.shape and np.abs(table - sincos).max() <= TOLERANCE:
            kinds[name] = "sincos"
        elif name == "rep_decoder_pos_embed" and not table.any():
            kinds[name] = "zeros"
        else:
            raise ValueError(
                f"{FIELD}: {file.path}: {name}: expected sine and cosine of a grid of {grid} by {grid}, fixed in "
                f"pretraining; found other numbers, shape {list(table.shape)}"
            )
    return kinds.get("rep_decoder_pos_embed", "zeros")


def _blocks(part: dict) -> int:
    return sum(name.startswith("block_") for name in part)


def _task(spec: ModelSpec) -> PretrainTask:
    """Build a task for shapes only; its loss is not used."""
    loss = LossSpec(True, 0.0, 0.0, "ncs", 1.0, 1.0, True)
    return PretrainTask(spec, loss, Statistics((0.0,) * 3, (1.0,) * 3))


def _epochs(file: official_file.OfficialFile) -> float | None:
    options = file.beside.get("args")
    exact = options.get(official_arguments.EPOCHS_DONE) if isinstance(options, dict) else None
    if type(exact) is float and math.isfinite(exact) and exact >= 0:
        return exact
    return None if file.epoch is None else float(file.epoch + 1)


def _what_it_says(file: official_file.OfficialFile) -> dict:
    """Return `epoch`, `scaler` and `args` as JSON; values that JSON lacks become text."""
    found = {name: file.beside[name] for name in ("epoch", "scaler", "args") if name in file.beside}
    return json.loads(json.dumps(found, default=str))

