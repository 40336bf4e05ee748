"""The comparison job: models x tunings x tasks, each cell an ordinary fine-tuning, as one table and one picture.

Below the working directory, rewritten after each cell:

    table.md, table.csv          `detection.comparison`
    comparison.png               `analyze.comparison`
    runs/TASK/MODEL/TUNING/      the working directory of the cell's fine-tuning; with cell.json it has ended

Everything is checked before anything is trained. The same command goes on where a comparison was stopped, and with
another model, tuning or task it runs the new cells alone. A cell that fails, whatever the reason, does not keep the
others from their numbers: it stays empty, with its reason below the table, and the command ends with an error.
"""

import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import jax
from ml_collections import ConfigDict

from fsfm_jax.config.fields import flat, is_part_of, same_value
from fsfm_jax.detection import comparison as results
from fsfm_jax.detection.results import TABLE, check_no_results
from fsfm_jax.detection.sets import open_sets
from fsfm_jax.figures.comparison import COLOURS, Point, draw_comparison
from fsfm_jax.jobs import finetune
from fsfm_jax.jobs.finetune_inputs import open_inputs
from fsfm_jax.jobs.recipe_check import check_recipe
from fsfm_jax.resolve.compare import Cell, Plan, of_cell, plan
from fsfm_jax.resolve.finetune import SCRATCH, resolve_finetuning
from fsfm_jax.run.checkpoint import same_json
from fsfm_jax.run.foreign_file import check_place
from fsfm_jax.run.lock import hold
from fsfm_jax.run.workdir import write_text
from fsfm_jax.train.loop import Interrupted

LOG = logging.getLogger("fsfm_jax")
MARK = "cell.json"
CSV, PICTURE = "table.csv", "comparison.png"
# What may differ between a cell that has ended and the one that is asked for: where it ran and how fast.
FREE_FIELDS = (
    "data.workers", "data.threads", "batch.per_device", "batch.accumulation", "model.remat", "features.cache",
    "evaluation.batch", "evaluation.threads", "checkpoint.keep_latest", "checkpoint.keep_every",
    "partition.replicas", "partition.fsdp", "partition.fsdp_min_size", "report.predictions",
    "nonfinite_limit", "alarms",
)  # fmt: skip


class CellsFailed(ValueError):
    """Cells of a comparison failed; the others have run."""


def run(config: ConfigDict, workdir: str, stop_after: str = "") -> None:
    """Runs the cells of `config` that have not ended yet, and writes the table and the picture after each.

    Raises:
      ValueError: a name, recipe, field or data set that does not fit, or a cell that ended with another configuration.
      FileNotFoundError: data or pretrained parameters that are not there.
      CellsFailed: names the cells that ended with an error, and the reason of each; the others have run.
      Interrupted: the process was told to stop; the cell that was running is saved.
    """
    if stop_after:
        raise ValueError("--stop_after: a comparison ends with its last cell; leave it out, and stop it where you like")
    if "://" in workdir:
        raise ValueError(f"--workdir: a comparison expects a folder of a file system, found {workdir}")
    check_no_results(workdir)
    with hold(workdir):
        _run(config, workdir)


def _run(config: ConfigDict, workdir: str) -> None:
    planned = plan(config)
    if len(planned.models) > len(COLOURS):
        raise ValueError(f"models: the picture has {len(COLOURS)} colours; found {len(planned.models)} models")
    # Found out once, before any cell ends: all processes have to run the same ones.
    todo = [cell for cell in planned.cells if not _has_ended(cell, workdir)]
    for check in (check_recipe, _check_init, _check_inputs):
        for cell in todo:
            of_cell(cell, check, cell.config)
    ended = len(planned.cells) - len(todo)
    LOG.info("%d cells, %d of them have ended", len(planned.cells), ended)
    failed: dict[str, str] = {}
    _write(planned, workdir, failed)
    for number, cell in enumerate(todo, ended + 1):
        folder = cell.folder(workdir)
        LOG.info("Cell %d of %d: %s: %s", number, len(planned.cells), cell, folder)
        try:
            finetune.run(cell.config, folder)
        except Interrupted:
            raise
        except Exception as error:
            if jax.process_count() > 1 and not isinstance(error, FloatingPointError):
                raise  # it may be of this process alone, and the others wait in this cell
            LOG.error("%s failed and is left empty: %s", cell, error)
            LOG.debug("details", exc_info=True)
            failed[str(cell)] = _reason(error)
            _write(planned, workdir, failed)
            continue
        if jax.process_index() == 0:
            write_text(Path(folder, MARK), json.dumps(flat(cell.config), indent=1, sort_keys=True) + "\n")
        _write(planned, workdir, failed)
    LOG.info("Table: %s", os.path.join(workdir, TABLE))
    if failed:
        reasons = "\n  ".join(f"{cell}: {reason}" for cell, reason in failed.items())
        raise CellsFailed(
            f"{len(failed)} of {len(planned.cells)} cells failed and are left empty in the table:\n  {reasons}\n"
            "The same command tries them again, each from its last checkpoint."
        )


def _reason(error: Exception) -> str:
    """What an error says, on one line, with its kind where it is not one that explains itself."""
    text = " ".join(str(error).split())
    return text if isinstance(error, ValueError | FloatingPointError) and text else f"{type(error).__name__}: {text}"


def _check_init(c: ConfigDict) -> None:
    if c.init == SCRATCH:
        return
    check_place(c.init, "models")
    if "://" not in c.init and not os.path.exists(c.init):
        raise FileNotFoundError(f"models: nothing is at {c.init}")


def _check_inputs(c: ConfigDict) -> None:
    inputs = open_inputs(c)
    names = inputs.class_names
    resolve_finetuning(c, inputs.examples, len(names), inputs.real, inputs.statistics, jax.device_count())


def _has_ended(cell: Cell, workdir: str) -> bool:
    mark = Path(cell.folder(workdir), MARK)
    if not mark.exists():
        return False
    have, want = json.loads(mark.read_text(encoding="utf-8")), same_json(flat(cell.config))
    changed = [
        f"{name}: {have.get(name, 'absent')} saved, {want.get(name, 'absent')} asked for"
        for name in sorted(have.keys() | want.keys())
        if not is_part_of(name, FREE_FIELDS) and not same_value(have.get(name, "absent"), want.get(name, "absent"))
    ]
    if changed:
        lines = "\n  ".join(changed)
        raise ValueError(
            f"{cell}: {mark} is of another configuration:\n  {lines}\nTake another --workdir, or that configuration."
        )
    return True


def _write(planned: Plan, workdir: str, failed: Mapping[str, str]) -> None:
    """The table and the picture of all cells that have ended, and why those that `failed` have not."""
    if jax.process_index():
        return
    entries = [_entry(cell, workdir) for cell in planned.cells]
    # The first sentence: the rest is for who started it.
    notes = [*planned.notes, *(f"Failed: {cell}: {text.split('. ')[0].rstrip('.')}." for cell, text in failed.items())]
    Path(workdir, TABLE).write_text(results.table(entries, notes), encoding="utf-8")
    results.write_csv(Path(workdir, CSV), entries)
    draw_comparison(Path(workdir, PICTURE), points(entries), planned.models, planned.tunings)


def _entry(cell: Cell, workdir: str) -> results.Entry:
    c, folder = cell.config, cell.folder(workdir)
    found = results.read(folder, range(c.seed, c.seed + c.repeats)) if Path(folder, MARK).exists() else None
    sets = tuple(open_sets(c.data.test, "data.test", str))
    return results.Entry(cell.task, cell.model, cell.tuning, c.report.layout, sets, found)


def points(entries: Iterable[results.Entry]) -> dict[str, list[Point]]:
    """The points of each family's plot by its title: rows of which every test set is there."""
    panels = {}
    for family, found in results.rows(entries).items():
        metric = results.AUC[found[0].entries[0].layout]
        means = [(row, row.mean(metric)) for row in found]
        panels[f"{family}: {metric}"] = [Point(r.model, r.tuning, r.counts[0], *mean) for r, mean in means if mean]
    return panels
