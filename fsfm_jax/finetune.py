"""The fine-tuning job: a pretrained encoder becomes a detector, and is looked at on a validation set as it learns."""

import functools
import json
import logging
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from fsfm_jax import partition, records
from fsfm_jax.checkpoint import Checkpoints
from fsfm_jax.config import STATISTICS
from fsfm_jax.data.labelled import LabelledSource, check_classes, check_disjoint, open_labelled
from fsfm_jax.data.labelled_stream import ERASE, MIX_BOX, MIX_CUTMIX, MIX_RATIO, LabelledStream
from fsfm_jax.data.sources import open_mixture
from fsfm_jax.finetune_config import SCRATCH, Finetuning, RateSchedule, binding_fields, resolve_finetuning
from fsfm_jax.metrics.scored import ANTI_SPOOFING, DEEPFAKE, Scored
from fsfm_jax.metrics.summary import summarise
from fsfm_jax.models.classifier import initialise
from fsfm_jax.optim import ema, schedules
from fsfm_jax.prediction import compiled_scorer, predict
from fsfm_jax.program import Program
from fsfm_jax.report import METRICS_FILE, Reporter, Silent
from fsfm_jax.run_identity import description, named_statistics, parameters_of, run_identity, saved_state
from fsfm_jax.tasks.normalisation import Statistics
from fsfm_jax.train.loop import train
from fsfm_jax.train.state import TrainState

LOG = logging.getLogger("fsfm_jax")
VALIDATION_FILE = "validation.jsonl"
Mixture = list[tuple[LabelledSource, float | None]]


def run(config: ConfigDict, workdir: str, stop_after: str = "") -> None:
    """Fine-tunes in `workdir`, going on from its last checkpoint if there is one.

    Raises:
      ValueError: a configuration, data set or checkpoint that does not fit; see the message.
      FileNotFoundError: data or a pretraining run that is not there.
      NonFinite: the loss or the gradient is NaN or infinite.
    """
    sources: Mixture = open_mixture(config.data.train, open_labelled)
    validation = open_labelled(config.data.validation) if config.data.validation else None
    everything = [source for source, _ in sources] + ([validation] if validation is not None else [])
    class_names, real = check_classes(everything)
    if validation is not None:
        for source, _ in sources:
            check_disjoint(source, validation)
    pretrained = None if config.init == SCRATCH else parameters_of(config.init, "pretrain", "init")
    statistics = _statistics(config.data.statistics, sources, pretrained)
    examples = sum(len(source) for source, _ in sources)
    resolved = resolve_finetuning(config, examples, len(class_names), statistics, jax.device_count(), stop_after)
    program = make_program(resolved)
    identity = run_identity(binding_fields(config), sources, statistics)
    identity |= {"class_names": list(class_names), "real": real}
    checkpoints = Checkpoints(os.path.join(workdir, "checkpoints"), resolved.retention)
    try:
        state = saved_state(checkpoints, program, identity, workdir)
        if state is None:
            state = _initial(program, resolved, pretrained)
        first = int(state.step)
        classes = f"classes {', '.join(class_names)} ({class_names[real]} is real)"
        LOG.info("%d training images, %s; at step %d of %d", examples, classes, first, resolved.loop.steps)
        if first < resolved.loop.stop_after:
            describe = functools.partial(
                _describe, identity=identity, config=config, global_batch=resolved.stream.global_batch
            )
            _train(state, program, resolved, sources, validation, checkpoints, describe, workdir)
    finally:
        checkpoints.close()


def make_program(resolved: Finetuning) -> Program:
    """The program of a resolved run on all devices."""
    size = resolved.task.model.image_size
    return Program(
        task=resolved.task,
        optimizer=resolved.optimizer,
        target=ema.frozen(resolved.task.target_part),
        learning_rate=functools.partial(learning_rate_of, resolved.schedule),
        step=resolved.step,
        example={
            records.IMAGE: ((size, size, 3), np.uint8),
            records.LABEL: ((), np.int32),
            ERASE: ((4,), np.int32),
            MIX_CUTMIX: ((), np.bool_),
            MIX_RATIO: ((), np.float32),
            MIX_BOX: ((4,), np.int32),
        },
        global_batch=resolved.stream.global_batch,
        seed=resolved.seed,
        mesh=partition.make_mesh(),
        fsdp=resolved.fsdp,
        fsdp_min_size=resolved.fsdp_min_size,
    )


def learning_rate_of(s: RateSchedule, step: jax.Array) -> jax.Array:
    """Learning rate of step `step`."""
    if s.kind == "constant":
        return schedules.constant(step, s.peak)
    return schedules.warmup_cosine(step, s.peak, s.floor, s.warmup, s.total)


def _statistics(name: str, sources: Mixture, pretrained: tuple[dict, dict] | None) -> Statistics:
    if name != "init":
        return named_statistics(name, sources, STATISTICS)
    if pretrained is None:
        names = ", ".join(("records", *STATISTICS))
        raise ValueError(f"data.statistics: there is no pretraining run to take them from; use one of {names}")
    saved = pretrained[1]["statistics"]
    return Statistics(tuple(saved["mean"]), tuple(saved["std"]))


def _initial(program: Program, resolved: Finetuning, pretrained: tuple[dict, dict] | None) -> TrainState:
    state = program.initial_state()
    if pretrained is None:
        LOG.info("from scratch: nothing is pretrained")
        return state
    params, report = initialise(pretrained[0], state.params, resolved.task.model.grid)
    LOG.info("%s", report.summary())
    return state._replace(params=jax.device_put(jax.tree.map(jnp.asarray, params), program.shardings.params))


def _describe(number: int, identity: dict, config: ConfigDict, global_batch: int) -> dict:
    return description(identity, config, number, global_batch)


def _train(
    state: TrainState, program: Program, resolved: Finetuning, sources: Mixture, validation: LabelledSource | None,
    checkpoints: Checkpoints, describe, workdir: str,
) -> TrainState:  # fmt: skip
    first = int(state.step)
    step = program.compiled_step()
    stream = LabelledStream(sources, resolved.stream, first, jax.process_index(), jax.process_count())
    path = os.path.join(workdir, METRICS_FILE)
    quiet = jax.process_index() != 0
    reporter = Silent() if quiet else Reporter(path, first, resolved.loop.steps, resolved.stream.global_batch)
    evaluate = None if validation is None else _evaluator(program, resolved, validation, workdir)

    def write(number: int, values: dict[str, float]) -> None:
        reporter.write(number, {name: values[name] for name in ("loss", "learning_rate", "gradient_norm")})

    try:
        return train(state, step, stream, program.to_device, checkpoints, describe, write, resolved.loop, evaluate)
    finally:
        stream.close()
        reporter.close()


def _evaluator(program: Program, resolved: Finetuning, validation: LabelledSource, workdir: str):
    """`evaluate(number, state)`: appends a line on the validation set to `validation.jsonl`."""
    scorer = compiled_scorer(resolved.task, program.mesh)
    size = resolved.task.model.image_size

    def evaluate(number: int, state: TrainState) -> None:
        found = predict(scorer, state.params, validation, size, resolved.evaluation, program.mesh)
        if jax.process_index():
            return
        classes = ANTI_SPOOFING if "attack" in validation.class_names else DEEPFAKE
        scored = Scored(found.score, found.labels == found.real, classes)
        summary = summarise(scored, found.videos, found.frames, validation.name)
        levels = {level: summary[level]["metrics"] for level in ("video", "frame")}
        line = {"step": number, "dataset": validation.name, **levels}
        with open(Path(workdir) / VALIDATION_FILE, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, sort_keys=True) + "\n")
        shown = ", ".join(f"{level} AUC {_shown(metrics)}" for level, metrics in levels.items())
        LOG.info("step %d, %s: %s", number, validation.name, shown)

    return evaluate


def _shown(metrics: dict[str, Any]) -> str:
    return "undefined" if metrics["auc"] is None else f"{100 * metrics['auc']:.2f} %"
