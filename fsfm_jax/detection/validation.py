"""Validate periodically during training, and choose the step that becomes the detector."""

import json
import logging
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from fsfm_jax.data.labels import LabelledSource
from fsfm_jax.detection.prediction import Predictions, Scorer
from fsfm_jax.detection.saved import Kept
from fsfm_jax.metrics import binary, thresholds
from fsfm_jax.metrics.scores import Scored
from fsfm_jax.metrics.selection import METRICS, SPLITS, Choice, Evaluated, SelectionRule, choose
from fsfm_jax.metrics.value import Value, undefined
from fsfm_jax.run.checkpoint import Checkpoints, Retention, read_parameters
from fsfm_jax.run.workdir import write_text
from fsfm_jax.train.state import TrainState

LOG = logging.getLogger("fsfm_jax")
FILE, FOLDER = "validation.jsonl", "selected"
# Prefixes of the metric names of a split.
GROUPS = {"source-validation": "validation", "target-test": "target_test"}
# A killed run resumes from a checkpoint before its last validations; the best step up to there must still be stored.
KEPT = Retention(3, 0)


class Validation:
    """A callback that validates at a step, records the results, and keeps the parameters of the best step so far.

    The record is `history`, a part of the run's checkpoints. A resumed run continues with it and validates no step
    twice. `validation.jsonl` is a copy for people.
    """

    def __init__(
        self, held_out: Mapping[str, LabelledSource], rule: SelectionRule, scorer: Scorer, history: list[dict],
        workdir: str, write: Callable[[int, Mapping[str, float]], None] = lambda step, values: None,
        weights: Callable[[TrainState], Any] = lambda state: state.params,
    ):  # fmt: skip
        """Open the parameters kept from earlier validations.

        Args:
          held_out: sources by the names of `metrics.selection.SPLITS`.
          history: the record from the checkpoint.
          write: receives the values of each validation, by names such as `validation/auc`.
          weights: returns the parameters of a state to evaluate and keep.
        """
        self.history = history
        self._held_out, self._rule, self._scorer, self._values_to = held_out, rule, scorer, write
        self._weights = weights
        self._path, self._folder = os.path.join(workdir, FILE), os.path.join(workdir, FOLDER)
        self._kept = None
        if rule.kind != "last":
            self._kept = Checkpoints(self._folder, KEPT, asynchronous=False)
            seen = {entry["step"] for entry in history}
            for step in self._kept.steps():
                if step not in seen:
                    self._kept.delete(step)
        self._write()

    def __call__(self, number: int, state: TrainState) -> None:
        """Validate the state after step `number`."""
        if not self._held_out or any(entry["step"] == number for entry in self.history):
            return
        params = self._weights(state)
        placed = self._scorer.place(params)
        splits = {split: _look(self._scorer(placed, source)) for split, source in self._held_out.items()}
        self.history.append({"step": number, "splits": splits})
        self._write()
        for split, found in splits.items():
            shown = "undefined" if found["auc"] is None else f"{100 * found['auc']:.2f} %"
            LOG.info("step %d, %s (%s): loss %.4f, video AUC %s", number, found["dataset"], split, found["loss"], shown)
        self._values_to(number, {
            f"{GROUPS[split]}/{name}": value
            for split, found in splits.items() for name, value in found.items() if isinstance(value, int | float)
        })  # fmt: skip
        if self._kept is not None and self._choice().step == number:
            self._kept.save(Kept(np.int32(number), params, {}), {"step": number})
            self._kept.wait()

    def chosen(self, last: int, params: dict) -> tuple[Choice, dict]:
        """Return the step that becomes the detector, and its parameters; `params` are those of step `last`."""
        if self._rule.kind == "last":
            return Choice(last, math.nan, f"Step {last}, the last of the run; no score was used."), params
        choice = self._choice()
        for step in self._kept.steps():
            if step != choice.step:
                self._kept.delete(step)
        dataset = self._held_out[SPLITS[self._rule.kind]].name
        found = read_parameters(self._folder, choice.step)[0]
        return choice._replace(label=f"{choice.label} Evaluated on: {dataset}."), found

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()

    def _choice(self) -> Choice:
        evaluated = [
            Evaluated(entry["step"], {split: _numbers(found) for split, found in entry["splits"].items()})
            for entry in self.history
        ]
        return choose(self._rule, evaluated)

    def _write(self) -> None:
        if jax.process_index() or not self._held_out:
            return
        write_text(self._path, "".join(json.dumps(entry, sort_keys=True) + "\n" for entry in self.history))


def _look(found: Predictions) -> dict:
    """Return the record of a validation as JSON: `loss` over frames, `auc` and `hter` over videos; else null."""
    frames = found.binary_scores()
    videos = found.by_video().binary_scores(frames.classes)
    hter = _half_total_error(videos, found.dataset)
    values = {"frame_auc": binary.auc(frames), "auc": binary.auc(videos), "hter": hter}
    known = {name: None if value.reason else value.value for name, value in values.items()}
    return {"dataset": found.dataset, "loss": float(np.mean(found.losses)), **known}


def _half_total_error(videos: Scored, split: str) -> Value:
    """Return the HTER of the released anti-spoofing code, at the threshold that it fits to the same split."""
    if videos.missing:
        return undefined(videos.missing)
    return binary.half_total_error_rate(videos, thresholds.on_released_grid(videos, split).value)


def _numbers(found: dict) -> dict[str, float]:
    return {name: math.nan if found[name] is None else found[name] for name in METRICS}
