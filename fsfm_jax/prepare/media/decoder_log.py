"""Quiet decoders: what is wrong with a file is told once, by `Unusable`, not by the libraries on the way.

libpng and libjpeg write to the standard error output themselves and cannot be told to stop.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import cv2


@contextmanager
def silenced() -> Iterator[None]:
    """Without the messages of OpenCV."""
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
