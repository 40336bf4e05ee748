"""The runs of a comparison, an ablation or a study: run them in order, skip finished ones and collect failures."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from fsfm_jax.config.fields import flat, is_part_of, same_value, value_of
from fsfm_jax.run.checkpoint import same_json
from fsfm_jax.run.workdir import write_text
from fsfm_jax.train.loop import Interrupted

LOG = logging.getLogger("fsfm_jax")
MARK = "cell.json"
# Fields that may differ between a finished run and the requested one: they decide where and how fast it runs.
FREE_FIELDS = (
    "data.workers", "data.threads", "batch.per_device", "batch.accumulation", "model.remat", "features.cache",
    "evaluation.batch", "evaluation.threads", "checkpoint.keep_latest", "checkpoint.keep_every",
    "partition.replicas", "partition.fsdp", "partition.fsdp_min_size", "report.predictions",
    "nonfinite_limit", "alarms", "writers",
)  # fmt: skip


class CellsFailed(ValueError):
    """Some runs failed; all others have finished."""


class Run(NamedTuple):
    """One run.

    Attributes:
      name: the name in messages.
      folder: the working directory; it contains `MARK` once the run has finished.
      start: starts or resumes the job with a configuration and a working directory.
      needs: name of the run that must finish before this one; "" for none.
    """

    name: str
    folder: str
    config: ConfigDict
    start: Callable[[ConfigDict, str], None]
    needs: str = ""


def run_all(runs: Sequence[Run], write: Callable[[Mapping[str, str]], None]) -> None:
    """Start the unfinished runs in order.

    `write` gets the reasons of all failures by name, once before the first run and again after each run.

    Raises:
      ValueError: a run ended with another configuration.
      CellsFailed: runs ended with an error; the message gives the reason of each. The others have finished.
      Interrupted: the process was told to stop; the current run is saved.
    """
    # Decided once, before any run ends: all processes must start the same runs.
    todo = [run for run in runs if not has_ended(run)]
    ended = len(runs) - len(todo)
    LOG.info("%d cells, %d of them have ended", len(runs), ended)
    failed: dict[str, str] = {}
    write(failed)
    for number, run in enumerate(todo, ended + 1):
        if run.needs in failed:
            failed[run.name] = f"{run.needs} failed"
            continue
        LOG.info("Cell %d of %d: %s: %s", number, len(runs), run.name, run.folder)
        try:
            run.start(run.config, run.folder)
        except Interrupted:
            raise
        except Exception as error:
            if jax.process_count() > 1 and not isinstance(error, FloatingPointError):
                raise  # the error may concern this process only, and the others wait in this cell
            LOG.error("%s failed and is left empty: %s", run.name, error)
            LOG.debug("details", exc_info=True)
            failed[run.name] = _reason(error)
        else:
            if jax.process_index() == 0:
                write_text(Path(run.folder, MARK), json.dumps(flat(run.config), indent=1, sort_keys=True) + "\n")
        write(failed)
    if failed:
        reasons = "\n  ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise CellsFailed(
            f"{len(failed)} of {len(runs)} cells failed and are left empty in the table:\n  {reasons}\n"
            "The same command tries them again, each from its last checkpoint."
        )


def has_ended(run: Run) -> bool:
    """Return whether a run has finished; raise ValueError if it finished with another configuration."""
    mark = Path(run.folder, MARK)
    if not mark.exists():
        return False
    have, want = json.loads(mark.read_text(encoding="utf-8")), same_json(flat(run.config))
    changed = [
        f"{name}: {value_of(have, name)} saved, {value_of(want, name)} asked for"
        for name in sorted(have.keys() | want.keys())
        if not is_part_of(name, FREE_FIELDS) and not same_value(value_of(have, name), value_of(want, name))
    ]
    if changed:
        lines = "\n  ".join(changed)
        raise ValueError(
            f"{run.name}: {mark} is of another configuration:\n  {lines}\n"
            "Take another --workdir, or that configuration."
        )
    return True


def check_command(job: str, workdir: str, stop_after: str) -> None:
    """Refuse options that a job of many runs does not support; raises ValueError."""
    if stop_after:
        raise ValueError(f"--stop_after: {job} ends with its last cell; leave it out, and stop it where you like")
    if "://" in workdir:
        raise ValueError(f"--workdir: {job} expects a folder of a file system, found {workdir}")


def failure_notes(failed: Mapping[str, str]) -> list[str]:
    """Return one line per failure for below the table: the first sentence of its reason."""
    return [f"Failed: {name}: {text.split('. ')[0].rstrip('.')}." for name, text in failed.items()]


def _reason(error: Exception) -> str:
    """Return the text of an error on one line, with its type unless the text explains itself."""
    text = " ".join(str(error).split())
    return text if isinstance(error, ValueError | FloatingPointError) and text else f"{type(error).__name__}: {text}"
