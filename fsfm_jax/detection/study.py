"""Compute the numbers of a study: AUC of each source of forged faces and of its control, and false alarms by group.

Everything is computed from the stored predictions. An AUC is the mean over seeds. Its interval is the percentile
bootstrap of that mean over pictures (the same pictures for every seed); its deviation is the standard deviation over
seeds. The control of a task replaces the forged faces by real faces of a source that was not trained on. If its AUC is
as far from 50 % as the task's, the detector may have learned to distinguish sources.
"""

import csv
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fsfm_jax.detection import facts
from fsfm_jax.detection.detector import REPEATS
from fsfm_jax.detection.facts import Facts
from fsfm_jax.detection.prediction_file import read_predictions
from fsfm_jax.detection.results import read_results
from fsfm_jax.metrics.area import LEVEL, RESAMPLES, Area, mean_area
from fsfm_jax.resolve.study import CONTROL_SET, FORGED_SET, Cell, Study

JSON, TABLE, CSV, PICTURE = "study.json", "table.md", "table.csv", "study.png"
AGES = (30, 45, 60)  # bounds of the spans that numbers of more than one digit are grouped into
HEAD = ("task", "arm", "tested on", "control", "auc", "low", "high", "deviation", "seeds", "real", "forged")


class Alarms(NamedTuple):
    """Counts of a group's real faces classified as forged at the detector's own threshold, summed over seeds."""

    task: str
    arm: str
    source: str
    group: str
    called: int
    faces: int


class Found(NamedTuple):
    """The results so far, and the facts behind them.

    `seconds` is the run time of all seeds of a cell, by task and arm.
    """

    areas: tuple[Area, ...]
    alarms: tuple[Alarms, ...]
    seconds: Mapping[tuple[str, str], float]
    facts: Facts


def summarise(groups: str, ended: Sequence[tuple[Cell, float]]) -> Found:
    """Summarise the results of `ended` cells, each with its seconds; `groups` is the field of the configuration.

    Raises:
      ValueError: `groups` is malformed. OSError: predictions cannot be read.
    """
    patterns = parse_groups(groups)
    areas, alarms, known = [], [], []
    for cell, _ in ended:
        c = cell.config
        folders = [os.path.join(cell.folder, REPEATS.format(seed)) for seed in range(c.seed, c.seed + c.repeats)]
        if len(folders) == 1:
            folders = [cell.folder]
        known += [_facts(cell, folder, seed) for seed, folder in enumerate(folders, c.seed)]
        for name in (FORGED_SET, *([CONTROL_SET] if cell.task.control else [])):
            file = os.path.join("test", "predictions", f"{name}.{c.report.predictions}")
            seeds = [read_predictions(Path(folder, file)) for folder in folders]
            areas += _areas(cell, seeds, name == CONTROL_SET)
            alarms += _alarms(cell, seeds, [_threshold(folder) for folder in folders], patterns, name)
    seconds = {(cell.task.name, cell.arm): taken for cell, taken in ended}
    return Found(tuple(areas), tuple(alarms), seconds, facts.join(known))


def _facts(cell: Cell, folder: str, seed: int) -> Facts:
    """Return the facts of one seed of a cell; sets get the task's name, since all tasks name their sets alike."""
    found = facts.read(read_results(os.path.join(folder, "test")), f"{cell.task.name}, {cell.arm}, seed {seed}")
    return found._replace(sets=[(f"{cell.task.name}, {name}", fact) for name, fact in found.sets])


def parse_groups(text: str) -> dict[str, re.Pattern]:
    """Parse `NAME=PATTERN`, one a line; raise ValueError for an invalid pattern or one without named groups."""
    patterns = {}
    for line in filter(None, (line.strip() for line in text.splitlines())):
        name, _, pattern = line.partition("=")
        try:
            patterns[name] = re.compile(pattern)
        except re.error as error:
            raise ValueError(f"groups: expected a regular expression, found {pattern!r}: {error}") from error
        if not patterns[name].groupindex:
            raise ValueError(f"groups: expected named groups (?P<age>...) in the pattern of {name}, found {pattern!r}")
    return patterns


def _areas(cell: Cell, seeds: Sequence[Mapping[str, np.ndarray]], control: bool) -> list[Area]:
    """Return the AUC of each source of a test set; faces that are not real have the source's name as method."""
    first = seeds[0]
    real = first["class"] == "real"
    found = []
    for source in sorted({*first["method"][~real]}):
        chosen = real | (first["method"] == source)
        labels = real[chosen]
        numbers = mean_area([seed["score"][chosen] for seed in seeds], labels)
        counts = (len(seeds), int(labels.sum()), int((~labels).sum()))
        found.append(Area(cell.task.name, cell.arm, str(source), control, *numbers, *counts))
    return found


def _alarms(
    cell: Cell, seeds: Sequence[Mapping[str, np.ndarray]], thresholds: Sequence[float],
    patterns: Mapping[str, re.Pattern], name: str,
) -> list[Alarms]:  # fmt: skip
    """Count false alarms on real faces, for each real source of the test set and for the control source."""
    control = name == CONTROL_SET
    first = seeds[0]
    chosen = (first["class"] == "real") != control
    if not chosen.any():
        return []
    called = np.sum([seed["score"][chosen] < at for seed, at in zip(seeds, thresholds, strict=True)], axis=0)
    videos = first["video"][chosen].tolist()
    members: dict[tuple[str, str], list[int]] = {}
    for row, video in enumerate(videos):
        source, _, picture = video.partition("/")
        for group in ["all", *_groups_of(picture, patterns.get(source))]:
            members.setdefault((source, group), []).append(row)
    # Sources by name, each first with all faces, then by group.
    return [
        Alarms(cell.task.name, cell.arm, source, group, int(called[rows].sum()), len(rows) * len(seeds))
        for (source, group), rows in sorted(
            members.items(), key=lambda item: (item[0][0], item[0][1] != "all", item[0][1])
        )
    ]


def _groups_of(picture: str, pattern: re.Pattern | None) -> list[str]:
    match = pattern.search(picture) if pattern else None
    return [f"{part} {_span(value)}" for part, value in match.groupdict().items()] if match else []


def _span(value: str) -> str:
    """Return `value`, or the span of `AGES` that contains it if it is a number of more than one digit."""
    if not value.isdecimal() or len(value) < 2:
        return value
    above = [age for age in AGES if int(value) >= age]
    below = [age for age in AGES if int(value) < age]
    return f"{above[-1] if above else ''}-{below[0] - 1 if below else ''}"


def wilson(called: int, faces: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of the share `called / faces` (Wilson, 1927)."""
    z, share = 1.959964, called / faces
    middle = (share + z * z / (2 * faces)) / (1 + z * z / faces)
    half = z / (1 + z * z / faces) * math.sqrt(share * (1 - share) / faces + z * z / (4 * faces * faces))
    return max(0.0, middle - half), min(1.0, middle + half)


def _threshold(folder: str) -> float:
    """Return the threshold for single faces that the detector of a run stores."""
    kept = read_results(os.path.join(folder, "test"))["detector"]["calibration"]
    return kept["thresholds"]["frame"][-1]["value"]


def table(planned: Study, found: Found, costs: Mapping[str, float], notes: Sequence[str]) -> str:
    """Return a table for each task, arms by sources, then false alarms by group and the cost of each run."""
    text = []
    for task in planned.tasks:
        areas = [area for area in found.areas if area.task == task.name]
        sources = list(dict.fromkeys((area.control, area.source) for area in areas))
        fakes, reals = ", ".join(task.fake), ", ".join(task.real)
        text.append(f"### {task.name}: {reals} against {fakes}\n")
        rows = [["arm", *(f"control: {name}" if control else name for control, name in sources), "minutes a seed"]]
        for arm in task.arms:
            cells = {(area.control, area.source): area for area in areas if area.arm == arm}
            shown = [show(cells[key]) if key in cells else "" for key in sources]
            taken = found.seconds.get((task.name, arm))
            per_seed = "" if taken is None else f"{taken / 60 / next(iter(cells.values())).seeds:.1f}"
            rows.append([arm, *shown, per_seed])
        text.append(_lines(rows))
    if found.alarms:
        text.append("### Real faces called forged, at each detector's own threshold\n")
        rows = [["task", "arm", "source", "group", "called forged", "of", "share, 95 % interval"]]
        for one in found.alarms:
            low, high = wilson(one.called, one.faces)
            share = f"{100 * one.called / one.faces:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
            rows.append([one.task, one.arm, one.source, one.group, str(one.called), str(one.faces), share])
        text.append(_lines(rows))
    text += [f"Pretraining of {arm}: {seconds / 60:.0f} minutes." for arm, seconds in costs.items()]
    return "\n".join([*text, BELOW, *notes, *(["", known] if (known := facts.block(found.facts)) else [])]) + "\n"


BELOW = (
    "\nImage AUC in percent: mean ± standard deviation over seeds, and the 95 % interval over pictures. A control "
    "replaces the forged faces by real faces of an unseen source; its AUC should be 50. Faces called forged are "
    "summed over seeds, so the intervals of shares are a little too narrow.\n"
)


def show(area: Area) -> str:
    """Format an AUC as `82.1 ± 0.9 (79.0 to 85.1)`, in percent."""
    mean, low, high, deviation = (100 * value for value in (area.auc, area.low, area.high, area.deviation))
    return f"{mean:.1f} ± {deviation:.1f} ({low:.1f} to {high:.1f})"


def _lines(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rest]) + "\n"


def write(workdir: str, planned: Study, found: Found, costs: Mapping[str, float], notes: Sequence[str]) -> None:
    """Write `study.json`, `table.md` and `table.csv` below `workdir`."""
    content = {
        "areas": [area._asdict() for area in found.areas],
        "alarms": [one._asdict() for one in found.alarms],
        "seconds": [{"task": task, "arm": arm, "seconds": taken} for (task, arm), taken in found.seconds.items()],
        "pretraining_seconds": dict(costs),
        "bootstrap": {"resamples": RESAMPLES, "level": LEVEL, "unit": "picture"},
        facts.KEY: {"detectors": dict(found.facts.detectors), "sets": dict(found.facts.sets)},
    }
    Path(workdir, JSON).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    Path(workdir, TABLE).write_text(table(planned, found, costs, notes), encoding="utf-8")
    with open(Path(workdir, CSV), "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEAD)
        writer.writerows([*area[:3], *(repr(value) for value in area[3:])] for area in found.areas)
