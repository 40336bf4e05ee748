"""From the user's ConfigDict to a resolved fine-tuning run: every name, duration and cross-field check."""

import dataclasses
import math

from ml_collections import ConfigDict

from fsfm_jax.config import finetune
from fsfm_jax.config.fields import accumulation, check_fields, flat, is_part_of, kept_every, one_of, stop_step, to_steps
from fsfm_jax.data.augment import AugmentSpec
from fsfm_jax.data.boxes import CropSpec, EraseSpec
from fsfm_jax.data.label_stream import LabelledSpec
from fsfm_jax.data.mixture import MixSpec
from fsfm_jax.data.rand_augment import fill_colour, parse
from fsfm_jax.data.resizing import INTERPOLATIONS
from fsfm_jax.data.sampling import NATURAL, SAMPLINGS
from fsfm_jax.data.saturation import OVERFLOWS, SaturationSpec
from fsfm_jax.metrics.selection import LAST, METRICS, SPLITS, TIES, SelectionRule
from fsfm_jax.models.adapter import IN_BLOCKS
from fsfm_jax.models.vit import SIZES
from fsfm_jax.optim import tuning
from fsfm_jax.optim.layer_decay import layer_rate_rules, weight_decay_rules
from fsfm_jax.optim.optimizer import OptimizerSpec
from fsfm_jax.resolve.image_size import training_sizes
from fsfm_jax.resolve.objective import resolve_contrast, resolve_focal, resolve_sphere
from fsfm_jax.resolve.optimizer import resolve_optimizer
from fsfm_jax.resolve.pretrain import divergence_alarms, skip_limit
from fsfm_jax.resolve.report import ReportSpec, resolve_report
from fsfm_jax.resolve.task import make_task
from fsfm_jax.run.checkpoint import Retention
from fsfm_jax.run.writers import writer_names
from fsfm_jax.tasks.classify import ClassifyTask
from fsfm_jax.tasks.normalisation import Statistics
from fsfm_jax.train.alarms import AlarmSpec
from fsfm_jax.train.loop import LoopSpec
from fsfm_jax.train.step import NONFINITE, StepSpec

SCHEDULES = ("cosine", "constant")
SCRATCH = "scratch"

# What may differ between a run and its continuation: data sets are compared by what is in them.
FREE_FIELDS = (
    "init", "repeats", "data.train", "data.validation", "data.test", "data.workers", "data.threads", "batch.per_device",
    "batch.accumulation", "model.remat", "evaluation.batch", "evaluation.threads", "checkpoint", "partition",
    "calibration", "bootstrap", "report", "features", "nonfinite_limit", "alarms",
    "writers",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class RateSchedule:
    """Learning rate over steps: a warm-up and half a cosine, or `peak` throughout."""

    kind: str
    peak: float
    floor: float
    warmup: float
    total: int


@dataclasses.dataclass(frozen=True)
class Finetuning:
    """A resolved fine-tuning run."""

    seed: int
    task: ClassifyTask
    stream: LabelledSpec
    step: StepSpec
    optimizer: OptimizerSpec
    schedule: RateSchedule
    selection: SelectionRule
    false_alarm_rate: float
    report: ReportSpec
    loop: LoopSpec
    alarms: AlarmSpec
    writers: tuple[str, ...]
    retention: Retention
    replicas: int | None
    fsdp: bool
    fsdp_min_size: int
    trained: str
    average: float
    cache: str


def resolve_finetuning(
    c: ConfigDict, examples: int, classes: int, real: int, statistics: Statistics, devices: int, stop_after: str = ""
) -> Finetuning:
    """Resolve a fine-tuning configuration for `examples` training images of `classes` classes, of which one is `real`.

    Raises:
      ValueError: any field that is unknown, misspelt, out of range or at odds with another.
    """
    check_fields(c, finetune.finetune())
    if c.batch.size > examples:
        raise ValueError(f"batch.size: {c.batch.size} images per step, but the training data has {examples}")
    parts = accumulation(c.batch.size, c.batch.per_device, devices, c.batch.accumulation)
    micro = c.batch.size // parts
    mixed = bool(c.mix.probability and (c.mix.mixup or c.mix.cutmix))
    if mixed and micro % 2:
        raise ValueError(f"mix: images are mixed in pairs, and a micro-batch has {micro}; use an even number")
    method = one_of("tuning.method", c.tuning.method, tuning.TUNINGS)
    if method != tuning.FULL and c.init == SCRATCH:
        raise ValueError(f"tuning.method: {method} keeps the encoder frozen, and from scratch it has learnt nothing")
    sampling = one_of("data.sampling", c.data.sampling, SAMPLINGS)
    if c.data.balanced and sampling != NATURAL:
        raise ValueError(f"data.sampling: {sampling} and data.balanced are two ways of balancing; set one of them")
    if c.features.cache:
        _check_cached(c, mixed)
    warmup, total = _durations(c, examples)
    save_every = _save_every(c, examples)
    size = SIZES[one_of("model.size", c.model.size, SIZES)]
    return Finetuning(
        seed=c.seed,
        task=make_task(
            c, classes, statistics, mixed=mixed, erased=bool(c.augment.erase), contrast=resolve_contrast(c, real),
            focal=resolve_focal(c, classes, real, mixed), sphere=resolve_sphere(c, mixed),
        ),  # fmt: skip
        stream=LabelledSpec(
            seed=c.seed,
            global_batch=c.batch.size,
            augment=_augment(c, statistics),
            mix=MixSpec(c.mix.mixup, c.mix.cutmix, c.mix.probability, c.mix.switch) if mixed else None,
            balanced=c.data.balanced,
            workers=c.data.workers,
            threads=c.data.threads,
            sampling=sampling, sizes=training_sizes(c),
        ),
        step=StepSpec(
            accumulation=parts,
            ratio_over="global_batch",
            target_cadence="optimizer_step",
            nonfinite=one_of("nonfinite", c.nonfinite, NONFINITE),
        ),
        optimizer=resolve_optimizer(
            c.optimizer,
            finetune.finetune().optimizer,
            _decay_rules(c),
            clip_norm=None,
            decay=c.optimizer.decay,
            rate_rules=layer_rate_rules(size.depth, c.optimizer.layer_decay) if c.optimizer.layer_decay < 1 else (),
        ),
        schedule=RateSchedule(
            kind=one_of("optimizer.schedule", c.optimizer.schedule, SCHEDULES),
            # A constant rate is meant as it stands; the cosine's is per 256 images.
            peak=c.optimizer.base_learning_rate * (c.batch.size / 256 if c.optimizer.schedule == "cosine" else 1),
            floor=c.optimizer.min_learning_rate,
            warmup=warmup,
            total=total,
        ),
        selection=_selection(c),
        false_alarm_rate=c.calibration.false_alarm_rate,
        report=resolve_report(c),
        loop=LoopSpec(total, stop_step(stop_after, total), save_every, c.nonfinite, skip_limit(c)),
        alarms=divergence_alarms(c),
        writers=writer_names(c.writers),
        retention=Retention(
            c.checkpoint.keep_latest,
            kept_every(c.checkpoint.keep_every, "checkpoint.keep_every", examples, c.batch.size, save_every),
        ),
        replicas=c.partition.replicas,
        fsdp=c.partition.fsdp,
        fsdp_min_size=c.partition.fsdp_min_size,
        trained=tuning.TUNINGS[method],
        average=c.average.decay,
        cache=c.features.cache,
    )


def binding_fields(config: ConfigDict) -> dict:
    """Return the fields that a continuation must share with the run that it continues, by name."""
    return {
        name: value
        for name, value in flat(config).items()
        if not is_part_of(name, FREE_FIELDS)
    }


def _selection(c: ConfigDict) -> SelectionRule:
    kind = one_of("selection.rule", c.selection.rule, SPLITS)
    if kind == "last":
        return LAST
    metric = one_of("selection.metric", c.selection.metric, METRICS)
    ties = one_of("selection.ties", c.selection.ties, TIES)
    if kind == "source-validation" and not c.data.validation:
        raise ValueError(
            "selection.rule: source-validation chooses on data.validation, which is empty; name one, or choose the last"
        )
    if kind == "oracle" and (not c.data.test or "," in c.data.test):
        raise ValueError(
            f"selection.rule: oracle chooses on the one test set of data.test; found {c.data.test or 'none'!r}"
        )
    return SelectionRule(kind, metric, METRICS[metric], ties)


def _check_cached(c: ConfigDict, mixed: bool) -> None:
    """Check that the features of an image are one vector: nothing random before them, and nothing trained in them."""
    if c.tuning.method not in tuning.BEHIND_THE_ENCODER:
        raise ValueError(
            f"features.cache: {c.tuning.method} changes the encoder; expected tuning.method "
            f"{' or '.join(tuning.BEHIND_THE_ENCODER)}"
        )
    if c.tuning.method == tuning.ADAPTER and c.tuning.insertion in IN_BLOCKS:
        raise ValueError(
            f"features.cache: tuning.insertion {c.tuning.insertion} changes the encoder; expected concat or add"
        )
    if c.model.network == "antispoof" and c.model.norm_over == "tokens":
        raise ValueError("features.cache: model.norm_over: tokens needs every token, the cache has pooled ones")
    random = {
        "augment.crop": c.augment.crop, "augment.flip": c.augment.flip,
        "augment.rand_augment": c.augment.rand_augment != "none", "augment.erase": c.augment.erase,
        "augment.saturation": c.augment.saturation, "mix.probability": mixed, "model.drop_path": c.model.drop_path,
    }  # fmt: skip
    on = [name for name, value in random.items() if value]
    if on:
        raise ValueError(
            f"features.cache: each image is seen once, so nothing may change it; switch off {', '.join(on)} (the "
            "variant `cached` of an adapter recipe does)"
        )


def _augment(c: ConfigDict, statistics: Statistics) -> AugmentSpec:
    a = c.augment
    overflow = one_of("augment.overflow", a.overflow, OVERFLOWS)
    return AugmentSpec(
        size=c.model.image_size,
        interpolation=one_of("augment.interpolation", a.interpolation, INTERPOLATIONS),
        saturation=SaturationSpec(probability=a.saturation, overflow=overflow) if a.saturation else None,
        crop=CropSpec() if a.crop else None,
        flip=a.flip,
        rand_augment=parse(a.rand_augment, fill_colour(statistics.mean)),
        erase=EraseSpec(probability=a.erase) if a.erase else None,
    )


def _decay_rules(c: ConfigDict) -> tuple[tuple[str, float], ...]:
    decay = float(c.optimizer.weight_decay)
    # Adam's L2 penalty of the anti-spoofing recipes is on every parameter.
    return ((".*", decay),) if c.optimizer.decay == "coupled" else weight_decay_rules(decay)


def _durations(c: ConfigDict, examples: int) -> tuple[float, int]:
    total = math.floor(to_steps(c.duration, "duration", examples, c.batch.size))
    if total < 1:
        raise ValueError(f"duration: {c.duration!r} is less than one step of {c.batch.size} images")
    warmup = to_steps(c.optimizer.warmup, "optimizer.warmup", examples, c.batch.size)
    if warmup >= total:
        raise ValueError(f"optimizer.warmup: {c.optimizer.warmup!r} is not shorter than the run of {c.duration!r}")
    return warmup, total


def _save_every(c: ConfigDict, examples: int) -> int:
    every = to_steps(c.checkpoint.every, "checkpoint.every", examples, c.batch.size)
    if not every:
        raise ValueError("checkpoint.every: expected more than nothing; a run without checkpoints cannot go on")
    return max(1, round(every))
