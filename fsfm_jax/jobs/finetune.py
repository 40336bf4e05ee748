"""The fine-tuning job: a pretrained encoder becomes a detector, is looked at as it learns, calibrated and tested.

Below the working directory (with several seeds below `seed_N` of it):

    initialisation.json what became of every array of the pretraining, and where each parameter comes from
    checkpoints/        from which the run goes on
    metrics.jsonl       every step
    validation.jsonl    every look at the validation set
    selected/           the parameters of the best step so far
    detector/           the finished detector with its card
    test/               what `evaluate` writes, for the sets of `data.test`
"""

import contextlib
import functools
import json
import logging
import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from fsfm_jax import partition, records
from fsfm_jax.config.fields import flat
from fsfm_jax.data.feature_stream import FEATURES, UNAUGMENTED, FeatureSource, FeatureStream
from fsfm_jax.data.label_stream import ERASE, MIX_BOX, MIX_CUTMIX, MIX_RATIO, LabelledStream
from fsfm_jax.data.stream import Batches, balanced, ordered
from fsfm_jax.detection.calibrate import calibrate
from fsfm_jax.detection.detector import REPEATS, Detector, save_detector
from fsfm_jax.detection.features import FeatureCache, FeatureScorer
from fsfm_jax.detection.prediction import Scorer
from fsfm_jax.detection.repeats import write_repeats
from fsfm_jax.detection.results import evaluate_sets
from fsfm_jax.detection.validation import Validation
from fsfm_jax.detection.video_overlap import remember
from fsfm_jax.jobs.finetune_inputs import Inputs, open_inputs
from fsfm_jax.jobs.recipe_check import check_recipe
from fsfm_jax.models.classifier import initialise
from fsfm_jax.models.scratch import scratch_initialisation
from fsfm_jax.optim import ema, schedules, tuning
from fsfm_jax.resolve.finetune import Finetuning, RateSchedule, binding_fields, resolve_finetuning
from fsfm_jax.run.checkpoint import Checkpoints
from fsfm_jax.run.lock import held
from fsfm_jax.run.workdir import write_text
from fsfm_jax.run.writers import RunInfo, Writer, Writers, open_writers
from fsfm_jax.tasks.classify import OPEN_UNITS, REAL_ANCHOR
from fsfm_jax.train.alarms import ALARMS_FILE, Alarms
from fsfm_jax.train.identity import description, run_identity, saved_state
from fsfm_jax.train.loop import train
from fsfm_jax.train.program import Program
from fsfm_jax.train.state import TrainState, named_key
from fsfm_jax.train.suspects import Suspects
from fsfm_jax.train.vitals import SKIPPED

LOG = logging.getLogger("fsfm_jax")
TEST_FOLDER, ACCOUNT = "test", "initialisation.json"
CLOSED = "FS-Adapter's bottleneck let no face of the last step pass: what was trained is a linear probe. Lower "
CLOSED += "optimizer.base_learning_rate; open_units in metrics.jsonl says when it closed"
# What is reported of each step; of one loss alone its value is the whole.
SHOWN = ("loss", REAL_ANCHOR, OPEN_UNITS, "learning_rate", "gradient_norm", SKIPPED, "input_wait")


def run(config: ConfigDict, workdir: str, stop_after: str = "", writers: Sequence[Writer] = ()) -> None:
    """Fine-tunes in `workdir`, going on from its last checkpoint if there is one; once, or with several seeds in turn.

    `writers` get the metrics of every seed, too; they stay open.

    Raises:
      ValueError: a configuration, data set or checkpoint that does not fit; see the message.
      FileNotFoundError: data or a pretraining that is not there.
      NonFinite: the loss or the gradient is NaN or infinite.
      NotSaved: something cannot be written.
      Interrupted: the process was told to stop; everything is saved.
    """
    with held(workdir):
        _run(config, workdir, stop_after, writers)


def _run(config: ConfigDict, workdir: str, stop_after: str, writers: Sequence[Writer]) -> None:
    check_recipe(config)
    inputs = open_inputs(config)
    if config.repeats == 1:
        _Run(config, inputs, workdir, stop_after, writers).go()
        return
    results = {}
    for seed in range(config.seed, config.seed + config.repeats):
        one = config.copy_and_resolve_references()
        one.seed, one.repeats = seed, 1
        folder = os.path.join(workdir, REPEATS.format(seed))
        LOG.info("seed %d: %s", seed, folder)
        with held(folder):
            finished = _Run(one, inputs, folder, stop_after, writers).go()
        if finished is None:
            LOG.info("Stopped in %s; the same command goes on from there", folder)
            return
        results[seed] = finished
    if inputs.tests and jax.process_index() == 0:
        write_repeats(workdir, results, config.report.layout)


def make_program(resolved: Finetuning, mesh: Mesh | None = None) -> Program:
    """The program of a resolved run on `mesh`, by default on all devices."""
    model = resolved.task.model
    if resolved.cache:
        example = {FEATURES: ((model.size.width,), np.float32), records.LABEL: ((), np.int32)}
    else:
        example = {
            records.IMAGE: ((model.image_size, model.image_size, 3), np.uint8),
            records.LABEL: ((), np.int32),
            ERASE: ((4,), np.int32),
            MIX_CUTMIX: ((), np.bool_),
            MIX_RATIO: ((), np.float32),
            MIX_BOX: ((4,), np.int32),
        }
    return Program(
        task=resolved.task,
        optimizer=resolved.optimizer,
        target=ema.frozen(resolved.task.target_part),
        learning_rate=functools.partial(learning_rate_of, resolved.schedule),
        step=resolved.step,
        example=example,
        global_batch=resolved.stream.global_batch,
        seed=resolved.seed,
        mesh=partition.make_mesh(replicas=resolved.replicas) if mesh is None else mesh,
        fsdp=resolved.fsdp,
        fsdp_min_size=resolved.fsdp_min_size,
        trained=resolved.trained,
    )


def learning_rate_of(s: RateSchedule, step: jax.Array) -> jax.Array:
    """Learning rate of step `step`."""
    if s.kind == "constant":
        return schedules.constant(step, s.peak)
    return schedules.warmup_cosine(step, s.peak, s.floor, s.warmup, s.total)


class _Run:
    """One run with one seed."""

    def __init__(
        self, config: ConfigDict, inputs: Inputs, workdir: str, stop_after: str, writers: Sequence[Writer] = ()
    ):
        self._config, self._inputs, self._workdir, self._lent = config, inputs, workdir, writers
        self._resolved = resolve_finetuning(
            config, inputs.examples, len(inputs.class_names), inputs.real, inputs.statistics, jax.device_count(),
            stop_after,
        )  # fmt: skip
        self._program = make_program(self._resolved)
        self._looked_at = inputs.looked_at(self._resolved.selection.kind)
        self._identity = run_identity(binding_fields(config), inputs.sources, inputs.statistics) | {
            "class_names": list(inputs.class_names),
            "real": inputs.real,
            "looked_at": {split: source.fingerprint for split, source in self._looked_at.items()},
        }
        self._origin = None if inputs.pretrained is None else inputs.pretrained.origin
        self._cache: FeatureCache | None = None
        self._scorer: Scorer | FeatureScorer | None = None
        self._validation: Validation | None = None
        self._writers: Writers | None = None

    def go(self) -> dict | None:
        """Trains, and finishes the detector; the results on the test sets, None if it was stopped before the end."""
        checkpoints = Checkpoints(os.path.join(self._workdir, "checkpoints"), self._resolved.retention)
        try:
            state = saved_state(checkpoints, self._program, self._identity, self._workdir)
            history = [] if state is None else checkpoints.run(int(state.step))["evaluated"]
            state = self._initial() if state is None else state
            self._scorer = self._make_scorer(state)
            rule, loop, images = self._resolved.selection, self._resolved.loop, self._resolved.stream.global_batch
            if int(state.step) < loop.stop_after:
                checkpoints.check_room(state)
            info = RunInfo(self._workdir, int(state.step), loop.steps, loop.stop_after, images, flat(self._config))
            self._writers = open_writers(self._resolved.writers, info, self._lent)
            write = self._writers.write
            self._validation = Validation(self._looked_at, rule, self._scorer, history, self._workdir, write)
            self._announce(int(state.step))
            if int(state.step) < loop.stop_after:
                state = self._train(state, checkpoints)
            if int(state.step) < self._resolved.loop.steps:
                return None
            return self._finish(int(state.step), state.params)
        finally:
            with contextlib.ExitStack() as opened:  # each is closed whatever another says
                for part in (self._writers, self._validation, checkpoints):
                    if part is not None:
                        opened.callback(part.close)

    def _make_scorer(self, state: TrainState) -> Scorer | FeatureScorer:
        """What scores data sets; of a frozen encoder with a cache, after all features are there."""
        resolved, inputs, mesh = self._resolved, self._inputs, self._program.mesh
        spec = resolved.report.evaluation
        if not resolved.cache:
            return Scorer(resolved.task, spec, mesh)
        self._cache = FeatureCache(resolved.cache, resolved.task, state.params, spec, mesh)
        trains = int(state.step) < resolved.loop.stop_after
        wanted = [(source, UNAUGMENTED) for source, _ in inputs.sources if trains]
        wanted += [(source, spec.transform) for source in (*self._looked_at.values(), *inputs.tests.values())]
        self._cache.prepare(wanted)
        return FeatureScorer(resolved.task, spec, mesh, self._cache)

    def _batches(self, first: int) -> Batches:
        """The batches of training from step `first` on."""
        spec, place = self._resolved.stream, (first, jax.process_index(), jax.process_count())
        if self._cache is None:
            return LabelledStream(self._inputs.sources, spec, *place)
        kept = [(FeatureSource(s, self._cache.of(s, UNAUGMENTED)), weight) for s, weight in self._inputs.sources]
        return FeatureStream(kept, spec, *place)

    def _suspects(self) -> Suspects:
        """What names the faces of a loss that is not finite."""
        spec, sources, program = self._resolved.stream, self._inputs.sources, self._program
        examples = balanced([s for s, _ in sources], spec) if spec.balanced else ordered(sources, spec.seed)
        return Suspects(
            program.task, self._resolved.step.accumulation, program.mesh,
            lambda position: examples[position][records.SOURCE],
        )  # fmt: skip

    def _announce(self, first: int) -> None:
        names, last = self._inputs.class_names, self._resolved.loop.steps
        classes = f"classes {', '.join(names)} ({names[self._inputs.real]} is real)"
        LOG.info("%d training images, %s; at step %d of %d", self._inputs.examples, classes, first, last)
        if self._resolved.selection.kind == "oracle":
            LOG.warning("selection.rule: oracle looks at the test set to choose the step; its numbers are optimistic")

    def _initial(self) -> TrainState:
        state, pretrained = self._program.initial_state(), self._inputs.pretrained
        if pretrained is None:
            LOG.info("from scratch: nothing is pretrained")
            params = scratch_initialisation(state.params, named_key(jax.random.key(self._resolved.seed), "scratch"))
        else:
            params, report = initialise(pretrained.params, state.params, pretrained.grid)
            notes = [f"from {pretrained.origin['path']}", *pretrained.origin["notes"], report.summary()]
            LOG.info("%s", "\n".join(notes))
            if jax.process_index() == 0:
                account = {"file": pretrained.report.to_json(), "network": report.to_json()}
                write_text(os.path.join(self._workdir, ACCOUNT), json.dumps(account, indent=1) + "\n")
        part, whole = tuning.count(tuning.split(params, self._resolved.trained)[0]), tuning.count(params)
        LOG.info("trained: %s of %s parameters (%.3g %%)", f"{part:,}", f"{whole:,}", 100 * part / whole)
        return state._replace(params=jax.device_put(jax.tree.map(jnp.asarray, params), self._program.shardings.params))

    def _describe(self, number: int) -> dict:
        """The `run` item of the checkpoint at step `number`."""
        run = description(self._identity, self._config, number, self._resolved.stream.global_batch)
        return run | {"origin": self._origin, "evaluated": self._validation.history}

    def _train(self, state: TrainState, checkpoints: Checkpoints) -> TrainState:
        first, resolved = int(state.step), self._resolved
        step = self._program.compiled_step()
        stream = self._batches(first)
        alarm_path = None if jax.process_index() else os.path.join(self._workdir, ALARMS_FILE)
        alarms = Alarms(resolved.alarms, alarm_path, first)

        def write(number: int, values: dict[str, float]) -> None:
            if number == resolved.loop.steps and values.get(OPEN_UNITS) == 0:
                LOG.warning(CLOSED)
            self._writers.write_step(number, {name: value for name, value in values.items() if name in SHOWN})

        try:
            return train(
                state, step, stream, self._program.to_device, checkpoints, self._describe, write, resolved.loop, alarms,
                self._suspects(), self._validation, self._writers.flush,
            )  # fmt: skip
        finally:
            stream.close()
            alarms.close()

    def _finish(self, last: int, params: Any) -> dict:
        """Chooses the step, calibrates, saves the detector and evaluates it on the test sets."""
        resolved, inputs, rule = self._resolved, self._inputs, self._resolved.selection
        choice, params = self._validation.chosen(last, params)
        label = choice.label
        if inputs.foreign and rule.kind == "source-validation":
            label += f" Nothing was trained on {', '.join(inputs.foreign)}."
        calibration = None
        if inputs.validation is not None:
            found = self._scorer(self._scorer.place(params), inputs.validation)
            calibration = calibrate(found, resolved.false_alarm_rate)
        oracle = rule.kind == "oracle"
        card = self._describe(choice.step) | {
            "selection": {"rule": rule.kind, "metric": rule.metric, "oracle": oracle, "label": label},
            "calibration": calibration,
            "seen": remember(source for source, _ in inputs.sources),
        }
        save_detector(self._workdir, choice.step, params, card)
        LOG.info("Detector: %s/detector. %s", self._workdir, label)
        if not inputs.tests:
            return {}
        detector = Detector(self._workdir, resolved.task, params, card)
        folder = os.path.join(self._workdir, TEST_FOLDER)
        results = evaluate_sets(detector, inputs.tests, None, resolved.report, folder, self._scorer)
        LOG.info("Table: %s/table.md", folder)
        LOG.info("Pictures: %s", ", ".join(f"{folder}/figures/{name}.png" for name in results))
        return results
