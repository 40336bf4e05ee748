"""Descriptions that want more than tensors and plain values: refused with a sentence, nothing executed."""

import pickle
import struct

import numpy as np
import pytest
from torch_archive import PLAIN, Code, archive, call, code, dtype, name, number, storage, tensor

from fsfm_jax.weights import torch_file, torch_pickle

WHOLE = {  # some of everything
    "model": {"weight": tensor(), "bias": tensor(None, 1, (2,), (2,))},
    "moments": [(tensor(None, 0, (), ()), 3, 2.5, None, True)],
    "args": Code(call("argparse.Namespace") + code({"path": call("pathlib.PosixPath", "a", "b")}) + b"b"),
    "parameter": call("torch._utils._rebuild_parameter", tensor(), True, call("collections.OrderedDict")),
    "set": call("__builtin__.set", [1, "a"]),
    "threshold": number(struct.pack("<d", 0.625)),
    7: (call("torch.device", "cuda", 0), call("torch.Size", (2, 3)), name("torch.float32")),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pth"


@pytest.mark.parametrize(
    "asked",
    ["os.system", "torch.load", "torch.nn.modules.linear.Linear", "torch._utils._rebuild_sparse_tensor", "torch.Tensor"]
    + ["torch.ComplexFloatStorage", "torch.FloatStorage.__init__", "collections.OrderedDict.fromkeys", "pathlib.Path"]
    + ["copyreg._reconstructor", "numpy.core.multiarray._reconstruct", "numpy.ndarray"]
    + ["numpy._core.multiarray._reconstruct", "numpy._core.numeric._frombuffer", "numpy.dtype.type", "numpy.float64"]
    + ["numpy.multiarray.scalar", "numpy.dtypes.Float64DType", "collections.defaultdict", "argparse.ArgumentParser"],
)
def test_a_name_is_refused_as_soon_as_it_appears(path, asked):
    with pytest.raises(ValueError, match=f"it asks for '{asked}'"):
        torch_file.read(archive(path, name(asked)))
    with pytest.raises(ValueError, match=f"it asks for '{asked}'"):
        module, _, last = asked.rpartition(".")
        torch_file.read(archive(path, Code(code(module) + code(last) + b"\x93")))


CANARY = Code(b"}" + code("__setstate__") + name("torch.Size") + b"s")
HOSTILE = {  # what it is: (the value of the file, a part of the refusal)
    "state of a list": (Code(b"]" + CANARY + b"b"), "gives a list attributes"),
    "state of a name": (Code(name("torch.Size") + CANARY + b"b"), "gives a _Maker attributes"),
    "state of a tensor": (Code(tensor() + code({"shape": (9,)}) + b"b"), "gives a Tensor attributes"),
    "state of an ordered dict": (Code(call("collections.OrderedDict") + code({"keys": 1}) + b"b"), "Dict attributes"),
    "state that is a list": (Code(call("argparse.Namespace") + code([1]) + b"b"), "_Namespace attributes"),
    "call of text": (Code(code("os.system") + code(("touch x",)) + b"R"), "calls a str with a tuple"),
    "call of a dtype": (call("torch.float32", 1), "calls a str"),
    "call of a storage": (call("torch.FloatStorage", 1), "calls a Float32DType"),
    "call with a list": (Code(name("torch.Size") + code([1]) + b"R"), "with a list"),
    "buffer": (Code(b"\x97"), "instruction 0x97"),
    "huge byte array": (Code(b"\x96" + struct.pack("<Q", 1 << 60)), "instruction 0x96"),
    "huge integer": (Code(b"\x8b" + struct.pack("<I", 1 << 20) + b"\x7f" * (1 << 20)), "an integer has 1048576 bytes"),
    "negative length": (Code(b"\x8b" + struct.pack("<i", -1)), "ends in the middle"),
    "huge text": (Code(b"\x8d" + struct.pack("<Q", 1 << 62)), "ends in the middle"),
    "huge memory place": (Code(b"Nr\xff\xff\xff\xff0"), "instruction 0x30"),
    "no such memory": (Code(b"h\x07"), "value 7 that it never gave"),
    "empty stack": (Code(b"\x85"), "from an empty stack"),
    "below a mark": (Code(b"}NN(s"), "from an empty stack"),
    "no mark": (Code(b"t"), "a mark that it never set"),
    "two values": (Code(b"NN"), "leaves 2 values"),
    "a mark": (Code(b"N("), "leaves 1 values"),
    "goes on": (Code(b"N.N"), "ends at byte 4 of 6"),
    "name without an end": (Code(b"cos"), "ends in the middle"),
    "name as a value": (name("torch.Size"), "torch.Size stands where a value"),
    "dtype as a value": (name("torch.FloatStorage"), "Float32DType stands where"),
    "storage as a value": (storage(), "Storage stands where"),
    "list in itself": (Code(b"]q\0h\0a"), "contain themselves"),
    "list as a key": (Code(b"}]Ns"), "a list as a key"),
    "float as a key": (Code(b"}G" + struct.pack(">d", 1.5) + b"Ns"), "a float as a key"),
    "large key": ({2**61: 0}, "a int as a key"),
    "odd items": (Code(b"}(NNNu"), "sets 3 keys and values of a dict"),
    "items of a list": (Code(b"]" + code("a") + b"Ns"), "of a list"),
    "append to a dict": (Code(b"}Na"), "adds members to a dict"),
    "members of a list": (Code(b"](N\x90"), "adds members to a list"),
    "name not text": (Code(b"NN\x93"), "a name that is not text"),
    "identity is text": (Code(code("0") + b"Q"), "not a storage of five parts"),
    "identity too short": (Code(code(("storage", "0")) + b"Q"), "not a storage of five parts"),
    "other identity": (tensor(storage(word="module")), "not a storage of five parts"),
    "identity without a class": (Code(code(("storage", "Float", "0", "cpu", 6)) + b"Q"), "'0' has no known class"),
    "class of another kind": (Code(code(("storage", name("torch.Size"), "0", "cpu", 6)) + b"Q"), "no known class"),
    "no such storage": (tensor(storage(key="../0")), "no entry for the storage '../0'"),
    "storage too short": (tensor(storage(count=7)), "has 24 bytes, expected 7 numbers of float32"),
    "storage of negative size": (tensor(storage(count=-1)), "expected -1 numbers"),
    "storage of another dtype": (tensor(storage("Double")), "expected 6 numbers of float64"),
    "tensor of text": (tensor("0"), "other arguments than a storage"),
    "tensor of nothing": (call("torch._utils._rebuild_tensor_v2"), "other arguments than a storage"),
    "offset outside": (tensor(None, 1), "goes from 1 to 7"),
    "negative offset": (tensor(None, -1), "whole numbers from 0"),
    "negative shape": (tensor(None, 0, (-2, -3)), "whole numbers from 0"),
    "fewer strides": (tensor(None, 0, (2, 3), (1,)), "whole numbers from 0"),
    "shape is a list": (tensor(None, 0, [2, 3]), "whole numbers from 0"),
    "shape of fractions": (tensor(None, 0, (Code(b"G" + struct.pack(">d", 2.0)), 3)), "whole numbers from 0"),
    "stride far outside": (tensor(None, 0, (2,), (2**100,)), "but the storage has 6"),
    "repeated": (tensor(None, 0, (2, 2**20), (0, 0)), "numbers, but covers only 1"),
    "windows": (tensor(None, 0, (5, 2), (1, 1)), "10 numbers, but covers only 6"),
    "many dimensions": (tensor(None, 0, (1,) * 33, (1,) * 33), "no array can have"),
    "hooks": (tensor(None, 0, (2, 3), (3, 1), False, ["hook"]), "hooks or properties"),
    "conjugated": (tensor(None, 0, (2, 3), (3, 1), False, None, {"conj": True}), "hooks or properties"),
    "trained is text": (tensor(None, 0, (2, 3), (3, 1), "yes"), "hooks or properties"),
    "parameter of text": (call("torch._utils._rebuild_parameter", "a", True, None), "a parameter has other"),
    "size of text": (call("torch.Size", "ab"), "torch.Size has other"),
    "device of a list": (call("torch.device", ["cpu"]), "torch.device has other"),
    "path of numbers": (call("pathlib.PosixPath", 1), "parts that are not text"),
    "set of text": (call("__builtin__.set", "ab"), "other arguments than one list"),
    "bytes with another codec": (call("_codecs.encode", "a", "rot13"), "a text and latin1"),
    "ordered dict of pairs": (call("collections.OrderedDict", [["a", 1]]), "OrderedDict has arguments"),
    "namespace of pairs": (call("argparse.Namespace", 1), "Namespace has arguments"),
    # Of NumPy.
    "dtype as a result": (dtype(), "NumpyDtype stands where a value"),
    "dtype as a key": (Code(b"}" + dtype() + b"Ns"), "a NumpyDtype as a key"),
    "dtype of nothing": (call("numpy.dtype"), r"it asks for numpy.dtype\(a NoneType\)"),
    "dtype of fields": (call("numpy.dtype", [("a", "f8")], False, True), r"it asks for numpy.dtype\(a list\)"),
    "dtype of a long name": (call("numpy.dtype", "f" * 10**6, False, True), rf"numpy.dtype\('{'f' * 200}'\); of"),
    "dtype of this machine's order": (call("numpy.dtype", "=f8", False, True), r"numpy.dtype\('=f8'\)"),
    "dtype that is aligned": (call("numpy.dtype", "f8", True, True), "other arguments than False and True"),
    "dtype with metadata": (call("numpy.dtype", "f8", False, True, {"a": 1}), "other arguments than False and True"),
    "big-endian": (dtype("f8", (3, ">", *PLAIN[2:])), r"numpy.dtype\('f8'\) has another .*; its byte order is '>'"),
    "order of a byte": (dtype("i1"), r"numpy.dtype\('i1'\) .*plain number, \(3, '|', .*; its byte order is '<'"),
    "long order": (dtype("f8", (3, "<" * 10**6, *PLAIN[2:])), "its byte order is '<<<<<<<<<<'"),
    "state of another version": (dtype("f8", (4, *PLAIN[1:])), "'f8'.* has another state than a plain number"),
    "fields": (dtype("f8", (3, "<", None, ("a",), {"a": (dtype(), 0)}, -1, -1, 0)), "another state"),
    "another size": (dtype("f8", (*PLAIN[:5], 16, -1, 0)), "another state"),
    "flags of objects": (dtype("f8", (*PLAIN[:7], 63)), "another state"),
    "flags that are false": (dtype("f8", (*PLAIN[:7], False)), "another state"),
    # numpy.dtype("f8") == None
    "dtype for None": (dtype("f8", (3, "<", name("torch.DoubleStorage"), *PLAIN[3:])), "another state"),
    "metadata": (dtype("f8", (*PLAIN, {"a": 1})), "another state"),
    "state that is a dict": (dtype("f8", {"byteorder": "<"}), "has another state than a plain number, .* 0\\)$"),
    "state in a list": (dtype("f8", list(PLAIN)), "another state"),
    "no state": (number(b"\0" * 8, call("numpy.dtype", "f8", False, True)), "of f8 has a dtype that was not given its"),
    "bytes too many": (number(b"\0" * 5, dtype("f4")), "a NumPy number of f4 has 5 bytes, expected 4"),
    "truth of 2": (number(b"\2", dtype("b1", (3, "|", *PLAIN[2:]))), "truth value of NumPy is the byte 2, expected 0"),
    "number of text": (call("numpy.core.multiarray.scalar", dtype(), "\0" * 8), "arguments than a dtype and bytes"),
    "number without bytes": (call("numpy.core.multiarray.scalar", dtype()), "arguments than a dtype and bytes"),
    "number of another dtype": (
        call("numpy._core.multiarray.scalar", name("torch.DoubleStorage"), call("_codecs.encode", "\0" * 8, "latin1")),
        "arguments than a dtype and bytes",
    ),
    "state of a number": (Code(number(b"\0" * 8) + code(PLAIN) + b"b"), "gives a float attributes"),
}


@pytest.mark.parametrize(("value", "sentence"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_description_is_refused_with_a_sentence(path, value, sentence):
    with pytest.raises(ValueError, match=sentence):
        torch_file.read(archive(path, value))


def test_the_bounds_on_work_hold(path, monkeypatch):
    monkeypatch.setattr(torch_pickle, "MAX_INSTRUCTIONS", 10)
    assert torch_file.read(archive(path, Code(b"]" + b"Na" * 4))) == [None] * 4
    with pytest.raises(ValueError, match="more than 10 instructions"):
        torch_file.read(archive(path, Code(b"]" + b"Na" * 5)))
    monkeypatch.setattr(torch_pickle, "MAX_PROGRAM", 100)
    with pytest.raises(ValueError, match="data.pkl has 1003 bytes, at most 100 are read"):
        torch_file.read(archive(path, Code(b"N" * 1000)))


OTHER_NUMPY = {  # a value of NumPy that is no plain number: the dtype that is refused
    "M8": np.datetime64("2024-05-06"),
    "m8": np.timedelta64(3, "s"),
    "U2": np.str_("ab"),
    "S2": np.bytes_(b"ab"),
    "V4": np.void(b"abcd"),
    "V12": np.array([(1, 2.0)], "i4,f8")[0],
    "V16": np.array([(np.ones(2),)], [("a", "f8", 2)])[0],
    "O8": np.dtype(object),
    "c8": np.complex64(1j),
    "c16": np.complex128(1j),
    "f16": np.longdouble(1),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", OTHER_NUMPY)
def test_other_values_of_numpy_are_refused_by_their_dtype(path, kind, protocol):
    with pytest.raises(ValueError, match=rf"weights.pth: it asks for numpy.dtype\('{kind}'\); of NumPy only numbers"):
        torch_file.read(archive(path, pickle.dumps({"threshold": OTHER_NUMPY[kind]}, protocol)))


def test_the_bounds_on_work_hold_for_numbers_of_numpy(path, monkeypatch):
    again = code([Code(number(struct.pack("<d", 0.5)) + b"q\0"), *[Code(b"h\0")] * 9])
    monkeypatch.setattr(torch_pickle, "MAX_VALUES", 11)
    assert torch_file.read(archive(path, again)) == [0.5] * 10
    monkeypatch.setattr(torch_pickle, "MAX_VALUES", 10)
    with pytest.raises(ValueError, match="more than 10, deeper"):
        torch_file.read(archive(path, again))
    # 3 arguments and "f8", a state of 8, 2 arguments with 8 letters and "latin1", 2 arguments with 8 bytes.
    monkeypatch.setattr(torch_pickle, "MAX_ARGUMENTS", 5 + 8 + 16 + 10)
    assert torch_file.read(archive(path, number(b"\0" * 8))) == 0
    for less in range(5 + 8 + 16 + 10):
        monkeypatch.setattr(torch_pickle, "MAX_ARGUMENTS", less)
        with pytest.raises(ValueError, match=f"more than {less} letters and members"):
            torch_file.read(archive(path, number(b"\0" * 8)))


@pytest.mark.parametrize("percent", range(0, 100, 5))
def test_a_program_that_stops_early_is_refused(path, percent):
    program = b"\x80\x02" + code(WHOLE) + b"."
    with pytest.raises(ValueError, match="ends in the middle"):
        torch_file.read(archive(path, program[: len(program) * percent // 100]))
