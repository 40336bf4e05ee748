"""Files of a working directory: a folder of a file system, or a place in an object store such as gs://BUCKET/RUN.

Everything that a run writes there, checkpoints aside, is written by this file. An object store has no folders and
appends nothing, but an object appears only when all of it has arrived.
"""

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import BinaryIO

from etils import epath

from fsfm_jax.run.disk import explain_errors
from fsfm_jax.run.whole_file import whole_file

# An object of lines is sent anew with all its lines, at the end of a long run some 100 MB.
SECONDS_BETWEEN_SENDS = 300.0


def is_remote(path: str | os.PathLike) -> bool:
    """Return whether `path` is in an object store; spelt with its scheme, as in gs://BUCKET/RUN."""
    return "://" in os.fspath(path)


def make_folder(path: str) -> None:
    """Make the folder `path` with those above it. An object store needs none: only its address is checked.

    Raises:
      ValueError: a scheme that nothing here knows, or the package that reads it is not installed.
      NotSaved: the folder cannot be made.
    """
    if not is_remote(path):
        with explain_errors(path, "a folder"):
            os.makedirs(path, exist_ok=True)
        return
    check_store(path)


def check_store(path: str) -> None:
    """Look whether the object store of `path` can be reached.

    Raises:
      ValueError: a scheme that nothing here knows, or the package that reads it is not installed.
    """
    try:
        epath.Path(path).exists()
    except KeyError as error:
        raise ValueError(f"{path}: expected a folder, or gs:// or s3:// with a place; found {error}") from error
    except ImportError as error:
        raise ValueError(
            f"{path}: {error}; for gs:// that is gcsfs=={metadata.version('fsspec')}, of the version of fsspec here"
        ) from error


@contextlib.contextmanager
def whole(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open a file, which is at `path` once the block has ended without an error; until then the old one is there.

    Raises:
      OSError: the folder is not there or cannot be written to.
    """
    if not is_remote(path):
        with whole_file(path) as file:
            yield file
        return
    with tempfile.TemporaryFile() as file:  # a real one, for those who ask for its number
        yield file
        file.seek(0)
        with epath.Path(path).open("wb") as target:
            shutil.copyfileobj(file, target)


def read_text(path: str | os.PathLike) -> str | None:
    """Return the UTF-8 text of the file at `path`; None if there is none."""
    file = epath.Path(path)
    return file.read_text() if file.exists() else None


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with whole(path) as file:
        file.write(text.encode())


class Lines:
    """A text file that grows line by line, going on with the lines it has.

    On a file system a line is in the file before `add` returns, whole or not at all. In an object store it is there
    after `flush`, and otherwise within five minutes or with the next line.
    """

    def __init__(self, path: str, keep: Callable[[str], bool]):
        """Open the file at `path`; lines that `keep` refuses are dropped, and a last one that was cut short.

        Raises:
          NotSaved: nothing can be written there.
        """
        self._path, self._remote = path, is_remote(path)
        place = epath.Path(path)
        found = place.read_bytes().decode(errors="replace").splitlines(keepends=True) if place.exists() else []
        self._lines = [line for line in found if line.endswith("\n") and keep(line)]
        with explain_errors(path, "what a run did"):
            if self._lines != found:
                write_text(path, "".join(self._lines))
            self._file, self._sent, self._unsent = None, time.monotonic(), False
            if not self._remote:
                self._lines = []
                self._file = open(path, "ab", buffering=0)

    def add(self, line: str) -> None:
        """Add `line`, which has no line feed.

        Raises:
          NotSaved: no room for it.
        """
        if self._file is not None:
            with explain_errors(self._path, "a line"):
                self._append((line + "\n").encode())
            return
        self._lines.append(line + "\n")
        self._unsent = True
        if time.monotonic() - self._sent >= SECONDS_BETWEEN_SENDS:
            self.flush()

    def _append(self, data: bytes) -> None:
        """Append in one write: a killed process leaves all of a line or nothing. A full disk takes a part of it."""
        before = os.fstat(self._file.fileno()).st_size
        if self._file.write(data) != len(data):
            self._file.truncate(before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def flush(self) -> None:
        """Return when all lines are where they can be read, also after the machine has lost its power."""
        if self._file is not None:
            with explain_errors(self._path, "what a run did"):
                os.fsync(self._file.fileno())
        if self._unsent:
            write_text(self._path, "".join(self._lines))
            self._sent, self._unsent = time.monotonic(), False

    def close(self) -> None:
        """Flush and close the file."""
        try:
            self.flush()
        finally:
            if self._file is not None:
                self._file.close()
