"""Read frames of an HDF5 recording, such as those of WMCA.

    Frame_0/array, Frame_1/array, ...    `[3, H, W] uint8` (as Bob writes it) or `[H, W, 3] uint8`, RGB

HDF5 can refer to other files in several ways; only data inside of the file is read.
"""

import io
import math
import re

import h5py
import numpy as np

from fsfm_jax.prepare.media.photo_file import MAX_PIXELS, check_size
from fsfm_jax.prepare.media.raw_file import File
from fsfm_jax.prepare.media.unusable import Unusable

HDF5_SUFFIXES = (".hdf5", ".h5")
HDF5_START = b"\x89HDF\r\n\x1a\n"
FRAME_NAME = re.compile(r"Frame_(0|[1-9][0-9]*)")
ARRAY = "array"
# What h5py makes of damaged files, by where the damage is.
DAMAGE = (OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError)


class Hdf5File:
    """An open recording; frames are numbered in the order of the numbers in their names."""

    notes = ()
    rate = None

    def __init__(self, file: File):
        """Raise `Unusable`: "unreadable", "damaged" or "no_frames"."""
        try:
            self._bytes = io.FileIO(file, closefd=not isinstance(file, int))
        except OSError as error:
            raise Unusable("unreadable", f"the file cannot be read: {error.strerror}") from error
        try:
            # Without locks, which some network folders refuse; nobody writes to a download.
            self._file = h5py.File(self._bytes, "r", locking=False)
        except DAMAGE as error:
            self._bytes.close()
            raise Unusable("damaged", f"the HDF5 file cannot be opened: {error}") from error
        try:
            numbers = [int(match[1]) for name in self._file if (match := FRAME_NAME.fullmatch(name))]
        except DAMAGE as error:
            self.close()
            raise Unusable("damaged", f"the HDF5 file cannot be listed: {error}") from error
        self._names = [f"Frame_{number}" for number in sorted(numbers)]
        self.count = len(self._names)
        if not self.count:
            self.close()
            raise Unusable("no_frames", f"expected groups Frame_0, Frame_1 ... with a data set {ARRAY}, found none")

    def read(self, index: int) -> np.ndarray:
        """Read frame `index` (from 0) as `[H, W, 3] uint8` RGB.

        Raises:
          Unusable: "damaged", "other_files", "unsupported_frame", "no_pixels" or "too_large".
        """
        name = self._names[index]
        try:
            group = _entry(self._file, name)
            if not isinstance(group, h5py.Group):
                raise Unusable("unsupported_frame", f"expected a group {name}, found a data set")
            dataset = _entry(group, ARRAY)
            if not isinstance(dataset, h5py.Dataset):
                raise Unusable("unsupported_frame", f"expected a data set {name}/{ARRAY}, found a group")
            channel_first = _check(dataset, f"{name}/{ARRAY}")
            frame = dataset[()]
        except Unusable:
            raise
        except DAMAGE as error:
            raise Unusable("damaged", f"{name} cannot be read: {error}") from error
        return np.ascontiguousarray(frame.transpose(1, 2, 0) if channel_first else frame)

    def close(self) -> None:
        """Close the file; nothing can be read any more."""
        self._file.close()
        self._bytes.close()


def _entry(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    """Return the entry `name` of a group, which must not be a link to another place."""
    if name not in group:
        found = str(list(group))[:200]  # escaped by Python: names may hold control characters of terminals
        raise Unusable("unsupported_frame", f"expected {ARRAY} in {group.name}, found {found}")
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise Unusable("other_files", f"expected {name} in {group.name} to be stored here, found a link")
    return group[name]


def _check(dataset: h5py.Dataset, name: str) -> bool:
    """Refuse anything but a colour picture of 8 bits in this file; return whether the channels come first."""
    if dataset.external or dataset.is_virtual:
        raise Unusable("other_files", f"expected {name} to be stored in this file, found it spread over others")
    shape = dataset.shape or ()
    channel_first = len(shape) == 3 and shape[0] == 3
    if dataset.dtype != np.uint8 or len(shape) != 3 or not (channel_first or shape[2] == 3):
        raise Unusable(
            "unsupported_frame",
            f"expected {name} to be [3, H, W] or [H, W, 3] uint8, found {list(shape)} {dataset.dtype}",
        )
    check_size(*(shape[1:] if channel_first else shape[:2]))
    # A chunk is read as a whole, and may be larger than the data in it.
    if dataset.chunks and math.prod(dataset.chunks) > 3 * MAX_PIXELS:
        raise Unusable("too_large", f"expected chunks of at most {3 * MAX_PIXELS} bytes, found {list(dataset.chunks)}")
    return channel_first
