"""Read bytes of an untrusted file from a download."""

import os
import stat

from fsfm_jax.prepare.media.unusable import Unusable

PART = 1 << 22  # bytes
File = str | os.PathLike | int  # a path, or the descriptor of a file that is open for reading


def open_regular(path: str | os.PathLike) -> int:
    """Open a regular file for reading and return its descriptor, which the caller closes.

    Raises:
      Unusable: "unreadable".
    """
    try:
        # Check before opening: opening a named pipe would block until somebody writes to it.
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            kind = "a pipe, a device or a socket"
            if stat.S_ISDIR(mode):
                kind = "a folder" if os.access(path, os.R_OK | os.X_OK) else "a folder that cannot be listed"
            raise Unusable("unreadable", f"expected a regular file, found {kind}")
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(error) from error


def first_bytes(file: File, length: int) -> bytes:
    """Read the first `length` bytes, or all if there are fewer.

    Raises:
      Unusable: "unreadable" or "empty_file".
    """
    if not isinstance(file, int):
        descriptor = open_regular(file)
        try:
            return first_bytes(descriptor, length)
        finally:
            os.close(descriptor)
    data = bytearray()
    try:
        # In parts: one read would allocate memory for the largest allowed file.
        while len(data) < length and (part := os.pread(file, min(PART, length - len(data)), len(data))):
            data += part
    except OSError as error:
        raise _unreadable(error) from error
    if not data:
        raise Unusable("empty_file", "the file has no bytes; download it again")
    return bytes(data)


def all_bytes(file: File, limit: int) -> bytes:
    """Read a file of at most `limit` bytes.

    Raises:
      Unusable: "unreadable", "empty_file" or "too_large".
    """
    data = first_bytes(file, limit + 1)
    if len(data) > limit:
        raise Unusable("too_large", f"expected a file of at most {limit} bytes, found more")
    return data


def _unreadable(error: OSError) -> Unusable:
    return Unusable("unreadable", f"the file cannot be read: {error.strerror}")
