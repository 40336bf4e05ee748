"""Weight files as torch.save writes them, written here; `tests/parity` has PyTorch read them."""

import zipfile
from collections import OrderedDict

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsfm_jax.weights import torch_file
from fsfm_jax.weights.torch_writer import ALIGNMENT, Options, write

DTYPES = ["<f4", "<f8", "<f2", "<i8", "<i4", "<i2", "i1", "u1", "?", ml_dtypes.bfloat16]
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(1 - (1 << 127), (1 << 127) - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4)
    | st.lists(inner, max_size=4).map(tuple)
    | st.dictionaries(st.text(max_size=5) | st.integers(-9, 9), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(PLAIN)
def test_plain_values_come_back(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "plain.pth"
    write(path, value)
    again = torch_file.read(path)
    assert again == value and repr(again) == repr(value)  # 1, 1.0 and True are equal


def test_integers_at_the_edges_of_four_bytes(tmp_path):
    values = [0, -1, (1 << 31) - 1, 1 << 31, -(1 << 31), -(1 << 31) - 1, 3 << 30, 1 << 64]
    write(tmp_path / "a.pth", values)
    assert torch_file.read(tmp_path / "a.pth") == values


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (0, 5)])
def test_arrays_come_back_bit_for_bit(tmp_path, dtype, shape):
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    array = np.frombuffer(bytes(i % 2 for i in range(size)), dtype).reshape(shape)
    write(tmp_path / "a.pth", {"a": array})
    again = torch_file.read(tmp_path / "a.pth")["a"]
    assert again.dtype == array.dtype and again.shape == shape and np.asarray(again).tobytes() == array.tobytes()


def test_an_array_in_two_places_is_in_the_file_once_in_row_major_order(tmp_path):
    array = np.ones(1000, np.float32)
    write(tmp_path / "a.pth", {"one": array, "two": array, "three": array.copy()})
    found = torch_file.read(tmp_path / "a.pth")
    assert found["one"].storage == found["two"].storage != found["three"].storage
    with zipfile.ZipFile(tmp_path / "a.pth") as archive:
        assert [name for name in archive.namelist() if "/data/" in name] == ["archive/data/0", "archive/data/1"]
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    write(tmp_path / "a.pth", [array.T, array[::2], array.astype(">f4")])
    for tensor, wanted in zip(torch_file.read(tmp_path / "a.pth"), [array.T, array[::2], array], strict=True):
        np.testing.assert_array_equal(np.asarray(tensor), wanted)
        assert tensor.strides[-1] == 1


def test_numbers_begin_where_they_can_be_mapped_bytes_do_not_depend_on_the_time_and_options_are_dicts(tmp_path):
    content = {"a": np.arange(5, dtype=np.float32), "b": np.arange(7, dtype=np.float64), "note": "x" * 13}
    write(tmp_path / "a.pth", content)
    write(tmp_path / "b.pth", content)
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()
    found = torch_file.read(tmp_path / "a.pth")
    assert [found[name].storage.entry.start % ALIGNMENT for name in "ab"] == [0, 0]
    write(tmp_path / "a.pth", {"args": Options(epochs=3, betas=(0.9, 0.95))})
    assert torch_file.read(tmp_path / "a.pth")["args"] == {"epochs": 3, "betas": (0.9, 0.95)}


class Strange(OrderedDict):
    pass


@pytest.mark.parametrize(("content", "message"), [
    ({"a": [1, {2}]}, r"content\['a'\]\[1\]: expected dicts, .*; found a set"),
    ({"a": np.float32(1)}, r"content\['a'\]: .*found a float32"),
    ({(1,): 2}, "content: expected text or an integer as a key; found a tuple"),
    ({"a": np.array(["text"])}, r"content\['a'\]: PyTorch has no dtype <U4"),
    ({"a": Strange()}, r"content\['a'\]: expected a dict or an OrderedDict; found a Strange"),
    (1 << 4000, "content: an integer of 501 bytes"),
])  # fmt: skip
def test_what_the_format_does_not_have_is_refused_and_leaves_no_file(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "a.pth", content)
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fsfm_jax.run.whole_file.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "a.pth", {"a": np.zeros(3, np.float32)})
    assert not list(tmp_path.iterdir())
