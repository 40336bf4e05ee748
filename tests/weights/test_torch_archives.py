"""Broken and lying archives: refused with a sentence, whatever the damage."""

import pickle
import struct
import zipfile
from pathlib import Path

import pytest
from torch_archive import NUMBERS, archive, code, storage, tensor

from fsfm_jax.weights import torch_file

OFFICIAL = Path(__file__).parents[1] / "golden" / "checkpoint-te-599.pth"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pth"


def zipped(path, entries, **options) -> Path:
    with zipfile.ZipFile(path, "w", **options) as file:
        for entry, data in entries:
            file.writestr(entry, data)
    return path


PROGRAM = b"\x80\x02" + code(tensor()) + b"."
GOOD = [("weights/data.pkl", PROGRAM), ("weights/data/0", NUMBERS.tobytes())]


@pytest.mark.parametrize(("entries", "sentence"), [
        (GOOD[1:], "no description of its content"),
        (GOOD[:1], "no entry for the storage '0'"),
        ([], "not in the zip format"),
        ([*GOOD, ("other/data/1", b"")], "'other/data/1' is not below the folder 'weights/'"),
        ([*GOOD, ("weights/data//1", b"")], "'weights/data//1' is not below"),
        ([("data.pkl", PROGRAM)], "'data.pkl' is not below the folder 'data.pkl/'"),
        ([*GOOD, ("weights/byteorder", b"big")], "are in b'big' byte order, only 'little' is read"),
        ([*GOOD, ("weights/byteorder", b"little" * 9)], "byteorder has 54 bytes, at most 16 are read"),
    ])  # fmt: skip
def test_other_archives_are_refused(path, entries, sentence):
    with pytest.raises(ValueError, match=sentence):
        torch_file.read(zipped(path, entries))


def test_a_second_entry_of_the_same_name_is_refused(path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        zipped(path, [*GOOD, GOOD[1]])
    with pytest.raises(ValueError, match="two entries 'weights/data/0'"):
        torch_file.read(path)


def test_files_of_other_formats_are_refused(path):
    for data in (pickle.dumps(0x1950A86A20F9469CFC6C, 2) * 50, b"", b"PK", b"PK\3\4" + b"\0" * 300, b"{}" * 100):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="weights.pth: it is (not in the zip format of torch.save|damaged or cut)"):
            torch_file.read(path)


def changed_directory(path, entry: bytes, place: int, value: bytes) -> Path:
    """A good archive in which one field of the directory was overwritten."""
    data = bytearray(zipped(path, GOOD).read_bytes())
    start = data.rfind(entry) - 46 + place
    data[start : start + len(value)] = value
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("place", "value", "sentence"), [
        (8, b"\1\0", "is compressed or encrypted"),
        (10, b"\x08\0", "is compressed or encrypted"),
        (24, struct.pack("<I", 1 << 30), "is compressed or encrypted"),
        (42, struct.pack("<I", 5), "is not where the directory says"),
    ])  # fmt: skip
def test_a_directory_that_lies_is_refused(path, place, value, sentence):
    with pytest.raises(ValueError, match=sentence):
        torch_file.read(changed_directory(path, b"weights/data/0", place, value))


def test_a_large_directory_is_not_even_looked_at(path):
    small = bytearray(zipped(path, GOOD).read_bytes())
    small[-10:-6] = struct.pack("<I", 1 << 30)
    big = bytearray(OFFICIAL.read_bytes())  # with the records of big files
    big[-98 + 40 : -98 + 48] = struct.pack("<Q", 1 << 40)
    for data in (small, big):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="directory has [0-9]+ bytes, at most 8388608 are read"):
            torch_file.read(path)


def test_archives_with_a_comment_or_too_many_entries_are_refused(path, monkeypatch):
    data = bytearray(zipped(path, GOOD).read_bytes())
    data[-2:] = b"\1\0"  # the directory's size would be looked up elsewhere
    path.write_bytes(data)
    with pytest.raises(ValueError, match="no directory at its end"):
        torch_file.read(path)
    monkeypatch.setattr(torch_file, "MAX_ENTRIES", 1)
    with pytest.raises(ValueError, match="has 2 entries, at most 1"):
        torch_file.read(zipped(path, GOOD))


def test_truth_values_are_zero_or_one(path):
    value = tensor(storage("Bool", count=3), 0, (3,), (1,))
    with pytest.raises(ValueError, match="truth values other than 0 and 1"):
        torch_file.read(archive(path, value, {"0": b"\0\2\1"})).read()
