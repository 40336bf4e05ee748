"""The plots of an ablation's `table.csv` over the quantity that its settings vary: FSFM supplement, Fig. 5 and Tab. 6.

The varied quantity is derived from the names of the settings in `configs/ablate_fsfm.py`:

    0.35, 0.50, ...             numbers: one axis
    0.007 and 0.1, ...          weights of the region and of the ID loss: an axis for each, the other at its default
    S, B, L                     model sizes: millions of parameters
    FF++ 0.1M, YTF 0.6M, ...    data sets: millions of images
    anything else               places in the order of the table
"""

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from fsfm_jax.detection.ablation import HEAD
from fsfm_jax.figures.plot import save
from fsfm_jax.figures.sweep import Point, Sweep, plot_sweeps

PARAMETERS = {"S": 22.0, "B": 86.0, "L": 303.0}  # millions, as printed in Tab. 6 of the supplement
NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?"
T = TypeVar("T")
# An axis: its label, and the place of each setting on it.
Axis = tuple[str, Mapping[str, float]]


def draw_ablation_table(table: str, folder: str) -> list[Sweep]:
    """Write `ablation.png` and `ablation.json` from `table`, the `table.csv` of an ablation.

    Raises:
      ValueError: if `table` has another format or no numbers.
      OSError: if it cannot be read.
    """
    rows = _read(table)
    sweeps = sweeps_of(rows)
    if not sweeps:
        raise ValueError(
            f"--table={table}: expected at least one measured or published number, found none; "
            "wait until a run of the ablation has ended"
        )
    found = [
        {"title": one.title, "across": one.across, "points": [vars(point) for point in one.points]} for one in sweeps
    ]
    with open(os.path.join(folder, "ablation.json"), "w", encoding="utf-8") as file:
        json.dump(found, file, indent=1)
    save(os.path.join(folder, "ablation.png"), plot_sweeps("Means over the test sets of a task", sweeps))
    return sweeps


def sweeps_of(rows: Sequence[Mapping[str, str]]) -> list[Sweep]:
    """Return a plot for each measure and varied quantity, from rows of `table.csv`."""
    sweeps = []
    axes, numeric = axes_of(list(dict.fromkeys(row["setting"] for row in rows)))
    for task, metric in dict.fromkeys((row["task"], row["metric"]) for row in rows):
        of_measure = [row for row in rows if (row["task"], row["metric"]) == (task, metric)]
        for across, places in axes:
            points = [_point(row, places[row["setting"]]) for row in of_measure if row["setting"] in places]
            points = [point for point in points if (point.mean, point.published) != (None, None)]
            if points:
                points.sort(key=lambda point: point.place)
                sweeps.append(Sweep(f"{task}: {metric}", across, points, numeric))
    return sweeps


def axes_of(settings: Sequence[str]) -> tuple[list[Axis], bool]:
    """Return the axes on which `settings` vary, and whether they are numeric."""
    pairs = _match(rf"({NUMBER}) and ({NUMBER})", settings, lambda m: (float(m[1]), float(m[2])))
    if pairs:
        return _axes_of_weights(pairs), True
    for across, places in (
        ("setting", _match(NUMBER, settings, lambda m: float(m[0]))),
        ("millions of parameters", _match("|".join(PARAMETERS), settings, lambda m: PARAMETERS[m[0]])),
        ("millions of images", _match(rf".*?({NUMBER})M", settings, lambda m: float(m[1]))),
    ):
        if places:
            return [(across, places)], True
    return [("setting", {name: float(place) for place, name in enumerate(settings)})], False


def _axes_of_weights(pairs: Mapping[str, tuple[float, float]]) -> list[Axis]:
    """Return an axis for each weight, over the settings whose other weight has its most frequent value."""
    usual = [Counter(pair[side] for pair in pairs.values()).most_common(1)[0][0] for side in (0, 1)]
    region = {name: own for name, (own, other) in pairs.items() if other == usual[1]}
    identity = {name: own for name, (other, own) in pairs.items() if other == usual[0]}
    named = (
        (f"weight of the region loss (ID {usual[1]:g})", region),
        (f"weight of the ID loss (region {usual[0]:g})", identity),
    )
    return [(across, places) for across, places in named if len(places) > 1] or [*named[:1]]


def _match(pattern: str, settings: Sequence[str], read: Callable[[re.Match], T]) -> dict[str, T]:
    """Return the result of `read` for each setting; empty if the pattern does not match all settings."""
    found = {name: re.fullmatch(pattern, name) for name in settings}
    matches = {name: match for name, match in found.items() if match is not None}
    return {name: read(match) for name, match in matches.items()} if len(matches) == len(found) else {}


def _point(row: Mapping[str, str], place: float) -> Point:
    # A published number may carry a mark of its source, and there may be several numbers; take the first.
    published = re.match(NUMBER, row["published"])
    mean, deviation = (float(row[name]) if row[name] else None for name in ("mean", "deviation"))
    return Point(row["setting"], place, mean, deviation, float(published[0]) if published else None)


def _read(table: str) -> list[dict[str, str]]:
    with open(table, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != HEAD:
            raise ValueError(
                f"--table={table}: expected the table.csv of an ablation, with the columns {', '.join(HEAD)}; "
                f"found {', '.join(reader.fieldnames or ['nothing'])}"
            )
        rows = list(reader)
    for number, row in enumerate(rows, 2):
        try:
            _point(row, 0)
        except (TypeError, ValueError) as error:
            raise ValueError(f"--table={table}: line {number}: expected numbers in percent ({error})") from error
    return rows
