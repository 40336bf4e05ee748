"""From the user's ConfigDict to frozen specifications: every name, duration and cross-field check.

After this file nobody reads a ConfigDict. Errors say the field, what was found and what to do.
"""

import dataclasses
import math

from ml_collections import ConfigDict

from fsfm_jax import losses
from fsfm_jax.config import pretrain
from fsfm_jax.config.fields import accumulation, check_fields, flat, is_part_of, kept_every, one_of, stop_step, to_steps
from fsfm_jax.data.masking import COUNTS, REGION_DRAWS, STRATEGIES, MaskSpec
from fsfm_jax.data.stream import StreamSpec
from fsfm_jax.models.fsfm import OTHER_VISIBLE, REGRESSED, ModelSpec
from fsfm_jax.models.vit import SIZES
from fsfm_jax.optim.optimizer import OptimizerSpec
from fsfm_jax.resolve.networks import DTYPES, pretraining_model, target_design
from fsfm_jax.resolve.optimizer import resolve_optimizer
from fsfm_jax.resolve.views import resolve_views
from fsfm_jax.run.checkpoint import Retention
from fsfm_jax.run.writers import writer_names
from fsfm_jax.tasks.pretrain import LossSpec
from fsfm_jax.train.alarms import ACTIONS, MOVING_SHARE, AlarmSpec
from fsfm_jax.train.loop import LoopSpec
from fsfm_jax.train.outcome import SkipLimit
from fsfm_jax.train.step import CADENCES, NONFINITE, RATIOS, StepSpec

# What may differ between a run and its continuation: where it runs and how often it is saved or shown.
FREE_FIELDS = (
    "data.train", "data.workers", "data.threads", "batch.per_device", "batch.accumulation", "model.remat",
    "checkpoint", "partition", "figure", "nonfinite_limit", "alarms", "writers",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Learning rate and target momentum; warm-ups and totals in optimizer steps (target: in its updates).

    The totals are those of the horizon: the run may end before.
    """

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
    alarms: AlarmSpec
    writers: tuple[str, ...]
    retention: Retention
    replicas: int | None
    fsdp: bool
    fsdp_min_size: int
    figure_data: str
    figure_faces: int


def resolve_pretraining(c: ConfigDict, examples: int, devices: int, stop_after: str = "") -> Pretraining:
    """Resolve a pretraining configuration for `examples` training images on `devices` devices.

    `stop_after` is "" (never), a number of steps, or a share such as "60%".

    Raises:
      ValueError: any field that is unknown, misspelt, out of range or at odds with another.
    """
    check_fields(c, pretrain.pretrain())
    size = SIZES[one_of("model.size", c.model.size, SIZES)]
    mask = MaskSpec(
        one_of("mask.strategy", c.mask.strategy, STRATEGIES),
        c.mask.ratio,
        one_of("mask.region_draw", c.mask.region_draw, REGION_DRAWS),
        one_of("mask.count", c.mask.count, COUNTS),
    )
    if c.batch.size > examples:
        raise ValueError(
            f"batch.size: {c.batch.size} images per step, but the training data has {examples}; "
            "an optimizer step may not see an image twice"
        )
    parts = accumulation(c.batch.size, c.batch.per_device, devices, c.batch.accumulation)
    _check_terms(c, mask)
    model = pretraining_model(c)
    loss = pretraining_loss(c)
    step = StepSpec(
        accumulation=parts,
        ratio_over=one_of("loss.ratio_over", c.loss.ratio_over, RATIOS),
        target_cadence=one_of("target.cadence", c.target.cadence, CADENCES),
        nonfinite=one_of("nonfinite", c.nonfinite, NONFINITE),
        reduce_dtype=DTYPES[one_of("partition.reduce_dtype", c.partition.reduce_dtype, DTYPES)],
    )
    online, target = resolve_views(c, model)
    stream = StreamSpec(
        seed=c.seed,
        global_batch=c.batch.size,
        patch_size=size.patch_size,
        online=online,
        target=target,
        mask=mask,
        draw_group=c.mask.draw_group,
        image_size=model.image_size,
        other_mask=model.target_view == OTHER_VISIBLE,
        workers=c.data.workers,
        threads=c.data.threads,
    )
    # One-dimensional arrays (biases, norms) are not decayed; class token and mask token are.
    rules = ((r".*/(bias|scale)", 0.0), (".*", float(c.optimizer.weight_decay)))
    optimizer = resolve_optimizer(c.optimizer, pretrain.pretrain().optimizer, rules, c.optimizer.clip_norm or None)

    def steps(field: str, text: str) -> float:
        return to_steps(text, field, examples, c.batch.size)

    total = math.floor(steps("duration", c.duration))
    if total < 1:
        raise ValueError(f"duration: {c.duration!r} is less than one step of {c.batch.size} images")
    horizon = math.floor(steps("horizon", c.horizon)) if c.horizon else total
    if horizon < total:
        raise ValueError(
            f"horizon: {c.horizon!r} is shorter than the run of {c.duration!r}; the schedule cannot end before the run"
        )
    warmup = steps("optimizer.warmup", c.optimizer.warmup)
    if warmup >= total:
        raise ValueError(
            f"optimizer.warmup: {c.optimizer.warmup!r} is not shorter than the run of {c.duration!r}; shorten it too"
        )
    every = steps("checkpoint.every", c.checkpoint.every)
    if not every:
        raise ValueError("checkpoint.every: expected more than nothing; a run without checkpoints cannot go on")
    save_every = max(1, round(every))
    updates = parts if c.target.cadence == "micro_step" else 1
    schedule = Schedule(
        peak=c.optimizer.base_learning_rate * c.batch.size / 256,
        floor=c.optimizer.min_learning_rate,
        warmup=warmup,
        total=horizon,
        momentum=c.target.momentum,
        target_frozen=one_of("target.rule", c.target.rule, ("ema", "frozen")) == "frozen",
        target_warmup=updates * steps("target.warmup", c.target.warmup),
        target_warmup_momentum=c.target.warmup_momentum,
        target_total=updates * horizon,
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
            stop_after=stop_step(stop_after, total),
            save_every=save_every,
            nonfinite=c.nonfinite,
            limit=skip_limit(c),
        ),
        alarms=pretraining_alarms(c, schedule),
        writers=writer_names(c.writers),
        retention=Retention(
            c.checkpoint.keep_latest,
            kept_every(c.checkpoint.keep_every, "checkpoint.keep_every", examples, c.batch.size, save_every),
        ),
        replicas=c.partition.replicas,
        fsdp=c.partition.fsdp,
        fsdp_min_size=c.partition.fsdp_min_size,
        figure_data=c.figure.data,
        figure_faces=c.figure.faces,
    )


def skip_limit(c: ConfigDict) -> SkipLimit:
    """Return how many steps may be left out."""
    return SkipLimit(c.nonfinite_limit.consecutive, c.nonfinite_limit.total)


def divergence_alarms(c: ConfigDict) -> AlarmSpec:
    """Return the alarms that every training has; the others are off.

    Raises:
      ValueError: an action that is not known.
    """
    d = c.alarms.divergence
    action = one_of("alarms.divergence.action", d.action, ACTIONS)
    return AlarmSpec(
        collapse="off", collapse_below=0, collapse_after=0, collapse_steps=1, divergence=action, loss_above=d.loss,
        gradient_above=d.gradient, window=d.window, divergence_steps=d.steps, frozen_target="off",
        frozen_target_until=0, frozen_target_steps=1,
    )  # fmt: skip


def pretraining_alarms(c: ConfigDict, schedule: Schedule) -> AlarmSpec:
    """Return all alarms; that of a frozen target is off where the target is to stay.

    Raises:
      ValueError: an action that is not known.
    """
    collapse, frozen = c.alarms.collapse, c.alarms.frozen_target
    action = one_of("alarms.frozen_target.action", frozen.action, ACTIONS)
    return dataclasses.replace(
        divergence_alarms(c),
        collapse=one_of("alarms.collapse.action", collapse.action, ACTIONS),
        collapse_below=collapse.below,
        collapse_after=schedule.warmup,
        collapse_steps=collapse.steps,
        frozen_target="off" if schedule.target_frozen else action,
        frozen_target_until=MOVING_SHARE * schedule.total,
        frozen_target_steps=frozen.steps,
    )


def pretraining_loss(c: ConfigDict) -> LossSpec:
    """Return the objective of a pretraining configuration.

    Raises:
      ValueError: a kind of loss that is not known.
    """
    return LossSpec(
        normalise_pixels=c.loss.normalise_pixels,
        region_weight=c.loss.region_weight,
        instance_weight=c.loss.instance_weight,
        kind=one_of("loss.kind", c.loss.kind, losses.KINDS),
        temperature=c.loss.temperature,
        ncs_scale=c.loss.ncs_scale,
        negatives=c.loss.negatives,
        masked_weight=c.loss.masked_weight,
    )


def _check_terms(c: ConfigDict, mask: MaskSpec) -> None:
    """Refuse an objective that trains nothing, and pixels that are predicted although nothing asks for them."""
    masked, region = c.loss.masked_weight, c.loss.region_weight
    instance = c.loss.instance_weight if c.model.instance_discrimination else 0
    if not (masked or region or instance):
        without = "" if c.model.instance_discrimination else " and model.instance_discrimination False"
        raise ValueError(
            "loss: nothing would be trained with loss.masked_weight, loss.region_weight and loss.instance_weight 0"
            f"{without}; give one of them a weight"
        )
    if region and not masked and not mask.row.covers_region:
        raise ValueError(
            f"loss.masked_weight: 0 leaves the reconstruction of a covered region, and mask.strategy {c.mask.strategy} "
            "covers none; set loss.region_weight to 0 as well, or choose a strategy that covers a region"
        )


def binding_fields(config: ConfigDict, parts: int) -> dict:
    """Return the fields that a continuation must share with the run that it continues, by name.

    The number of micro-batches, `parts`, is one of them when it changes more than rounding; with the default
    recipe it does not, and a run may continue with other devices.
    """
    fields = {name: value for name, value in flat(config).items() if not is_part_of(name, FREE_FIELDS)}
    c = config
    # A design of the supplement is the same run under the names of its two parts.
    view, decoded = target_design(c)
    if decoded != REGRESSED:
        fields |= {"model.target_view": view, "model.rep_decoded": decoded}
    negatives = c.model.instance_discrimination and losses.KINDS[c.loss.kind].compares_images
    per_part = c.loss.ratio_over == "micro_batch" or c.target.cadence == "micro_step" or c.nonfinite == "skip"
    return fields | ({"batch.accumulation": parts} if negatives or per_part else {})
