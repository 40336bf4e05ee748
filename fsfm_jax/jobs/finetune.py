"""The fine-tuning job: train a detector from a pretrained encoder, validate, calibrate and test it.

Below the working directory (with several seeds, below its folders `seed_N`):

    initialisation.json use of every pretrained array, and the origin of each parameter
    checkpoints/        checkpoints from which the run resumes
    metrics.jsonl       metrics of every step
    validation.jsonl    metrics of every validation
    selected/           parameters of the best step so far
    detector/           finished detector with its card
    test/               results on the sets of `data.test`, as `evaluate` writes them
"""

import dataclasses
import functools
import json
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from fsfm_jax import records
from fsfm_jax.data.feature_stream import UNAUGMENTED, FeatureSource, FeatureStream
from fsfm_jax.data.label_stream import LabelledStream
from fsfm_jax.data.stream import Batches, arrange
from fsfm_jax.detection import facts
from fsfm_jax.detection.calibrate import calibrate
from fsfm_jax.detection.detector import REPEATS, Detector
from fsfm_jax.detection.features import FeatureCache, FeatureScorer
from fsfm_jax.detection.prediction import Scorer
from fsfm_jax.detection.repeats import write_repeats
from fsfm_jax.detection.results import evaluate_sets, read_results
from fsfm_jax.detection.saved import save_detector
from fsfm_jax.detection.validation import Validation
from fsfm_jax.detection.video_overlap import remember
from fsfm_jax.jobs.finetune_inputs import Inputs, open_inputs
from fsfm_jax.jobs.finetune_program import make_program, weights_of
from fsfm_jax.jobs.recipe_check import check_recipe
from fsfm_jax.metrics.card import MERGED
from fsfm_jax.models.classifier import initialise
from fsfm_jax.models.lora import merge
from fsfm_jax.models.scratch import scratch_initialisation
from fsfm_jax.optim import tuning
from fsfm_jax.resolve.finetune import binding_fields, resolve_finetuning
from fsfm_jax.run.lock import locks_workdir
from fsfm_jax.run.workdir import write_text
from fsfm_jax.run.writers import Writer, Writers
from fsfm_jax.tasks.classify import CROSS_ENTROPY, FOCAL, OPEN_UNITS
from fsfm_jax.train.identity import run_identity
from fsfm_jax.train.program import Program
from fsfm_jax.train.run import Ended, Hooks, RunSpec, run_training
from fsfm_jax.train.state import TrainState, named_key
from fsfm_jax.train.vitals import SKIPPED

LOG = logging.getLogger("fsfm_jax")
TEST_FOLDER, ACCOUNT = "test", "initialisation.json"
CLOSED = "FS-Adapter's bottleneck let no face of the last step pass: what was trained is a linear probe. Lower "
CLOSED += "optimizer.base_learning_rate; open_units in metrics.jsonl says when it closed"
# Reported metrics of each step. With a single loss term, `loss` is that term.
SHOWN = ("loss", OPEN_UNITS, "learning_rate", "gradient_norm", SKIPPED, "input_wait")


@locks_workdir
def run(config: ConfigDict, workdir: str, stop_after: str = "", writers: Sequence[Writer] = ()) -> None:
    """Fine-tune in `workdir` with one seed or several in turn, and resume from the last checkpoint if there is one.

    `writers` receive the metrics of every seed and stay open.

    Raises:
      ValueError: a configuration, data set or checkpoint does not fit; the message says how.
      FileNotFoundError: data or the pretrained encoder is missing.
      NonFinite: the loss or the gradient is NaN or infinite.
      NotSaved: a file cannot be written.
      Interrupted: the process was told to stop; everything is saved.
    """
    check_recipe(config)
    inputs = open_inputs(config)
    if config.repeats == 1:
        train_detector(config, workdir, inputs, stop_after, writers)
        return
    results = {}
    for seed in range(config.seed, config.seed + config.repeats):
        one = config.copy_and_resolve_references()
        one.seed, one.repeats = seed, 1
        folder = os.path.join(workdir, REPEATS.format(seed))
        LOG.info("seed %d: %s", seed, folder)
        finished = locks_workdir(train_detector)(one, folder, inputs, stop_after, writers)
        if finished is None:
            return
        results[seed] = finished
    if inputs.tests and jax.process_index() == 0:
        folders = {f"seed {seed}": os.path.join(workdir, REPEATS.format(seed), TEST_FOLDER) for seed in results}
        known = facts.join(facts.read(read_results(folder), name) for name, folder in folders.items())
        write_repeats(workdir, results, config.report.layout, known)


def train_detector(
    config: ConfigDict, workdir: str, inputs: Inputs, stop_after: str, writers: Sequence[Writer]
) -> dict | None:
    """Fine-tune with one seed and return the results on the test sets; None if it was stopped before the end."""
    job = _Finetuning(config, inputs, workdir, stop_after)
    run_training(job.spec(writers))
    return job.results


class _Finetuning(Hooks):
    """The hooks of a fine-tuning run with one seed.

    Attributes:
      results: results on the test sets; None before the end of the run.
    """

    def __init__(self, config: ConfigDict, inputs: Inputs, workdir: str, stop_after: str):
        self._config, self._inputs, self._workdir = config, inputs, workdir
        self._resolved = resolve_finetuning(
            config, inputs.examples, len(inputs.class_names), inputs.real, inputs.statistics, jax.device_count(),
            stop_after,
        )  # fmt: skip
        self._program = make_program(self._resolved)
        self._held_out = inputs.held_out(self._resolved.selection.kind)
        self._cache: FeatureCache | None = None
        self._scorer: Scorer | FeatureScorer | None = None
        self._validation: Validation | None = None
        self.results: dict | None = None

    def spec(self, lent: Sequence[Writer]) -> RunSpec:
        """Return the specification of the run for `run_training`."""
        resolved, inputs = self._resolved, self._inputs
        identity = run_identity(binding_fields(self._config), inputs.sources, inputs.statistics) | {
            "class_names": list(inputs.class_names),
            "real": inputs.real,
            "looked_at": {split: source.fingerprint for split, source in self._held_out.items()},
        }
        return RunSpec(
            workdir=self._workdir,
            config=self._config,
            program=self._program,
            identity=identity,
            stream=self._batches,
            loop=resolved.loop,
            retention=resolved.retention,
            alarms=resolved.alarms,
            writers=resolved.writers,
            hooks=self,
            lent=lent,
        )

    def prepare(self, state: TrainState) -> None:
        """Build the scorer of data sets; with a cache, compute all features first."""
        self._scorer = self._make_scorer(state)

    def open_validation(self, state: TrainState, saved: Mapping[str, Any] | None, writers: Writers) -> Validation:
        """Return the validation of the run, with the history of earlier validations."""
        history = [] if saved is None else saved["evaluated"]
        self._validation = Validation(
            self._held_out, self._resolved.selection, self._scorer, history, self._workdir, writers.write,
            functools.partial(weights_of, self._resolved.task),
        )  # fmt: skip
        self._announce(int(state.step))
        return self._validation

    def details(self) -> Mapping[str, Any]:
        """Return the origin of the encoder and the history of validations."""
        pretrained = self._inputs.pretrained
        origin = None if pretrained is None else pretrained.origin
        return {"origin": origin, "evaluated": self._validation.history}

    def show(self, number: int, values: dict[str, float]) -> dict[str, float]:
        """Return the metrics of `SHOWN` and the task's loss terms; warn after the last step if no adapter was open."""
        if number == self._resolved.loop.steps and values.get(OPEN_UNITS) == 0:
            LOG.warning(CLOSED)
        shown = {*SHOWN, *self._program.task.term_weights} - {CROSS_ENTROPY, FOCAL}
        return {name: value for name, value in values.items() if name in shown}

    def _make_scorer(self, state: TrainState) -> Scorer | FeatureScorer:
        """Return the scorer of data sets; with a feature cache, compute all features first."""
        resolved, inputs, mesh = self._resolved, self._inputs, self._program.mesh
        spec = resolved.report.evaluation
        if not resolved.cache:
            return Scorer(resolved.task, spec, mesh)
        self._cache = FeatureCache(resolved.cache, resolved.task, state.params, spec, mesh)
        trains = int(state.step) < resolved.loop.stop_after
        wanted = [(source, UNAUGMENTED) for source, _ in inputs.sources if trains]
        wanted += [(source, spec.transform) for source in (*self._held_out.values(), *inputs.tests.values())]
        self._cache.prepare(wanted)
        return FeatureScorer(resolved.task, spec, mesh, self._cache)

    def _batches(self, first: int) -> Batches:
        """Return the training batches from step `first` on."""
        spec, place = self._resolved.stream, (first, jax.process_index(), jax.process_count())
        if self._cache is None:
            return LabelledStream(self._inputs.sources, spec, *place)
        kept = [(FeatureSource(s, self._cache.of(s, UNAUGMENTED)), weight) for s, weight in self._inputs.sources]
        return FeatureStream(kept, spec, *place)

    @functools.cached_property
    def _examples(self) -> Sequence[dict]:
        return arrange(self._inputs.sources, self._resolved.stream)

    def record(self, first: int, position: int) -> str:
        """Return the source of the face at a position of the stream."""
        return self._examples[position][records.SOURCE]

    def _announce(self, first: int) -> None:
        names, last = self._inputs.class_names, self._resolved.loop.steps
        classes = f"classes {', '.join(names)} ({names[self._inputs.real]} is real)"
        LOG.info("%d training images, %s; at step %d of %d", self._inputs.examples, classes, first, last)
        if self._resolved.selection.kind == "oracle":
            LOG.warning("selection.rule: oracle chooses the step on the test set; its numbers are optimistic")

    def initial_state(self, program: Program) -> TrainState:
        """Return a new network with the pretrained encoder, or a network from scratch."""
        resolved, pretrained = self._resolved, self._inputs.pretrained
        state = program.initial_state(resolved.seed)
        if pretrained is None:
            LOG.info("from scratch: nothing is pretrained")
            params = scratch_initialisation(state.params, named_key(jax.random.key(resolved.seed), "scratch"))
        else:
            params, report = initialise(pretrained.params, state.params, pretrained.grid, pretrained.resizing)
            notes = [f"from {pretrained.origin['path']}", *pretrained.origin["notes"], report.summary()]
            LOG.info("%s", "\n".join(notes))
            if jax.process_index() == 0:
                account = {"file": pretrained.report.to_json(), "network": report.to_json()}
                write_text(os.path.join(self._workdir, ACCOUNT), json.dumps(account, indent=1) + "\n")
        part, whole = tuning.count(tuning.split(params, resolved.trained)[0]), tuning.count(params)
        LOG.info("trained: %s of %s parameters (%.3g %%)", f"{part:,}", f"{whole:,}", 100 * part / whole)
        state = state._replace(params=jax.device_put(jax.tree.map(jnp.asarray, params), program.shardings.params))
        if not resolved.average:
            return state
        start = jax.jit(program.target.init, out_shardings=program.shardings.target)  # a copy: the step donates both
        return state._replace(target=start(state.params))

    def finish(self, ended: Ended) -> None:
        """Select the step, calibrate, save the detector and evaluate it on the test sets."""
        resolved, inputs, rule = self._resolved, self._inputs, self._resolved.selection
        choice, params = self._validation.chosen(int(ended.state.step), weights_of(resolved.task, ended.state))
        label = choice.label
        if inputs.foreign and rule.kind == "source-validation":
            label += f" Nothing was trained on {', '.join(inputs.foreign)}."
        task, scorer, merged = resolved.task, self._scorer, {}
        if task.model.lora is not None:
            # Merge the updates so that every reader finds a plain encoder. Calibrate and test that one.
            params, merged = merge(params, task.model.lora), {MERGED: tuning.LORA}
            task = dataclasses.replace(task, model=dataclasses.replace(task.model, lora=None))
            scorer = Scorer(task, resolved.report.evaluation, self._program.mesh)
        calibration = None
        if inputs.validation is not None:
            found = scorer(scorer.place(params), inputs.validation)
            calibration = calibrate(found, resolved.false_alarm_rate)
        oracle = rule.kind == "oracle"
        card = ended.describe(choice.step) | {
            "selection": {"rule": rule.kind, "metric": rule.metric, "oracle": oracle, "label": label},
            "calibration": calibration,
            "seen": remember(source for source, _ in inputs.sources),
            **merged,
        }
        save_detector(self._workdir, choice.step, params, card)
        LOG.info("Detector: %s/detector. %s", self._workdir, label)
        self.results = {}
        if not inputs.tests:
            return
        detector = Detector(self._workdir, task, params, card)
        folder = os.path.join(self._workdir, TEST_FOLDER)
        self.results = evaluate_sets(detector, inputs.tests, None, resolved.report, folder, scorer, inputs.validation)
        LOG.info("Table: %s/table.md", folder)
        LOG.info("Pictures: %s", ", ".join(f"{folder}/figures/{name}.png" for name in self.results))
