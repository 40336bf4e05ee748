"""From the user's ConfigDict to frozen specifications: every name, duration and cross-field check.

After this file nobody reads a ConfigDict. Errors say the field, what was found and what to do.
"""

import dataclasses
import difflib
import math

import jax.numpy as jnp
from ml_collections import ConfigDict

from configs import common
from fsfm_jax import records
from fsfm_jax.checkpoint import Retention
from fsfm_jax.data.masking import MaskSpec, seen_patches
from fsfm_jax.data.stream import StreamSpec
from fsfm_jax.models.fsfm import DECODED, POSITIONS, TARGET_VIEWS, ModelSpec
from fsfm_jax.models.vit import SIZES
from fsfm_jax.optim.optimizer import OptimizerSpec
from fsfm_jax.tasks.pretrain import LossSpec, Statistics
from fsfm_jax.train.loop import LoopSpec
from fsfm_jax.train.step import CADENCES, NONFINITE, RATIOS, StepSpec

DTYPES = {"bfloat16": jnp.bfloat16, "float32": jnp.float32}
LOSSES = ("ncs", "byol", "infonce", "mocov3", "simclr")

# Channel statistics that the released code lists, for data that is not at hand.
STATISTICS = {
    "vggface2": Statistics(
        (0.5482207536697388, 0.42340534925460815, 0.3654651641845703),
        (0.2789176106452942, 0.2438540756702423, 0.23493893444538116),
    ),
    "ffpp": Statistics(
        (0.532625138759613, 0.4048449993133545, 0.3708747327327728),
        (0.25850796699523926, 0.21054500341415405, 0.20785294473171234),
    ),
    "imagenet": Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}

# What may differ between a run and its continuation: where it runs and how often it is saved or shown.
FREE_FIELDS = (
    "data.train", "data.workers", "data.threads", "batch.per_device", "batch.accumulation", "model.remat",
    "checkpoint", "partition", "figure",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Learning rate and target momentum; warm-ups and totals in optimizer steps (target: in its updates)."""

    peak: float
    floor: float
    warmup: float
    total: int
    momentum: float
    target_frozen: bool
    target_warmup: float
    target_warmup_momentum: float
    target_total: int


@dataclasses.dataclass(frozen=True)
class Pretraining:
    """A resolved pretraining run."""

    seed: int
    model: ModelSpec
    loss: LossSpec
    stream: StreamSpec
    step: StepSpec
    optimizer: OptimizerSpec
    schedule: Schedule
    loop: LoopSpec
    retention: Retention
    fsdp: bool
    fsdp_min_size: int
    figure_data: str
    figure_faces: int


def flat(config: ConfigDict | dict, prefix: str = "") -> dict:
    """`{"model.size": "vit_b16", ...}`."""
    items = config.items(preserve_field_references=False) if isinstance(config, ConfigDict) else config.items()
    out = {}
    for key, value in items:
        nested = isinstance(value, ConfigDict | dict)
        out |= flat(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return out


def check_fields(config: ConfigDict, template: ConfigDict) -> None:
    """Refuses fields that the template lacks and the reverse, suggesting what was meant."""
    have, want = flat(config), flat(template)
    for name in have.keys() - want.keys():
        close = difflib.get_close_matches(name, want, 1, 0.5)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"config field {name} is unknown{hint}")
    for name in want.keys() - have.keys():
        raise ValueError(f"config field {name} is missing; start from configs.common.pretrain()")


def to_steps(text: str, field: str, examples: int, batch: int) -> float:
    """Optimizer steps of a duration: "3 epochs", "100 steps" or "5000 examples"; may be a fraction."""
    number, _, unit = str(text).strip().partition(" ")
    scale = {"epochs": examples / batch, "steps": 1.0, "examples": 1 / batch}
    try:
        amount = float(number)
    except ValueError:
        amount = math.nan
    if unit not in scale or not 0 <= amount < math.inf:
        raise ValueError(f'{field}: expected "NUMBER epochs", "NUMBER steps" or "NUMBER examples"; found {text!r}')
    return amount * scale[unit]


def one_of(field: str, value: str, allowed) -> str:
    """`value` if it is allowed."""
    if value not in allowed:
        close = difflib.get_close_matches(str(value), allowed, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{field}: expected one of {', '.join(allowed)}; found {value!r}{hint}")
    return value


def accumulation(size: int, per_device: int, devices: int, wanted: int | None) -> int:
    """Micro-batches of an optimizer step: the fewest with at most `per_device` images on a device at once.

    Raises:
      ValueError: the batch does not divide among the devices, or among the micro-batches.
    """
    if size % devices:
        below, above = size // devices * devices, -(-size // devices) * devices
        raise ValueError(
            f"batch.size: {size} images do not divide among {devices} devices; use {above}"
            + (f" or {below}" if below else "")
        )
    share = size // devices
    if wanted is not None:
        if wanted < 1 or share % wanted:
            raise ValueError(
                f"batch.accumulation: {wanted} micro-batches do not divide the {share} images of a device "
                f"({size} images on {devices} devices)"
            )
        return wanted
    if per_device < 1:
        raise ValueError(f"batch.per_device: expected at least 1, found {per_device}")
    return next(parts for parts in range(-(-share // per_device), share + 1) if share % parts == 0)


def resolve_pretraining(c: ConfigDict, examples: int, devices: int, stop_after: str = "") -> Pretraining:
    """Resolves a pretraining configuration for `examples` training images on `devices` devices.

    `stop_after` is "" (never), a number of steps, or a share such as "60%".

    Raises:
      ValueError: any field that is unknown, misspelt, out of range or at odds with another.
    """
    check_fields(c, common.pretrain())
    size = SIZES[one_of("model.size", c.model.size, SIZES)]
    patches = (records.IMAGE_SIZE // size.patch_size) ** 2
    mask = MaskSpec(c.mask.strategy, c.mask.ratio, c.mask.region_draw, c.mask.count)
    if c.batch.size < 1 or c.batch.size > examples:
        raise ValueError(
            f"batch.size: {c.batch.size} images per step, but the training data has {examples}; "
            "an optimizer step may not see an image twice"
        )
    parts = accumulation(c.batch.size, c.batch.per_device, devices, c.batch.accumulation)
    model = ModelSpec(
        size=size,
        image_size=records.IMAGE_SIZE,
        seen=seen_patches(patches, c.mask.ratio),
        pixel_width=c.model.pixel_width,
        pixel_depth=c.model.pixel_depth,
        pixel_heads=c.model.pixel_heads,
        rep_depth=c.model.rep_depth,
        rep_heads=c.model.rep_heads,
        projection_hidden=c.model.projection_hidden,
        projection_features=c.model.projection_features,
        instance_discrimination=c.model.instance_discrimination,
        target_view=one_of("model.target_view", c.model.target_view, TARGET_VIEWS),
        rep_decoded=one_of("model.rep_decoded", c.model.rep_decoded, DECODED),
        rep_positions=one_of("model.rep_positions", c.model.rep_positions, POSITIONS),
        dtype=DTYPES[one_of("model.dtype", c.model.dtype, DTYPES)],
        remat=c.model.remat,
    )
    for field, heads, width in (
        ("model.pixel_heads", c.model.pixel_heads, c.model.pixel_width),
        ("model.rep_heads", c.model.rep_heads, size.width),
    ):
        if width % heads:
            raise ValueError(f"{field}: {heads} heads do not divide the width {width}")
    loss = LossSpec(
        normalise_pixels=c.loss.normalise_pixels,
        region_weight=c.loss.region_weight,
        instance_weight=c.loss.instance_weight,
        kind=one_of("loss.kind", c.loss.kind, LOSSES),
        temperature=c.loss.temperature,
        ncs_scale=c.loss.ncs_scale,
        negatives=c.loss.negatives,
    )
    step = StepSpec(
        accumulation=parts,
        ratio_over=one_of("loss.ratio_over", c.loss.ratio_over, RATIOS),
        target_cadence=one_of("target.cadence", c.target.cadence, CADENCES),
        nonfinite=one_of("nonfinite", c.nonfinite, NONFINITE),
    )
    stream = StreamSpec(
        seed=c.seed,
        global_batch=c.batch.size,
        patch_size=size.patch_size,
        augment=c.data.augment,
        mask=mask,
        draw_group=c.mask.draw_group,
        other_mask=c.model.target_view == "other_visible",
        workers=c.data.workers,
        threads=c.data.threads,
    )
    # One-dimensional arrays (biases, norms) are not decayed; class token and mask token are.
    rules = ((r".*/(bias|scale)", 0.0), (".*", float(c.optimizer.weight_decay)))
    optimizer = OptimizerSpec(c.optimizer.beta1, c.optimizer.beta2, c.optimizer.epsilon, rules, c.optimizer.clip_norm)

    def steps(field: str, text: str) -> float:
        return to_steps(text, field, examples, c.batch.size)

    total = math.floor(steps("duration", c.duration))
    if total < 1:
        raise ValueError(f"duration: {c.duration!r} is less than one step of {c.batch.size} images")
    save_every = max(1, round(steps("checkpoint.every", c.checkpoint.every)))
    updates = parts if c.target.cadence == "micro_step" else 1
    schedule = Schedule(
        peak=c.optimizer.base_learning_rate * c.batch.size / 256,
        floor=c.optimizer.min_learning_rate,
        warmup=steps("optimizer.warmup", c.optimizer.warmup),
        total=total,
        momentum=c.target.momentum,
        target_frozen=one_of("target.rule", c.target.rule, ("ema", "frozen")) == "frozen",
        target_warmup=updates * steps("target.warmup", c.target.warmup),
        target_warmup_momentum=c.target.warmup_momentum,
        target_total=updates * total,
    )
    return Pretraining(
        seed=c.seed,
        model=model,
        loss=loss,
        stream=stream,
        step=step,
        optimizer=optimizer,
        schedule=schedule,
        loop=LoopSpec(
            steps=total,
            stop_after=_stop_step(stop_after, total),
            save_every=save_every,
            nonfinite=c.nonfinite,
        ),
        retention=Retention(
            c.checkpoint.keep_latest,
            # In whole saves: only a step that is saved can be kept.
            save_every * round(steps("checkpoint.keep_every", c.checkpoint.keep_every) / save_every),
        ),
        fsdp=c.partition.fsdp,
        fsdp_min_size=c.partition.fsdp_min_size,
        figure_data=c.figure.data,
        figure_faces=c.figure.faces,
    )


def _stop_step(text: str, total: int) -> int:
    """The step that `--stop_after` names."""
    if not text:
        return total
    number, share = text.removesuffix("%"), text.endswith("%")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not value > 0 or (share and value > 100):
        raise ValueError(f'--stop_after: expected a number of steps or a share such as "60%"; found {text!r}')
    return min(total, max(1, math.floor(total * value / 100 if share else value)))


def binding_fields(config: ConfigDict) -> dict:
    """The fields that a continuation must share with the run that it continues."""
    return {
        name: value
        for name, value in flat(config).items()
        if not any(name == free or name.startswith(f"{free}.") for free in FREE_FIELDS)
    }
