"""Files of results: tried before the work, filled as results come, under their name only when whole.

Until then they have a hidden name in the same folder. What an interrupted command leaves is called NAME.partial, and
what lay under the name before stays as it was.
"""

import contextlib
import os
import stat
import uuid

from fsfm_jax.command import KEPT, say, with_name

STANDARD_OUTPUT = "-"
PARTIAL = ".partial"


def open_results(flag: str, path: str) -> "ResultFile | ResultStream":
    """Open what a flag names, `-` for the standard output, so that a path that cannot be written to fails at once.

    Devices, pipes and files in /proc are written to directly: they have no name to be replaced.

    Raises:
      OSError: it cannot be written to; the error names it.
      ValueError: a folder.
    """
    if path == STANDARD_OUTPUT:
        return ResultStream(None)
    if os.path.isdir(path) or not os.path.basename(path):
        raise ValueError(f"{flag}={path}: expected a file, found a folder; name a file in it")
    folder = os.path.realpath(os.path.dirname(path) or ".")
    special = os.path.exists(path) and not os.path.isfile(path)
    if special or folder == "/dev" or folder.startswith("/proc/"):  # /dev/stdout may lead to a regular file
        return ResultStream(path)
    if os.path.exists(path) and not os.access(path, os.W_OK):
        raise ValueError(f"{flag}={path}: the file may not be replaced: Permission denied")
    return ResultFile(flag, path)


class ResultFile:
    """A regular file; a context manager, whole if its block ends without an exception.

    Attributes:
      closing: text that makes what was written so far complete in its format, for a command that is interrupted.
    """

    def __init__(self, flag: str, path: str):
        """Make the file under its hidden name.

        Raises:
          ValueError: the folder is not there or cannot be written to.
        """
        self.closing, self._path, self._results, self._whole = "", path, 0, 0
        self._hidden = os.path.join(os.path.dirname(path), f".{uuid.uuid4().hex}.tmp")
        try:
            # Unbuffered: what was written is on its way, and what failed is not tried again.
            self._file = open(self._hidden, "xb", buffering=0)  # noqa: SIM115
        except OSError as error:
            folder = os.path.dirname(path) or "."
            raise ValueError(f"{flag}={path}: cannot write to the folder {folder}: {error.strerror}") from error
        with contextlib.suppress(OSError):  # as private as what it replaces
            os.fchmod(self._file.fileno(), stat.S_IMODE(os.stat(path).st_mode))

    def write(self, text: str, results: int = 1) -> None:
        """Write all of `text`, which holds so many results, or nothing of it.

        Raises:
          OSError: as on a full disk.
        """
        data = memoryview(text.encode("utf-8", "backslashreplace"))
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise with_name(error, self._path) from error
        self._results, self._whole = self._results + results, self._file.tell()

    def __enter__(self) -> "ResultFile":
        return self

    def __exit__(self, kind, error: BaseException | None, _) -> None:
        if error is not None:
            self._give_up(error)
            return
        try:
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._hidden, self._path)
        except OSError as failed:
            failure = with_name(failed, self._path)
            self._give_up(failure)
            raise failure from failed

    def _give_up(self, error: BaseException) -> None:
        """Close the file; if there are results in it, a note of `error` says where."""
        kept = self._results > 0
        try:
            if not self._file.closed:
                os.ftruncate(self._file.fileno(), self._whole)  # a result that was cut off
                self._file.seek(self._whole)
                self.write(self.closing, 0)
        except OSError:
            kept = False
        self._file.close()
        if kept:
            note(error, self._hidden, self._path + PARTIAL)
        else:
            os.unlink(self._hidden)


class ResultStream:
    """The standard output, a device or a pipe, with the methods of `ResultFile`."""

    def __init__(self, path: str | None):
        """Open `path`, the standard output if there is none; OSError."""
        self.closing, self._path = "", path
        self._file = None if path is None else open(path, "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115

    def write(self, text: str, results: int = 1) -> None:
        """Write `text`; OSError."""
        if self._file is None:
            say(text, end="")
            return
        try:
            self._file.write(text)
            self._file.flush()
        except OSError as error:
            raise with_name(error, self._path) from error

    def __enter__(self) -> "ResultStream":
        return self

    def __exit__(self, kind, error: BaseException | None, _) -> None:
        if error is not None and not isinstance(error, OSError):
            with contextlib.suppress(OSError):
                self.write(self.closing)
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()


def check_apart(given: dict[str, str]) -> None:
    """Refuse outputs that would overwrite each other.

    Args:
      given: paths by flag; "" where a flag was not given.

    Raises:
      ValueError: two of one name, or one inside of a folder that is replaced whole.
    """
    places = {flag: path if path == STANDARD_OUTPUT else os.path.realpath(path) for flag, path in given.items() if path}
    for flag, place in places.items():
        for other, folder in places.items():
            if flag < other and place == folder:
                what = "the standard output" if place == STANDARD_OUTPUT else place
                raise ValueError(f"{flag}, {other}: only one of them can be {what}")
            if flag != other and place.startswith(os.path.join(folder, "")):
                raise ValueError(f"{flag}={given[flag]} lies in the folder of {other}, which is replaced whole")


def note(error: BaseException, hidden: str, wanted: str) -> None:
    """Give what is unfinished the name `wanted`, if it can have it, and says in a note of `error` where it is."""
    left = hidden
    if not (os.path.isdir(hidden) and os.path.lexists(wanted)):
        with contextlib.suppress(OSError):
            os.replace(hidden, wanted)
            left = wanted
    error.add_note(f"{KEPT}{left}")
