"""Write PyTorch's weight files (`.pth`, the zip format of `torch.save`), without PyTorch.

They are written directly because the format is small and PyTorch is several gigabytes, and so that the same content
gives the same bytes everywhere. The files load with `torch.load` of any PyTorch since 1.6, also with
`weights_only=True`.
"""

import os
import pickle  # for the codes of the instructions only
import struct
import zipfile
from collections import OrderedDict
from typing import BinaryIO

import ml_dtypes
import numpy as np

from fsfm_jax.run.whole_file import whole_file

FOLDER = "archive"  # any name is read
ALIGNMENT = 64  # bytes; lets PyTorch map the numbers of a file into memory
MAX_INTEGER = 16  # bytes of an integer, as many as `torch_file` reads

_STORAGES = {
    np.dtype("<f4"): "FloatStorage",
    np.dtype("<f8"): "DoubleStorage",
    np.dtype("<f2"): "HalfStorage",
    np.dtype(ml_dtypes.bfloat16): "BFloat16Storage",
    np.dtype("<i8"): "LongStorage",
    np.dtype("<i4"): "IntStorage",
    np.dtype("<i2"): "ShortStorage",
    np.dtype("i1"): "CharStorage",
    np.dtype("u1"): "ByteStorage",
    np.dtype("?"): "BoolStorage",
}


class Options(OrderedDict):
    """Options of a program, read like the `argparse.Namespace` of official files.

    `args.epochs` and `vars(args)` give the same as `args["epochs"]`. Since 2.6, PyTorch by default refuses a Namespace.
    To PyTorch, this is an OrderedDict whose items are also attributes.
    """


def write(path: str | os.PathLike, content: object) -> None:
    """Write dicts, lists, tuples, text, numbers and None, with a tensor for every NumPy array, like `torch.save`.

    An array in two places is one storage that both share. The file appears under its name only when it is complete.

    Raises:
      ValueError: `content` has a value of another type; the message names its place.
      OSError: the file cannot be written.
    """
    program = _Program()
    program.push(content, "content")
    with whole_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, file, "data.pkl", b"".join([pickle.PROTO, b"\x02", *program.instructions, pickle.STOP]))
        _add(archive, file, "byteorder", b"little")
        for key, array in enumerate(program.arrays):
            little = array.astype(array.dtype.newbyteorder("<"), copy=False)
            _add(archive, file, f"data/{key}", np.ascontiguousarray(little).tobytes())
        _add(archive, file, "version", b"3\n")


def _add(archive: zipfile.ZipFile, file: BinaryIO, name: str, data: bytes) -> None:
    """Add an entry whose bytes begin at a multiple of `ALIGNMENT`."""
    entry = zipfile.ZipInfo(f"{FOLDER}/{name}")  # with the date that zip begins with, for equal bytes
    start = file.tell() + 30 + len(entry.filename) + 4
    padding = -start % ALIGNMENT
    entry.extra = b"FB" + struct.pack("<H", padding) + b"Z" * padding
    archive.writestr(entry, data)


class _Program:
    """Collects the instructions that make a value, and the arrays that they refer to."""

    def __init__(self):
        self.instructions: list[bytes] = []
        self.arrays: list[np.ndarray] = []
        self._keys: dict[int, int] = {}

    def push(self, value: object, place: str) -> None:
        emit = self.instructions.append
        if value is None or type(value) is bool:
            emit({None: pickle.NONE, True: pickle.NEWTRUE, False: pickle.NEWFALSE}[value])
        elif type(value) is int:
            emit(_integer(value, place))
        elif type(value) is float:
            emit(pickle.BINFLOAT + struct.pack(">d", value))
        elif type(value) is str:
            text = value.encode("utf-8", "surrogatepass")
            emit(pickle.BINUNICODE + struct.pack("<I", len(text)) + text)
        elif isinstance(value, np.ndarray):
            self._tensor(value, place)
        elif isinstance(value, dict):
            self._dict(value, place)
        elif type(value) in (list, tuple):
            emit(pickle.EMPTY_LIST + pickle.MARK if type(value) is list else pickle.MARK)
            for number, item in enumerate(value):
                self.push(item, f"{place}[{number}]")
            emit(pickle.APPENDS if type(value) is list else pickle.TUPLE)
        else:
            raise ValueError(
                f"{place}: expected dicts, lists, tuples, text, numbers, None and NumPy arrays; found a "
                f"{type(value).__name__}"
            )

    def _dict(self, value: dict, place: str) -> None:
        if type(value) not in (dict, OrderedDict, Options):
            raise ValueError(f"{place}: expected a dict or an OrderedDict; found a {type(value).__name__}")
        self.instructions.append(pickle.EMPTY_DICT if type(value) is dict else _ORDERED_DICT)
        self._items(value, place)
        if type(value) is Options:
            self.instructions.append(pickle.EMPTY_DICT)
            self._items(value, place)
            self.instructions.append(pickle.BUILD)

    def _items(self, value: dict, place: str) -> None:
        self.instructions.append(pickle.MARK)
        for key, item in value.items():
            if type(key) not in (str, int):
                raise ValueError(f"{place}: expected text or an integer as a key; found a {type(key).__name__}")
            self.push(key, place)
            self.push(item, f"{place}[{key!r}]")
        self.instructions.append(pickle.SETITEMS)

    def _tensor(self, array: np.ndarray, place: str) -> None:
        kind = _STORAGES.get(array.dtype.newbyteorder("<"))
        if kind is None:
            raise ValueError(f"{place}: PyTorch has no dtype {array.dtype}")
        if id(array) not in self._keys:
            self._keys[id(array)] = len(self.arrays)
            self.arrays.append(array)
        emit = self.instructions.append
        emit(_global("torch._utils._rebuild_tensor_v2") + pickle.MARK + pickle.MARK)
        self.push("storage", place)
        emit(_global(f"torch.{kind}"))
        for part in (str(self._keys[id(array)]), "cpu", array.size):
            self.push(part, place)
        emit(pickle.TUPLE + pickle.BINPERSID)
        strides = [1] * array.ndim
        for axis in range(array.ndim - 2, -1, -1):
            strides[axis] = strides[axis + 1] * max(array.shape[axis + 1], 1)
        for part in (0, tuple(map(int, array.shape)), tuple(strides), False):
            self.push(part, place)
        emit(_ORDERED_DICT + pickle.TUPLE + pickle.REDUCE)  # no hooks


def _integer(value: int, place: str) -> bytes:
    if -(1 << 31) <= value < 1 << 31:
        return pickle.BININT + struct.pack("<i", value)
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    if len(data) > MAX_INTEGER:
        raise ValueError(f"{place}: an integer of {len(data)} bytes, at most {MAX_INTEGER} are written")
    return pickle.LONG1 + bytes([len(data)]) + data


def _global(name: str) -> bytes:
    module, _, last = name.rpartition(".")
    return pickle.GLOBAL + f"{module}\n{last}\n".encode()


_ORDERED_DICT = _global("collections.OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
