"""The only training loop, and the order of operations in it.

Per step: look for a request to stop -> evaluate and save if due -> take the next batch -> step -> read the
metrics of the step before. The batch is taken after the save, so a checkpoint never claims an example that was not
trained on; metrics are read one step late, so the device never waits for the host.
"""

import dataclasses
import math
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from fsfm_jax.checkpoint import Checkpoints
from fsfm_jax.train.state import TrainState


class NonFinite(FloatingPointError):
    """A loss term or the gradient is NaN or infinite."""


@dataclasses.dataclass(frozen=True)
class LoopSpec:
    """Which steps a run has.

    Attributes:
      steps: optimizer steps of the whole run.
      stop_after: steps after which this process saves and ends, as if it had been interrupted; `steps` if never.
      save_every: steps between checkpoints.
      nonfinite: `stop` at a loss or gradient that is not finite; `skip` when the step itself leaves out such
        micro-batches: they are then left out of the means, too.
    """

    steps: int
    stop_after: int
    save_every: int
    nonfinite: str


class StopRequest:
    """Notes SIGTERM and SIGINT while it is entered, so that the loop can save before it ends.

    A second signal acts as it would without us. With several processes nothing is noted: one of them stopping
    alone would leave the others waiting, so there `jax.distributed` takes the signal and tells all of them.
    """

    def __init__(self):
        self.wanted = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread() and jax.process_count() == 1:
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def _note(self, number: int, frame: Any) -> None:
        self.wanted = True
        signal.signal(number, self._before[number])

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def train(
    state: TrainState,
    step: Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]],
    batches: Iterator[dict[str, np.ndarray]],
    to_device: Callable[[dict[str, np.ndarray]], Any],
    checkpoints: Checkpoints,
    run: Callable[[int], dict],
    write: Callable[[int, dict[str, float]], None],
    spec: LoopSpec,
    evaluate: Callable[[int, TrainState], None] | None = None,
) -> TrainState:
    """Runs `step` until `spec.stop_after`, or until the process is asked to stop, and saves.

    Args:
      state: donated to the first step.
      batches: must begin with the batch of step `state.step`.
      run: the checkpoint's `run` item at a step.
      write: takes the metrics of a finished step, means over its micro-batches.
      evaluate: looks at the state before each regular save, and at the end of the run; called again for a step that
        it has looked at, it must do nothing.

    Returns:
      The last state, saved.

    Raises:
      NonFinite: names step and term; nothing of or after that step was saved.
      Whatever a batch raises, after the state before that batch is saved.
    """
    number = int(state.step)
    last_saved = number if number in checkpoints.steps() else None
    pending = None
    with StopRequest() as stop:
        while number < spec.stop_after:
            if stop.wanted or checkpoints.preempted(number):
                break
            if number and number % spec.save_every == 0:
                pending = _report(pending, write, spec.nonfinite)
                # Also of a run that was stopped just here, before the look; `evaluate` looks at no step twice.
                if evaluate is not None:
                    evaluate(number, state)
                if number != last_saved:
                    checkpoints.save(state, run(number))
                    last_saved = number
            try:
                batch = next(batches)
            except Exception:
                # Bad data must not cost the steps since the last checkpoint. A save needs every process, and
                # the others may have got their batch: with several, the last checkpoint has to do.
                if jax.process_count() == 1:
                    _report(pending, write, spec.nonfinite)
                    checkpoints.save(state, run(number))
                    checkpoints.wait()
                raise
            batch = to_device(batch)
            with jax.transfer_guard("disallow"):
                state, metrics = step(state, batch)
            _report(pending, write, spec.nonfinite)
            number += 1
            pending = (number, metrics)
        _report(pending, write, spec.nonfinite)
        if evaluate is not None and number == spec.steps:
            evaluate(number, state)
        checkpoints.save(state, run(number))
        checkpoints.wait()
    return state


def _mean(values: np.ndarray, finite_only: bool) -> float:
    """Mean over micro-batches; NaN if none is left."""
    kept = values[np.isfinite(values)] if finite_only else values
    return float(np.mean(kept)) if kept.size else math.nan


def _report(pending: tuple[int, dict[str, jax.Array]] | None, write: Callable, nonfinite: str) -> None:
    """Writes the metrics of a finished step; raises NonFinite for a bad one."""
    if pending is None:
        return
    number, metrics = pending
    values = {name: _mean(jax.device_get(value), nonfinite == "skip") for name, value in metrics.items()}
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    write(number, values)
    if bad and nonfinite == "stop":
        shown = ", ".join(f"{name} = {value}" for name, value in values.items())
        raise NonFinite(
            f"step {number}: {', '.join(bad)} not finite ({shown}). Nothing of this step was saved; the last "
            "checkpoint is good. Look at this step's data, lower the learning rate, or compute in float32."
        )
