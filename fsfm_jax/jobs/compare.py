"""The comparison job: models x tunings x tasks, each cell an ordinary fine-tuning, as one table and one picture.

Below the working directory, rewritten after each cell:

    table.md, table.csv          `detection.comparison`
    comparison.png               `analyze.comparison`
    runs/TASK/MODEL/TUNING/      the working directory of the cell's fine-tuning; with cell.json it has ended

`scores` names files with the scores of other detectors, which become additional rows (`detection.score_file`).

All inputs are checked before training starts. The same command resumes a stopped comparison. With an additional model,
tuning or task it runs only the new cells. A cell that fails does not stop the others: it stays empty, with its reason
below the table, and the command ends with an error.
"""

import functools
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import jax
from ml_collections import ConfigDict

from fsfm_jax.detection import comparison as results
from fsfm_jax.detection.results import TABLE, check_no_results
from fsfm_jax.detection.sets import parse_sets
from fsfm_jax.figures.comparison import COLOURS, Point, draw_comparison
from fsfm_jax.jobs import finetune
from fsfm_jax.jobs.cells import MARK, Run, check_command, failure_notes, has_ended, run_all
from fsfm_jax.jobs.finetune_inputs import open_inputs
from fsfm_jax.jobs.imported_scores import import_scores
from fsfm_jax.jobs.recipe_check import check_recipe
from fsfm_jax.resolve.compare import Cell, Plan, of_cell, plan
from fsfm_jax.resolve.finetune import SCRATCH, resolve_finetuning
from fsfm_jax.run.foreign_file import check_place
from fsfm_jax.run.lock import hold
from fsfm_jax.weights.bundled import ENCODER
from fsfm_jax.weights.checkpoint_place import resolve

LOG = logging.getLogger("fsfm_jax")
CSV, PICTURE = "table.csv", "comparison.png"


def run(config: ConfigDict, workdir: str, stop_after: str = "") -> None:
    """Run the unfinished cells of `config`, and write the table and the picture after each.

    Raises:
      ValueError: a name, recipe, field or data set does not fit, or a cell ended with another configuration.
      FileNotFoundError: data or pretrained parameters are missing.
      CellsFailed: cells ended with an error; the message gives the reason of each. The others have finished.
      Interrupted: the process was told to stop; the current cell is saved.
    """
    check_command("a comparison", workdir, stop_after)
    check_no_results(workdir)
    with hold(workdir):
        _run(config, workdir)


def _run(config: ConfigDict, workdir: str) -> None:
    planned = plan(config)
    if len(planned.models) > len(COLOURS):
        raise ValueError(f"models: the picture has {len(COLOURS)} colours; found {len(planned.models)} models")
    runs = [Run(str(cell), cell.folder(workdir), cell.config, finetune.run) for cell in planned.cells]
    todo = [run for run in runs if not has_ended(run)]
    for check in (check_recipe, _check_init, check_inputs):
        for one in todo:
            of_cell(one.name, check, one.config)
    run_all(runs, functools.partial(_write, planned, workdir, import_scores(planned)))
    LOG.info("Table: %s", os.path.join(workdir, TABLE))


def _check_init(c: ConfigDict) -> None:
    if c.init == SCRATCH:
        return
    path = resolve(c.init, ENCODER)
    check_place(path, "models")
    if "://" not in path and not os.path.exists(path):
        raise FileNotFoundError(f"models: nothing is at {c.init}")


def check_inputs(c: ConfigDict) -> None:
    """Open all inputs of a fine-tuning and resolve its configuration, without training."""
    inputs = open_inputs(c)
    names = inputs.class_names
    resolve_finetuning(c, inputs.examples, len(names), inputs.real, inputs.statistics, jax.device_count())


def _write(planned: Plan, workdir: str, imported: list[results.Entry], failed: Mapping[str, str]) -> None:
    """Write the table and the picture of all finished cells, with the reasons of the failed ones."""
    if jax.process_index():
        return
    entries = [*(entry_of(cell, workdir) for cell in planned.cells), *imported]
    notes = [*planned.notes, *failure_notes(failed)]
    Path(workdir, TABLE).write_text(results.table(entries, notes), encoding="utf-8")
    results.write_csv(Path(workdir, CSV), entries)
    draw_comparison(Path(workdir, PICTURE), points(entries), planned.models, planned.tunings)


def entry_of(cell: Cell, workdir: str) -> results.Entry:
    """Read the results of a cell, if it has finished."""
    c, folder = cell.config, cell.folder(workdir)
    found = results.read(folder, range(c.seed, c.seed + c.repeats)) if Path(folder, MARK).exists() else None
    sets = tuple(parse_sets(c.data.test, "data.test"))
    return results.Entry(cell.task, cell.model, cell.tuning, c.report.layout, sets, found)


def points(entries: Iterable[results.Entry]) -> dict[str, list[Point]]:
    """Return the points of each family's plot by title, for the rows that have results on every test set."""
    panels = {}
    for family, found in results.rows(entries).items():
        metric = results.AUC[found[0].entries[0].layout]
        means = [(row, row.mean(metric)) for row in found if row.counts]
        panels[f"{family}: {metric}"] = [Point(r.model, r.tuning, r.counts[0], *mean) for r, mean in means if mean]
    return panels
