"""Read arrays of numbers from untrusted NumPy files (.npy).

NumPy's own reader parses the header as Python, allocates as much memory as it asks for, and opens archives. Here the
header must have the form that `numpy.save` writes, the array must be within a limit, and all bytes must be present.
"""

import math
import os
import re
import stat

import numpy as np

START = b"\x93NUMPY"
# Version, length of the header, and the header: a dict of three entries, padded with spaces.
HEADER = re.compile(
    rb"\{'descr': '([<>|=]?[biuf][1248])', 'fortran_order': (False|True), "
    rb"'shape': \(((?:\d{1,9}L?, ?)*(?:\d{1,9}L?)?)\), ?\} *\n"
)
LONGEST_HEADER = 1000


def read_numbers(path: str | os.PathLike, most: int) -> np.ndarray:
    """Read an array of at most `most` bytes, of any numeric dtype or bool.

    Raises:
      ValueError: the file has another format or dtype, is truncated or too large; the message does not name the file.
      OSError: the file cannot be read.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):  # reading a pipe would block
        raise ValueError("expected a regular file, found a folder, a pipe or a device")
    with open(path, "rb") as file:
        start = file.read(LONGEST_HEADER)
        if not start.startswith(START):
            found = "an archive; use numpy.save" if start.startswith(b"PK") else f"bytes starting with {start[:8]!r}"
            raise ValueError(f"expected one array as numpy.save writes it, found {found}")
        if len(start) < 12 or start[6] not in (1, 2):
            raise ValueError(f"expected a NumPy header of version 1 or 2, found {start[6:12]!r}")
        begin = 10 if start[6] == 1 else 12
        end = begin + int.from_bytes(start[8:begin], "little")
        matched = HEADER.fullmatch(start[begin:end])
        if not matched:
            raise ValueError(f"expected the header of an array of numbers, found {start[begin:end].rstrip()[:100]!r}")
        try:
            dtype = np.dtype(matched[1].decode())
        except TypeError as error:
            raise ValueError(f"expected a numeric dtype, found {matched[1].decode()}") from error
        shape = tuple(int(side.rstrip(b"L ")) for side in matched[3].replace(b" ", b"").split(b",") if side)
        length = math.prod(shape) * dtype.itemsize
        if length > most:
            raise ValueError(f"expected at most {most} bytes of numbers, found a header of {list(shape)} {dtype}")
        file.seek(end)
        data = file.read(length)
    if len(data) != length:
        raise ValueError(f"expected {length} bytes for {list(shape)} {dtype}, found {len(data)}: the file is truncated")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if matched[2] == b"True" else "C")
