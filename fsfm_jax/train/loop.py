"""The only training loop, and the order of operations in it.

Per step: look for a request to stop -> evaluate and save if due -> take the next batch -> step -> read the
metrics of the step before. The batch is taken after the save, so a checkpoint never claims an example that was not
trained on; metrics are read one step late, so the device never waits for the host.

A run that receives a stop signal saves and raises `Interrupted`. What was to follow, another seed or another cell of a
comparison, is left to the next command.
"""

import contextlib
import dataclasses
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from fsfm_jax.run.checkpoint import Checkpoints
from fsfm_jax.run.goodput import Stopwatch
from fsfm_jax.train.input_wait import InputWait
from fsfm_jax.train.outcome import Finished, SkipLimit
from fsfm_jax.train.state import TrainState

# EX_TEMPFAIL of sysexits.h: nothing is wrong, start the same command again.
TRY_AGAIN = 75
LOG = logging.getLogger("fsfm_jax")


@dataclasses.dataclass(frozen=True)
class LoopSpec:
    """Which steps a run has.

    Attributes:
      steps: optimizer steps of the whole run.
      stop_after: steps after which this process saves and ends, as if it had been interrupted; `steps` if never.
      save_every: steps between checkpoints.
      nonfinite: `stop` at a loss or gradient that is not finite; `skip_step` and `skip` when the step itself leaves
        out such steps or micro-batches: they are then also left out of the means.
      limit: how many may be left out.
    """

    steps: int
    stop_after: int
    save_every: int
    nonfinite: str
    limit: SkipLimit


class Interrupted(Exception):
    """The run got a stop signal; its state is saved, and the same command resumes it.

    Attributes:
      exit_code: 0 if a person stopped it with Ctrl-C, else `TRY_AGAIN`, by which a scheduler knows to start it again.
    """

    def __init__(self, number: int, steps: int, by: signal.Signals):
        super().__init__(f"Stopped after step {number} of {steps} by {by.name}; the same command goes on from there")
        self.exit_code = 0 if by == signal.SIGINT else TRY_AGAIN


class StopRequest:
    """Notes SIGTERM and SIGINT while it is entered, so that the loop can save before it ends.

    A second signal acts as it would without us. With several processes nothing is noted: one of them stopping
    alone would leave the others waiting, so there `jax.distributed` takes SIGTERM and tells all of them.

    Attributes:
      by: the signal, None as long as there was none.
    """

    def __init__(self):
        self.by: signal.Signals | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread() and jax.process_count() == 1:
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def _note(self, number: int, frame: Any) -> None:
        self.by = signal.Signals(number)
        signal.signal(number, self._before[number])

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _tell_if_lost(number: int, error: Exception) -> Iterator[None]:
    """Say why step `number` has no batch, if the block ends with an error of its own, which alone would be shown."""
    try:
        yield
    except Exception:
        LOG.error("Step %d has no batch: %s", number, error)
        raise


@dataclasses.dataclass(frozen=True)
class LoopParts:
    """What the loop works with.

    Attributes:
      step: the train step; the state is donated to it.
      batches: must begin with the batch of step `state.step`.
      to_device: places a batch.
      checkpoints: where it saves.
      describe: the checkpoint's `run` item at a step.
      read: takes each finished step, once, in their order (`train.outcome`), and ends the run where it went wrong.
      evaluate: inspects the state before each regular save, and at the end of the run; called again for a step that
        it has inspected, it must do nothing.
      flush: called before each save, so that what was written of a run is never behind what is saved of it.
      stopwatch: what the seconds are spent on; it is only told, and decides nothing.
    """

    step: Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]
    batches: Iterator[dict[str, np.ndarray]]
    to_device: Callable[[dict[str, np.ndarray]], Any]
    checkpoints: Checkpoints
    describe: Callable[[int], dict]
    read: Callable[[Finished | None, TrainState], None]
    evaluate: Callable[[int, TrainState], None]
    flush: Callable[[], None]
    stopwatch: Stopwatch


def train(state: TrainState, parts: LoopParts, spec: LoopSpec) -> TrainState:
    """Run the step from `state` on until `spec.stop_after`, or until the process gets a stop signal, and save.

    Returns:
      The last state, saved; `state` is donated to the first step.

    Raises:
      Interrupted: the process was told to stop; everything is saved.
      NonFinite: names step, term and images; nothing of or after that step was saved.
      Alarmed: an alarm that stops the run went off.
      Whatever a batch raises, after the state before that batch is saved.
    """
    checkpoints, read = parts.checkpoints, parts.read
    number = int(state.step)
    last_saved = number if number in checkpoints.steps() else None
    pending, waits = None, InputWait()
    with StopRequest() as stop:
        while True:
            # Also after the last step: what comes after this run would not know of it.
            by = signal.SIGTERM if checkpoints.preempted() else stop.by
            if by is not None or number >= spec.stop_after:
                break
            if number and number % spec.save_every == 0:
                read(pending, state)
                pending = None
                # Also of a run that was stopped just here, before the look; `evaluate` looks at no step twice.
                parts.evaluate(number, state)
                if number != last_saved:
                    _save(state, number, parts)
                    last_saved = number
            parts.stopwatch.begin_steps()
            waits.begin()
            try:
                batch = next(parts.batches)
            except Exception as error:
                # Bad data must not cost the steps since the last checkpoint. A save needs every process, and
                # the others may have got their batch: with several, the last checkpoint has to do.
                if jax.process_count() == 1:
                    with _tell_if_lost(number + 1, error):
                        read(pending, state)
                        _save(state, number, parts, wait=True)
                raise
            waits.arrived(idle=pending is None or all(value.is_ready() for value in pending.metrics.values()))
            placed = parts.to_device(batch)
            with jax.transfer_guard("disallow"):
                state, metrics = parts.step(state, placed)
            read(pending, state)
            number += 1
            pending = Finished(number, metrics, waits.end(), batch)
            parts.stopwatch.end_step(number, waits.seconds, waits.waited)
        read(pending, state)
        if number == spec.steps:
            parts.evaluate(number, state)
        _save(state, number, parts, wait=True)
        waits.advise()
        by = by or stop.by
    if by is not None:
        raise Interrupted(number, spec.steps, by)
    return state


def _save(state: TrainState, number: int, parts: LoopParts, wait: bool = False) -> None:
    """Save the state after step `number`; with `wait` it returns when the checkpoint is there."""
    began = parts.stopwatch.now()
    parts.flush()
    parts.checkpoints.save(state, parts.describe(number))
    if wait:
        parts.checkpoints.wait()
    parts.stopwatch.saved(parts.stopwatch.now() - began)
