"""What is made of the metrics of a finished step: they are written, inspected by the alarms, and may end the run."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from fsfm_jax.train.alarms import NONFINITE, Alarms
from fsfm_jax.train.suspects import SuspectImages
from fsfm_jax.train.vitals import SKIPPED

Write = Callable[[int, dict[str, float]], None]
Suspect = Callable[[int, Any, dict[str, np.ndarray]], SuspectImages]


class NonFinite(FloatingPointError):
    """A loss term or the gradient is NaN or infinite, once or too often."""


@dataclasses.dataclass(frozen=True)
class SkipLimit:
    """After how many steps that were left out, or had micro-batches left out, a run ends; 0: never.

    Attributes:
      consecutive: in a row.
      total: since the command was started.
    """

    consecutive: int
    total: int


class Finished(NamedTuple):
    """A step whose metrics nobody has read.

    number: 1 = first.
    metrics: as the step gave them.
    input_wait: share of its time that was spent waiting for its batch.
    batch: this process's rows, on the host.
    """

    number: int
    metrics: dict[str, jax.Array]
    input_wait: float
    batch: dict[str, np.ndarray]


class MetricsReader:
    """Reads the metrics of finished steps, each once, in their order."""

    def __init__(self, write: Write, nonfinite: str, limit: SkipLimit, alarms: Alarms, suspects: Suspect):
        """Set the rule `nonfinite` of the step."""
        self._write, self._nonfinite, self._limit = write, nonfinite, limit
        self._alarms, self._suspects = alarms, suspects
        self._skipped, self._in_row = 0, 0

    def __call__(self, step: Finished | None, state: Any) -> None:
        """Read `step`, if there is one; `state` is that of the loop, a step later at most.

        Raises:
          NonFinite: it was not finite, and the run ends at that; or steps were skipped up to the limit.
          Alarmed: an alarm went off that stops the run.
        """
        if step is None:
            return
        values = {name: _mean(jax.device_get(value), self._nonfinite != "stop") for name, value in step.metrics.items()}
        self._write(step.number, values | {"input_wait": step.input_wait})
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if bad and self._nonfinite == "stop":
            told = self._tell(step, state, "stop", f"{', '.join(bad)} not finite ({_show(values)})", bad)
            raise NonFinite(
                f"step {step.number}: {told}. Nothing of this step was saved; the last checkpoint is good. Look at "
                "this step's data, lower the learning rate, or compute in float32."
            )
        self._count(step, state, values)
        self._alarms.see(step.number, values)

    def _count(self, step: Finished, state: Any, values: dict[str, float]) -> None:
        """Count steps that were skipped, log the first in a row, and end the run at the limit."""
        if not values.get(SKIPPED):
            self._in_row = 0
            return
        self._skipped += 1
        self._in_row += 1
        counts = {"consecutive": (self._in_row, self._limit.consecutive), "total": (self._skipped, self._limit.total)}
        reached = [kind for kind, (number, limit) in counts.items() if limit and number >= limit]
        if self._in_row > 1 and not reached:
            return
        bad = [name for name, value in step.metrics.items() if not _finite(value)]
        message = f"{', '.join(bad)} not finite; {100 * values[SKIPPED]:.3g} % of the step was left out"
        told = self._tell(step, state, "stop" if reached else "skip", message, bad)
        if reached:
            in_a_row = " in a row" if reached[0] == "consecutive" else ""
            raise NonFinite(
                f"step {step.number}: {told}. It is number {counts[reached[0]][0]}{in_a_row} of such steps, as many as "
                f"nonfinite_limit.{reached[0]} allows. Nothing was saved since the last checkpoint."
            )

    def _tell(self, step: Finished, state: Any, action: str, message: str, terms: list[str]) -> str:
        """Note what happened with the images that are to blame, and gives the sentence."""
        found = self._suspects(step.number, state, step.batch)
        told = f"{message}. {found}"
        self._alarms.note(step.number, NONFINITE, action, told, terms=terms, **found.to_json())
        return told


def _finite(value: jax.Array) -> bool:
    return bool(np.isfinite(jax.device_get(value)).all())


def _mean(values: np.ndarray, finite_only: bool) -> float:
    """Return mean over micro-batches; NaN if none is left."""
    kept = values[np.isfinite(values)] if finite_only else values
    return float(np.mean(kept)) if kept.size else math.nan


def _show(values: dict[str, float]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in values.items())
