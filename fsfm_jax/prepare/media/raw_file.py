"""Read bytes of an untrusted file from a download."""

import os
import stat

from fsfm_jax.prepare.media.unusable import Unusable

PART = 1 << 22  # bytes


def first_bytes(path: str | os.PathLike, length: int) -> bytes:
    """Read the first `length` bytes, or all if there are fewer.

    Raises:
      Unusable: "unreadable" or "empty_file".
    """
    return _read(path, length)


def all_bytes(path: str | os.PathLike, limit: int) -> bytes:
    """Read a file of at most `limit` bytes.

    Raises:
      Unusable: "unreadable", "empty_file" or "too_large".
    """
    data = _read(path, limit + 1)
    if len(data) > limit:
        raise Unusable("too_large", f"expected a file of at most {limit} bytes, found more")
    return data


def _read(path: str | os.PathLike, length: int) -> bytes:
    try:
        # Check before opening: opening a named pipe would block until somebody writes to it.
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            kind = "a pipe, a device or a socket"
            if stat.S_ISDIR(mode):
                kind = "a folder" if os.access(path, os.R_OK | os.X_OK) else "a folder that cannot be listed"
            raise Unusable("unreadable", f"expected a regular file, found {kind}")
        data = bytearray()
        with open(path, "rb") as file:
            # In parts: one read would allocate memory for the largest allowed file.
            while len(data) < length and (part := file.read(min(PART, length - len(data)))):
                data += part
    except OSError as error:
        raise Unusable("unreadable", f"the file cannot be read: {error.strerror}") from error
    if not data:
        raise Unusable("empty_file", "the file has no bytes; download it again")
    return bytes(data)
