"""Open videos and recordings of a download, in all formats.

Every fault of a file raises `Unusable` with one of its `REASONS`. The caller must handle a crash of the decoder
process, which a broken file can cause.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np

from fsfm_jax.prepare.media import hdf5_file, video_file
from fsfm_jax.prepare.media.container import NAMES
from fsfm_jax.prepare.media.raw_file import File, first_bytes
from fsfm_jax.prepare.media.unusable import Unusable

VIDEO_SUFFIXES = video_file.VIDEO_SUFFIXES + hdf5_file.HDF5_SUFFIXES


class Video(Protocol):
    """An open video or recording."""

    count: int  # frames that the container promises; there may be fewer
    notes: tuple[str, ...]  # remarks for the report on how the video was decoded
    rate: float | None  # frames a second, if the file tells

    def read(self, index: int) -> np.ndarray:
        """Return frame `index` as `[H, W, 3] uint8` RGB; indices must ascend. `Unusable`, e.g. "frame_missing"."""


@contextmanager
def open_video(file: File) -> Iterator[Video]:
    """Open a video of the kinds in `container.NAMES` or an HDF5 recording, told by its content.

    Raises:
      Unusable: "unreadable", "empty_file", "unknown_format", "not_opened", "no_frames", "too_large" or, for
        HDF5, "damaged".
    """
    start = first_bytes(file, video_file.START_LENGTH)
    container = video_file.container_of(start)
    if container is not None:
        video = video_file.VideoFile(file, container)
    elif start.startswith(hdf5_file.HDF5_START):
        video = hdf5_file.Hdf5File(file)
    else:
        raise Unusable(
            "unknown_format",
            f"expected {NAMES} or HDF5, found bytes starting with {start[:12]!r}",
        )
    try:
        yield video
    finally:
        video.close()
