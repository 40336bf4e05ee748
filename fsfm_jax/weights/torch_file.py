"""Read PyTorch's weight files (`.pth`, the zip format of `torch.save`), without PyTorch and without executing anything.

The archive has one folder: `data.pkl` describes the structure, `data/KEY` are the numbers of one storage each, stored
as they are. Tensors are read only when they are used; reading one takes the memory of its storage.
"""

import dataclasses
import math
import os
import re
import struct
import zipfile
import zlib

import ml_dtypes
import numpy as np

from fsfm_jax.weights import torch_pickle

MAX_DIRECTORY = 8 << 20  # bytes of the archive's directory
MAX_ENTRIES = 100_000
MAX_DIMENSIONS = 32
MAX_BYTES = 1 << 62  # of one tensor's shape: numpy counts bytes in 64 bits
MAX_REPEATS = 64  # bytes of all tensors per byte of the file; layers may share their numbers

_DTYPES = {
    "Float": np.dtype("<f4"),
    "Double": np.dtype("<f8"),
    "Half": np.dtype("<f2"),
    "BFloat16": np.dtype(ml_dtypes.bfloat16),
    "Long": np.dtype("<i8"),
    "Int": np.dtype("<i4"),
    "Short": np.dtype("<i2"),
    "Char": np.dtype("i1"),
    "Byte": np.dtype("u1"),
    "Bool": np.dtype("?"),
}
_CONSTANTS = {
    **{f"torch.{name}Storage": dtype for name, dtype in _DTYPES.items()},
    **{f"torch.{dtype.name}": f"torch.{dtype.name}" for dtype in _DTYPES.values()},
}
# Another system's slash, control characters of terminals, and parts that lead out of the folder.
_STRANGE = re.compile(r"[\\\0-\x1f\x7f-\x9f]|(^|/)\.{0,2}(/|\Z)")


def read(path: str | os.PathLike) -> object:
    """Read a file of `torch.save`: plain dicts, lists, tuples, sets, text and numbers, and a `Tensor` for each tensor.

    An argparse.Namespace becomes a dict; paths, devices and dtypes become text; torch.Size becomes a tuple, and a NumPy
    number becomes Python's. Nothing that the file names is imported or called. `np.asarray(tensor)` or `tensor.read()`
    returns the numbers, in native byte order.

    Raises:
      ValueError: the file is of another kind, is damaged, or holds unsupported values; the message says which.
      OSError: the file cannot be opened.
    """
    path = os.fspath(path)
    try:
        entries = _entries(path)
        if "byteorder" in entries and (order := entries["byteorder"].read(16)) != b"little":
            raise ValueError(f"its numbers are in {order[:16]!r} byte order, only 'little' is read")
        if "data.pkl" not in entries:
            raise ValueError("it has no description of its content (data.pkl)")
        makers = {
            "torch._utils._rebuild_tensor_v2": _tensor,
            "torch._utils._rebuild_parameter": _parameter,
            "torch.Size": _size,
            "torch.device": _device,
        }
        program = entries["data.pkl"].read(torch_pickle.MAX_PROGRAM)
        value = torch_pickle.load(program, makers, _CONSTANTS, lambda identity: _storage(identity, entries), (Tensor,))
        if (wanted := _bytes(value)) > MAX_REPEATS * (length := os.path.getsize(path)):
            raise ValueError(f"its tensors have {wanted} bytes, more than {MAX_REPEATS} times the {length} of the file")
        return value
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


@dataclasses.dataclass(frozen=True)
class Entry:
    """Bytes `start` to `start + size` of a file, and the checksum that the archive gives for them."""

    path: str
    name: str
    start: int
    size: int
    checksum: int

    def read(self, limit: int | None = None) -> bytes:
        """Return all bytes.

        Raises:
          ValueError: there are more than `limit` bytes, the checksum differs, or the file became shorter.
        """
        if limit is not None and self.size > limit:
            raise ValueError(f"{self.name} has {self.size} bytes, at most {limit} are read")
        with open(self.path, "rb") as file:
            file.seek(self.start)
            data = file.read(self.size)
        if len(data) != self.size or zlib.crc32(data) != self.checksum:
            raise ValueError(f"{self.name} has another checksum than the archive says: fetch the file again")
        return data


@dataclasses.dataclass(frozen=True)
class Storage:
    """`count` numbers of one dtype in the archive; tensors are views of them."""

    entry: Entry
    dtype: np.dtype
    count: int


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor that is still in its file.

    Attributes:
      storage: where its numbers are.
      offset: place of the first one in the storage.
      shape: as in PyTorch; an empty tuple for a single number.
      strides: steps between neighbours along each axis, in numbers, not in bytes.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype:
        return self.storage.dtype

    def read(self) -> np.ndarray:
        """Return the numbers, as a new array in row-major order.

        Raises:
          ValueError: the bytes are damaged, or a truth value is neither 0 nor 1.
        """
        path, name = self.storage.entry.path, self.storage.entry.name
        try:
            data = self.storage.entry.read()
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        if self.dtype.kind == "b" and data.strip(b"\0\1"):
            raise ValueError(f"{path}: {name} has truth values other than 0 and 1")
        if 0 in self.shape:
            return np.empty(self.shape, self.dtype)
        numbers = np.frombuffer(data, self.dtype, offset=self.offset * self.dtype.itemsize)
        # The stride of an axis of size 1 is never used, so PyTorch may have written any value.
        steps = [stride if size > 1 else 0 for size, stride in zip(self.shape, self.strides, strict=True)]
        strides = [step * self.dtype.itemsize for step in steps]
        return np.lib.stride_tricks.as_strided(numbers, self.shape, strides).copy()

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        if copy is False:
            raise ValueError("a tensor in a file becomes an array only by a copy")
        return self.read() if dtype is None else self.read().astype(dtype)


def _entries(path: str) -> dict[str, Entry]:
    """Return the entries of the archive by their names below its one folder."""
    with open(path, "rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(0)
        if file.read(4) != b"PK\3\4":
            raise ValueError(
                "it is not in the zip format of torch.save; files of PyTorch before 1.6 have to be written again "
                "by a newer PyTorch"
            )
        count = _check_directory(file, length)
        try:
            infos = zipfile.ZipFile(file).infolist()
        except (zipfile.BadZipFile, NotImplementedError, struct.error, UnicodeDecodeError) as error:
            raise ValueError(f"it is damaged or cut off: {error}") from error
        if len(infos) != count:
            raise ValueError(f"the archive has {len(infos)} entries, but says {count}")
        entries = {}
        folder = infos[0].orig_filename.split("/")[0] + "/" if infos else "/"
        for info in infos:
            name, shown = info.orig_filename.removeprefix(folder), repr(info.orig_filename[:200])
            if name == info.orig_filename or _STRANGE.search(info.orig_filename):
                raise ValueError(f"the entry {shown} is not below the folder {folder[:200]!r}")
            if name in entries:
                raise ValueError(f"the archive has two entries {shown}")
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & 1:
                raise ValueError(f"the entry {shown} is compressed or encrypted; torch.save does neither")
            entries[name] = Entry(path, shown[1:-1], _start(file, info, length), info.file_size, info.CRC)
    end = 0
    for entry in sorted(entries.values(), key=lambda entry: (entry.start, entry.size)):
        if entry.start < end:
            raise ValueError(f"the entry {entry.name!r} overlaps another one")
        end = entry.start + entry.size
    return entries


def _check_directory(file, length: int) -> int:
    """Check the size of the directory before it is read as a whole, and return its number of entries.

    Its size is in the last record, or in the one for big files: 22 bytes at the end, 20 bytes before them that point
    to the big one, and its 56 bytes before these. Nothing may be in between, or zipfile could look elsewhere.
    """
    file.seek(max(0, length - 98))
    tail = file.read(98).rjust(98, b"\0")
    if tail[76:80] != b"PK\5\6" or tail[96:] != b"\0\0":
        raise ValueError("it is damaged or cut off: the archive has no directory at its end")
    (count, size, start), end = struct.unpack("<HII", tail[86:96]), length - 22
    if tail[56:60] == b"PK\6\7":
        (count, size, start), end = struct.unpack("<QQQ", tail[32:56]), length - 98
        if tail[:4] != b"PK\6\6" or tail[64:72] != struct.pack("<q", end):
            raise ValueError("it is damaged or cut off: the record for big files is not where it is said to be")
    if size > MAX_DIRECTORY:
        raise ValueError(f"the archive's directory has {size} bytes, at most {MAX_DIRECTORY} are read")
    if count > MAX_ENTRIES:
        raise ValueError(f"the archive has {count} entries, at most {MAX_ENTRIES} are read")
    if start + size != end:
        raise ValueError(f"it is damaged or cut off: {size} bytes of directory from {start} do not end at {end}")
    return count


def _start(file, info: zipfile.ZipInfo, length: int) -> int:
    """Return the offset of the bytes of an entry, behind its own header."""
    header = b""
    if 0 <= info.header_offset <= length - 30:
        file.seek(info.header_offset)
        header = file.read(30)
    if header[:4] != b"PK\3\4":
        raise ValueError(f"the entry {info.orig_filename[:200]!r} is not where the directory says")
    start = info.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))
    if start + info.file_size > length:
        raise ValueError(f"the entry {info.orig_filename[:200]!r} goes beyond the end of the file")
    return start


def _storage(identity: object, entries: dict[str, Entry]) -> Storage:
    """Return the storage of a persistent id: the word storage, class, key, device, number of elements."""
    types = [type(part) for part in identity] if type(identity) is tuple else []
    if types[:1] + types[2:] != [str, str, str, int] or identity[0] != "storage":
        raise ValueError("an object outside the description is not a storage of five parts")
    _, dtype, key, _, count = identity
    if not isinstance(dtype, np.dtype):
        raise ValueError(f"the storage {key[:200]!r} has no known class")
    if f"data/{key}" not in entries:
        raise ValueError(f"the archive has no entry for the storage {key[:200]!r}")
    entry = entries[f"data/{key}"]
    if count * dtype.itemsize != entry.size:
        raise ValueError(f"{entry.name} has {entry.size} bytes, expected {count} numbers of {dtype.name}")
    return Storage(entry, dtype, count)


def _tensor(*arguments: object) -> Tensor:
    """Return a view of a storage; `requires_grad` is dropped."""
    if len(arguments) not in (6, 7) or type(arguments[0]) is not Storage:
        raise ValueError("a tensor has other arguments than a storage, offset, shape and strides")
    storage, offset, shape, strides, requires_grad, hooks, metadata = (*arguments, None)[:7]
    name = f"a tensor of {storage.entry.name}"
    if not _are_counts((offset,)) or not _are_counts(shape) or not _are_counts(strides) or len(shape) != len(strides):
        raise ValueError(f"{name} has an offset, a shape or strides that are not whole numbers from 0 on")
    if type(requires_grad) is not bool or hooks or metadata:
        raise ValueError(f"{name} has hooks or properties that are not known here")
    if len(shape) > MAX_DIMENSIONS or math.prod(max(size, 1) for size in shape) * storage.dtype.itemsize > MAX_BYTES:
        raise ValueError(f"{name} has a shape that no array can have")
    count = math.prod(shape)
    reach = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if offset + (reach if count else 0) > storage.count:
        raise ValueError(f"{name} goes from {offset} to {offset + reach}, but the storage has {storage.count} numbers")
    if count and count > reach:
        raise ValueError(f"{name} has {count} numbers, but covers only {reach}: views that repeat are not read")
    return Tensor(storage, offset, shape, strides)


def _bytes(value: object) -> int:
    """Return the bytes of the arrays of all tensors in a value, counting repeated ones each time."""
    if type(value) is Tensor:
        return math.prod(value.shape) * value.dtype.itemsize
    items = value.values() if type(value) is dict else value if type(value) in (list, tuple) else ()
    return sum(map(_bytes, items))


def _are_counts(values: object) -> bool:
    return type(values) is tuple and all(type(value) is int and value >= 0 for value in values)


def _parameter(*arguments: object) -> Tensor:
    if len(arguments) != 3 or type(arguments[0]) is not Tensor or type(arguments[1]) is not bool or arguments[2]:
        raise ValueError("a parameter has other arguments than a tensor, whether it is trained, and no hooks")
    return arguments[0]


def _size(*arguments: object) -> tuple[int, ...]:
    if len(arguments) != 1 or not _are_counts(arguments[0]):
        raise ValueError("torch.Size has other arguments than whole numbers from 0 on")
    return arguments[0]


def _device(*arguments: object) -> str:
    if [type(part) for part in arguments] not in ([str], [str, int]):
        raise ValueError("torch.device has other arguments than a kind and a number")
    return ":".join(map(str, arguments))
