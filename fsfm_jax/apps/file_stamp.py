"""Which content of a file a result is about: its path, size and time of modification."""

import os
from typing import NamedTuple


class FileStamp(NamedTuple):
    """A file at a moment; size and time are None where the system does not say them, as of a file that is gone.

    Attributes:
      path: as it was given. size: in bytes. modified: in nanoseconds since 1970.
    """

    path: str
    size: int | None
    modified: int | None


def stamp(path: str) -> FileStamp:
    """Ask the file system; never raises for what is wrong with the file."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # also a name that no file can have
        return FileStamp(path, None, None)
    return FileStamp(path, found.st_size, found.st_mtime_ns)
