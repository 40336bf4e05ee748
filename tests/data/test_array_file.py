"""Arrays from files of strangers: what `numpy.save` writes, and nothing that asks for more than there is."""

import numpy as np
import pytest

from fsfm_jax.data.array_file import read_numbers

HEADER = b"{'descr': '%s', 'fortran_order': False, 'shape': (%s), }"


def file_of(path, kind: bytes = b"|u1", shape: bytes = b"2, 3", data: bytes = bytes(6)) -> None:
    header = (HEADER % (kind, shape)).ljust(117) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data)


@pytest.mark.parametrize("kind", ["u1", "i1", "<i2", "<i8", ">u4", "<f4", "f8", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(2, 3), (1, 4, 5), (7,), (), (0, 2)])
def test_what_numpy_saves_is_read_alike(tmp_path, kind, order, shape):
    array = np.asarray(np.arange(np.prod(shape, dtype=int)).reshape(shape) % 5, kind, order=order)
    np.save(tmp_path / "array.npy", array)
    found = read_numbers(tmp_path / "array.npy", array.nbytes)
    assert found.dtype == array.dtype and found.shape == shape
    np.testing.assert_array_equal(found, array)


def test_both_versions_of_the_header_are_read(tmp_path):
    for version in ((1, 0), (2, 0)):
        with open(tmp_path / "array.npy", "wb") as file:
            np.lib.format.write_array(file, np.int8([[1, 2], [3, 4]]), version=version)
        np.testing.assert_array_equal(read_numbers(tmp_path / "array.npy", 4), [[1, 2], [3, 4]])


@pytest.mark.parametrize(("kind", "shape", "data", "complaint"), [
        (b"|u1", b"2, 4", bytes(8), "expected at most 7 bytes of numbers, found a header of .2, 4. uint8"),
        (b"<i8", b"999999999, 999999999", b"", "expected at most 7 bytes"),
        (b"|u1", b"2, 3", bytes(5), "expected 6 bytes for .2, 3. uint8, found 5: the file is truncated"),
        (b"|O", b"1,", bytes(8), "expected the header of an array of numbers, found b.*O"),
        (b"|V4", b"1,", bytes(4), "expected the header of an array of numbers"),
        (b"<U1", b"1,", bytes(4), "expected the header of an array of numbers"),
        (b"|u1", b"-1,", bytes(1), "expected the header of an array of numbers"),
        (b"|u1", b"__import__('os'),", bytes(1), "expected the header of an array of numbers"),
        (b"|f1", b"1,", bytes(1), "expected a numeric dtype, found .f1"),
    ])  # fmt: skip
def test_other_arrays_are_refused(tmp_path, kind, shape, data, complaint):
    file_of(tmp_path / "array.npy", kind, shape, data)
    with pytest.raises(ValueError, match=complaint):
        read_numbers(tmp_path / "array.npy", 7)


@pytest.mark.parametrize(("data", "complaint"), [
        (b"", "found bytes starting with b''"),
        (b"PK\3\4" + bytes(100), "found an archive; use numpy.save"),
        (b"\x93NUMPY", "expected a NumPy header of version 1 or 2"),
        (b"\x93NUMPY\x03\x00\x05\x00\x00\x00{}", "expected a NumPy header of version 1 or 2"),
        (b"\x93NUMPY\x01\x00\xff\xff{'descr'", "expected the header of an array of numbers"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{'descr'", "expected the header of an array of numbers"),
    ])  # fmt: skip
def test_other_files_are_refused(tmp_path, data, complaint):
    (tmp_path / "array.npy").write_bytes(data)
    with pytest.raises(ValueError, match=complaint):
        read_numbers(tmp_path / "array.npy", 7)
