"""What a disk refuses, said with the place and the room that is left."""

import contextlib
import os
import shutil
from collections.abc import Iterator


class NotSaved(OSError, ValueError):
    """Something could not be written; also a `ValueError`, since the user can fix it."""


def check_room(folder: str | os.PathLike, wanted: int, what: str) -> None:
    """Find out beforehand whether `wanted` bytes have room in `folder`; of an object store nothing is known.

    Raises:
      NotSaved: they have not.
    """
    free = _free(folder)
    if free is not None and free < wanted:
        raise NotSaved(
            f"{folder}: expected {_gigabytes(wanted)} of free disk, for {what}; found {_gigabytes(free)}. Make room, "
            "or take another --workdir"
        )


def not_saved(path: str | os.PathLike, what: str, error: Exception) -> NotSaved:
    """Return the sentence on an `error` while `what` was written to `path`."""
    free = _free(path)
    room = "" if free is None else f" ({_gigabytes(free)} are free there)"
    lines = str(error).splitlines() or [type(error).__name__]
    cause = lines[0].split(" [tensorstore_spec=")[0]  # pages of JSON follow
    return NotSaved(
        f"{path}: expected to write {what}; found: {cause}{room}. Fix this and run the same command again"
    )


@contextlib.contextmanager
def explain_errors(path: str | os.PathLike, what: str) -> Iterator[None]:
    """Turn an OSError of the block, which writes `what` to `path`, into a sentence.

    Raises:
      NotSaved: with path, cause and room.
    """
    try:
        yield
    except NotSaved:
        raise
    except OSError as error:
        raise not_saved(path, what, error) from error


def _free(path: str | os.PathLike) -> int | None:
    """Return bytes that are free where `path` is or will be; None if nothing says it."""
    path = os.fspath(path)
    if "://" in path:
        return None
    path = os.path.abspath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return shutil.disk_usage(path).free


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.3f} GB"
