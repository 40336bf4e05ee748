"""Broken and lying archives: refused with a sentence, whatever the damage."""

import pickle
import random
import struct
import zipfile
from pathlib import Path

import numpy as np
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


def test_a_good_archive_is_read(path):
    np.testing.assert_array_equal(torch_file.read(zipped(path, GOOD)).read(), NUMBERS.reshape(2, 3))


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        (GOOD[1:], "no description of its content"),
        (GOOD[:1], "no entry for the storage '0'"),
        ([], "not in the zip format"),
        ([*GOOD, ("other/data/1", b"")], "'other/data/1' is not below the folder 'weights/'"),
        ([*GOOD, ("/etc/passwd", b"")], "'/etc/passwd' is not below"),
        ([*GOOD, ("weights/../../x", b"")], "'weights/../../x' is not below"),
        ([*GOOD, ("weights/data//1", b"")], "'weights/data//1' is not below"),
        ([*GOOD, ("weights/data\\1", b"")], "is not below"),
        ([("data.pkl", PROGRAM)], "'data.pkl' is not below the folder 'data.pkl/'"),
        ([*GOOD, ("weights/byteorder", b"big")], "are in b'big' byte order, only 'little' is read"),
        ([*GOOD, ("weights/byteorder", b"little" * 9)], "byteorder has 54 bytes, at most 16 are read"),
    ],
)
def test_other_archives_are_refused(path, entries, sentence):
    with pytest.raises(ValueError, match=sentence):
        torch_file.read(zipped(path, entries))


def test_a_second_entry_of_the_same_name_is_refused(path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        zipped(path, [*GOOD, GOOD[1]])
    with pytest.raises(ValueError, match="two entries 'weights/data/0'"):
        torch_file.read(path)


def test_compressed_entries_are_refused(path):
    with pytest.raises(ValueError, match="'weights/data.pkl' is compressed"):
        torch_file.read(zipped(path, GOOD, compression=zipfile.ZIP_DEFLATED))


def test_files_of_other_formats_are_refused(path):
    for data in (pickle.dumps(0x1950A86A20F9469CFC6C, 2) * 50, b"", b"PK", b"PK\3\4" + b"\0" * 300, b"{}" * 100):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="weights.pth: it is (not in the zip format of torch.save|damaged or cut)"):
            torch_file.read(path)


def test_entries_that_share_bytes_are_refused(path):
    # One megabyte that a directory of a thousand entries points to would look like a gigabyte.
    data = bytearray(zipped(path, [*GOOD, ("weights/data/1", NUMBERS.tobytes())]).read_bytes())
    first, second = (data.rfind(key) - 46 for key in (b"weights/data/0", b"weights/data/1"))
    data[second + 42 : second + 46] = data[first + 42 : first + 46]  # where the entry begins
    path.write_bytes(data)
    with pytest.raises(ValueError, match="'weights/data/1' overlaps another one"):
        torch_file.read(path)


def changed_directory(path, entry: bytes, place: int, value: bytes) -> Path:
    """A good archive in which one field of the directory was overwritten."""
    data = bytearray(zipped(path, GOOD).read_bytes())
    start = data.rfind(entry) - 46 + place
    data[start : start + len(value)] = value
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        (8, b"\1\0", "is compressed or encrypted"),
        (10, b"\x08\0", "is compressed or encrypted"),
        (24, struct.pack("<I", 1 << 30), "is compressed or encrypted"),
        (20, struct.pack("<II", 1 << 30, 1 << 30), "goes beyond the end of the file"),
        (20, struct.pack("<II", 28, 28), "has 28 bytes, expected 6 numbers"),
        (42, struct.pack("<I", 5), "is not where the directory says"),
        (42, struct.pack("<I", 0xFFFFFFF0), "is not where the directory says"),
    ],
)
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


def test_an_archive_with_a_comment_is_refused(path):
    data = bytearray(zipped(path, GOOD).read_bytes())
    data[-2:] = b"\1\0"  # the directory's size would be looked up elsewhere
    path.write_bytes(data)
    with pytest.raises(ValueError, match="no directory at its end"):
        torch_file.read(path)


def test_the_number_of_entries_is_bounded(path, monkeypatch):
    monkeypatch.setattr(torch_file, "MAX_ENTRIES", 1)
    with pytest.raises(ValueError, match="has 2 entries, at most 1"):
        torch_file.read(zipped(path, GOOD))


def test_truth_values_are_zero_or_one(path):
    value = tensor(storage("Bool", count=3), 0, (3,), (1,))
    with pytest.raises(ValueError, match="truth values other than 0 and 1"):
        torch_file.read(archive(path, value, {"0": b"\0\2\1"})).read()


@pytest.mark.parametrize("percent", range(0, 100, 5))
def test_a_file_that_was_cut_off_is_refused(path, percent):
    data = OFFICIAL.read_bytes()
    path.write_bytes(data[: len(data) * percent // 100])
    with pytest.raises(ValueError, match="weights.pth: it is (not in the zip format of torch.save|damaged or cut off)"):
        torch_file.read(path)


def test_changed_bytes_are_refused_or_do_not_matter(path):
    good = zipped(path, [*GOOD, ("weights/byteorder", b"little")]).read_bytes()
    draw = random.Random(0)
    refused = 0
    for _ in range(2000):
        data = bytearray(good)
        for _ in range(draw.choice([1, 1, 3])):
            data[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(data)
        try:
            found = torch_file.read(path).read()
        except ValueError:
            refused += 1
        else:  # a date, a version, or a length that nobody needs
            np.testing.assert_array_equal(found, NUMBERS.reshape(2, 3))
    assert 1000 < refused < 2000
