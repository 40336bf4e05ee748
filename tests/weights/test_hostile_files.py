"""Weight files that would run a program, fill the memory, never end, or lead elsewhere: refused, with a reason."""

import json
import re
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from torch_archive import NUMBERS, Code, archive, call, code, name, storage, tensor

from fsfm_jax.weights import safetensors_file, torch_file, torch_pickle
from reliability import hostile
from reliability.honest_files import for_big_files, packed, seeds
from reliability.mutations import mutant

ROOT = Path(__file__).parents[2]
PROGRAM = b"\x80\2" + code(tensor()) + b"."
GOOD = [("weights/data.pkl", PROGRAM), ("weights/data/0", NUMBERS.tobytes())]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pth"


# Programs that run something.

TOUCH = Code(code("touch canary"))
RUNNING = {  # the instructions, a part of the refusal, whether the unpickler of Python runs them
    "GLOBAL and REDUCE": (name("os.system") + TOUCH + b"\x85R", "'os.system', .* nothing was executed", True),
    "STACK_GLOBAL": (b"\x8c\2os\x8c\6system\x93" + TOUCH + b"\x85R", "it asks for 'os.system'", True),
    "eval": (name("builtins.eval") + code("open('canary', 'w')") + b"\x85R", "it asks for 'builtins.eval'", True),
    "INST": (b"(" + TOUCH + b"ios\nsystem\n", "instruction 0x69, which torch.save does not write", True),
    "OBJ": (b"(" + name("subprocess.Popen") + code(["touch", "canary"]) + b"o", "'subprocess.Popen'", True),
    "OBJ of a known name": (b"(" + name("torch.Size") + TOUCH + b"o", "instruction 0x6f", False),
    "NEWOBJ": (name("subprocess.Popen") + code(["touch", "canary"]) + b"\x85\x81", "'subprocess.Popen'", False),
    "NEWOBJ_EX": (name("torch.Size") + TOUCH + b"\x85}\x92", "instruction 0x92", False),
    "BUILD": (
        call("argparse.Namespace") + b"}" + code("__setstate__") + name("os.system") + b"sb" + TOUCH + b"b",
        "it asks for 'os.system'", True,
    ),
    "BUILD of a known name": (
        call("argparse.Namespace") + b"}" + code("__setstate__") + name("torch.Size") + b"sb" + TOUCH + b"b",
        "gives a _Namespace attributes", False,
    ),
    "EXT1": (b"\x82\1", "instruction 0x82", False),
    "EXT2": (b"\x83\1\0", "instruction 0x83", False),
    "EXT4": (b"\x84\1\0\0\0", "instruction 0x84", False),
    "PERSID": (b"Pos.system\n", "instruction 0x50", False),
    "BINPERSID": (name("os.system") + TOUCH + b"\x85RQ", "it asks for 'os.system'", False),
    "a call that is thrown away": (name("os.system") + TOUCH + b"\x85R0N", "it asks for 'os.system'", True),
    "the name of a method": (name("torch.Size.__class__.__base__") + b")R", "'torch.Size.__class__.__base__'", False),
}  # fmt: skip


@pytest.mark.parametrize(("program", "sentence", "runs"), RUNNING.values(), ids=RUNNING)
def test_a_program_that_would_run_something_is_refused(tmp_path, path, monkeypatch, program, sentence, runs):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"weights.pth: .*{sentence}"):
        torch_file.read(archive(path, Code(program)))
    assert not Path("canary").exists()
    if runs:  # or the case would prove nothing
        script = "import pickle, subprocess, sys\ntry: pickle.loads(bytes.fromhex(sys.argv[1]))\nexcept TypeError: pass"
        program = (b"\x80\2" + program + b".").hex()
        subprocess.run([sys.executable, "-W", "ignore", "-c", f"{script}\nimport time; time.sleep(0.05)", program])
        assert Path("canary").exists()


# Depth.

DEEP = 10_000
NESTED = {
    "lists": (b"]" * DEEP + b"a" * (DEEP - 1), "deeper than 32"),
    "tuples": (b")" + b"\x85" * DEEP, "deeper than 32"),
    "dicts": ((b"}" + code("k")) * DEEP + b"N" + b"s" * DEEP, "deeper than 32"),
    "ordered dicts": ((call("collections.OrderedDict") + code("k")) * DEEP + b"N" + b"s" * DEEP, "deeper than 32"),
    "marks": (b"(" * DEEP + b"N" + b"t" * DEEP, "deeper than 32"),
    "lists as a key": (b"}" + b"]" * DEEP + b"a" * (DEEP - 1) + b"Ns", "a list as a key"),
    "tuples as a key": (b"})" + b"\x85" * DEEP + b"Ns", "a tuple as a key"),
    "tuples in a set": (b"\x8f()" + b"\x85" * DEEP + b"\x90", "a tuple as a key"),
    "tuples as a shape": (name("torch.Size") + b")" + b"\x85" * DEEP + b"R", "other arguments than whole numbers"),
    "tuples as an identity": (b")" + b"\x85" * DEEP + b"Q", "not a storage of five parts"),
    "tuples as a state": (call("numpy.dtype", "f8", False, True) + b")" + b"\x85" * DEEP + b"b", "another state"),
}  # fmt: skip


@pytest.mark.parametrize(("program", "sentence"), NESTED.values(), ids=NESTED)
def test_ten_thousand_containers_in_one_another_are_refused(path, program, sentence):
    with pytest.raises(ValueError, match=sentence):
        torch_file.read(archive(path, Code(program)))


# Memory and work.

KEYS = b"}(" + b"".join(b"M" + struct.pack("<H", key) + b"N" for key in range(4000)) + b"uq\0"
MEMBERS = b"](" + b"".join(b"M" + struct.pack("<H", key) for key in range(8000)) + b"eq\0"
DOUBLED = {"lists": b"](h\0h\0eq\0", "tuples": b"h\0h\0\x86q\0", "dicts": b"}(K\0h\0K\1h\0uq\0"}
BOMBS = {
    "empty sets": (b"(" + b"\x8f" * 9_900 + b"t", None),
    "empty dicts that are remembered": (b"(" + b"}\x94" * 4_900 + b"t", None),
    "copies of a dict": (b"(" + KEYS + (name("argparse.Namespace") + b")\x81h\0b") * 2000 + b"t", "letters and"),
    "copies of a set": (b"(" + MEMBERS + (name("__builtin__.set") + b"h\0\x85R") * 2000 + b"t", "letters and members"),
    "copies of a text": (
        b"(" + code("a" * 9000) + b"q\0" + (name("_codecs.encode") + b"h\0" + code("latin1") + b"\x86R") * 2000 + b"t",
        "letters and members",
    ),
    **{f"doubled {kind}": (b"(]q\0" + again * 40 + b"t", "deeper than 32, or con") for kind, again in DOUBLED.items()},
}  # fmt: skip


@pytest.mark.parametrize(("program", "sentence"), BOMBS.values(), ids=BOMBS)
def test_memory_grows_with_the_instructions_only(path, monkeypatch, program, sentence):
    # Per instruction at most one value, of which a set is the largest: 216 bytes, 16 of the collector and a place on
    # the stack; the copy for the caller takes as much again. Per member of an argument up to 16 / (3 / 5) * 4 bytes of
    # a set that has just grown.
    bound = 10_000
    for limit in ("MAX_INSTRUCTIONS", "MAX_VALUES", "MAX_ARGUMENTS"):
        monkeypatch.setattr(torch_pickle, limit, bound)
    archive(path, Code(program))
    tracemalloc.start()
    try:
        if sentence is None:
            torch_file.read(path)
        else:
            with pytest.raises(ValueError, match=sentence):
                torch_file.read(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < bound * (2 * (216 + 16 + 16) + 107) + 5 * len(program)


def test_the_identities_of_storages_are_work_too(path, monkeypatch):
    key = "k" * 1000
    program = Code(b"(" + code(("storage", name("torch.FloatStorage"), key, "cpu", 6)) + b"q\0" + b"h\0Q" * 100 + b"t")
    monkeypatch.setattr(torch_pickle, "MAX_ARGUMENTS", 90_000)
    with pytest.raises(ValueError, match="more than 90000 letters and members"):
        torch_file.read(archive(path, program, {key: NUMBERS.tobytes()}))


def test_tensors_repeat_the_numbers_of_a_file_only_so_often(path):
    numbers = np.arange(20_000, dtype=np.float32)

    def repeated(times: int) -> Path:
        whole = tensor(storage(count=numbers.size), 0, (numbers.size,), (1,))
        return archive(path, Code(b"(" + whole + b"q\0" + b"h\0" * (times - 1) + b"t"), {"0": numbers.tobytes()})

    assert len(torch_file.read(repeated(64))) == 64
    with pytest.raises(ValueError, match="have 5600000 bytes, more than 64 times the 8[0-9]{4} of the file"):
        torch_file.read(repeated(70))


# Tensors.


@pytest.mark.parametrize("stride", [2**61, 2**63, 2**100])
def test_the_stride_of_an_axis_of_one_number_does_not_matter(path, stride):
    found = torch_file.read(archive(path, tensor(None, 1, (1, 2, 1), (stride, 3, stride)))).read()
    np.testing.assert_array_equal(found, np.float32([[[1], [4]]]))


# Archives.

NAMES = ["../x", "/etc/passwd", "weights/../../x", "weights\\x", "weights/x\0.p", "weights/\x1b[2J", "weights/x/", "."]


@pytest.mark.parametrize("entry", NAMES)
def test_a_name_that_leads_elsewhere_is_refused(path, entry):
    shown = "'(weights/data.pkl|" + re.escape(repr(entry)[1:-1]) + ")'"
    for place in (0, 2):
        path.write_bytes(packed([*GOOD[:place], (entry, b""), *GOOD[place:]]))
        with pytest.raises(ValueError, match=f"the entry {shown} is not below the folder"):
            torch_file.read(path)
    for folder in ("", "..", ".", "a\\b", "\0"):
        path.write_bytes(packed([(name.replace("weights", folder), data) for name, data in GOOD]))
        with pytest.raises(ValueError, match="data.pkl' is not below the folder"):
            torch_file.read(path)


def test_names_are_shown_without_what_a_terminal_would_obey(path):
    path.write_bytes(packed([*GOOD[:1], ("weights/data/0", b"")]).replace(b"data/0", b"data/\xff"))  # U+00A0 in cp437
    with pytest.raises(ValueError, match="no entry for the storage '0'"):
        torch_file.read(path)
    right_to_left = packed([("\u202eweights/data.pkl", PROGRAM + b"N")])
    path.write_bytes(right_to_left.replace(PROGRAM + b"N", PROGRAM + b"M"))
    with pytest.raises(ValueError, match=r": \\u202eweights/data.pkl has another checksum"):
        torch_file.read(path)


def changed(data: bytes, mark: bytes, place: int, value: bytes) -> bytes:
    """The archive with another value in its last record of a kind."""
    start = data.rindex(mark) + place
    return data[:start] + value + data[start + len(value) :]


def extra_field(size: int, offset: int) -> bytes:
    """An archive whose directory gives sizes and the place of its last entry in 64 bits."""
    info = zipfile.ZipInfo("weights/data/0")
    info.extra = struct.pack("<HHQQQ", 1, 24, size, size, offset)
    data = packed(GOOD[:1])
    start = len(data) - 22 - 46 - len("weights/data.pkl")
    most = 2**32 - 1
    entry = struct.pack("<4s6H3I5HII", b"PK\1\2", 45, 45, 0, 0, 0, 0, 0, most, most, 14, 28, 0, 0, 0, 0, most)
    directory = data[start:-22] + entry + info.filename.encode() + info.extra
    return data[:start] + directory + struct.pack("<4s4HIIH", b"PK\5\6", 0, 0, 2, 2, len(directory), start, 0)


SMALL = packed(GOOD)
BIG = for_big_files(SMALL)
LYING = {
    "count": (changed(SMALL, b"PK\5\6", 10, b"\3\0"), "has 2 entries, but says 3"),
    "many": (changed(BIG, b"PK\6\6", 32, struct.pack("<Q", 1 << 40)), "has 1099511627776 entries, at most 100000"),
    "start": (changed(SMALL, b"PK\5\6", 16, struct.pack("<I", 7)), "bytes of directory from 7 do not end at"),
    "size": (changed(SMALL, b"PK\5\6", 12, struct.pack("<I", 46)), "46 bytes of directory from .* do not end"),
    "size of a big file": (changed(BIG, b"PK\6\6", 40, struct.pack("<Q", 1 << 63)), "directory has 92233720368547758"),
    "start of a big file": (changed(BIG, b"PK\6\6", 48, struct.pack("<Q", 1 << 63)), "from 9223372036854775808 do not"),
    "no record of a big file": (changed(BIG, b"PK\6\6", 0, b"PK\6\0"), "record for big files is not where"),
    "record elsewhere": (changed(BIG, b"PK\6\7", 8, struct.pack("<Q", 0)), "record for big files is not where"),
    "disks": (changed(BIG, b"PK\6\7", 16, struct.pack("<I", 9)), "damaged or cut off: zipfiles that span multiple"),
    "place beyond": (extra_field(0, 1 << 62), "'weights/data/0' is not where the directory says"),
    "size beyond": (extra_field(1 << 62, 0), "'weights/data/0' goes beyond the end of the file"),
    "overlap": (changed(SMALL, b"PK\1\2", 42, b"\0\0\0\0"), "'weights/data.pkl' overlaps another one"),
    "longer than its place": (
        changed(SMALL, b"PK\1\2", 20, struct.pack("<II", 64, 64)), "weights/data/0 has 64 bytes, expected 6 numbers"
    ),
    "extra field": (extra_field(0, 0).replace(b"\1\0\x18\0", b"\1\0\x63\0"), "damaged or cut off: Corrupt extra field"),
    "name": (changed(changed(SMALL, b"PK\1\2", 46, b"\xff"), b"PK\1\2", 8, b"\0\x08"), "damaged or cut off: .* decode"),
    "version": (changed(SMALL, b"PK\1\2", 6, b"\xff\0"), "damaged or cut off: zip file version 25.5"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "sentence"), LYING.values(), ids=LYING)
def test_records_that_lie_are_refused(path, data, sentence):
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"weights.pth: .*{sentence}"):
        torch_file.read(path)


def test_an_archive_in_an_archive_is_not_opened_and_those_that_are_made_to_lie_are_honest(path):
    for data in (SMALL, BIG):
        path.write_bytes(data)
        np.testing.assert_array_equal(torch_file.read(path).read(), NUMBERS.reshape(2, 3))
    path.write_bytes(packed([("weights/data.pkl", SMALL)]))  # a file that contains itself could not go on from here
    with pytest.raises(ValueError, match="instruction 0x4b|instruction 0x50"):
        torch_file.read(path)


@pytest.mark.parametrize("cut", [1, 2, 19, 21, 22, 23, 41, 42, 43, 97, 98, 99, 150])
def test_an_archive_without_its_last_bytes_is_refused(path, cut):
    path.write_bytes(BIG[:-cut])
    with pytest.raises(ValueError, match="damaged or cut off"):
        torch_file.read(path)


# Words.


@pytest.mark.parametrize(("program", "sentence"), [
        (Code(b"X\1\0\0\0\xff"), "the description has a text that is not UTF-8: "),
        (Code(b"c\xff\n\xff\n"), "the description has a text that is not UTF-8: "),
        (call("_codecs.encode", "\u0142", "latin1"), "_codecs.encode has a text with other letters than those of lat"),
    ])  # fmt: skip
def test_letters_of_another_kind_are_told(path, program, sentence):
    with pytest.raises(ValueError, match=f"weights.pth: {sentence}"):
        torch_file.read(archive(path, program))


# Safetensors.

ENTRY = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


def safetensors_of(path, header, data: bytes = NUMBERS.tobytes()) -> Path:
    """A file with a header, as JSON or bytes, under its right length."""
    text = header if type(header) is bytes else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def written(**fields) -> bytes:
    """The header of one tensor, with some fields as they are given."""
    values = {key: json.dumps(value).encode() for key, value in ENTRY.items()} | fields
    return b'{"w":{' + b",".join(b'"%s":%s' % (key.encode(), value) for key, value in values.items()) + b"}}"


HEADERS = {
    "huge number": written(shape=b"[" + b"1" * 5000 + b"]"),
    "huge number beside it": written(shape=b"[6]", more=b"1" * 5000),
    "large number": written(data_offsets=b"[0,18446744073709551616]"),
    "number with a sign": written(data_offsets=b"[-0,24.0]"),
    "infinite": written(shape=b"[1e999]"),
    "lists": b'{"w":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "tables": b'{"w":' * 10_000 + b"1" + b"}" * 10_000,
    "lists beside it": written(more=b"[" * 10_000 + b"]" * 10_000),
    "dtype that is a table": written(dtype=b'{"F32":' * 100 + b"1" + b"}" * 100),
    "dtype without end": written(dtype=b'"' + b"F" * 1_000_000 + b'"'),
    "half a letter in a name": rb'{"\ud800":' + written()[5:],
    "half a letter in the metadata": rb'{"__metadata__":{"a":"\udfff"}}',
    "half a letter as a key": rb'{"__metadata__":{"\udfff":"a"}}',
    "no JSON": b"{]",
    "no UTF-8": b'{"\xff"',
    "many lists": b'{"w":[' + b"[]," * 1_000_000 + b"0]}",
    "hole": {"w": ENTRY | {"shape": [5], "data_offsets": [4, 24]}},
    "beyond the file": {"w": ENTRY | {"shape": [2**40], "data_offsets": [0, 2**42]}},
    "size of truth": {"w": ENTRY | {"data_offsets": [False, 24]}},
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_hostile_header_is_refused(tmp_path, header):
    path = safetensors_of(tmp_path / "weights.safetensors", header)
    words = "has 2000002 lists, tables and commas, at most 2000000|no safetensors file, damaged or cut off: .*[a-z]"
    with pytest.raises(ValueError, match=f"^{path}: .*({words}|a number of 5000 digits, at most 20)") as refused:
        safetensors_file.read(path)
    assert len(str(refused.value)) < 1000 and str(refused.value).isprintable()


def test_ten_megabytes_of_spaces_are_only_spaces(tmp_path):
    tracemalloc.start()
    try:
        spaces = b" " * (10 << 20)
        tensors, _ = safetensors_file.read(safetensors_of(tmp_path / "w", written().replace(b":", b":" + spaces, 1)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(tensors["w"], NUMBERS.reshape(2, 3))
    assert peak < 6 * (10 << 20)  # here the spaces, the header with them and the file's; there the bytes and the text


# Mutants.


def test_three_hundred_mutants_are_read_or_refused():
    verdicts = list(hostile.attack(300, seed=1))
    assert [verdict.number for verdict in verdicts] == list(range(300))
    assert [(verdict.number, verdict.outcome) for verdict in verdicts if hostile.is_finding(verdict)] == []
    assert len({verdict.outcome for verdict in verdicts}) == 2
    assert len({verdict.where for verdict in verdicts}) > 30  # statements that refuse


def test_a_mutant_is_a_function_of_the_seed_and_its_place():
    drawn = [mutant(3, number) for number in range(40)]
    assert drawn == [mutant(3, number) for number in range(40)]
    assert sum(data != honest.data for honest, _, data in drawn) > 35
    assert sum(one == other for one, other in zip(drawn, [mutant(4, number) for number in range(40)], strict=True)) < 5
    assert len({honest.name for honest in seeds()}) == 10


JUDGED = """
import os, pickle, socket, sys
from reliability.verdicts import judge
from fsfm_jax.weights import torch_file

def raises(error):
    def read(path):
        raise error
    return read

path = os.path.abspath("weights.pth")
judge(path, torch_file.read, "canary")  # imports what is imported late
for read in (
    torch_file.read,
    lambda path: pickle.load(open(path, "rb")),
    lambda path: open(path + ".other", "w").close(),
    lambda path: open(path, "ab").close(),
    lambda path: __import__("this_is_no_module"),
    lambda path: socket.socket().close(),
    lambda path: os.system("touch canary"),
    lambda path: os.mkdir("canary.d"),
    lambda path: [][1],
    lambda path: "a".encode("utf-16").decode("utf-8"),
    raises(ValueError("weights.pth: a sentence that no reader wrote")),
    raises(MemoryError()),
    raises(RecursionError("maximum")),
):
    print(judge(path, read, os.path.abspath("canary"))[0].splitlines()[0])
"""


def test_what_is_not_allowed_is_found(tmp_path, path):
    archive(path, name("os.system"))
    done = subprocess.run(
        [sys.executable, "-c", JUDGED], cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = done.stdout.splitlines()
    expected = [
        "refused", "UnpicklingError", "it did more than read the file: open", "it did more than read the file: open",
        "it did more than read the file: import", "it did more than read the file: socket", "it executed a command",
        "it did more than read the file: os.mkdir", "IndexError", "UnicodeDecodeError in the words of Python",
        "ValueError in the words of Python", "MemoryError", "RecursionError",
    ]  # fmt: skip
    assert len(found) == len(expected)
    assert [line[: len(start)] for line, start in zip(found, expected, strict=True)] == expected


class Silent:
    """The end of a pipe of a process that says nothing more, or that is no more."""

    exitcode = -9

    def __init__(self, ended: bool):
        self._ended = ended

    def poll(self, seconds):
        return self._ended

    def recv(self):
        raise EOFError

    def join(self):
        pass


def test_a_process_that_hangs_or_ends_is_found_and_one_that_does_not_start_is_no_verdict():
    for ended, sentence in ((False, "it was not read in 20 seconds"), (True, "the process ended with -9")):
        verdict = hostile._next(Silent(ended), Silent(ended), 7)
        assert (verdict.number, verdict.outcome, verdict.ended) == (7, sentence, True)
        assert hostile.is_finding(verdict)
    with pytest.raises(EOFError):
        next(hostile.attack(1, 0, work=int))
