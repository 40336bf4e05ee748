"""Weight files of PyTorch: every number of the official ones, and all that others may hold."""

import pickle
import struct
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_archive import NUMBERS, PLAIN, Code, archive, call, code, dtype, name, number, storage, tensor, tensors_of

from fsfm_jax.weights import torch_file

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = {"online": GOLDEN / "checkpoint-599.pth", "target": GOLDEN / "checkpoint-te-599.pth"}
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
WHOLE = [[0, 1, 2], [3, 4, 5]]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pth"


# The official files.


@pytest.mark.parametrize("network", FILES)
def test_every_tensor_of_an_official_network_is_there(golden, network):
    expected = golden("checkpoint_expect")
    model = torch_file.read(FILES[network])["model"]
    assert list(model) == list(expected[f"{network}/__names__"])
    arrays = [np.asarray(value) for value in model.values()]
    assert ["x".join(map(str, array.shape)) for array in arrays] == list(expected[f"{network}/__shapes__"])
    assert all(array.dtype == np.float32 and array.flags.c_contiguous for array in arrays)
    wide = [array.astype(np.float64) for array in arrays]
    np.testing.assert_allclose([array.sum() for array in wide], expected[f"{network}/__sum__"], rtol=1e-6, atol=1e-9)
    norms = [np.linalg.norm(array) for array in wide]
    np.testing.assert_allclose(norms, expected[f"{network}/__norm__"], rtol=1e-6, atol=0)
    small = {key.removeprefix(f"{network}/") for key in expected if key.startswith(f"{network}/")}
    small -= {"__names__", "__shapes__", "__sum__", "__norm__"}
    assert small == {key for key, array in zip(model, arrays, strict=True) if array.size <= 256}
    for key in small:
        np.testing.assert_array_equal(np.asarray(model[key]), expected[f"{network}/{key}"], err_msg=key)


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_every_storage_of_an_official_file_belongs_to_one_tensor(file):
    with zipfile.ZipFile(file) as zipped:
        storages = sorted(entry for entry in zipped.namelist() if "/data/" in entry)
    assert sorted(tensor.storage.entry.name for tensor in tensors_of(torch_file.read(file))) == storages


def test_the_optimizer_of_an_official_file_is_there(golden):
    expected = golden("checkpoint_expect")
    optimizer = torch_file.read(FILES["online"])["optimizer"]
    groups, state = optimizer["param_groups"], optimizer["state"]
    assert [group["weight_decay"] for group in groups] == [0.0, 0.05]
    assert groups[0]["betas"] == (0.9, 0.95)
    assert groups[0]["params"] + groups[1]["params"] == list(state) == list(range(102))
    assert all(np.asarray(moments["step"]) == 1 for moments in state.values())
    model = torch_file.read(FILES["online"])["model"]
    for index, key in enumerate(expected["optimizer_param_order"]):
        moments = {key: np.asarray(value, np.float64) for key, value in state[index].items()}
        assert moments["exp_avg"].shape == model[key].shape
        norm, total = expected["optimizer_exp_avg_norm"][index], expected["optimizer_exp_avg_sq_sum"][index]
        # The sums of squares are far below one: eps of float32 times the root of the count is the relative error.
        np.testing.assert_allclose(np.linalg.norm(moments["exp_avg"]), norm, rtol=1e-5, atol=1e-12, err_msg=key)
        np.testing.assert_allclose(moments["exp_avg_sq"].sum(), total, rtol=1e-5, atol=1e-15, err_msg=key)


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_the_rest_of_an_official_file_is_plain_data(file):
    content = torch_file.read(file)
    assert list(content) == ["model", "optimizer", "epoch", "scaler", "args"]
    assert content["epoch"] == 599 and content["scaler"] == {}
    assert type(content["args"]) is type(content["model"]) is dict
    assert content["args"]["cl_loss"] == "SimSiam" and content["args"]["weight_sfr"] == 0.007
    assert content["args"]["output_dir"] == "."  # was a PosixPath


# What a file may hold.


@pytest.mark.parametrize(("kind", "array"), [
        ("Float", np.float32([1.5, -2, np.inf])),
        ("Double", np.float64([1e300, -0.1])),
        ("Half", np.float16([0.5, 65504])),
        ("BFloat16", np.array([1.0, -3.140625, 3.4e38], BFLOAT16)),
        ("Long", np.int64([2**62, -1])),
        ("Int", np.int32([2**30, -1])),
        ("Short", np.int16([300, -1])),
        ("Char", np.int8([127, -128])),
        ("Byte", np.uint8([0, 255])),
        ("Bool", np.array([True, False])),
    ])  # fmt: skip
def test_numbers_of_all_dtypes_come_out_bit_by_bit(path, kind, array):
    value = tensor(storage(kind, count=array.size), 0, array.shape, (1,))
    found = torch_file.read(archive(path, value, {"0": array.tobytes()})).read()
    assert found.dtype == array.dtype
    assert found.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (tensor(), WHOLE),
        (tensor(None, 0, (3, 2), (1, 3)), [[0, 3], [1, 4], [2, 5]]),
        (tensor(None, 1, (2, 2), (3, 1)), [[1, 2], [4, 5]]),
        (tensor(None, 5, (), ()), 5),
        (tensor(None, 6, (0, 7), (7, 1)), np.empty((0, 7))),
        (call("torch._utils._rebuild_parameter", tensor(), True, call("collections.OrderedDict")), WHOLE),
    ],
    ids=["whole", "transposed", "slice", "single", "empty", "parameter"],
)
def test_views_of_a_storage(path, view, expected):
    found = np.asarray(torch_file.read(archive(path, {"weight": view}))["weight"])
    np.testing.assert_array_equal(found, np.float32(expected))
    assert found.shape == np.shape(expected) and found.flags.c_contiguous and found.flags.writeable


@pytest.mark.parametrize(("value", "expected"), [
        *[({"a": [1, -(2**40), 2**100], "b": (None, True, "x"), 3: {}},) * 2],
        (call("torch.Size", (2, 3)), (2, 3)),
        (call("torch.device", "cuda", 1), "cuda:1"),
        (call("torch.device", "cpu"), "cpu"),
        (name("torch.bfloat16"), "torch.bfloat16"),
        (Code(name("argparse.Namespace") + b")\x81" + code({"epochs": 400}) + b"b"), {"epochs": 400}),
        (call("pathlib.PosixPath", "/", "data", "faces"), "/data/faces"),
        (call("pathlib._local.PosixPath", "faces"), "faces"),
        (call("__builtin__.set", [1, "a", 1]), {1, "a"}),
        (call("_codecs.encode", "\xff\x00", "latin1"), b"\xff\x00"),
        (Code(call("collections.OrderedDict") + code({"_metadata": {"": {"version": 1}}}) + b"b"), {}),
    ])  # fmt: skip
def test_plain_values(path, value, expected):
    found = torch_file.read(archive(path, value))
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_all_protocols_are_understood(path, protocol):
    value = {"a": [1, 2.5, -3, 300, 70000, 2**40, None, True, False], "b": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4))}
    value |= {"bytes": b"\xff" * 300, "long": "\u00e4" * 300, "empty": [], 5: {}}
    value |= {"set": {1, "x"}} if protocol != 3 else {}  # a set is an instruction from 4 on, and a call before
    value["again"] = value["a"]
    found = torch_file.read(archive(path, pickle.dumps(value, protocol)))
    assert found == value
    assert found["again"] is not found["a"]


# Single numbers of NumPy.

NUMPY = [
    *[np.float16(x) for x in (0.1, -65504, 6e-8, np.inf, np.nan)],
    *[np.float32(x) for x in (0.1, -3e38, 1e-45, -np.inf, np.nan)],
    *[np.float64(x) for x in (0.1, -1e308, 5e-324, np.inf, -0.0)],
    *[np.dtype(f"i{size}").type(x) for size in (1, 2, 4, 8) for x in (-(2 ** (8 * size - 1)), -2, 100)],
    *[np.dtype(f"u{size}").type(x) for size in (1, 2, 4, 8) for x in (0, 130, 2 ** (8 * size) - 1)],
    *[np.bool_(x) for x in (False, True)],
]


def renamed(program: bytes, module: bytes) -> bytes:
    """A pickle as NumPy before 2 (numpy.core) or since (numpy._core) would have written it."""
    old = next(name for name in (b"numpy.core.multiarray", b"numpy._core.multiarray") if name in program)
    assert program.count(old) == 1
    if program[1] < 4:
        return program.replace(old, module)
    program = program.replace(bytes([len(old)]) + old, bytes([len(module)]) + module)
    assert program[2:3] == pickle.FRAME
    return program[:3] + struct.pack("<Q", len(program) - 11) + program[11:]


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_number_of_numpy_becomes_the_same_one_of_python(path, protocol, module):
    content = [{"threshold": value, "again": [value], "valid_arg": [type(value)(0), type(value)(1)]} for value in NUMPY]
    found = torch_file.read(archive(path, renamed(pickle.dumps(content, protocol), module)))
    for value, one in zip((value.item() for value in NUMPY), found, strict=True):
        expected = {"threshold": value, "again": [value], "valid_arg": [*map(type(value), (0, 1))]}
        assert repr(one) == repr(expected)  # the type, the sign of 0, every digit
        assert type(one["threshold"]) in (float, int, bool)


@settings(deadline=None)
@given(st.binary(min_size=8, max_size=8))
def test_every_float64_of_numpy_comes_out_bit_by_bit(tmp_path_factory, data):
    value = np.frombuffer(data, "<f8")[0]
    path = tmp_path_factory.getbasetemp() / "drawn.pth"
    assert struct.pack("<d", torch_file.read(archive(path, pickle.dumps(value, 2)))) == data


def test_older_versions_of_numpy_write_arguments_of_a_dtype_as_numbers_and_an_integer_can_be_a_key(path):
    value = number(struct.pack("<d", 0.625), dtype("f8", PLAIN, 0, 1), "numpy.core.multiarray")
    assert torch_file.read(archive(path, value)) == 0.625
    assert torch_file.read(archive(path, pickle.dumps({np.int64(3): "c"}, 2))) == {3: "c"}


def test_tensors_stay_in_the_file_until_they_are_read_by_a_copy(path):
    with pytest.raises(ValueError, match="only by a copy"):
        np.array(torch_file.read(archive(path, tensor())), copy=False)
    found = torch_file.read(archive(path, tensor()))
    data = path.read_bytes()
    assert data.count(NUMBERS.tobytes()) == 1
    path.write_bytes(data.replace(NUMBERS.tobytes(), (NUMBERS + 1).tobytes()))
    assert torch_file.read(path).shape == (2, 3)
    with pytest.raises(ValueError, match="weights.pth: weights/data/0 has another checksum"):
        found.read()
    path.unlink()
    with pytest.raises(FileNotFoundError):
        np.asarray(found)
