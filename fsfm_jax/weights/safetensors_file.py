"""Weight files in the safetensors format: validated by the library of that name, read as views of the file.

A file is eight bytes with the length of the header, the header in JSON, and the numbers of all tensors, one after the
other and little-endian. The header says of each name the dtype, the shape, and the first and last byte + 1 of its
numbers, counted from the end of the header; `__metadata__` may hold further text.

This module gives four guarantees that the library does not. Its arrays are copies; these are read from disk on access.
It silently uses the last of two tensors of one name. It reads headers whose tables would need many times the memory of
the file. It writes metadata in random order and needs all arrays contiguous at once; here the same tensors give the
same bytes, without a second copy of a model.
"""

import json
import math
import os
import struct
from collections.abc import Mapping

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from fsfm_jax.run.whole_file import whole_file
from fsfm_jax.text import LONGEST, plain

MAX_HEADER = 100_000_000  # bytes, as in the format
MAX_ITEMS = 2_000_000  # lists, tables and commas of the header; a tensor needs about ten of them
MAX_DIGITS = 20  # as many as the largest number of 64 bits
MAX_DIMENSIONS = 32
MAX_BYTES = 1 << 62  # of one tensor's shape: numpy counts bytes in 64 bits
METADATA = "__metadata__"

DTYPES = {
    "BOOL": np.dtype("?"),
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def read(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read the tensors by name, and the metadata.

    The arrays are read-only views of the mapped file: their numbers are read from disk on access, and `path` must not
    change while they are in use. Names are in the order of the header.

    Raises:
      ValueError: a damaged file, an unknown dtype, or a header that does not describe all bytes exactly once.
      OSError: the file cannot be opened.
    """
    path = os.fspath(path)
    try:
        header, start = _header(path)
        metadata = header.pop(METADATA, None) or {}
        data = np.memmap(path, np.uint8, mode="r")
        tensors = {}
        for name, entry in header.items():
            dtype, shape = _kind(name, entry)
            first, last = entry["data_offsets"]
            numbers = data[start + first : start + last]
            if dtype.kind == "b" and numbers.size and numbers.max() > 1:
                raise ValueError(f"tensor {name[:LONGEST]!r} has truth values other than 0 and 1")
            tensors[name] = np.asarray(numbers).view(dtype).reshape(shape)
        return tensors, metadata
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def write(path: str | os.PathLike, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write tensors by name; the same tensors and metadata give the same bytes, in any order.

    The file appears under its name only when it is complete. Wide dtypes come first, so that every tensor is aligned.

    Raises:
      ValueError: a name or metadata that is not text, or a dtype that the format does not have.
    """
    path = os.fspath(path)
    for name, text in metadata.items():
        if type(name) is not str or type(text) is not str:
            raise ValueError(f"metadata {name!r}: expected text, found {text!r}")
    for name, array in tensors.items():
        if type(name) is not str or name == METADATA:
            raise ValueError(f"tensor {name!r}: expected a name that is text and not {METADATA}")
        if array.dtype.newbyteorder("<") not in _NAMES:
            raise ValueError(f"tensor {name}: dtype {array.dtype} is not one of {', '.join(DTYPES)}")
    names = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, object] = {METADATA: dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for name in names:
        start, end = end, end + tensors[name].nbytes
        dtype = _NAMES[tensors[name].dtype.newbyteorder("<")]
        header[name] = {"dtype": dtype, "shape": list(tensors[name].shape), "data_offsets": [start, end]}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise ValueError(f"{path}: the header would have {len(text)} bytes, the format allows {MAX_HEADER}")
    with whole_file(path) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in names:
            file.write(tensors[name].astype(tensors[name].dtype.newbyteorder("<"), copy=False).tobytes())


def _header(path: str) -> tuple[dict, int]:
    """Return the header, and the offset of the numbers in bytes."""
    length = os.path.getsize(path)
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8).ljust(8, b"\xff"))
        if size > min(MAX_HEADER, length - 8):
            raise ValueError(
                f"it is no safetensors file or cut off: a header of {size} bytes in a file of {length}, "
                f"at most {MAX_HEADER} are read"
            )
        text = file.read(size)
    if (items := sum(map(text.count, (b"{", b"[", b",")))) > MAX_ITEMS:
        raise ValueError(f"its header has {items} lists, tables and commas, at most {MAX_ITEMS} are read")
    try:
        with safe_open(path, "numpy"):  # checks the header, and that it describes every byte exactly once
            pass
    except SafetensorError as error:
        reason = plain(str(error)[: 2 * LONGEST])
        raise ValueError(f"it is no safetensors file, damaged or cut off: {reason}") from error
    return json.loads(text.decode(), object_pairs_hook=_table, parse_int=_whole_number), 8 + size


def _table(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = {}
    for name, value in pairs:
        if name in table:
            raise ValueError(f"its header has the name {name[:LONGEST]!r} twice")
        table[name] = value
    return table


def _whole_number(word: str) -> int:
    if len(word) > MAX_DIGITS:  # in a field that the library ignores
        raise ValueError(f"its header has a number of {len(word)} digits, at most {MAX_DIGITS} are read")
    return int(word)


def _kind(name: str, entry: dict) -> tuple[np.dtype, tuple[int, ...]]:
    """Return the dtype and shape of one tensor."""
    name, (dtype, shape) = f"tensor {name[:LONGEST]!r}", (entry["dtype"], entry["shape"])
    if entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name} has more than a dtype, a shape and data_offsets")
    if dtype not in DTYPES:
        raise ValueError(f"{name} has the dtype {dtype!r}, which is not one of {', '.join(DTYPES)}")
    size = DTYPES[dtype].itemsize
    if len(shape) > MAX_DIMENSIONS or size * math.prod(max(length, 1) for length in shape) > MAX_BYTES:
        raise ValueError(f"{name} has a shape that no array can have")
    return DTYPES[dtype], tuple(shape)
