"""Write the table of a comparison: models x tunings x test sets, as Markdown, and as CSV with one number a row.

Models trained here come first, then imported scores, then published numbers on the same test sets.
"""

import csv
import dataclasses
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import jax

from fsfm_jax.detection import facts, published_numbers, published_rows, tables
from fsfm_jax.detection.detector import REPEATS
from fsfm_jax.detection.facts import Facts
from fsfm_jax.detection.repeats import spread
from fsfm_jax.detection.results import METRICS
from fsfm_jax.metrics.card import MERGED
from fsfm_jax.optim import tuning
from fsfm_jax.resolve.task import task_of

TEST_FOLDER = "test"  # in the working directory of a fine-tuning run
# Columns of the table by layout, and their names in published tables.
MAIN = {
    "dfd": {"frame AUC": "frame AUC", "video AUC": "video AUC"},
    "diff": {"AUC": "frame AUC"},
    "fas": {"HTER": "video HTER", "AUC": "video AUC"},
}
AUC = {layout: [*titles][-1] for layout, titles in MAIN.items()}  # the column shown in the picture
MEAN = "mean"
HEAD = (
    "task", "model", "tuning", "data set", "metric", "mean", "deviation", "seeds", "trained parameters",
    "all parameters", "trust", "source",
)  # fmt: skip
IMPORTED = "scores"  # appears in the columns `tuning` and `trust`
THRESHOLD = "HTER uses the threshold of equal error on the validation split."
MEANS = "Means of published rows are computed here, over the test sets of this table."
ORACLE = "The step was chosen on the test set itself (oracle), so these numbers are optimistic: "

Spread = tuple[float, float | None]  # mean and standard deviation in percent; no deviation with one seed


@dataclasses.dataclass(frozen=True)
class CellResult:
    """The results of a finished cell.

    Attributes:
      trained, parameters: counts of trained and of all parameters; None for imported scores.
      summaries: summaries of the test sets by name, for each seed.
      facts: facts of the detector of each seed, and of the test sets.
      oracle: whether the step was chosen on the test set.
    """

    trained: int | None
    parameters: int | None
    summaries: tuple[Mapping[str, Mapping], ...]
    facts: tuple[Facts, ...]
    oracle: bool


@dataclasses.dataclass(frozen=True)
class Entry:
    """A cell: its place, the names of its test sets, and its results, None before it has finished.

    `source` names the origin of imported scores; it is empty for a cell that is run here.
    """

    task: str
    model: str
    tuning: str
    layout: str
    sets: tuple[str, ...]
    found: CellResult | None
    source: str = ""

    @property
    def family(self) -> str:
        """The task without its target; tasks of one family share a table."""
        return self.task.partition("_")[0]


class Row:
    """A model with a tuning: its entries for all tasks of a family, in order."""

    def __init__(self, entries: Sequence[Entry]):
        self.entries = entries
        self.model, self.tuning = entries[0].model, entries[0].tuning

    @property
    def counts(self) -> tuple[int, int] | None:
        """Counts of trained and of all parameters; None while no cell has finished and for imported scores."""
        ended = [entry.found for entry in self.entries if entry.found and entry.found.trained is not None]
        return (ended[0].trained, ended[0].parameters) if ended else None

    def mean(self, metric: str) -> Spread | None:
        """Return the mean over all test sets and its standard deviation over seeds; None if a set has no value."""
        seeds = [values(entry, name, metric) for entry in self.entries for name in entry.sets]
        if any(each is None or None in each for each in seeds) or len({len(each) for each in seeds}) > 1:
            return None
        return spread_of([math.fsum(of_seed) / len(of_seed) for of_seed in zip(*seeds, strict=True)])


def read(workdir: str, seeds: Sequence[int]) -> CellResult:
    """Read the results of a fine-tuning with these seeds from `workdir`.

    Raises:
      FileNotFoundError: the results of a seed are missing.
    """
    folders = [os.path.join(workdir, REPEATS.format(seed)) for seed in seeds] if len(seeds) > 1 else [workdir]
    files = [Path(folder, TEST_FOLDER, METRICS) for folder in folders]
    missing = [str(file) for file in files if not file.exists()]
    if missing:
        gone = ", ".join(missing)
        raise FileNotFoundError(f"{workdir} has finished, but {gone} is missing. Remove {workdir} to run it again")
    contents = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    trained, parameters = count(contents[0]["detector"])
    return CellResult(
        trained,
        parameters,
        tuple(content["data"] for content in contents),
        tuple(facts.read(content) for content in contents),
        any(content["selection"]["oracle"] for content in contents),
    )


def count(card: dict) -> tuple[int, int]:
    """Count the trained and all parameters in the network of a detector with this card."""
    learnt = {name: value for name, value in card.items() if name != MERGED}  # counts unmerged updates
    params = jax.eval_shape(task_of(learnt).init, jax.random.key(0))
    trained, _ = tuning.split(params, tuning.TUNINGS[card["config"]["tuning.method"]])
    return tuning.count(trained), tuning.count(params)


def values(entry: Entry, name: str, metric: str) -> list[float | None] | None:
    """Return a metric of a test set in percent for each seed, None where it is undefined.

    Return None instead of the list if the cell has not finished, or if its imported scores lack that set.
    """
    if entry.found is None or name not in entry.found.summaries[0]:
        return None
    first = entry.found.summaries[0]
    (column,) = [column for column in tables.columns(entry.layout, first) if column.title == metric]
    each = [column.value(name, summaries[name]) for summaries in entry.found.summaries]
    return [None if value is None else 100 * value for value in each]


def spread_of(each: Sequence[float | None]) -> Spread | None:
    """Return mean and population standard deviation over seeds; None if a value is undefined."""
    if None in each:
        return None
    mean, deviation = spread(each)
    return mean, None if len(each) == 1 else deviation


def rows(entries: Iterable[Entry]) -> dict[str, list[Row]]:
    """Return the rows of each family, in the order of the entries."""
    grouped: dict[str, dict[tuple[str, str], list[Entry]]] = {}
    for entry in entries:
        grouped.setdefault(entry.family, {}).setdefault((entry.model, entry.tuning), []).append(entry)
    return {family: [Row(group) for group in found.values()] for family, found in grouped.items()}


def write_csv(path: Path, entries: Sequence[Entry]) -> None:
    """Write a row for each finished cell, test set and metric, in percent, then the mean over the task's sets.

    Mean and deviation are over seeds; undefined values are left empty. The published numbers on these sets follow.
    `trust` and `source` name their origin, and are empty for cells that were run here.
    """
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEAD)
        for entry in entries:
            if entry.found is None:
                continue
            columns = tables.columns(entry.layout, entry.found.summaries[0])
            titles = [column.title for column in columns if not column.published]
            names = [name for name in entry.sets if name in entry.found.summaries[0]]
            found = [(name, t, spread_of(values(entry, name, t))) for name in names for t in titles]
            found += [(MEAN, title, Row([entry]).mean(title)) for title in titles]
            for name, title, cell in found:
                numbers = ["" if value is None else repr(value) for value in cell or (None, None)]
                counts = len(entry.found.summaries), entry.found.trained, entry.found.parameters
                place = entry.task, entry.model, entry.tuning, name, title
                writer.writerow([*place, *numbers, *counts, IMPORTED if entry.source else "", entry.source])
        for family, found in rows(entries).items():
            for row in published_rows.find(family, *_asked(found[0])):
                for (name, title), number in row.numbers.items():
                    numbers = number.printed, *[""] * 4
                    writer.writerow([family, row.name, row.kind, name, title, *numbers, number.trust, number.source])


def table(entries: Sequence[Entry], notes: Sequence[str]) -> str:
    """Return a table for each task family: a row for each model and tuning, its main metrics in percent, their means.

    Unfinished cells are left empty. `notes` and the facts follow the tables.
    """
    parts = [_section(family, found) for family, found in rows(entries).items()]
    imported = {f"{entry.model}: {entry.source}" for entry in entries if entry.source}
    if notes or imported:
        parts.append("\n".join(f"- {note}" for note in (*notes, *sorted(imported))))
    return "\n\n".join([*parts, facts.block(facts_of(entries))]).rstrip("\n") + "\n"


def facts_of(entries: Iterable[Entry]) -> Facts:
    """Return the facts of all finished cells; a detector is named by its place in the table and its run."""
    found = []
    for entry in entries:
        each = () if entry.found is None else entry.found.facts
        for number, known in enumerate(each, 1):
            name = f"{entry.task}, {entry.model}, {entry.tuning}" + (f", run {number}" if len(each) > 1 else "")
            found.append(known._replace(detectors=[(name, fact) for _, fact in known.detectors]))
    return facts.join(found)


def _section(family: str, found: Sequence[Row]) -> str:
    first = found[0].entries
    metrics = MAIN[first[0].layout]
    places = [(index, name) for index, entry in enumerate(first) for name in entry.sets]
    sets = [*(name for _, name in places), *([MEAN] if len(places) > 1 else [])]
    titles = [f"{name} {metric}" for metric in metrics for name in sets]
    head = ["model", "tuning", "trained", "share", *titles]
    lines = [head, ["---"] * len(head)]
    for row in found:
        cells = []
        for metric in metrics:
            cells += [_show(row.entries[index], name, metric) for index, name in places]
            if len(places) > 1:
                mean = row.mean(metric)
                cells.append(tables.EMPTY if mean is None else show_spread(mean))
        counts = row.counts
        sizes = ["", ""] if counts is None else [f"{counts[0]:,}", f"{100 * counts[0] / counts[1]:.3g} %"]
        lines.append([row.model, row.tuning, *sizes, *cells])
    published = published_rows.find(family, *_asked(found[0]))
    for row in published:
        cells = []
        for metric in metrics:
            cells += [row.show(name, metric) for _, name in places]
            cells += [row.mean([name for _, name in places], metric) or tables.EMPTY] if len(places) > 1 else []
        lines.append([row.name, row.kind, "", "", *cells])
    oracles = [f"{row.model}, {row.tuning}" for row in found if any(e.found and e.found.oracle for e in row.entries)]
    below = [*([THRESHOLD] if "HTER" in metrics else []), *([ORACLE + "; ".join(oracles) + "."] if oracles else [])]
    below += [MEANS] if published and len(places) > 1 else []
    below += published_numbers.legend(number for row in published for number in row.numbers.values())
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n\n".join([f"## {family}, %", text, *(["  \n".join(below)] if below else [])])


def _asked(row: Row) -> tuple[dict[str, str], list[str]]:
    """Return the columns and test sets of a row's family, to look up published numbers."""
    return MAIN[row.entries[0].layout], [name for entry in row.entries for name in entry.sets]


def _show(entry: Entry, name: str, metric: str) -> str:
    each = values(entry, name, metric)
    if each is None:
        return ""
    cell = spread_of(each)
    return tables.UNDEFINED if cell is None else show_spread(cell)


def show_spread(cell: Spread) -> str:
    """Return a mean as text, with its standard deviation if there is one."""
    mean, deviation = cell
    return f"{mean:.2f}" if deviation is None else f"{mean:.2f} ± {deviation:.2f}"
