"""Alarms: what the watched numbers say of a run that learns nothing without an error.

`collapse`: the features of all faces have become one. `divergence`: the loss or the gradient is far above what it
was. `frozen_target`: the target does not move although its rule is a moving average. Each inspects finished steps, one
after the other, and goes off when it has found the same for so many of them in a row; it goes off again only after
it has found otherwise. Numbers that are not finite it passes over: they end a run, or are left out (`nonfinite`).

Every process sees the same numbers and decides the same; only the first one logs and writes.
"""

import collections
import dataclasses
import json
import logging
import math
import statistics
from typing import Any

from fsfm_jax.run.workdir import Lines
from fsfm_jax.train.vitals import FEATURE_STD, SKIPPED, TARGET_DISTANCE, TARGET_MOVED

LOG = logging.getLogger("fsfm_jax")
ALARMS_FILE = "alarms.jsonl"
ACTIONS = ("warn", "stop", "off")
COLLAPSE, DIVERGENCE, FROZEN_TARGET, NONFINITE = "collapse", "divergence", "frozen_target", "nonfinite"
# The cosine of the momentum ends at 1, and single precision rounds the last moves away before.
MOVING_SHARE = 0.9


class Alarmed(FloatingPointError):
    """An alarm whose action is to stop the run."""


@dataclasses.dataclass(frozen=True)
class AlarmSpec:
    """When alarms go off and what they do.

    Attributes:
      collapse, divergence, frozen_target: the actions, each one of `ACTIONS`.
      collapse_below: of `feature_std`.
      collapse_after: the step after which it is inspected; features of an untrained network are also alike.
      collapse_steps, divergence_steps, frozen_target_steps: in a row.
      loss_above, gradient_above: multiples of the medians of the last `window` steps.
      window: nothing diverges before there were so many.
      frozen_target_until: the step from which on the target may rest.
    """

    collapse: str
    collapse_below: float
    collapse_after: float
    collapse_steps: int
    divergence: str
    loss_above: float
    gradient_above: float
    window: int
    divergence_steps: int
    frozen_target: str
    frozen_target_until: float
    frozen_target_steps: int


class Alarms:
    """Looks at the metrics of a run, step after step."""

    def __init__(self, spec: AlarmSpec, path: str | None, first_step: int):
        """Write alarms to `path`; None in a process that is to stay silent. `first_step`: steps trained before."""
        self._spec, self._path, self._first_step = spec, path, first_step
        self._lines: Lines | None = None
        self._in_row: collections.Counter = collections.Counter()
        self._past = {name: collections.deque(maxlen=spec.window) for name in ("loss", "gradient_norm")}

    def see(self, step: int, values: dict[str, float]) -> None:
        """Take the metrics of step `step` (1 = first).

        Raises:
          Alarmed: an alarm went off that stops the run.
        """
        spec = self._spec
        if spec.divergence != "off":
            for name, above in (("loss", spec.loss_above), ("gradient_norm", spec.gradient_above)):
                self._diverges(step, name, values[name], above)
        if values.get(SKIPPED):
            return  # nothing has moved, and was not to
        spread = values.get(FEATURE_STD, math.nan)
        if spec.collapse != "off" and step > spec.collapse_after and math.isfinite(spread):
            if self._count(COLLAPSE, spread < spec.collapse_below) == spec.collapse_steps:
                self._go_off(
                    step, COLLAPSE, spec.collapse,
                    f"feature_std was below {spec.collapse_below:g} for {spec.collapse_steps} steps (now {spread:.3g}; "
                    "1 is spread out, 0 is one point): the projections of all faces are nearly the same. Look at "
                    "target.momentum, loss.instance_weight and the learning rate",
                    feature_std=spread, below=spec.collapse_below,
                )  # fmt: skip
        moved, distance = values.get(TARGET_MOVED, math.nan), values.get(TARGET_DISTANCE, math.nan)
        # Where the two networks are equal, there is nowhere to go.
        if spec.frozen_target != "off" and step <= spec.frozen_target_until and distance > 0:
            if self._count(FROZEN_TARGET, moved == 0) == spec.frozen_target_steps:
                self._go_off(
                    step, FROZEN_TARGET, spec.frozen_target,
                    f"the target network did not move for {spec.frozen_target_steps} steps, {distance:.3g} of its own "
                    "size away from the online network, although target.rule is ema: it is no moving average. Look "
                    "at target.momentum; for a target that stays, say target.rule=frozen",
                    target_moved=moved, target_distance=distance,
                )  # fmt: skip

    def note(self, step: int, name: str, action: str, message: str, **details: Any) -> None:
        """Write what happened to the file of alarms, and says it unless the run ends with it."""
        if self._path is None:
            return
        if action != "stop":
            LOG.warning("ALARM %s at step %d: %s.", name, step, message)
        if self._lines is None:
            # Those of steps that were lost with an interrupted process will go off again.
            self._lines = Lines(self._path, keep=lambda line: json.loads(line)["step"] <= self._first_step)
        line = {"step": step, "alarm": name, "action": action, "message": message, **details}
        self._lines.add(json.dumps(line))
        self._lines.flush()

    def close(self) -> None:
        """Close the file."""
        if self._lines is not None:
            self._lines.close()

    def _diverges(self, step: int, name: str, value: float, above: float) -> None:
        past, spec = self._past[name], self._spec
        if not math.isfinite(value):
            return
        if len(past) == spec.window:
            median = statistics.median(past)
            # A loss may be negative: so far above its median as the multiple of a positive one is.
            limit = median + (above - 1) * abs(median)
            if self._count(name, value > limit) == spec.divergence_steps:
                self._go_off(
                    step, DIVERGENCE, spec.divergence,
                    f"{name} was more than {above:g} times its median for {spec.divergence_steps} steps (now "
                    f"{value:.3g}, the median of {spec.window} steps is {median:.3g}): training diverges. Go back to "
                    "an earlier checkpoint with a lower learning rate or a longer warm-up",
                    number=name, value=value, median=median, above=above,
                )  # fmt: skip
        past.append(value)

    def _count(self, name: str, found: bool) -> int:
        """Count for how many steps in a row this was found."""
        self._in_row[name] = self._in_row[name] + 1 if found else 0
        return self._in_row[name]

    def _go_off(self, step: int, name: str, action: str, message: str, **details: Any) -> None:
        self.note(step, name, action, message, **details)
        if action == "stop":
            raise Alarmed(
                f"alarm {name} at step {step}: {message}. Nothing was saved since the last checkpoint; "
                f"alarms.{name}.action=warn goes on"
            )
