"""Quiet decoders: what is wrong with a file is told once, by `Unusable`, not by the libraries on the way.

libpng and libjpeg write to the standard error output themselves and cannot be told to stop.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import cv2

FFMPEG_LOG_LEVEL, FFMPEG_QUIET = "OPENCV_FFMPEG_LOGLEVEL", "-8"


@contextmanager
def silenced() -> Iterator[None]:
    """Without the messages of OpenCV and, when it is the first to open a video in this process, of FFmpeg."""
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        with environment(FFMPEG_LOG_LEVEL, FFMPEG_QUIET):
            yield
    finally:
        cv2.utils.logging.setLogLevel(level)


@contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """With the environment variable `name` set; OpenCV takes some options in no other way."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
