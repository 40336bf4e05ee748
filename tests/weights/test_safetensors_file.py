"""Files in the safetensors format: the bytes of the format, there and back, and broken ones."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest

from fsfm_jax.weights import safetensors_file

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
NUMBERS = np.arange(6, dtype=np.float32).reshape(2, 3)
DATA = NUMBERS.tobytes()
NO_FILE = "it is no safetensors file, damaged or cut off: .*[a-z]"  # and the reason of the library
ENTRY = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.safetensors"


def file_of(path, header, data=DATA):
    """A file with this header (JSON or bytes) and these bytes behind it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


# The format.

BY_HAND = b"\x40\0\0\0\0\0\0\0" + b'{"b":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'.ljust(64)
BY_HAND += bytes.fromhex("80 3f 49 c0")  # the upper halves of the float32 3f800000 and c0490000


def test_a_file_written_by_hand_is_read(path):
    path.write_bytes(BY_HAND)
    tensors, metadata = safetensors_file.read(path)
    assert list(tensors) == ["b"] and metadata == {}
    assert tensors["b"].dtype == BFLOAT16
    np.testing.assert_array_equal(tensors["b"].astype(np.float32), np.float32([1.0, -3.140625]))


def test_the_bytes_of_a_written_file_are_those_of_the_format(path):
    safetensors_file.write(path, {"b": np.array([1.0, -3.140625], BFLOAT16)}, {})
    text = b'{"b":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
    assert path.read_bytes() == struct.pack("<Q", 56) + text.ljust(56) + bytes.fromhex("80 3f 49 c0")
    safetensors_file.write(path, {"n": np.array([1, 258], ">i2"), "d": np.float64(0.5) * np.ones(())}, {"k": "ä"})
    text = '{"__metadata__":{"k":"ä"},"d":{"dtype":"F64","shape":[],"data_offsets":[0,8]},'
    text += '"n":{"dtype":"I16","shape":[2],"data_offsets":[8,12]}}'
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    assert length % 8 == 0 and data[8 : 8 + length].decode().rstrip(" ") == text
    assert data[8 + length :] == struct.pack("<d", 0.5) + b"\1\0\2\1"


ALL = {
    "BOOL": np.array([True, False, True]), "U8": np.uint8([0, 255]), "I8": np.int8([-128, 127]),
    "U16": np.uint16([65535]), "I16": np.int16([-300, 300]), "U32": np.uint32([2**32 - 1]),
    "I32": np.int32([-(2**31)]), "U64": np.uint64([2**64 - 1]), "I64": np.int64([-(2**63)]),
    "F16": np.float16([65504, -0.0]), "BF16": np.array([[3.4e38], [-1.0]], BFLOAT16),
    "F32": np.float32([[np.inf, 1e-45], [np.pi, 0]]).T, "F64": np.float64(1e300),
    "empty": np.zeros((0, 3), np.float32), 'name "ä"\n': np.arange(24.0).reshape(2, 3, 4)[:, ::2],
}  # fmt: skip


def test_there_and_back_changes_no_bit_whatever_the_order(path, tmp_path):
    assert {name for name in ALL if name.isupper()} == safetensors_file.DTYPES.keys()
    safetensors_file.write(path, {name: np.asarray(value) for name, value in ALL.items()}, {"text": "a\nb"})
    tensors, metadata = safetensors_file.read(path)
    assert tensors.keys() == ALL.keys() and metadata == {"text": "a\nb"}
    for name, value in ALL.items():
        assert tensors[name].dtype == value.dtype and tensors[name].shape == value.shape, name
        assert tensors[name].tobytes() == value.tobytes(), name
        assert tensors[name].flags.aligned and not tensors[name].flags.writeable, name
    first = {name: np.asarray(value) for name, value in ALL.items()}
    second = dict(reversed(first.items()))
    safetensors_file.write(path, first, {"a": "1", "b": "2"})
    safetensors_file.write(tmp_path / "second", second, {"b": "2", "a": "1"})
    assert path.read_bytes() == (tmp_path / "second").read_bytes()


def test_numbers_come_from_the_file_when_they_are_touched(path):
    safetensors_file.write(path, {"weight": NUMBERS}, {})
    tensors, _ = safetensors_file.read(path)
    with open(path, "r+b") as file:
        file.seek(-4, 2)
        file.write(struct.pack("<f", 50.0))
    np.testing.assert_array_equal(tensors["weight"], [[0, 1, 2], [3, 4, 50]])


def test_tensors_that_are_not_aligned_are_read(path):
    header = {"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}
    header["b"] = {"dtype": "BF16", "shape": [2], "data_offsets": [1, 5]}
    header["c"] = {"dtype": "F64", "shape": [], "data_offsets": [5, 13]}
    data = b"\7" + bytes.fromhex("80 3f 49 c0") + struct.pack("<d", 0.1)
    for padding in range(8):
        tensors, _ = safetensors_file.read(file_of(path, json.dumps(header).encode() + b" " * padding, data))
        assert tensors["c"] == 0.1 and tensors["a"][0] == 7
        np.testing.assert_array_equal(tensors["b"].astype(np.float32), np.float32([1.0, -3.140625]))


# Writing.


class Broken(np.ndarray):
    """An array that fails when its bytes are asked for."""

    def astype(self, *_, **__):
        raise RuntimeError("the disk is full")


def test_a_file_appears_only_when_it_is_complete(path):
    safetensors_file.write(path, {"weight": NUMBERS}, {})
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="the disk is full"):
        safetensors_file.write(path, {"first": NUMBERS, "weight": NUMBERS.view(Broken)}, {})
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(("tensors", "metadata", "sentence"), [
        ({"a": np.zeros(2, np.complex64)}, {}, "tensor a: dtype complex64 is not one of BOOL, U8"),
        ({"a": np.array(["x"])}, {}, "tensor a: dtype <U1 is not one of"),
        ({"a": np.array([{}])}, {}, "tensor a: dtype object is not one of"),
        ({"__metadata__": NUMBERS}, {}, "text and not __metadata__"),
        ({3: NUMBERS}, {}, "tensor 3: expected a name that is text"),
        ({"a": NUMBERS}, {"epoch": 3}, "metadata 'epoch': expected text, found 3"),
    ])  # fmt: skip
def test_what_the_format_does_not_have_is_not_written(path, tensors, metadata, sentence):
    with pytest.raises(ValueError, match=sentence):
        safetensors_file.write(path, tensors, metadata)
    assert not path.exists()


# Broken files.


@pytest.mark.parametrize(("header", "sentence"), [
        (b"", NO_FILE),
        (b"[1]", NO_FILE),
        (b' {"w": 1}', NO_FILE),
        (b'{"w": ', NO_FILE),
        (b'{"w": %s, "w": %s}' % ((json.dumps(ENTRY).encode(),) * 2), "has the name 'w' twice"),
        (b'{"__metadata__": {"a": "1", "a": "2"}, "w": %s}' % json.dumps(ENTRY).encode(), "the name 'a' twice"),
        (b'{"w": {"dtype": "F32", "dtype": "F64"}}', NO_FILE),
        ({"__metadata__": {"epoch": 3}}, NO_FILE),
        ({"w": 3}, NO_FILE),
        ({"w": {"dtype": "F32", "shape": [6]}}, NO_FILE),
        ({"w": ENTRY | {"more": 10**19}}, "'w' has more than a dtype, a shape and data_offsets"),
        ({"w": ENTRY | {"more": 10**20}}, "its header has a number of 21 digits, at most 20 are read"),
        ({"w": ENTRY | {"dtype": "F8_E4M3", "shape": [24]}}, "the dtype 'F8_E4M3', which is not one of BOOL"),
        ({"w": ENTRY | {"shape": [2.0, 3]}}, NO_FILE),
        ({"w": ENTRY | {"shape": [7]}}, NO_FILE),
        ({"w": ENTRY, "x": ENTRY | {"shape": [0, 2**62], "data_offsets": [24, 24]}}, "'x' has a shape that no array"),
        ({"w": ENTRY | {"shape": [1] * 31 + [2, 3]}}, "'w' has a shape that no array can have"),
        ({"w": ENTRY | {"data_offsets": [24, 0]}}, NO_FILE),
        ({"w": ENTRY, "x": ENTRY | {"data_offsets": [24, 48]}}, NO_FILE),
        ({"w": ENTRY | {"shape": [5], "data_offsets": [0, 20]}}, NO_FILE),
        ({}, NO_FILE),
    ])  # fmt: skip
def test_broken_headers_are_refused(path, header, sentence):
    with pytest.raises(ValueError, match=f"weights.safetensors: .*{sentence}"):
        safetensors_file.read(file_of(path, header))


def test_a_truth_value_of_two_is_refused(path):
    header = {"w": {"dtype": "BOOL", "shape": [3], "data_offsets": [0, 3]}}
    assert safetensors_file.read(file_of(path, header, b"\0\1\1"))[0]["w"].tolist() == [False, True, True]
    with pytest.raises(ValueError, match="'w' has truth values other than 0 and 1"):
        safetensors_file.read(file_of(path, header, b"\0\1\2"))


def test_the_length_of_the_header_is_bounded(path, monkeypatch):
    for size in (1 << 63, 100_000_001, 200):
        path.write_bytes(struct.pack("<Q", size) + b"{}" + b" " * 100)
        with pytest.raises(ValueError, match=f"a header of {size} bytes in a file of 110"):
            safetensors_file.read(path)
    monkeypatch.setattr(safetensors_file, "MAX_HEADER", 10)
    with pytest.raises(ValueError, match="at most 10 are read"):
        safetensors_file.read(file_of(path, b"{}" + b" " * 9, b""))
    assert safetensors_file.read(file_of(path, b"{}" + b" " * 8, b"")) == ({}, {})
    with pytest.raises(ValueError, match="the header would have 64 bytes, the format allows 10"):
        safetensors_file.write(path, {"w": NUMBERS}, {})


@pytest.mark.parametrize("percent", range(0, 100, 5))
def test_a_file_that_was_cut_off_is_refused(path, percent):
    safetensors_file.write(path, {name: np.asarray(value) for name, value in ALL.items()}, {"k": "v"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * percent // 100])
    with pytest.raises(ValueError, match="weights.safetensors: .*cut off"):
        safetensors_file.read(path)
