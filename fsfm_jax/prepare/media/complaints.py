"""Capture what C decoders write to standard error, and return it to the caller instead of the terminal.

libjpeg, libpng and libtiff report damaged picture data only there.
"""

import contextlib
import os
import re
import threading
from collections.abc import Iterator

import cv2

STANDARD_ERROR = 2
# The first words of a line of libjpeg or libpng; other threads may write to the same output meanwhile.
OF_DECODERS = re.compile(
    r"(Corrupt JPEG data|Premature end of JPEG|Inconsistent progression|Invalid |Unsupported |Unknown |Warning|"
    r"libpng (warning|error))"
)
ANY = re.compile("")  # libtiff begins lines with the name of one of its modules
LONGEST = 1 << 16  # bytes that are kept of one picture
_lock = threading.Lock()


@contextlib.contextmanager
def heard(lines_of: re.Pattern = OF_DECODERS) -> Iterator[list[str]]:
    """Collect the lines that decoders write to standard error; the list has them when the block ends.

    Lines that do not begin as `lines_of` says are passed on. One thread at a time is in here.
    """
    lines: list[str] = []
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        with _lock, _redirect() as file:
            try:
                yield lines
            finally:
                written = b"" if file is None else os.pread(file, LONGEST, 0)
        others = []
        for line in filter(str.strip, written.decode(errors="backslashreplace").splitlines()):
            (lines if lines_of.match(line) else others).append(line)
        if others:
            # Where that is a file, a sandbox does not let it grow without end.
            with contextlib.suppress(OSError):
                os.write(STANDARD_ERROR, "".join(line + "\n" for line in others).encode(errors="backslashreplace"))
    finally:
        cv2.utils.logging.setLogLevel(level)


@contextlib.contextmanager
def _redirect() -> Iterator[int | None]:
    """Redirect standard error to a file in memory and yield its descriptor; None where there is no such output."""
    try:
        before = os.dup(STANDARD_ERROR)
    except OSError:
        yield None
        return
    file = os.memfd_create("complaints")
    try:
        os.dup2(file, STANDARD_ERROR)
        try:
            yield file
        finally:
            os.dup2(before, STANDARD_ERROR)
    finally:
        os.close(before)
        os.close(file)
