"""Checks of single configuration fields: names, choices, ranges, durations."""

import math
import numbers
import re
from collections.abc import Iterable, Mapping

from ml_collections import ConfigDict

from fsfm_jax.text import did_you_mean

# Fields with the numbers they may have: smallest, largest, and whether the smallest itself is allowed.
RANGES = {
    "seed": (0, 2**32 - 1, True),
    "batch.size": (1, math.inf, True),
    "batch.per_device": (1, math.inf, True),
    "data.workers": (0, math.inf, True),
    "data.threads": (0, math.inf, True),
    "model.image_size": (1, 4096, True),  # as exports may have
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
    "average.decay": (0, 0.9999999, True),  # at 1 the average would stay where it starts
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
# Singular or plural, with or without a space.
_DURATION = re.compile(r"\s*([-+.\w]*?)\s*(epoch|step|example)s?\s*", re.IGNORECASE)
_SHARE = re.compile(r"\s*([-+.\w]+?)\s*(%|steps?)?\s*", re.IGNORECASE)


class FieldError(ValueError):
    """A field or option has a name or a value that it cannot have."""


# Fields that runs from before there were such fields do not name, with what those runs did.
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
    """The value of a field in the stored fields of a run, "absent" if there never was one."""
    return fields[name] if name in fields else WHEN_ABSENT.get(name, "absent")


def is_part_of(name: str, fields: Iterable[str]) -> bool:
    """Whether the field `name`, with dots, is one of `fields` or lies below one of them."""
    return any(name == field or name.startswith(f"{field}.") for field in fields)


def flat(config: ConfigDict | dict, prefix: str = "") -> dict:
    """`{"model.size": "vit_b16", ...}`."""
    items = config.items(preserve_field_references=False) if isinstance(config, ConfigDict) else config.items()
    out = {}
    for key, value in items:
        nested = isinstance(value, ConfigDict | dict)
        out |= flat(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return out


def check_fields(config: ConfigDict, template: ConfigDict) -> None:
    """Refuses fields that the template lacks and the reverse, and numbers out of range.

    Raises:
      ValueError: naming the field, with what was probably meant.
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
    """`value` if it is allowed; ValueError with a suggestion otherwise."""
    names = list(allowed)
    if value not in names:
        hint = did_you_mean(str(value), names)
        raise FieldError(f"{field}: expected one of {', '.join(names)}; found {value!r}{hint}")
    return value


def to_steps(text: str, field: str, examples: int, batch: int) -> float:
    """Optimizer steps of a duration: "3 epochs", "1 epoch", "100steps" or "5000 examples"; may be a fraction."""
    found = _DURATION.fullmatch(str(text))
    amount = math.nan if found is None else _number(found[1])
    if not 0 <= amount < math.inf:
        raise FieldError(f'{field}: expected "NUMBER epochs", "NUMBER steps" or "NUMBER examples"; found {text!r}')
    return amount * {"epoch": examples / batch, "step": 1.0, "example": 1 / batch}[found[2].lower()]


def same_value(one: object, other: object) -> bool:
    """Whether two values of a field mean the same: equal, or one duration in two spellings."""
    if one == other or not (isinstance(one, str) and isinstance(other, str)):
        return one == other
    first, second = _DURATION.fullmatch(one), _DURATION.fullmatch(other)
    return (
        first is not None
        and second is not None
        and (_number(first[1]), first[2].lower()) == (_number(second[1]), second[2].lower())
    )


def horizon_of(fields: Mapping[str, object]) -> str:
    """What the schedules of a pretraining are made for, of its fields by name: the horizon, or else the duration."""
    return str(value_of(fields, "horizon") or fields["duration"])


def kept_every(text: str, field: str, examples: int, batch: int, save_every: int) -> int:
    """Steps between checkpoints that are kept for good, in whole saves since only those can be kept; 0: none."""
    steps = to_steps(text, field, examples, batch)
    return save_every * max(1, round(steps / save_every)) if steps else 0


def stop_step(text: str, total: int) -> int:
    """The step that `--stop_after` names: a number of steps, a share such as "60%", or "" for the last."""
    if not text:
        return total
    found = _SHARE.fullmatch(text)
    value, share = (math.nan, False) if found is None else (_number(found[1]), found[2] == "%")
    if not 0 < value < math.inf or (share and value > 100):
        raise FieldError(f'--stop_after: expected a number of steps or a share such as "60%"; found {text!r}')
    return min(total, max(1, math.floor(total * value / 100 if share else value)))


def accumulation(size: int, per_device: int, devices: int, wanted: int | None) -> int:
    """Micro-batches of an optimizer step: the fewest with at most `per_device` images on a device at once.

    Raises:
      ValueError: the batch does not divide among the devices or micro-batches, or only into tiny ones.
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
