"""The rule that selects the reported checkpoint of a run, and a sentence about the choice for every output."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

# The split that each rule uses; `last` uses none.
SPLITS = {"oracle": "target-test", "source-validation": "source-validation", "last": ""}
BETTER = ("lower", "higher")
# Metrics that can select a step of fine-tuning, and which direction is better; see `detection.validation`.
METRICS = {"loss": "lower", "auc": "higher", "hter": "lower"}
TIES = ("earlier", "later")


class Evaluated(NamedTuple):
    """One checkpoint: its step and its metrics by split, such as `{"source-validation": {"loss": 0.4}}`."""

    step: int
    metrics: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class SelectionRule:
    """A selection rule: `oracle` (on the target's test set), `source-validation`, or `last` (without metric).

    Raises:
      ValueError: if a name is not in `SPLITS`, `BETTER` or `TIES`, or a rule lacks the metric that it needs.
    """

    kind: str
    metric: str = ""
    better: str = ""
    ties: str = ""

    def __post_init__(self):
        if self.kind not in SPLITS:
            raise ValueError(f"selection rule: expected one of {', '.join(SPLITS)}; found {self.kind!r}")
        if self.kind == "last":
            if (self.metric, self.better, self.ties) != ("", "", ""):
                raise ValueError(f"selection rule last: expected no metric, direction or tie rule; found {self}")
            return
        if not self.metric:
            raise ValueError(f"selection rule {self.kind}: expected the name of a metric, found ''")
        for name, value, known in (("better", self.better, BETTER), ("ties", self.ties, TIES)):
            if value not in known:
                raise ValueError(f"selection rule {self.kind}, {name}: expected {' or '.join(known)}; found {value!r}")


LAST = SelectionRule("last")


class Choice(NamedTuple):
    """The chosen step, its value (NaN for `last`), and the sentence that accompanies its numbers."""

    step: int
    value: float
    label: str


def choose(rule: SelectionRule, evaluated: Sequence[Evaluated]) -> Choice:
    """Apply `rule` to the checkpoints of one run, in any order; NaN is never chosen, and the label counts NaNs.

    Raises:
      ValueError: if there is no checkpoint, a step is given twice, the rule's metric is missing, or all values are NaN.
    """
    steps = [checkpoint.step for checkpoint in evaluated]
    if not steps:
        raise ValueError("evaluated: expected at least one checkpoint, found none")
    if len(set(steps)) < len(steps):
        twice = next(step for step in steps if steps.count(step) > 1)
        raise ValueError(f"evaluated: expected each step once, found step {twice} {steps.count(twice)} times")
    if rule.kind == "last":
        return Choice(max(steps), math.nan, f"Step {max(steps)}, the last of {len(steps)}; no score was used.")
    values = {checkpoint.step: _value(rule, checkpoint) for checkpoint in evaluated}
    known = {step: value for step, value in values.items() if not math.isnan(value)}
    if not known:
        raise ValueError(f"{SPLITS[rule.kind]} {rule.metric}: expected a number for some step, found only NaN")
    best = (min if rule.better == "lower" else max)(known.values())
    winners = [step for step, value in known.items() if value == best]
    step = (max if rule.ties == "later" else min)(winners)
    return Choice(step, best, _label(rule, step, best, len(values), len(values) - len(known), len(winners)))


def _value(rule: SelectionRule, checkpoint: Evaluated) -> float:
    split = SPLITS[rule.kind]
    if split not in checkpoint.metrics or rule.metric not in checkpoint.metrics[split]:
        found = {name: sorted(metrics) for name, metrics in checkpoint.metrics.items()}
        raise ValueError(f"step {checkpoint.step}: expected metric {rule.metric!r} of split {split!r}; found {found}")
    return float(checkpoint.metrics[split][rule.metric])


def _label(rule: SelectionRule, step: int, best: float, total: int, without: int, winners: int) -> str:
    where = {
        "oracle": "the target's own test set (an oracle: these numbers are optimistic)",
        "source-validation": "a validation split; the test set was not used",
    }[rule.kind]
    extreme = {"lower": "lowest", "higher": "highest"}[rule.better]
    notes = f" {winners} steps were equal; the {rule.ties} one was chosen." if winners > 1 else ""
    notes += f" {without} of {total} steps had no value." if without else ""
    return f"Step {step}, one of {total} evaluated: the {extreme} {rule.metric} ({best:.6g}) on {where}.{notes}"
