"""The command-line options that an official pretraining file carries in `args`, as fields of our configuration."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from fsfm_jax.config.fields import horizon_of, one_of

LOSSES = {"SimSiam": "ncs", "BYOL": "byol", "InfoNCE": "infonce", "MOCOv3": "mocov3", "SimCLR": "simclr"}
NEGATIVES = {"all": True, "positive": False}
FACTORIES = {
    "vit_s16": "fsfm_vit_small_patch16",
    "vit_b16": "fsfm_vit_base_patch16",
    "vit_l16": "fsfm_vit_large_patch16",
    "vit_h14": "fsfm_vit_huge_patch14",
}
# Our own option in `args`: epochs done, including the part of the current one. Official code counts whole epochs.
EPOCHS_DONE = "fsfm_jax_epochs_done"


def _epochs(value: Any) -> str | None:
    return f"{value:g} epochs" if _number(value) is not None else None


def _number(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) and math.isfinite(value) else None


def _whole(value: Any) -> int | None:
    return value if type(value) is int else None


def _truth(value: Any) -> bool | None:
    return value if type(value) is bool else None


class _Row(NamedTuple):
    """An option, its field here, and a conversion of its value; None for a value that the option cannot have."""

    option: str
    field: str
    ours: Callable[[Any], Any]


_ROWS = (
    _Row("epochs", "duration", _epochs),  # of the schedule; `epoch` says where a run stopped before its end
    _Row("warmup_epochs", "optimizer.warmup", _epochs),
    _Row("blr", "optimizer.base_learning_rate", _number),
    _Row("min_lr", "optimizer.min_learning_rate", _number),
    _Row("weight_decay", "optimizer.weight_decay", _number),
    _Row("accum_iter", "batch.accumulation", _whole),
    _Row("mask_ratio", "mask.ratio", _number),
    _Row("norm_pix_loss", "loss.normalise_pixels", _truth),
    _Row("weight_sfr", "loss.region_weight", _number),
    _Row("weight_cl", "loss.instance_weight", _number),
    _Row("cl_loss", "loss.kind", LOSSES.get),
    _Row("cl_sample", "loss.negatives", NEGATIVES.get),
    _Row("t_momentum", "target.momentum", _number),
)


def fields_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return field of our configuration -> value, for the options that are there and have a value of their kind.

    The images of a step are `batch_size` of each process, times `accum_iter`, times `world_size`. `lr` and `blr` show
    it only where one was computed from the other: a run started with `--lr` also records the default of `blr`.
    """
    found = {row.field: row.ours(options[row.option]) for row in _ROWS if _is_plain(options.get(row.option))}
    rate, base = (_number(options.get(name)) for name in ("lr", "blr"))
    parts = [_whole(options.get(name)) for name in ("batch_size", "accum_iter", "world_size")]
    if all(part is not None and part > 0 for part in parts):
        found["batch.size"] = math.prod(parts)
        if rate:  # per 256 images (FSFM, released recipes)
            found["optimizer.base_learning_rate"] = _per_256(rate, base, found["batch.size"])
    elif rate and base:
        found["batch.size"] = round(256 * rate / base)
    return {field: value for field, value in found.items() if value is not None}


def _per_256(rate: float, base: float | None, batch: int) -> float:
    """Return the rate per 256 images: `base` as given where it fits, without the rounding of a division."""
    if base and math.isclose(base * batch / 256, rate, rel_tol=1e-9):
        return base
    return rate * 256 / batch


def options_of(
    fields: Mapping[str, Any], epochs: Callable[[str, Any], float], accumulation: int, image_size: int
) -> dict:
    """Return the options with which the official code would start this run.

    Args:
      fields: of the configuration, by name; epochs: name and value of a duration -> epochs.
      accumulation: micro-batches of a step.

    Raises:
      ValueError: a loss of instance discrimination that the official code does not have.
    """
    kinds = {ours: theirs for theirs, ours in LOSSES.items()}
    kind = one_of("loss.kind of an official file", fields["loss.kind"], kinds)
    batch = fields["batch.size"]
    values = dict(fields) | {
        "duration": _round(epochs("horizon", horizon_of(fields))),
        "optimizer.warmup": _round(epochs("optimizer.warmup", fields["optimizer.warmup"])),
        "batch.accumulation": accumulation,
        "loss.kind": kinds[kind],
        "loss.negatives": "all" if fields["loss.negatives"] else "positive",
    }
    return {
        "model": FACTORIES.get(fields["model.size"], fields["model.size"]),
        "input_size": image_size,
        "batch_size": batch // accumulation,
        **{row.option: values[row.field] for row in _ROWS},
        "lr": fields["optimizer.base_learning_rate"] * batch / 256,
        "seed": fields["seed"],
        "world_size": 1,
    }


def _round(epochs: float) -> int | float:
    return int(epochs) if epochs == int(epochs) else epochs


def _is_plain(value: Any) -> bool:
    return type(value) in (str, int, float, bool)
