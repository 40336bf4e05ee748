"""The ablation job: settings of pretraining or fine-tuning, each tried on the same tasks, as one table and one plot.

Below the working directory, rewritten after each run:

    table.md, table.csv            `detection.ablation`
    ablation.png                   `figures.ablation`
    pretraining/SETTING/           the working directory of the setting's pretraining; with cell.json it has ended
    runs/TASK/SETTING/TUNING/      the working directory of each fine-tuning

Each setting is pretrained and fine-tuned before the next one begins, so the table fills row by row. All inputs except
the results of the pretrainings are checked before training starts. The same command resumes a stopped ablation. A
setting that diverges leaves its row empty, with the reason below the table.
"""

import functools
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import jax
from ml_collections import ConfigDict

from fsfm_jax.detection import ablation
from fsfm_jax.detection.ablation import Published
from fsfm_jax.detection.comparison import Entry
from fsfm_jax.detection.results import TABLE, check_no_results
from fsfm_jax.figures.ablation import draw_ablation
from fsfm_jax.jobs import finetune, pretrain
from fsfm_jax.jobs.cells import Run, check_command, failure_notes, has_ended, run_all
from fsfm_jax.jobs.compare import CSV, check_inputs, entry_of
from fsfm_jax.jobs.recipe_check import check_recipe
from fsfm_jax.resolve.ablate import Ablation, plan_ablation
from fsfm_jax.resolve.compare import of_cell
from fsfm_jax.resolve.finetune import SCRATCH
from fsfm_jax.run.foreign_file import check_place
from fsfm_jax.run.lock import hold
from fsfm_jax.weights.bundled import ENCODER
from fsfm_jax.weights.checkpoint_place import resolve

LOG = logging.getLogger("fsfm_jax")
PICTURE = "ablation.png"


def run(config: ConfigDict, workdir: str, stop_after: str = "") -> None:
    """Run the trials of `config` that have not ended yet, and write the table and the plot after each run.

    Raises:
      ValueError: a name, recipe, field or data set does not fit, or a run ended with another configuration.
      FileNotFoundError: data or pretrained parameters are missing.
      CellsFailed: runs ended with an error; the message gives the reason of each. The others have finished.
      Interrupted: the process was told to stop; the current run is saved.
    """
    check_command("an ablation", workdir, stop_after)
    check_no_results(workdir)
    with hold(workdir):
        planned = plan_ablation(config, workdir)
        published, sources = ablation.find_published(config.published, [trial.name for trial in planned.trials])
        planned = planned._replace(notes=(*planned.notes, *sources))
        runs = list(_runs(planned, workdir))
        for one in runs:
            if not has_ended(one):
                of_cell(one.name, _check_pretraining if one.start is pretrain.run else _check_finetuning, one.config)
        run_all(runs, functools.partial(_write, planned, published, workdir))
    LOG.info("Table: %s", os.path.join(workdir, TABLE))


def _runs(planned: Ablation, workdir: str) -> Iterable[Run]:
    for trial in planned.trials:
        needs = ""
        if trial.pretrain is not None:
            needs = f"{trial.name}, pretraining"
            yield Run(needs, trial.init, trial.pretrain, pretrain.run)
        for cell in trial.cells:
            yield Run(str(cell), cell.folder(workdir), cell.config, finetune.run, needs)


def _check_pretraining(c: ConfigDict) -> None:
    pretrain.check(c)


def _check_finetuning(c: ConfigDict) -> None:
    """Check everything that is known before the pretraining of this run has finished."""
    check_recipe(c)
    if os.path.exists(c.init) or "://" in c.init:
        check_place(resolve(c.init, ENCODER), "init")
        check_inputs(c)
        return
    data = c.copy_and_resolve_references()
    data.init, data.data.statistics = SCRATCH, "vggface2"
    check_inputs(data)


def _write(planned: Ablation, published: Published, workdir: str, failed: Mapping[str, str]) -> None:
    """Write the table and the plot of all finished runs, with the reasons of the failed ones."""
    if jax.process_index():
        return
    settings = [trial.name for trial in planned.trials]
    entries = [entry_of(cell, workdir) for trial in planned.trials for cell in trial.cells]
    notes = [*planned.notes, *failure_notes(failed)]
    Path(workdir, TABLE).write_text(ablation.table(settings, entries, published, notes), encoding="utf-8")
    ablation.write_csv(Path(workdir, CSV), settings, entries, published)
    draw_ablation(Path(workdir, PICTURE), _panels(entries), settings)


def _panels(entries: Iterable[Entry]) -> dict[str, dict[str, tuple[float, float | None]]]:
    return {
        f"{family}: {metric}": {name: cell for name, cell in means.items() if cell is not None}
        for (family, metric), means in ablation.averages(entries).items()
    }
