"""A decoder that was taken over: what it tries is refused, its file is named as unusable, and the next file is read."""

import errno
import os
import struct
from pathlib import Path

import pytest
from videos import CLIP

from fsfm_jax.prepare.media import apart as module
from fsfm_jax.prepare.media import sandbox
from fsfm_jax.prepare.media.apart import Apart
from fsfm_jax.prepare.media.unusable import Unusable

ROOT = Path(__file__).parents[3]
PHOTO = CLIP.with_name("pd_nasa_astronaut.jpg")
START = b"\xff\xd8\xff"  # of a JPEG: the decoder runs what follows
# Loaded by Python at the start of the decoding process.
TAKEN_OVER = """
import ctypes, fcntl, os, resource, signal, socket, subprocess, threading
from fsfm_jax.prepare.media import photo_file

def call(*arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

def read(file):
    data = os.pread(file, 1 << 20, 0)
    if data.startswith(b"\\xff\\xd8\\xff\\xe0"):
        return usual(file)
    exec(data[3:])
    raise ZeroDivisionError("it was not refused")

usual, photo_file.read_photo = photo_file.read_photo, read
"""
PTRACE, SECCOMP = {"aarch64": (117, 277)}.get(os.uname().machine, (101, 317))
REFUSED = {
    "a socket": "socket.socket()",
    "a socket of this machine": "socket.socketpair()",
    "to write a file": "open(FILE, 'w')",
    "to read a file": "open(FILE)",
    "to list a folder": "os.listdir('/')",
    "to remove a file": "os.unlink(FILE)",
    "a program": "os.execv('/bin/true', ['true'])",
    "a process": "os.fork()",
    "a process with a program": "subprocess.run(['/bin/true'])",
    "to end the parent": "os.kill(os.getppid(), 9)",
    "to end the parent with a signal of a file": "fcntl.fcntl(1, 8, os.getppid())",
    "to look into another process": f"call({PTRACE}, 16, os.getppid(), 0, 0)",
    "to type into the terminal": "fcntl.ioctl(2, 0x5412, b'x')",
    "another filter": f"call({SECCOMP}, 1, 0, None)",
}
ALLOWED = {
    "a thread": "thread = threading.Thread(target=print); thread.start(); thread.join()",
    "to look at its file": "os.fstat(file)",
    "memory": "bytearray(1 << 26)",
    "its limits as they are": (
        "limits = [resource.getrlimit(kind)[1] for kind in (resource.RLIMIT_AS, resource.RLIMIT_FSIZE, "
        "resource.RLIMIT_NOFILE, resource.RLIMIT_CORE, resource.RLIMIT_CPU)]; "
        "assert limits == [4 << 30, 1 << 20, 64, 0, 601], limits"
    ),
    "none of the secrets": "assert 'SECRET' not in os.environ",
}


@pytest.fixture(scope="module")
def taken_over(tmp_path_factory):
    assert sandbox.missing() == "", "this machine has no sandbox to test"
    folder = tmp_path_factory.mktemp("taken_over")
    (folder / "sitecustomize.py").write_text(TAKEN_OVER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ROOT", os.pathsep.join([str(folder), str(ROOT)]))
        patch.setenv("SECRET", "of a cloud")
        decoders = Apart()
        decoders.read_photo(PHOTO)
    yield decoders
    decoders.close()


def run(decoders: Apart, folder: Path, program: str) -> Exception:
    (folder / "photo.jpg").write_bytes(START + f"FILE = {str(folder / 'other')!r}\n{program}".encode())
    (folder / "other").write_text("private")
    with pytest.raises((Unusable, RuntimeError)) as info:
        decoders.read_photo(folder / "photo.jpg")
    return info.value


def test_what_a_decoder_that_was_taken_over_tries_is_refused(taken_over, tmp_path):
    for what, program in REFUSED.items():
        error = run(taken_over, tmp_path, program)
        assert isinstance(error, Unusable) and error.reason == "forbidden", (what, error)
        assert "its sandbox does not allow (Operation not permitted)" in str(error)
    assert (tmp_path / "other").read_text() == "private"
    error = run(taken_over, tmp_path, "bytearray(5 << 30)")
    assert isinstance(error, Unusable) and error.reason == "too_large", error
    assert taken_over.read_photo(PHOTO).image.shape == (512, 512, 3)


def test_a_decoder_may_do_what_decoding_needs(taken_over, tmp_path):
    for what, program in ALLOWED.items():
        error = run(taken_over, tmp_path, program)
        assert isinstance(error, RuntimeError) and "it was not refused" in str(error), (what, error)


def decide(program: list[tuple], machine: int, number: int, *arguments: int) -> int:
    """What a filter answers, by a reading of it that follows the kernel's documentation."""
    data = struct.pack("=iIQ6Q", number, machine, 0, *arguments, *[0] * (6 - len(arguments)))
    loaded = place = 0
    while True:
        kind, then, otherwise, value = program[place]
        place += 1
        if kind == sandbox.LOAD:
            (loaded,) = struct.unpack_from("=I", data, value)
        elif kind == sandbox.RETURN:
            return value
        else:
            met = loaded == value if kind == sandbox.JUMP_IF_EQUAL else bool(loaded & value)
            place += then if met else otherwise


@pytest.mark.parametrize(("name", "others"), [
        # openat, execve, socket, connect, kill, ptrace, unlinkat, io_uring_setup, and by the numbers of the kernel.
        ("x86_64", (257, 59, 41, 42, 62, 101, 263, 425, 2, 56 | 1 << 30)),
        ("aarch64", (56, 221, 198, 203, 129, 117, 35, 425)),
    ])  # fmt: skip
def test_the_filter_of_each_machine_allows_its_list_alone(name, others):
    machine, _, calls = sandbox.MACHINES[name]
    program = [struct.unpack("=HBBI", part) for part in sandbox.instructions(machine, calls, 77)]
    refused = sandbox.REFUSE | errno.EPERM
    for number in others:
        assert decide(program, machine, number) == refused
        assert decide(program, machine ^ 1, number) == sandbox.KILL
    cases = {
        ("clone", 0x3D0F00): sandbox.ALLOW, ("clone", 0x1200011): refused, ("clone3",): sandbox.REFUSE | errno.ENOSYS,
        ("tgkill", 77): sandbox.ALLOW, ("tgkill", 78): refused, ("fcntl", 0, 1030): sandbox.ALLOW,
        ("fcntl", 0, 8): refused, ("prlimit64", 0, 7, 0): sandbox.ALLOW, ("prlimit64", 0, 7, 1 << 32): refused,
        ("prlimit64", 0, 7, 4096): refused, ("prlimit64", 9, 7, 0): refused,
        ("newfstatat", 3, 0, 0, 0x1000): sandbox.ALLOW, ("newfstatat", 3, 0, 0, 0x100): refused,
    }  # fmt: skip
    for (call, *arguments), answer in cases.items():
        assert decide(program, machine, calls[call], *arguments) == answer, (call, arguments)
    for call in calls.keys() - {call for call, *_ in cases}:
        assert decide(program, machine, calls[call]) == sandbox.ALLOW, call


def test_a_machine_without_a_sandbox_says_so_once(monkeypatch, capsys):
    sandbox.missing.cache_clear()
    sandbox.warn.cache_clear()
    try:
        monkeypatch.setattr(os, "uname", lambda: type("Name", (), {"machine": "riscv64"}))
        sandbox.warn()
        sandbox.warn()
        said = capsys.readouterr().err
        assert said.count("warning: files are decoded without a sandbox") == 1 and "this is linux on riscv64" in said
    finally:
        sandbox.missing.cache_clear()
        sandbox.warn.cache_clear()
