"""All targets of the fuzzer, by name."""

import functools
from pathlib import Path

from reliability import fuzz_media, fuzz_records, fuzz_text
from reliability.fuzz_judge import Target
from reliability.fuzz_media import placed
from reliability.honest_files import PTH, SAFETENSORS, SMALL, instructions, packed, seeds, unpacked
from reliability.mutations import HOSTILE
from reliability.verdicts import read_safetensors, read_torch


def _weights(kind: str) -> list[bytes]:
    return [seed.data for seed in seeds() if seed.kind == kind and len(seed.data) < SMALL]


def _read_safetensors(data: bytes, folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.unlink(missing_ok=True)  # arrays of the one before may still be mapped
    placed(data, folder, path.name)
    read_safetensors(str(path))


def _read_archive(data: bytes, folder: Path) -> None:
    read_torch(str(placed(data, folder, "weights.pth")))


@functools.cache
def _storages() -> list[tuple[str, bytes]]:
    return [entry for entry in unpacked(_weights(PTH)[0]) if not entry[0].endswith("/data.pkl")]


def _read_program(data: bytes, folder: Path) -> None:
    """Read the pickle program alone, in an archive whose lengths and checksums fit it."""
    _read_archive(packed([("weights/data.pkl", data), *_storages()]), folder)


def _programs() -> list[bytes]:
    return [content for data in _weights(PTH) for name, content in unpacked(data) if name.endswith("/data.pkl")]


def _words() -> tuple[bytes, ...]:
    codes = {code for program in _programs() for code in instructions(program) if len(code) < 60}
    return tuple(sorted(codes | {code for code in HOSTILE if len(code) < 60}))


WEIGHTS = (
    Target("pth", _read_archive, (ValueError,), lambda: _weights(PTH), (b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\6\6")),
    Target("program", _read_program, (ValueError,), _programs, _words()),
    Target("safetensors", _read_safetensors, (ValueError,), lambda: _weights(SAFETENSORS), fuzz_records.JSON_WORDS),
)
TARGETS = {target.name: target for target in (*fuzz_media.TARGETS, *fuzz_records.TARGETS, *fuzz_text.TARGETS, *WEIGHTS)}
