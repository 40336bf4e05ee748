"""Honest weight files of a few kilobytes, written instruction by instruction, and the two golden ones."""

import collections
import dataclasses
import functools
import io
import pickle
import pickletools
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from fsfm_jax.weights import safetensors_file

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
PTH, SAFETENSORS = "pth", "safetensors"
SMALL = 10_000  # bytes; the golden files have two million


@dataclasses.dataclass(frozen=True)
class Seed:
    """An honest file."""

    name: str
    kind: str
    data: bytes


def packed(entries: list[tuple[str, bytes]], compressed: bool = False) -> bytes:
    """Pack an archive like that of torch.save, with the same bytes at any time of day."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive:
        for name, data in entries:
            info = zipfile.ZipInfo()
            info.orig_filename = info.filename = name
            archive.NameToInfo.clear()  # names may be there twice
            archive.writestr(info, data, archive.compression)
    return file.getvalue()


@functools.lru_cache(maxsize=20)
def unpacked(data: bytes) -> list[tuple[str, bytes]]:
    """Return names and bytes of the entries of an honest archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


@functools.lru_cache(maxsize=20)
def instructions(program: bytes) -> list[bytes]:
    """Cut an honest program between its instructions."""
    places = [place for _, _, place in pickletools.genops(program)] + [len(program)]
    return [program[first:last] for first, last in zip(places, places[1:], strict=False)]


def for_big_files(archive: bytes) -> bytes:
    """Return the same archive with the two records of files beyond four gigabytes."""
    count, size, start = struct.unpack("<HII", archive[-12:-2])
    end = len(archive) - 22
    record = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, start)
    return archive[:end] + record + struct.pack("<4sIQI", b"PK\6\7", 0, end, 1) + archive[end:]


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def _tensor(kind: str, key: str, count: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    """Return the instructions of a tensor, as torch.save writes them."""
    numbers = [b"(" + b"".join(b"J" + struct.pack("<i", number) for number in part) + b"t" for part in (shape, strides)]
    storage = b"(" + _text("storage") + f"ctorch\n{kind}Storage\n".encode() + _text(key) + _text("cpu")
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"J" + struct.pack("<i", count) + b"tQK\0" + numbers[0]
        + numbers[1] + b"\x89ccollections\nOrderedDict\n)RtR"
    )  # fmt: skip


@functools.cache
def seeds() -> tuple[Seed, ...]:
    """Return archives of tensors and plain values in all protocols, both golden ones, and safetensors of all dtypes."""
    floats = np.arange(6, dtype=np.float32)
    state = [
        _tensor("Float", "0", 6, (2, 3), (3, 1)),
        _tensor("Float", "0", 6, (2,), (3,)),
        _tensor("Long", "1", 1, (), ()),
        _tensor("Bool", "2", 3, (3,), (1,)),
        _tensor("BFloat16", "3", 2, (2,), (1,)),
        _tensor("Half", "4", 0, (0, 4), (4, 1)),
        _tensor("Float", "0", 6, (1, 6, 1), (6, 1, 1)),
    ]
    items = b"".join(_text(f"blocks.{index}.weight") + code for index, code in enumerate(state))
    size = b"ctorch\nSize\n(K\2K\3t\x85R" + _text("device") + b"ctorch\ndevice\n" + _text("cuda") + b"K\1\x86R"
    model = _text("model") + b"ccollections\nOrderedDict\n)R(" + items + b"u"
    options = _text("args") + b"cargparse\nNamespace\n)\x81}" + _text("out") + b"cpathlib\nPosixPath\n"
    options += _text("a") + b"\x85Rsb"
    program = b"\x80\2}(" + model + _text("size") + size + options + b"u."
    bfloats = np.array([1, -2], safetensors_file.DTYPES["BF16"])
    arrays = [floats, np.int64([7]), np.array([True, False, True]), bfloats, floats[:0]]
    storages = [(f"weights/data/{key}", array.tobytes()) for key, array in enumerate(arrays)]
    tensors = packed([("weights/data.pkl", program), ("weights/byteorder", b"little"), *storages])
    found = [Seed("tensors.pth", PTH, tensors), Seed("tensors of a big file.pth", PTH, for_big_files(tensors))]
    plain = [True, False, -3, 300, 70_000, 2**40, "\u00e4" * 300]
    values = {
        "epoch": 599, "lr": 1e-3, "big": 2**100, "none": None, "bytes": b"\xff" * 300, "again": plain, "args": plain,
        "numpy": [np.float64(0.1), np.float32(2), np.int64(-3), np.bool_(True), np.uint8(200)],
        "order": collections.OrderedDict(), 5: ((), (1,), (1, 2), (1, 2, 3), (1,) * 4),
    }  # fmt: skip
    for protocol in (2, 3, 4, 5):
        data = pickle.dumps(values | ({"set": {1, "x"}} if protocol != 3 else {}), protocol)
        found.append(Seed(f"values, protocol {protocol}.pth", PTH, packed([("weights/data.pkl", data)])))
    for file in ("checkpoint-599.pth", "checkpoint-te-599.pth"):
        found.append(Seed(file, PTH, (GOLDEN / file).read_bytes()))
    dtypes = {name: np.zeros((2, 3), dtype) for name, dtype in safetensors_file.DTYPES.items()}
    named = {"blocks.0.weight": floats.reshape(2, 3), "empty": floats[:0], 'name "\u00e4"': floats}
    named["one"] = np.array(0.5)
    with tempfile.TemporaryDirectory() as folder:
        for name, state, metadata in (("dtypes", dtypes, {}), ("named", named, {"format": "pt", "text": "a\nb"})):
            safetensors_file.write(Path(folder, "file"), state, metadata)
            found.append(Seed(f"{name}.safetensors", SAFETENSORS, Path(folder, "file").read_bytes()))
    return tuple(found)
