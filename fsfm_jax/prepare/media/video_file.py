"""Frames of a video file, decoded to `[H, W, 3] uint8` RGB by FFmpeg.

FFmpeg reads more than videos: lists that make it open other files and addresses of the network. So the first bytes
must be those of a known container, only the reader of that container is allowed, and only local files.
One thread, no hardware and no clock: the same file gives the same pixels.
"""

import math
import os
from dataclasses import dataclass

import cv2
import numpy as np

from fsfm_jax.prepare.media.decoder_log import environment, silenced
from fsfm_jax.prepare.media.photo_file import check_size
from fsfm_jax.prepare.media.photo_format import photo_brand
from fsfm_jax.prepare.media.unusable import Unusable

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".ts", ".flv", ".wmv")
START_LENGTH = 512  # bytes that `container_of` looks at
MAX_FRAMES = 1_000_000  # nine hours; a container that tells more is not believed
# First atom of MP4 and of QuickTime, which in old files is not always "ftyp".
MOV_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
TRANSPORT_PACKET = 188
FFMPEG_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
OPEN_PARAMETERS = [
    *(cv2.CAP_PROP_N_THREADS, 1),
    *(cv2.CAP_PROP_HW_ACCELERATION, cv2.VIDEO_ACCELERATION_NONE),
    # No time limits: on a busy machine they would turn slow reading into missing frames.
    *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 0),
    *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, 0),
]


@dataclass(frozen=True)
class Container:
    """A kind of video file."""

    demuxer: str  # FFmpeg's name of its reader
    tells_count: bool  # whether the number of frames is stored; otherwise FFmpeg guesses it from the duration


MOV, AVI = Container("mov", True), Container("avi", True)
MATROSKA, TRANSPORT = Container("matroska", False), Container("mpegts", False)
FLASH, WINDOWS = Container("flv", False), Container("asf", False)


def container_of(start: bytes) -> Container | None:
    """The container that the first `START_LENGTH` bytes of a file tell; None if unknown."""
    if start[4:8] in MOV_ATOMS:
        return None if photo_brand(start) else MOV
    if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
        return AVI
    if start[:4] == b"\x1aE\xdf\xa3":
        return MATROSKA
    if start[::TRANSPORT_PACKET] == b"GGG":
        return TRANSPORT
    if start[:4] == b"FLV\x01":
        return FLASH
    if start[:8] == b"0&\xb2u\x8ef\xcf\x11":
        return WINDOWS
    return None


class VideoFile:
    """An open video, read from its start to its end.

    `count` is the number of frames that the container promises, and there may be fewer. Where the container does not
    tell it, the frames are counted by reading through the file once, and `notes` say so. `rate` is the number of frames
    a second that it tells, None without one. Frames are numbered in the
    order they are shown; those that cannot be decoded have no number. A stored rotation is applied. Frames whose
    size changes on the way are scaled to that of the first.
    """

    def __init__(self, path: str | os.PathLike, container: Container):
        """Raises `Unusable`: "not_opened", "no_frames" or "too_large"."""
        self._capture = _open(path, container)
        self._next = 0  # index of the frame that the next grab gets
        self._ended = False
        self.notes: tuple[str, ...] = ()
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = float(rate) if 0 < rate < math.inf else None
        told = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        if container.tells_count and 1 <= told <= MAX_FRAMES:
            self.count = int(told)
        else:
            while self._grab():
                pass
            self.count = self._next
            said = f"{told:.0f}" if container.tells_count else "no number of"
            self.notes = (f"the container tells {said} frames, found {self.count}",)
            self.close()
            if not self.count:
                raise Unusable("no_frames", "no frame can be decoded")
            self._capture = _open(path, container)
            self._next, self._ended = 0, False

    def read(self, index: int) -> np.ndarray:
        """Frame `index` (from 0) as `[H, W, 3] uint8` RGB; each index must be larger than the one before.

        Raises:
          Unusable: "frame_missing" or "damaged".
          ValueError: that frame has been passed already.
        """
        if index < self._next:
            raise ValueError(f"frame {index}: expected {self._next} or later, since a video is read forward only")
        while self._next <= index:
            if not self._grab():
                raise Unusable(
                    "frame_missing",
                    f"expected frame {index} of {self.count}, found that the video ends after {self._next} frames",
                )
        with silenced():
            try:
                done, frame = self._capture.retrieve()
            except cv2.error as error:
                raise Unusable("damaged", f"the decoder failed at frame {index}: {error.err}") from error
        if not done:
            raise Unusable("damaged", f"frame {index} cannot be decoded")
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)

    def close(self) -> None:
        """Closes the file; nothing can be read any more."""
        self._capture.release()

    def _grab(self) -> bool:
        with silenced():
            # A failed grab ends the video for good: whatever came after it would have no certain number.
            self._ended = self._ended or not self._capture.grab()
        self._next += not self._ended
        return not self._ended


def _open(path: str | os.PathLike, container: Container) -> cv2.VideoCapture:
    options = f"protocol_whitelist;file|format_whitelist;{container.demuxer}"
    with silenced(), environment(FFMPEG_OPTIONS, options):
        # Absolute, for a name such as "concat:a" is an instruction to FFmpeg.
        capture = cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG, OPEN_PARAMETERS)
    if not capture.isOpened():
        raise Unusable("not_opened", f"no picture stream can be opened in this {container.demuxer} file")
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    height, width = (int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH))
    try:
        if not height or not width:
            raise Unusable("not_opened", f"the size of the pictures in this {container.demuxer} file cannot be found")
        check_size(height, width)
    except Unusable:
        capture.release()
        raise
    return capture
