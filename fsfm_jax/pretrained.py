"""Where fine-tuning starts from: a pretraining run of ours, or a weight file of the official code or like it."""

import dataclasses
import os
from collections.abc import Mapping

import jax.numpy as jnp

from fsfm_jax.export import official_file
from fsfm_jax.export.encoder_size import check_shapes, position_grid, recognise_size, shapes_of
from fsfm_jax.export.names import PRETRAINING
from fsfm_jax.export.official_statistics import statistics_beside
from fsfm_jax.models.vit import SIZES, Encoder, Size
from fsfm_jax.run_identity import parameters_of
from fsfm_jax.tasks.normalisation import Statistics

FIELD = "init"
# Positions are fixed in pretraining and learnt from there on in fine-tuning; the decoders' have no further use.
POSITIONS = {"encoder/pos_embed": "pos_embed"}
DROPPED = ("decoder_pos_embed", "rep_decoder_pos_embed")
TABLE = dataclasses.replace(PRETRAINING, rows=PRETRAINING.rows | POSITIONS)


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """What fine-tuning starts from.

    Attributes:
      params: nested NumPy arrays with an `encoder`, float32; the other parts are for `models.classifier.initialise`
        to leave out and report.
      statistics: the channel statistics of pretraining; None if nothing says what they were.
      origin: as JSON: `kind` ("run", "pth" or "safetensors"), `path`, `sha256` (None for a run), `size`, `step` of a
        run, `epoch` of a file that says it (counted from 0 by the official code), and `notes`, a list of text.
    """

    params: dict
    statistics: Statistics | None
    origin: dict


def open_pretrained(path: str, sizes: Mapping[str, Size] = SIZES) -> Pretrained:
    """Opens the --workdir of a pretraining run, or a file that ends in .pth, .pt, .pth.tar or .safetensors.

    A file may hold the online or the target network of FSFM, or a masked autoencoder or another ViT with the same
    names; all its names have to be known, and all its numbers finite. Heads cannot be seen in the arrays: see
    `recognise_size`.

    Raises:
      FileNotFoundError: nothing there.
      ValueError: a run of another job, a damaged file, a fine-tuned network, unknown names, or an unknown size.
    """
    if official_file.kind_of(path) is not None:
        return _of_file(path, sizes)
    if os.path.isfile(path):
        endings = ", ".join(official_file.SUFFIXES)
        raise ValueError(f"{FIELD}: {path} is a file; expected a --workdir, or a name that ends in {endings}")
    return _of_run(path, sizes)


def _of_run(path: str, sizes: Mapping[str, Size]) -> Pretrained:
    params, saved = parameters_of(path, "pretrain", FIELD)
    origin = {
        "kind": "run", "path": path, "sha256": None, "size": recognise_size(params, sizes), "step": saved["step"],
        "notes": [],
    }  # fmt: skip
    statistics = Statistics(tuple(saved["statistics"]["mean"]), tuple(saved["statistics"]["std"]))
    return Pretrained(params, statistics, origin)


def _of_file(path: str, sizes: Mapping[str, Size]) -> Pretrained:
    file = official_file.open_file(path, FIELD)
    if file.network != official_file.PRETRAINED:
        raise ValueError(
            f"{FIELD}: {path} holds {official_file.NETWORKS[file.network]}; fine-tuning starts from "
            f"{official_file.NETWORKS[official_file.PRETRAINED]}, take the file that this one was made from"
        )
    notes = _kind_notes(file.tensors)
    dropped = [name for name in DROPPED if name in file.tensors]
    if dropped:
        notes.append(f"not used: {', '.join(dropped)}")
        kept = {name: tensor for name, tensor in file.tensors.items() if name not in dropped}
        file = dataclasses.replace(file, tensors=kept)
    params, converted = official_file.parameters(file, TABLE)
    size = _size(path, params, sizes)
    return Pretrained(params, statistics_beside(path), file.origin(size, notes + converted))


def _kind_notes(names: Mapping) -> list[str]:
    if any(name.startswith("predictor.") for name in names):
        return []
    if any(name.startswith("projector.") for name in names):
        return ["the target network of pretraining: it has no predictor"]
    return ["no projector: a masked autoencoder or another ViT, not a network of FSFM"]


def _size(path: str, params: dict, sizes: Mapping[str, Size]) -> str:
    """The size of the encoder, all of whose arrays have to be there."""
    try:
        name = recognise_size(params, sizes)
    except ValueError as error:
        raise ValueError(f"{FIELD}: {path}: {error}") from error
    size, encoder = sizes[name], params["encoder"]
    learnt = "pos_embed" in encoder
    network = Encoder(
        size, position_grid(params, size) if learnt else 1, jnp.float32, False, learnt_positions=learnt,
        final_norm="norm" in encoder,
    )  # fmt: skip
    shapes = shapes_of(network, jnp.zeros((1, 1, 3 * size.patch_size**2)), jnp.zeros((1, 1), jnp.int32))
    check_shapes(encoder, shapes, f"{FIELD}: {path}, taken for {name}, part encoder")
    return name
