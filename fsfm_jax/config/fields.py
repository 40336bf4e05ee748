"""Checks of single configuration fields: names, choices, ranges, durations."""

import math
import numbers
import re
from collections.abc import Iterable, Mapping

from ml_collections import ConfigDict

from fsfm_jax.text import did_you_mean

# Range of each numeric field: smallest value, largest value, and whether the smallest is allowed.
RANGES = {
    "seed": (0, 2**32 - 1, True),
    "batch.size": (1, math.inf, True),
    "batch.per_device": (1, math.inf, True),
    "data.workers": (0, math.inf, True),
    "data.threads": (0, math.inf, True),
    "model.image_size": (1, 4096, True),  # the limit of exports
    "model.pixel_width": (4, math.inf, True),
    "model.pixel_depth": (1, math.inf, True),
    "model.pixel_heads": (1, math.inf, True),
    "model.rep_depth": (1, math.inf, True),
    "model.rep_heads": (1, math.inf, True),
    "model.projection_hidden": (1, math.inf, True),
    "model.projection_features": (1, math.inf, True),
    "mask.draw_group": (1, math.inf, True),
    "loss.temperature": (0, math.inf, False),
    "loss.contrast": (0, math.inf, True),
    "loss.focusing": (0, 100, True),
    "loss.uniformity": (0, math.inf, True),
    "loss.alignment": (0, math.inf, True),
    "loss.alpha": (0, 1, False),
    "tuning.reduction": (1, math.inf, True),
    "tuning.rank": (1, math.inf, True),
    "tuning.alpha": (0, math.inf, False),
    "loss.ncs_scale": (0, math.inf, False),
    "loss.masked_weight": (0, math.inf, True),
    "loss.region_weight": (0, math.inf, True),
    "loss.instance_weight": (0, math.inf, True),
    "optimizer.base_learning_rate": (0, math.inf, True),
    "optimizer.min_learning_rate": (0, math.inf, True),
    "optimizer.beta1": (0, 1, True),
    "optimizer.beta2": (0, 1, True),
    "optimizer.epsilon": (0, math.inf, False),
    "optimizer.weight_decay": (0, math.inf, True),
    "optimizer.clip_norm": (0, math.inf, True),
    "target.momentum": (0, 1, True),
    "target.warmup_momentum": (0, 1, True),
    "checkpoint.keep_latest": (1, math.inf, True),
    "partition.fsdp_min_size": (1, math.inf, True),
    "nonfinite_limit.consecutive": (0, math.inf, True),
    "nonfinite_limit.total": (0, math.inf, True),
    "alarms.collapse.below": (0, 1, False),
    "alarms.collapse.steps": (1, math.inf, True),
    "alarms.divergence.loss": (1, math.inf, False),
    "alarms.divergence.gradient": (1, math.inf, False),
    "alarms.divergence.window": (1, 100_000, True),
    "alarms.divergence.steps": (1, math.inf, True),
    "alarms.frozen_target.steps": (1, math.inf, True),
    "figure.faces": (1, math.inf, True),
    "model.drop_path": (0, 0.999, True),
    "model.dropout": (0, 0.999, True),
    "augment.flip": (0, 1, True),
    "augment.erase": (0, 1, True),
    "augment.saturation": (0, 1, True),
    "loss.smoothing": (0, 1, True),
    "optimizer.layer_decay": (0, 1, True),
    "average.decay": (0, 0.9999999, True),  # at 1 the average would never move
    "evaluation.batch": (1, math.inf, True),
    "evaluation.threads": (1, 1000, True),
    "repeats": (1, 1000, True),
    "calibration.false_alarm_rate": (0, 1, True),
    "bootstrap.resamples": (10, 100_000, True),
    "bootstrap.level": (0.5, 0.999, True),
    "report.selective.risk": (0, 0.5, True),
    "report.selective.alpha": (0, 0.5, False),
}
# Fields of `RANGES` that may be None.
OPTIONAL = ("optimizer.clip_norm", "loss.alpha")
# Units are singular or plural, with or without a space before them.
_DURATION = re.compile(r"\s*([-+.\w]*?)\s*(epoch|step|example)s?\s*", re.IGNORECASE)
_SHARE = re.compile(r"\s*([-+.\w]+?)\s*(%|steps?)?\s*", re.IGNORECASE)


class FieldError(ValueError):
    """A field or option has an unknown name or a value that is not allowed."""


# Fields that older runs do not store, with the value that describes what those runs did.
WHEN_ABSENT = {
    "data.repeat_batch": False, "optimizer.name": "adamw", "optimizer.options": "", "model.image_size": 224,
    "loss.masked_weight": 1.0, "horizon": "", "data.augment_online": "", "data.augment_target": "",
    "tuning.insertion": "concat", "loss.contrast_kind": "real_anchor", "report.selective.calibration": "",
    "report.selective.risk": 0.05, "report.selective.alpha": 0.1, "report.selective.by_class": True,
    "average.decay": 0.0, "loss.focusing": 0.0, "loss.alpha": None, "data.sampling": "natural",
    "tuning.projections": "qkv", "tuning.blocks": "", "model.unit_features": False, "loss.uniformity": 0.0,
    "loss.alignment": 0.0, "augment.sizes": "",
}  # fmt: skip


def value_of(fields: Mapping[str, object], name: str) -> object:
    """Return the value of a field in the stored fields of a run; "absent" if no version had a value for it."""
    return fields[name] if name in fields else WHEN_ABSENT.get(name, "absent")


def is_part_of(name: str, fields: Iterable[str]) -> bool:
    """Return whether the dotted field `name` is one of `fields` or lies below one of them."""
    return any(name == field or name.startswith(f"{field}.") for field in fields)


def flat(config: ConfigDict | dict, prefix: str = "") -> dict:
    """Return all fields by dotted name: `{"model.size": "vit_b16", ...}`."""
    items = config.items(preserve_field_references=False) if isinstance(config, ConfigDict) else config.items()
    out = {}
    for key, value in items:
        nested = isinstance(value, ConfigDict | dict)
        out |= flat(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return out


def check_fields(config: ConfigDict, template: ConfigDict) -> None:
    """Refuse unknown fields, missing fields and numbers out of range.

    Raises:
      FieldError: a field does not fit; the message names it and suggests the nearest known name.
    """
    have, want = flat(config), flat(template)
    for name in have.keys() - want.keys():
        raise FieldError(f"config field {name} is unknown{did_you_mean(name, want)}")
    for name in want.keys() - have.keys():
        raise FieldError(f"config field {name} is missing; start from a shipped recipe of the job")
    for name in want.keys() & RANGES.keys():
        (low, high, included), value = RANGES[name], have[name]
        if value is None and name in OPTIONAL:
            continue
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise FieldError(f"{name}: expected a number; found {value!r}")
        if not (low <= value if included else low < value) or not value <= high or value == math.inf:
            least = f"at least {low}" if included else f"more than {low}"
            most = "" if high == math.inf else f" and at most {high}"
            raise FieldError(f"{name}: expected {least}{most}; found {value}")


def one_of(field: str, value: str, allowed: Iterable[str]) -> str:
    """Return `value` if it is allowed; raise FieldError with a suggestion otherwise."""
    names = list(allowed)
    if value not in names:
        hint = did_you_mean(str(value), names)
        raise FieldError(f"{field}: expected one of {', '.join(names)}; found {value!r}{hint}")
    return value


def to_steps(text: str, field: str, examples: int, batch: int) -> float:
    """Return a duration in optimizer steps, possibly a fraction: "3 epochs", "1 epoch", "100steps", "5000 examples"."""
    found = _DURATION.fullmatch(str(text))
    amount = math.nan if found is None else _number(found[1])
    if not 0 <= amount < math.inf:
        raise FieldError(f'{field}: expected "NUMBER epochs", "NUMBER steps" or "NUMBER examples"; found {text!r}')
    return amount * {"epoch": examples / batch, "step": 1.0, "example": 1 / batch}[found[2].lower()]


def same_value(one: object, other: object) -> bool:
    """Return whether two values of a field mean the same: they are equal, or the same duration in two spellings."""
    if one == other or not (isinstance(one, str) and isinstance(other, str)):
        return one == other
    first, second = _DURATION.fullmatch(one), _DURATION.fullmatch(other)
    return (
        first is not None
        and second is not None
        and (_number(first[1]), first[2].lower()) == (_number(second[1]), second[2].lower())
    )


def horizon_of(fields: Mapping[str, object]) -> str:
    """Return the length of the schedules of a pretraining from its flat fields: the horizon, else the duration."""
    return str(value_of(fields, "horizon") or fields["duration"])


def kept_every(text: str, field: str, examples: int, batch: int, save_every: int) -> int:
    """Return the steps between permanent checkpoints, a multiple of `save_every`; 0: none."""
    steps = to_steps(text, field, examples, batch)
    return save_every * max(1, round(steps / save_every)) if steps else 0


def stop_step(text: str, total: int) -> int:
    """Return the step that `--stop_after` names: a number of steps, a share such as "60%", or "" for the last step."""
    if not text:
        return total
    found = _SHARE.fullmatch(text)
    value, share = (math.nan, False) if found is None else (_number(found[1]), found[2] == "%")
    if not 0 < value < math.inf or (share and value > 100):
        raise FieldError(f'--stop_after: expected a number of steps or a share such as "60%"; found {text!r}')
    return min(total, max(1, math.floor(total * value / 100 if share else value)))


def accumulation(size: int, per_device: int, devices: int, wanted: int | None) -> int:
    """Return the number of micro-batches per optimizer step: the fewest with at most `per_device` images per device.

    `wanted` overrides it.

    Raises:
      FieldError: the batch does not divide among the devices or micro-batches, or only into very small ones.
    """
    if size % devices:
        below, above = size // devices * devices, -(-size // devices) * devices
        choices = f"{above} or {below}" if below else str(above)
        raise FieldError(f"batch.size: {size} images do not divide among {devices} devices; use {choices}")
    share = size // devices
    if wanted is not None:
        if wanted < 1 or share % wanted:
            raise FieldError(
                f"batch.accumulation: {wanted} micro-batches do not divide the {share} images of a device "
                f"({size} images on {devices} devices)"
            )
        return wanted
    fewest = -(-share // per_device)
    parts = next(parts for parts in range(fewest, share + 1) if share % parts == 0)
    if parts > 2 * fewest:
        raise FieldError(
            f"batch.size: the {share} images of a device divide into {parts} parts of at most batch.per_device = "
            f"{per_device}, not into {fewest}; use {fewest * per_device * devices} images, or set batch.accumulation"
        )
    return parts


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
