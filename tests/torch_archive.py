"""Weight files like those of torch.save, honest and hostile, written instruction by instruction."""

import struct
import zipfile
from pathlib import Path

import numpy as np

from fsfm_jax.weights import torch_file


class Code(bytes):
    """Pickle instructions, as opposed to bytes as a value."""


def code(value) -> Code:
    """The instructions that push a value."""
    if isinstance(value, Code):
        return value
    if value is None or isinstance(value, bool):
        return Code({None: b"N", True: b"\x88", False: b"\x89"}[value])
    if isinstance(value, int):
        return Code(b"\x8a\x10" + value.to_bytes(16, "little", signed=True))
    if isinstance(value, float):
        return Code(b"G" + struct.pack(">d", value))
    if isinstance(value, str):
        return Code(b"X" + struct.pack("<I", len(value.encode())) + value.encode())
    if isinstance(value, tuple):
        return Code(b"(" + b"".join(map(code, value)) + b"t")
    if isinstance(value, list):
        return Code(b"](" + b"".join(map(code, value)) + b"e")
    return Code(b"}(" + b"".join(code(key) + code(item) for key, item in value.items()) + b"u")


def name(full: str) -> Code:
    """Looks up `module.name`."""
    module, _, last = full.rpartition(".")
    return Code(f"c{module}\n{last}\n".encode())


def call(full: str, *arguments) -> Code:
    """Calls `module.name`."""
    return Code(name(full) + code(arguments) + b"R")


def storage(kind="Float", key="0", count=6, word="storage", place="cpu") -> Code:
    """The storage `data/KEY`."""
    return Code(code((word, name(f"torch.{kind}Storage"), key, place, count)) + b"Q")


def tensor(numbers=None, offset=0, shape=(2, 3), strides=(3, 1), trained=False, hooks=None, *more) -> Code:
    """A view of a storage, by default all of `NUMBERS`."""
    hooks = call("collections.OrderedDict") if hooks is None else hooks
    numbers = storage() if numbers is None else numbers
    return call("torch._utils._rebuild_tensor_v2", numbers, offset, shape, strides, trained, hooks, *more)


PLAIN = (3, "<", None, None, None, -1, -1, 0)  # what NumPy writes of a dtype like float64


def dtype(kind="f8", state=PLAIN, *more) -> Code:
    """A dtype as NumPy pickles it."""
    return Code(call("numpy.dtype", kind, *(more or (False, True))) + code(state) + b"b")


def number(data: bytes, of: Code | None = None, module="numpy._core.multiarray") -> Code:
    """A single number of NumPy, by default a float64."""
    data = call("_codecs.encode", data.decode("latin1"), "latin1")
    return call(f"{module}.scalar", dtype() if of is None else of, data)


NUMBERS = np.arange(6, dtype=np.float32)


def archive(path, value, storages=None, **more) -> Path:
    """A file like torch.save's; `value` is pushed, or, in bytes, the program itself."""
    program = value if type(value) is bytes else b"\x80\x02" + code(value) + b"."
    storages = {"0": NUMBERS.tobytes()} if storages is None else storages
    entries = {"data.pkl": program, "byteorder": b"little"} | {f"data/{key}": data for key, data in storages.items()}
    with zipfile.ZipFile(path, "w") as file:
        for entry, data in (entries | more).items():
            file.writestr(f"weights/{entry}", data)
    return path


def tensors_of(value) -> list[torch_file.Tensor]:
    """All tensors of a structure that was read."""
    if isinstance(value, torch_file.Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for item in items for tensor in tensors_of(item)]
