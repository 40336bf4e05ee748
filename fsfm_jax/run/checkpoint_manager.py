"""Orbax's manager of checkpoints as runs here need it: with lists of files, and with a clock that nobody sets.

What it overrides is not part of Orbax's public interface; its version is pinned, and the tests of checkpoints notice.
"""

import asyncio
import contextlib
import logging
import threading
import time
from typing import Any

import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint._src.futures import future, signaling_client
from orbax.checkpoint.path import atomicity, atomicity_defaults

from fsfm_jax.run.digests import ABOUT, write_digests

LOG = logging.getLogger("fsfm_jax")
# Orbax logs the traceback of a failed save in up to four places before it is raised, which says it once and is enough.
# What it logs elsewhere, such as a checkpoint that cannot be removed, is raised by nobody.
RAISED = ("future.py", "async_checkpointer.py", "checkpoint_manager.py")
# Modules whose threads wait for each other by the clock on the wall.
WAITING = (future, signaling_client)


class _Steady:
    """The time by which the threads of a save wait for each other.

    Orbax takes the clock on the wall for it: put right meanwhile by more than five minutes, it would end the save.
    """

    time = staticmethod(time.monotonic)


def _says_more(record: logging.LogRecord) -> bool:
    """Return whether nothing else says what is logged."""
    return not (record.exc_info and "orbax" in record.pathname and record.filename in RAISED)


class _Steadied:
    """Orbax with a steady clock and without repeated tracebacks, while at least one of our managers is open."""

    def __init__(self):
        self._lock, self._open, self._before = threading.Lock(), 0, ()

    def enter(self) -> None:
        with self._lock:
            if not self._open:
                self._before = tuple(module.time for module in WAITING)
                for module in WAITING:
                    module.time = _Steady
                logging.getLogger("absl").addFilter(_says_more)
            self._open += 1

    def leave(self) -> None:
        with self._lock:
            self._open -= 1
            if not self._open:
                for module, clock in zip(WAITING, self._before, strict=True):
                    module.time = clock
                logging.getLogger("absl").removeFilter(_says_more)


_STEADIED = _Steadied()


class _Listed:
    """A folder that becomes a checkpoint, or an item of one, when it is finalized: a checkpoint gets its list first."""

    async def finalize(self) -> None:
        if self.get_final().name.isdigit():
            await asyncio.to_thread(self._write_list)
        await super().finalize()

    def _write_list(self) -> None:
        store = self._checkpoint_metadata_store
        store.wait_until_finished()
        store.update(file_path=self.get() / ABOUT, commit_timestamp_nsecs=time.time_ns())
        store.wait_until_finished()
        self._checkpoint_metadata_store = None  # what is listed must not change again
        message = f"Checkpoint commit was successful to {self.get_final()}"
        remote = "://" in str(self.get_final())
        write_digests(self.get(), remote, {atomicity.COMMIT_SUCCESS_FILE: message.encode()})


class _Renamed(_Listed, atomicity.AtomicRenameTemporaryPath): ...


class _Committed(_Listed, atomicity.CommitFileTemporaryPath): ...


# On a file system a checkpoint is complete when it has its final name; in an object store, when its marker file exists.
LISTED = {atomicity.AtomicRenameTemporaryPath: _Renamed, atomicity.CommitFileTemporaryPath: _Committed}


def temporary_path_class(directory: epath.Path) -> type:
    """Return how a save in `directory`, which may be of an object store, becomes a checkpoint that has its list."""
    return LISTED[atomicity_defaults.get_default_temporary_path_class(directory)]


def is_named_unfinished(kind: type) -> bool:
    """Return whether an unfinished save has a name of its own, so that it can be removed safely."""
    return issubclass(kind, atomicity.AtomicRenameTemporaryPath)


def warn_of_uncommitted(directory: epath.Path, steps: list[int]) -> None:
    """Name the folders of `directory` that look like checkpoints and are not among `steps`: their commit is missing.

    Orbax would delete them. They are what an interrupted save left, or a copy without its last file.
    """
    for folder in sorted(directory.iterdir()):
        if folder.name.isdigit() and int(folder.name) not in steps:
            LOG.warning(
                "%s is not used: it has no %s, so its save or its copy did not end. It is kept, and replaced when a "
                "run gets to step %s again. If it was copied, copy all of its files",
                folder, atomicity.COMMIT_SUCCESS_FILE, folder.name,
            )  # fmt: skip


class Manager(ocp.CheckpointManager):
    """Orbax's manager, except that it leaves the cluster's notices to `Checkpoints.preempted`.

    While it is open, Orbax has the clock and the log of `_Steadied`, and after that its own.
    """

    def __init__(self, *arguments: Any, **options: Any):
        _STEADIED.enter()
        self._within = contextlib.ExitStack()
        self._within.callback(_STEADIED.leave)
        try:
            super().__init__(*arguments, **options)
        except BaseException:
            self._within.close()
            raise

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._within.close()

    def reached_preemption(self, step: int) -> bool:
        # It would ask at each save, by the number of the step: the count of questions would be lost.
        return False
