"""Lock the output folder during a build, and remove leftovers of a killed run."""

import contextlib
import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path

from fsfm_jax import records
from fsfm_jax.data.statistics import UNFINISHED, Card, read_card

LOCK_FILE = "lock"


def read_finished_card(directory: Path) -> Card | None:
    """Read the card of a finished data set; None if there is none and `directory` may be written to.

    Raises:
      FileExistsError: the folder holds something else.
    """
    if not directory.exists():
        return None
    if not directory.is_dir():
        raise FileExistsError(f"{directory} is a file; expected a folder to write records into")
    if (directory / records.CARD_FILE).exists():
        return read_card(directory)
    if not (directory / UNFINISHED).exists() and any(directory.iterdir()):
        raise FileExistsError(
            f"{directory} is not empty and holds no data set of fsfm_jax; choose a new or an empty folder"
        )
    return None


@contextlib.contextmanager
def claim(directory: Path) -> Iterator[None]:
    """Lock the folder for this process; other processes are refused.

    Raises:
      FileExistsError: another process is making records there.
    """
    (directory / UNFINISHED).mkdir(parents=True, exist_ok=True)
    with open(directory / UNFINISHED / LOCK_FILE, "a") as lock:
        try:
            # The lock ends with the process, even if it is killed.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FileExistsError(
                f"{directory}: another process is making records here; wait for it or choose another folder"
            ) from error
        for partial in (directory / UNFINISHED).glob("*.partial"):
            partial.unlink()
        yield


def start_over(directory: Path) -> None:
    """Remove the leftovers of a run that did not finish its plan; the lock stays."""
    for path in (directory / UNFINISHED).iterdir():
        if path.name != LOCK_FILE:
            path.unlink() if path.is_file() else shutil.rmtree(path)
