"""Open a pretraining run, ours or an imported one, for exports and reconstructions."""

import dataclasses
import math
import os
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from fsfm_jax.config import pretrain
from fsfm_jax.config.fields import to_steps
from fsfm_jax.models.bases import OWN
from fsfm_jax.models.fsfm import ModelSpec, OnlineNetwork
from fsfm_jax.optim.optimizer import OPTIMIZERS
from fsfm_jax.resolve.pretrain import pretraining_model
from fsfm_jax.run import foreign_file
from fsfm_jax.run.checkpoint import read_parts
from fsfm_jax.tasks.normalisation import Statistics
from fsfm_jax.train.identity import check_place
from fsfm_jax.weights import bundled, checkpoint_place
from fsfm_jax.weights.encoder_size import check_shapes, shapes_of
from fsfm_jax.weights.export_file import find_export, read_weights
from fsfm_jax.weights.official_optimizer import Moments
from fsfm_jax.weights.run_import import open_imported
from fsfm_jax.weights.sidecar_file import COPY
from fsfm_jax.weights.signed_files import open_signed

FIELD = "--checkpoint"
OFFICIAL = "official"  # a format whose files hold a complete pretraining run; `from_torch` imports them


@dataclasses.dataclass(frozen=True)
class OpenedRun:
    """A pretraining run at one of its checkpoints.

    Attributes:
      params, target: nested NumPy arrays of the networks; target None without one.
      moments: of AdamW, None if the run has none, or has those of an optimizer that official files do not know.
      carried: see `imported.Imported`; empty for a run of fsfm_jax.
      spec: the networks. fields: the configuration, by name; config: the same as such.
      statistics: of its channels; None if unknown.
      step: optimizer steps done; epochs: of its data, None if unknown.
      item: the `run` item. base: its family of base models.
    """

    params: dict
    target: dict | None
    moments: Moments | None
    carried: dict[str, Mapping[str, np.ndarray]]
    spec: ModelSpec
    config: ConfigDict
    statistics: Statistics | None
    step: int
    epochs: float | None
    item: dict
    base: str

    def epochs_of(self, field: str, text: str) -> float:
        """Return a duration of the configuration in epochs."""
        return (
            to_steps(text, field, max(self.examples, 1), self.config.batch.size)
            * self.config.batch.size
            / max(self.examples, 1)
        )

    @property
    def examples(self) -> int:
        """Return the images of an epoch; 0 for an imported run, which does not record them."""
        return sum(source["examples"] for source in self.item["data"]) if "data" in self.item else 0


def open_run(workdir: str, step: int | None = None, moments: bool = True) -> OpenedRun:
    """Open the last checkpoint of a pretraining run, that of `step`, or what was imported.

    Without `moments` the moments are not read; they are two thirds of a checkpoint.

    Raises:
      FileNotFoundError: no such run or checkpoint.
      ValueError: a run of another job.
    """
    check_place(workdir, FIELD)
    directory = os.path.join(workdir, "checkpoints")
    has_steps = os.path.isdir(directory) and any(map(str.isdigit, os.listdir(directory)))
    wanted = ("params", "target", "carried") + (("moments",) if moments else ())
    imported = None if has_steps else open_imported(workdir, wanted)
    if imported is not None:
        return _read_import(*imported)
    if not has_steps:
        found = f" ({foreign_file.lacking_run(workdir)})" if workdir else ""
        raise FileNotFoundError(
            f"{FIELD}: no run at {workdir or 'an empty path'} that has saved something{found}; expected the --workdir "
            "of a pretraining or of a fine-tuning that has ended, or what export.from_torch made"
        )
    parts, item = read_parts(directory, ("params", "target") + (("optimizer",) if moments else ()), step)
    if item["config"]["job"] != "pretrain":
        raise ValueError(
            f"{FIELD}: {workdir} holds a run of job {item['config']['job']!r}, and no detector: run its "
            "command again to end it"
        )
    config = _config(item["all_fields"])
    row, size = OPTIMIZERS.get(config.optimizer.name), config.batch.size  # None: unknown here
    adam = row.find_moments(parts["optimizer"]) if moments and row is not None else None
    examples = sum(source["examples"] for source in item["data"])
    return OpenedRun(
        params=parts["params"],
        target=parts["target"]["params"] if parts.get("target", {}).get("params") else None,
        moments=None if adam is None else Moments(int(adam["count"]), adam["mu"], adam["nu"]),
        carried={},
        spec=pretraining_model(config),
        config=config,
        statistics=_statistics(item),
        step=item["step"],
        epochs=item["step"] * size / examples,
        item=item,
        base=OWN,
    )


def open_reconstruction(checkpoint: str | None, signed_by: str | None = None) -> OpenedRun:
    """Open a network that reconstructs faces: a pretraining run, an export with its pixel decoder, or `small`.

    None stands for the encoder of the package. An export has neither moments nor a target network, and its `spec` has
    no instance discrimination. With a public key as `signed_by` only what it verifies is loaded.

    Raises:
      FileNotFoundError: nothing there.
      ValueError: a run of another job, a detector, an export without pixel decoder, or one whose arrays are not those
        of the network that the JSON next to it describes; or what `signed_files.open_signed` refuses.
    """
    if signed_by is not None:
        with open_signed(checkpoint, signed_by) as copy:
            return open_reconstruction(copy)
    checkpoint = checkpoint_place.resolve(checkpoint, bundled.ENCODER)
    export = find_export(checkpoint)
    if export is None:
        return open_run(checkpoint, moments=False)
    said = export.said
    if export.is_detector:
        raise ValueError(f"{FIELD}: {checkpoint} is a detector, as {export.beside} says; name its pretraining")
    params = {} if said["format"] == OFFICIAL else read_weights(export, FIELD).params
    if "pixel_decoder" not in params:
        raise ValueError(
            f"{FIELD}: {checkpoint} is an export without pixel decoder; write one with --format=safetensors --decoder"
        )
    try:
        config = _config(said["config"])
        config.model.image_size = said["image_size"]
        spec = dataclasses.replace(pretraining_model(config), instance_discrimination=False)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{export.beside}: config: not a network of fsfm_jax ({str(error)[:200]}); {COPY}") from error
    _check_decoding(params, spec, f"{FIELD}: {export.path}, as {export.beside} describes it")
    return OpenedRun(
        params=params, target=None, moments=None, carried={}, spec=spec, config=config, statistics=export.statistics,
        step=said.get("step"), epochs=said.get("epochs"), item=said, base=said["base"],
    )  # fmt: skip


def reconstructs(checkpoint: str | None) -> bool:
    """Return whether an export or the package's encoder has its pixel decoder, by its JSON; ValueError as above."""
    export = find_export(checkpoint_place.resolve(checkpoint, bundled.ENCODER))
    return export is not None and export.said["format"] == "safetensors" and export.said.get("timm") is None


def _check_decoding(params: dict, spec: ModelSpec, what: str) -> None:
    """Refuse arrays of another network. Check the width first: a large one would take memory before the comparison."""
    kernel = params["pixel_decoder"].get("embed", {}).get("kernel")
    if kernel is None or kernel.shape != (spec.size.width, spec.pixel_width):
        found = "nothing" if kernel is None else list(kernel.shape)
        raise ValueError(
            f"{what}: pixel_decoder/embed/kernel: expected {[spec.size.width, spec.pixel_width]}; found {found}"
        )
    patches = jnp.zeros((1, spec.patches, spec.size.pixels))
    check_shapes(params, shapes_of(OnlineNetwork(spec), patches, jnp.zeros((1, spec.patches), bool)), what)


def whole_epochs(epochs: float, step: int) -> int:
    """Return the whole epochs done; half a step short of an epoch counts, as steps rarely end exactly with one."""
    return math.floor(epochs * (step + 0.5) / step + 1e-9) if step else 0


def _read_import(state: Any, item: dict) -> OpenedRun:
    config, moments = _config(item["config"]), state.moments
    config.model.image_size = item["image_size"] if "image_size" in item else config.model.image_size
    return OpenedRun(
        params=state.params,
        target=state.target or None,
        moments=Moments(int(moments["count"]), moments["mu"], moments["nu"]) if moments else None,
        carried=state.carried,
        spec=pretraining_model(config),
        config=config,
        statistics=_statistics(item),
        step=item["step"],
        epochs=item["epochs"],
        item=item,
        base=item["base"],
    )


def _config(fields: Mapping[str, Any]) -> ConfigDict:
    config = pretrain.pretrain()
    config.update_from_flattened_dict(fields)
    return config


def _statistics(item: dict) -> Statistics | None:
    kept = item["statistics"]
    return None if kept is None else Statistics(tuple(kept["mean"]), tuple(kept["std"]))
