"""The tabulation job: collect the results of several runs and evaluations in one table, laid out as in the papers.

It writes `table.md` and `table.csv` below the working directory. Several results on one data set are treated as seeds:
the cell has their mean and standard deviation.
"""

import csv
import glob
import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from fsfm_jax.config import tabulate
from fsfm_jax.config.fields import check_fields, one_of
from fsfm_jax.detection import facts, published_numbers, tables
from fsfm_jax.detection.detector import REPEATS
from fsfm_jax.detection.published_numbers import Number
from fsfm_jax.detection.repeats import spread
from fsfm_jax.detection.results import METRICS, TABLE, check_no_results
from fsfm_jax.jobs.finetune import TEST_FOLDER
from fsfm_jax.resolve.report import LAYOUTS

LOG = logging.getLogger("fsfm_jax")
CSV = "table.csv"
Cell = tuple[float, float | None] | str | None  # mean and deviation in percent, or published numbers with their marks
# Where a working directory may have results: of an evaluation, of a run, of a run with several seeds.
PLACES = ("", TEST_FOLDER, os.path.join(REPEATS.format("*"), TEST_FOLDER))


def run(config: ConfigDict, workdir: str, stop_after: str = "") -> None:
    """Write the table of the runs that `config.runs` names.

    Raises:
      FileNotFoundError: a run has no results.
      ValueError: no run is named, the layout is unknown, the layout does not fit the results, or `workdir` has the
        table of an evaluation.
    """
    check_fields(config, tabulate.tabulate())
    if stop_after:
        raise ValueError("--stop_after: a table has no steps; leave it out")
    layout = one_of("layout", config.layout, LAYOUTS)
    check_no_results(workdir)
    found: dict[str, list[Mapping]] = {}
    known = []
    for folder in filter(None, (text.strip() for text in config.runs.split(","))):
        for content in _contents(folder):
            known.append(facts.read(content))
            for name, summary in content["data"].items():
                found.setdefault(name, []).append(summary)
    if not found:
        raise ValueError("runs: expected workdirs with commas, found none")
    head, rows = numbers(found, layout)
    shown = tables.columns(layout, {name: summaries[0] for name, summaries in found.items()})
    _write(Path(workdir), head, rows, tables.sources(layout, shown, found), facts.block(facts.join(known)))
    LOG.info("Table: %s", os.path.join(workdir, TABLE))


def _contents(folder: str) -> list[dict]:
    files = [file for place in PLACES for file in sorted(glob.glob(os.path.join(glob.escape(folder), place, METRICS)))]
    if not files:
        places = ", ".join(os.path.join(folder, place) for place in PLACES)
        raise FileNotFoundError(f"runs: no {METRICS} in {places}; let that evaluation end, or fine-tune with data.test")
    return [json.loads(Path(file).read_text(encoding="utf-8")) for file in files]


def numbers(found: Mapping[str, Sequence[Mapping]], layout: str) -> tuple[list[str], list[list]]:
    """Return the head and the rows of the table.

    A row has the name of the data set, the number of results, then (mean, standard deviation) in percent or None for
    each column. The last row is the mean over the data sets.

    The variance divides by the number of results, as in the released code; with one result the deviation is None.
    Ambiguous published numbers are a text with the mark of each source; they enter no mean.
    """
    columns = tables.columns(layout, {name: summaries[0] for name, summaries in found.items()})
    rows = []
    for name, summaries in found.items():
        cells = []
        for column in columns:
            if column.published:
                cells.append(_published(column.published(name)))
                continue
            values = [column.value(name, summary) for summary in summaries]
            cells.append(None if None in values else _spread([100 * value for value in values]))
        rows.append([name, len(summaries), *cells])
    if len(rows) > 1:
        means = [_mean(cells) for cells in zip(*(row[2:] for row in rows), strict=True)]
        rows.append(["mean", sum(row[1] for row in rows), *means])
    return ["data set", "results", *(column.title for column in columns)], rows


def _spread(values: list[float]) -> tuple[float, float | None]:
    mean, deviation = spread(values)
    return mean, None if len(values) == 1 else deviation


def _published(found: tuple[Number, ...]) -> Cell:
    value = published_numbers.undisputed(found)
    return (value, None) if value is not None else published_numbers.show(found) or None


def _mean(cells: Sequence[Cell]) -> Cell:
    if any(cell is None or isinstance(cell, str) for cell in cells):
        return None
    return math.fsum(mean for mean, _ in cells) / len(cells), None


def _write(workdir: Path, head: list[str], rows: list[list], notes: list[str], known: str) -> None:
    with open(workdir / CSV, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*head[:2], *(f"{title}{part}" for title in head[2:] for part in ("", " deviation"))])
        for name, count, *cells in rows:
            pairs = [(cell, None) if isinstance(cell, str) else cell or (None, None) for cell in cells]
            flat = [part for pair in pairs for part in pair]
            writer.writerow([name, count, *(repr(part) if isinstance(part, float) else part or "" for part in flat)])
    lines = [head, ["---"] * len(head)]
    lines += [[name, str(count), *map(_show, cells)] for name, count, *cells in rows]
    below = "  \n".join(filter(None, notes))
    text = "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", *([below, ""] if below else []), known])
    (workdir / TABLE).write_text(text, encoding="utf-8")


def _show(cell: Cell) -> str:
    if cell is None or isinstance(cell, str):
        return cell or tables.EMPTY
    mean, deviation = cell
    return f"{mean:.2f}" if deviation is None else f"{mean:.2f} ± {deviation:.2f}"
