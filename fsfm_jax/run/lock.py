"""One run in a working directory at a time.

The lock is the kernel's (`flock` on WORKDIR/.lock): it ends with the process that holds it, however that ends, and
a file that a killed one has left behind stops nobody. Where there are no locks, in an object store and on some network
file systems, two runs in one place are not noticed.

The package filelock was considered: it leaves the file behind, does not say who holds it, and ends where a file system
has no locks.
"""

import contextlib
import errno
import fcntl
import functools
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import jax

from fsfm_jax.run.disk import explain_errors
from fsfm_jax.run.workdir import is_remote, make_folder

LOG = logging.getLogger("fsfm_jax")
FILE = ".lock"
NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


@contextlib.contextmanager
def hold(workdir: str, other: str = "--workdir") -> Iterator[None]:
    """Hold `workdir` as long as the block runs, making it first; of several hosts of a run the first one holds it.

    Args:
      other: the option that names such a folder, for the error.

    Raises:
      ValueError: another run is going on there; with its process, host and start.
      NotSaved: nothing can be written there.
    """
    make_folder(workdir)
    if is_remote(workdir) or jax.process_index():
        yield
        return
    path = os.path.join(workdir, FILE)
    with explain_errors(path, "the lock of this run"):
        file = _taken(path, workdir, other)
    with file:
        with explain_errors(path, "the lock of this run"):
            file.truncate(0)
            since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
            file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}) + "\n")
            file.flush()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # it is of no use, and of no harm
                os.unlink(path)


def locks_workdir(job: Callable[..., Any]) -> Callable[..., Any]:
    """Make `job(config, workdir, ...)` hold `workdir` from before its first look at anything until it ends."""

    @functools.wraps(job)
    def holding(config: Any, workdir: str, *arguments: Any, **named: Any) -> Any:
        with hold(workdir):
            return job(config, workdir, *arguments, **named)

    return holding


def _taken(path: str, workdir: str, other: str) -> TextIO:
    """Return the file at `path`, locked by us alone."""
    while True:
        file = open(path, "a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A run that ended just now took the file away: a lock on that one would be nobody's.
            if _is_at(path, file):
                return file
            file.close()
        except BlockingIOError as error:
            with file:
                raise ValueError(
                    f"{workdir}: expected no other run here; found {_holder(file)}. Wait for it or end it, or take "
                    f"another {other}"
                ) from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                file.close()
                raise
            LOG.warning("%s: no locks here (%s); a second run would not be noticed", workdir, error.strerror)
            return file


def _is_at(path: str, file: TextIO) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _holder(file: TextIO) -> str:
    file.seek(0)
    try:
        kept = json.loads(file.read())
        return f"process {kept['pid']} on {kept['host']}, since {kept['since']}"
    except (ValueError, KeyError, TypeError):  # it has only just taken the lock
        return "one that does not say who it is"
