"""The runs that a comparison or an ablation is made of: which have ended, and what failed without ending the rest."""

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
# What may differ between a run that has ended and the one that is asked for: where it ran and how fast.
FREE_FIELDS = (
    "data.workers", "data.threads", "batch.per_device", "batch.accumulation", "model.remat", "features.cache",
    "evaluation.batch", "evaluation.threads", "checkpoint.keep_latest", "checkpoint.keep_every",
    "partition.replicas", "partition.fsdp", "partition.fsdp_min_size", "report.predictions",
    "nonfinite_limit", "alarms", "writers",
)  # fmt: skip


class CellsFailed(ValueError):
    """Runs failed; the others have run."""


class Run(NamedTuple):
    """One run.

    Attributes:
      name: in messages. folder: its working directory; with `MARK` it has ended.
      start: runs the job with a configuration and a working directory, from its last checkpoint if there is one.
      needs: name of the run that must have ended before; "" for none.
    """

    name: str
    folder: str
    config: ConfigDict
    start: Callable[[ConfigDict, str], None]
    needs: str = ""


def run_all(runs: Sequence[Run], write: Callable[[Mapping[str, str]], None]) -> None:
    """Run what has not ended yet, in order; `write` is told the reasons of what failed, first of all and after each.

    Raises:
      ValueError: a run that ended with another configuration.
      CellsFailed: names what ended with an error, and the reason of each; the others have run.
      Interrupted: the process was told to stop; the run that was going on is saved.
    """
    # Found out once, before any ends: all processes have to run the same ones.
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
                raise  # it may be of this process alone, and the others wait in this cell
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
    """Return whether a run has ended; ValueError if it did with another configuration."""
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
    """Refuse what a job of many runs cannot do; ValueError."""
    if stop_after:
        raise ValueError(f"--stop_after: {job} ends with its last cell; leave it out, and stop it where you like")
    if "://" in workdir:
        raise ValueError(f"--workdir: {job} expects a folder of a file system, found {workdir}")


def failure_notes(failed: Mapping[str, str]) -> list[str]:
    """Return a line below the table for each failure: the first sentence of it, the rest is for who started it."""
    return [f"Failed: {name}: {text.split('. ')[0].rstrip('.')}." for name, text in failed.items()]


def _reason(error: Exception) -> str:
    """What an error says, on one line, with its kind where it is not one that explains itself."""
    text = " ".join(str(error).split())
    return text if isinstance(error, ValueError | FloatingPointError) and text else f"{type(error).__name__}: {text}"
