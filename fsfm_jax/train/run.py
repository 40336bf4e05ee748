"""The frame of every training job: open all parts in a fixed order, train, and close them.

A job describes its run as a `RunSpec` and adds what is its own as `Hooks`. The order:

    checkpoints -> the state: restored, adopted, or that of the beginning -> `prepare` -> room for a checkpoint
    -> writers -> `open_validation` -> the step compiled -> the stream -> alarms -> the loop (`train.loop`)
    -> `finish`, or a word on where it stopped

and everything is closed in the reverse of it, each part whatever another one says.
"""

import contextlib
import dataclasses
import functools
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from ml_collections import ConfigDict

from fsfm_jax.config.fields import flat
from fsfm_jax.run.checkpoint import Checkpoints, Retention
from fsfm_jax.run.goodput import Stopwatch, begin_attempt
from fsfm_jax.run.writers import RunInfo, Writer, Writers, open_writers
from fsfm_jax.train.alarms import ALARMS_FILE, Alarms, AlarmSpec
from fsfm_jax.train.identity import description, read_state
from fsfm_jax.train.loop import LoopParts, LoopSpec, train
from fsfm_jax.train.outcome import MetricsReader
from fsfm_jax.train.program import Program
from fsfm_jax.train.state import TrainState
from fsfm_jax.train.suspects import Suspects

LOG = logging.getLogger("fsfm_jax")
CHECKPOINTS = "checkpoints"


class Batches(Protocol):
    """The endless batches of this process, each with the rows of one step."""

    def __next__(self) -> dict[str, np.ndarray]:
        """Return the batch of the next step."""

    def close(self) -> None:
        """End what reads them."""


class Evaluator(Protocol):
    """Looks at the state while it is trained."""

    def __call__(self, number: int, state: TrainState) -> None:
        """Look at the state after step `number`; called again for a step that it has inspected, it does nothing."""

    def close(self) -> None:
        """Give back what it holds."""


class NoValidation:
    """The evaluator of a job that has nothing to look at."""

    def __call__(self, number: int, state: TrainState) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Ended(NamedTuple):
    """A run whose last step is done, with its writers still open.

    state: the last one. place: its checkpoint.
    describe: the `run` item of a checkpoint at a step.
    """

    state: TrainState
    place: str
    describe: Callable[[int], dict]
    writers: Writers


class Hooks:
    """What a job adds to the frame. A job's own class says only what is different for it."""

    def adopt(self) -> TrainState | None:
        """Adopt a state that another program has trained, for a run without checkpoints; it is saved first."""
        return None

    def initial_state(self, program: Program) -> TrainState:
        """Return the state at step 0 of a new run."""
        raise NotImplementedError(f"{type(self).__name__}: expected a method initial_state, the state at step 0")

    def details(self) -> Mapping[str, Any]:
        """Return what the `run` item of a checkpoint has besides what every run has, as JSON."""
        return {}

    def prepare(self, state: TrainState) -> None:
        """Make what is needed before training; the first moment at which the state is known."""

    def open_validation(self, state: TrainState, saved: Mapping[str, Any] | None, writers: Writers) -> Evaluator:
        """Open what inspects the state in training; `saved` is the `run` item of the restored checkpoint."""
        return NoValidation()

    def record(self, first: int, position: int) -> str:
        """Describe the example at `position` of the stream in a process that began at step `first`."""
        raise NotImplementedError(f"{type(self).__name__}: expected a method record, which names an example")

    def show(self, number: int, values: dict[str, float]) -> dict[str, float]:
        """Return the metrics of step `number` (1 = first) as they are written, in their order."""
        return values

    def finish(self, ended: Ended) -> None:
        """Make of the last state what the job is for; also where an earlier process has trained it."""


@dataclasses.dataclass(frozen=True)
class RunSpec:
    """A training run.

    Attributes:
      workdir: working directory.
      config: every field of it goes into checkpoints and to the writers.
      program: initial state and step.
      identity: what a continuation must share with it (`train.identity`).
      stream: opens the batches from a step on, 0 = first.
      loop: which steps it has. retention: which checkpoints are kept. alarms: when they go off.
      writers: names of its metric writers. lent: writers that are open already and stay open.
      hooks: what the job adds.
    """

    workdir: str
    config: ConfigDict
    program: Program
    identity: dict
    stream: Callable[[int], Batches]
    loop: LoopSpec
    retention: Retention
    alarms: AlarmSpec
    writers: tuple[str, ...]
    hooks: Hooks
    lent: Sequence[Writer] = ()

    def describe(self, number: int) -> dict:
        """Return the `run` item of the checkpoint at step `number`."""
        run = description(self.identity, self.config, number, self.program.global_batch)
        return run | self.hooks.details()


def run_training(spec: RunSpec) -> TrainState:
    """Train `spec` from its last checkpoint on, or from the beginning; the state at which it ends.

    That is at step `spec.loop.steps`, with which `finish` was called, or an earlier one, where it was to stop.

    Raises:
      ValueError: a checkpoint or batch that does not fit.
      NonFinite, Alarmed: a step went wrong (`train.loop`).
      NotSaved: something cannot be written.
      Interrupted: the process was told to stop; everything is saved.
    """
    hooks, loop, began = spec.hooks, spec.loop, begin_attempt()
    with contextlib.ExitStack() as opened:
        checkpoints = Checkpoints(os.path.join(spec.workdir, CHECKPOINTS), spec.retention)
        opened.callback(checkpoints.close)
        state, saved = _first_state(spec, checkpoints)
        first = int(state.step)
        hooks.prepare(state)
        if first < loop.stop_after:
            checkpoints.check_room(state)
        images = spec.program.global_batch
        info = RunInfo(spec.workdir, first, loop.steps, loop.stop_after, images, flat(spec.config))
        writers = open_writers(spec.writers, info, spec.lent)
        opened.callback(writers.close)
        evaluator = hooks.open_validation(state, saved, writers)
        opened.callback(evaluator.close)
        if first < loop.stop_after:
            state = _train(spec, state, checkpoints, writers, evaluator, began)
        number = int(state.step)
        place = str(checkpoints.directory / str(number))
        if number < loop.steps:
            LOG.info("Stopped after step %d of %d; the same command goes on from %s", number, loop.steps, place)
        else:
            hooks.finish(Ended(state, place, spec.describe, writers))
    return state


def _first_state(spec: RunSpec, checkpoints: Checkpoints) -> tuple[TrainState, dict | None]:
    """Return the state to resume from, and the `run` item that was saved with it."""
    state = read_state(checkpoints, spec.program, spec.identity, spec.workdir)
    if state is not None:
        return state, checkpoints.run(int(state.step))
    state = spec.hooks.adopt()
    if state is None:
        return spec.hooks.initial_state(spec.program), None
    checkpoints.save(state, spec.describe(int(state.step)))  # from here on it resumes like any other run
    return state, None


def _train(
    spec: RunSpec, state: TrainState, checkpoints: Checkpoints, writers: Writers, evaluator: Evaluator, began: float
) -> TrainState:
    """Run the loop with all that is open only as long as it runs; the attempt began at `began` of the clock."""
    program, hooks, first = spec.program, spec.hooks, int(state.step)

    def write(number: int, values: dict[str, float]) -> None:
        writers.write_step(number, hooks.show(number, values))

    def flush() -> None:
        writers.write(watch.number, watch.sum().as_metrics())
        writers.flush()

    with contextlib.ExitStack() as opened:
        watch = Stopwatch(None if jax.process_index() else spec.workdir, first, began)
        opened.callback(_close_stopwatch, watch)
        compiling = watch.now()
        step = program.compile_step()
        watch.add("compile", watch.now() - compiling)
        stream = spec.stream(first)
        opened.callback(stream.close)
        path = None if jax.process_index() else os.path.join(spec.workdir, ALARMS_FILE)
        alarms = Alarms(spec.alarms, path, first)
        opened.callback(alarms.close)
        record = functools.partial(hooks.record, first)
        suspects = Suspects(program.task, program.step.accumulation, program.mesh, record)
        parts = LoopParts(
            step=step,
            batches=stream,
            to_device=program.to_device,
            checkpoints=checkpoints,
            describe=spec.describe,
            read=MetricsReader(write, spec.loop.nonfinite, spec.loop.limit, alarms, suspects),
            evaluate=evaluator,
            flush=flush,
            stopwatch=watch,
        )
        return train(state, parts, spec.loop)


def _close_stopwatch(watch: Stopwatch) -> None:
    watch.close()
    LOG.info("%s", watch.sum().sentence())
