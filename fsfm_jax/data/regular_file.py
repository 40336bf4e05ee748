"""Read files of untrusted folders, refusing pipes and devices, which would block the reader."""

import os
import stat
from pathlib import Path

PART = 1 << 20  # bytes per read: `read(most)` allocates `most` bytes even for a small file


def read_regular(path: os.PathLike, most: int) -> bytes:
    """Read a file of at most `most` bytes; `path` may be in an object store.

    Raises:
      FileNotFoundError: the file does not exist.
      ValueError: the file is larger, or not a regular file.
    """
    if not _is_remote(path):
        _check_kind(path, os.stat(path).st_mode)
    parts, left = [], most + 1
    with path.open("rb") as file:
        while left and (part := file.read(min(left, PART))):
            parts.append(part)
            left -= len(part)
    if not left:
        raise ValueError(f"{path}: expected at most {most} bytes, found more; copy it again")
    return b"".join(parts)


def check_regular(directory: os.PathLike) -> None:
    """Refuse a folder that holds anything but files, folders and links to them; dangling links are accepted.

    Raises:
      FileNotFoundError: the folder does not exist.
      ValueError: there is a pipe, a device or a socket; its path is in the message.
    """
    if _is_remote(directory):
        return
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False):
                continue
            if os.path.exists(entry.path):
                _check_kind(Path(entry.path), entry.stat().st_mode)


def _is_remote(path: os.PathLike) -> bool:
    return "://" in os.fspath(path)


def _check_kind(path: str | os.PathLike, mode: int) -> None:
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise ValueError(f"{path}: expected a regular file, found a pipe, a device or a socket; remove it")
