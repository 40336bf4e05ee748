"""Bytes of a file from a download, which may be anything."""

import os
import stat

from fsfm_jax.prepare.media.unusable import Unusable

PART = 1 << 22  # bytes


def first_bytes(path: str | os.PathLike, length: int) -> bytes:
    """The first `length` bytes, or all when there are fewer.

    Raises:
      Unusable: "unreadable" or "empty_file".
    """
    return _read(path, length)


def all_bytes(path: str | os.PathLike, limit: int) -> bytes:
    """The whole content of a file of at most `limit` bytes.

    Raises:
      Unusable: "unreadable", "empty_file" or "too_large".
    """
    data = _read(path, limit + 1)
    if len(data) > limit:
        raise Unusable("too_large", f"expected a file of at most {limit} bytes, found more")
    return data


def _read(path: str | os.PathLike, length: int) -> bytes:
    try:
        # Before opening: to open a named pipe would wait forever for somebody to write into it.
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            kind = "a pipe, a device or a socket"
            if stat.S_ISDIR(mode):
                kind = "a folder" if os.access(path, os.R_OK | os.X_OK) else "a folder that cannot be listed"
            raise Unusable("unreadable", f"expected a regular file, found {kind}")
        data = bytearray()
        with open(path, "rb") as file:
            # In parts: to ask for all at once would take as much memory as the largest file may have.
            while len(data) < length and (part := file.read(min(PART, length - len(data)))):
                data += part
    except OSError as error:
        raise Unusable("unreadable", f"the file cannot be read: {error.strerror}") from error
    if not data:
        raise Unusable("empty_file", "the file has no bytes; download it again")
    return bytes(data)
