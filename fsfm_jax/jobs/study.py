"""The study job: pictures of real and forged faces become records, encoders and detectors, as tables and a plot.

Below the working directory:

    records/SOURCE/                the records of each folder of pictures
    pretraining/ARM/               the working directory of each pretraining
    runs/TASK/ARM/seed_N/          the working directory of each fine-tuning
    study.json, table.md, table.csv, study.png, curves.png    rewritten after each run

The same command resumes a stopped study. A run that diverges leaves its row empty.
"""

import functools
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ml_collections import ConfigDict

from fsfm_jax.config.fields import to_steps
from fsfm_jax.detection import study
from fsfm_jax.figures.study import draw_curves, draw_study
from fsfm_jax.jobs import finetune, pretrain
from fsfm_jax.jobs.cells import MARK, Run, check_command, failure_notes, has_ended, run_all
from fsfm_jax.jobs.recipe_check import check_recipe
from fsfm_jax.records import CARD_FILE
from fsfm_jax.resolve.compare import of_cell
from fsfm_jax.resolve.study import Cell, Source, Study, plan_study, records_of
from fsfm_jax.run.lock import hold
from fsfm_jax.run.metrics_file import METRICS_FILE
from fsfm_jax.run.workdir import make_folder, write_text

LOG = logging.getLogger("fsfm_jax")
SECONDS, CURVES = "seconds.json", "curves.png"
# Pictures per second on two cores without an accelerator, measured with the recipes of the study.
PREPARED, PARSED, PRETRAINED, FINETUNED, SCORED = 20.0, 6.0, 16.0, 13.0, 40.0
FACES_PER_SHARD = 200  # small, so that even a small folder keeps all cores busy


def run(config: ConfigDict, workdir: str, stop_after: str = "") -> None:
    """Run the unfinished parts of a study, and write its tables and plots after each run.

    Raises:
      ValueError: a name, field or folder does not fit, or a run ended with another configuration.
      FileNotFoundError: the folder of pictures is missing.
      CellsFailed: runs ended with an error; the message gives the reason of each. The others have finished.
      Interrupted: the process was told to stop; the current run is saved.
    """
    check_command("a study", workdir, stop_after)
    make_folder(workdir)
    with hold(workdir):
        planned = plan_study(config, workdir)
        for cell in planned.cells:
            of_cell(str(cell), check_recipe, cell.config)
        _announce(planned, workdir)
        for source in planned.sources.values():
            _prepare(source, config, workdir)
        for one in planned.pretrainings:
            of_cell(one.arm, pretrain.check, one.config)
        runs = _runs(planned)
        run_all(runs, functools.partial(_write, planned, config.groups, workdir))
    LOG.info("Tables: %s", os.path.join(workdir, study.TABLE))


def _prepare(source: Source, config: ConfigDict, workdir: str) -> None:
    """Make the records of a source in a separate process, which also ends its decoding processes."""
    arguments = [
        "--dataset=photos", f"--input={source.folder}", f"--output={records_of(source.name, workdir)}",
        f"--detector={config.detector}", f"--shares={config.shares}", f"--workers={config.workers}",
        "--image_encoding=jpeg", f"--faces_per_shard={FACES_PER_SHARD}",
    ]  # fmt: skip
    arguments += [] if source.parsed else ["--parser=none", "--image_size=224"]
    LOG.info("%s: pictures of %s", source.name, source.folder)
    made = subprocess.run([sys.executable, "-m", "fsfm_jax.prepare.build", *arguments], stdout=subprocess.DEVNULL)
    if made.returncode:
        raise ValueError(f"{source.name}: {source.folder} was not prepared; its reason is above")


def _runs(planned: Study) -> list[Run]:
    runs = [
        Run(f"{one.arm}, pretraining", one.folder, one.config, _timed(pretrain.run)) for one in planned.pretrainings
    ]
    for cell in planned.cells:
        needs = f"{cell.needs}, pretraining" if cell.needs else ""
        runs.append(Run(str(cell), cell.folder, cell.config, _timed(finetune.run), needs))
    return runs


def _timed(start: Callable[[ConfigDict, str], None]) -> Callable[[ConfigDict, str], None]:
    """Wrap `start` so that it writes the total time of all its attempts into the folder."""

    @functools.wraps(start)
    def timed(config: ConfigDict, folder: str) -> None:
        began = time.monotonic()
        try:
            start(config, folder)
        finally:
            path = Path(folder, SECONDS)
            if path.parent.is_dir():
                write_text(path, json.dumps(seconds_of(folder) + time.monotonic() - began) + "\n")

    return timed


def seconds_of(folder: str) -> float:
    """Return the seconds that a run has taken so far, over all attempts that were not killed."""
    path = Path(folder, SECONDS)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else 0.0


def _announce(planned: Study, workdir: str) -> None:
    """Log the amount of work and the estimated time of the unfinished part on two cores."""
    prepare, train = estimate(planned, workdir)
    LOG.info(
        "%d sources, %d pretrainings, %d detectors with all their seeds; on two cores without an accelerator preparing "
        "takes about %.0f minutes and training and testing about %.1f hours",
        len(planned.sources), len(planned.pretrainings), sum(cell.config.repeats for cell in planned.cells),
        prepare / 60, train / 3600,
    )  # fmt: skip


def estimate(planned: Study, workdir: str) -> tuple[float, float]:
    """Return the estimated seconds of the unfinished part on two cores: for preparation, then for training and tests.

    The estimate counts files. It assumes one face per picture and ignores validation.
    """
    counts = {
        name: sum(path.is_file() for path in Path(one.folder).rglob("*")) for name, one in planned.sources.items()
    }
    prepare = sum(
        counts[source.name] / (PARSED if source.parsed else PREPARED)
        for source in planned.sources.values()
        if not Path(records_of(source.name, workdir), CARD_FILE).exists()
    )

    def steps(config: ConfigDict, faces: float) -> float:
        return to_steps(config.duration, "duration", max(1, round(faces)), config.batch.size) * config.batch.size

    train = 0.0
    for one in planned.pretrainings:
        if not Path(one.folder, MARK).exists():
            names = [os.path.basename(spec) for spec in one.config.data.train.split(",")]
            train += steps(one.config, sum(counts[name] for name in names)) / PRETRAINED
    for cell in planned.cells:
        if not Path(cell.folder, MARK).exists():
            task, tested = cell.task, {*cell.task.against, *cell.task.test, *cell.task.control}
            learnt = sum(counts[name] for name in {*task.real, *task.fake} & counts.keys())
            scored = sum(counts[name] for name in tested)
            if cell.config.features.cache:  # a frozen encoder computes each picture once for all epochs and seeds
                train += (learnt + scored) / SCORED
            else:
                train += cell.config.repeats * (steps(cell.config, learnt) / FINETUNED + scored / SCORED)
    return prepare, train


def _write(planned: Study, groups: str, workdir: str, failed: Mapping[str, str]) -> None:
    found = study.summarise(groups, [(cell, seconds_of(cell.folder)) for cell in _ended(planned)])
    costs = {one.arm: seconds_of(one.folder) for one in planned.pretrainings if Path(one.folder, MARK).exists()}
    study.write(workdir, planned, found, costs, failure_notes(failed))
    draw_study(Path(workdir, study.PICTURE), found.areas)
    draw_curves(Path(workdir, CURVES), {one.arm: _curve(one.folder) for one in planned.pretrainings})


def _curve(folder: str) -> list[tuple[int, float]]:
    """Return the steps and masked losses of a pretraining so far; the last value counts if a step was repeated."""
    path = Path(folder, METRICS_FILE)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = {row["step"]: row["masked"] for row in map(json.loads, lines) if "masked" in row}
    return sorted(rows.items())


def _ended(planned: Study) -> list[Cell]:
    return [cell for cell in planned.cells if has_ended(Run(str(cell), cell.folder, cell.config, finetune.run))]
