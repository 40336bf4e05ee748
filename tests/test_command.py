"""How commands end, and files and folders of results: tried first, whole or not at all, never through a link."""

import json
import os
import resource
import signal
import subprocess
import sys

import pytest

from fsfm_jax import command
from fsfm_jax.apps.picture_folder import LIST, PictureFolder
from fsfm_jax.apps.result_file import ResultFile, ResultStream, check_apart, open_results

PNG = "00000_frame0_face0.png"


@pytest.mark.parametrize("raised, code, text", [
        (None, 3, ""),
        (ValueError("no such \x1b[31mfile"), 1, "error: no such \\x1b[31mfile\n"),
        (OSError(28, "No space left on device", "a.json"), 1, "error: a.json: No space left on device\n"),
        (ModuleNotFoundError("install it"), 1, "error: install it\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (command.Terminated(), 143, "terminated\n"),
        (BrokenPipeError(), 141, ""),
    ])  # fmt: skip
def test_a_command_ends_with_a_line_and_a_code(capsys, raised, code, text):
    def job():
        if raised is not None:
            raise raised
        return 3

    with pytest.raises(SystemExit) as ended:
        command.run(job)
    assert (ended.value.code, capsys.readouterr().err) == (code, text)


def test_notes_are_told_in_the_same_line(capsys):
    error = KeyboardInterrupt()
    for text in ("2 of 9 files were judged", command.KEPT + "a.json.partial", command.KEPT + "b.partial"):
        error.add_note(text)

    def job():
        raise error

    with pytest.raises(SystemExit):
        command.run(job)
    told = "interrupted; 2 of 9 files were judged; results so far: a.json.partial, b.partial\n"
    assert capsys.readouterr().err == told


PROGRAM = """
import signal, sys
from fsfm_jax import command
def job():
    for number in range(10_000):
        command.say(f"{number} \\udcff")
    signal.pause()
signal.signal(signal.SIGTERM, command.terminate)
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start jobs in the background without it
command.run(job)
"""


def program(**options) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", PROGRAM], stderr=subprocess.PIPE, text=True, **options)


def test_a_real_process_ends_quietly_when_its_reader_has_gone_and_in_one_line_on_a_signal_or_a_full_device():
    running = program(stdout=subprocess.PIPE)
    assert running.stdout.readline() == "0 \\udcff\n"  # a name that is not Unicode is printed
    running.stdout.close()
    assert (running.communicate(timeout=60)[1], running.returncode) == ("", 141)
    with open("/dev/full", "w") as full:
        running = program(stdout=full)
        said = "error: standard output: No space left on device\n"
        assert (running.communicate(timeout=60)[1], running.returncode) == (said, 1)
    for number, code, said in ((signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 143, "terminated\n")):
        running = program(stdout=subprocess.PIPE)
        running.stdout.readline()
        running.send_signal(number)
        assert (running.communicate(timeout=60)[1], running.returncode) == (said, code)


@pytest.mark.parametrize("option", [["--help"], ["--version"], ["verify", "--help"], ["verify", "--version"]])
def test_help_whose_reader_has_gone_ends_quietly(option):
    reader, writer = os.pipe()
    os.close(reader)
    running = subprocess.run(
        [sys.executable, "-m", "fsfm_jax.cli", *option], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (running.stderr, running.returncode) == ("", 141)


def test_an_interrupt_while_a_program_is_imported_is_one_line():
    text = "from fsfm_jax import command; command.one_line_interrupts(); import this; raise KeyboardInterrupt"
    running = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert (running.returncode, running.stderr) == (-signal.SIGINT, "interrupted\n")


def test_a_file_has_its_name_only_when_it_is_whole_and_a_link_is_replaced_and_a_device_is_not(tmp_path):
    path = tmp_path / "found.json"
    path.write_text("old")
    path.chmod(0o600)
    with open_results("--json", str(path)) as file:
        file.write("new \udcff")
        assert path.read_text() == "old"
    assert path.read_text() == "new \\udcff" and path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["found.json"]


def test_what_is_interrupted_leaves_the_old_file_and_says_where_the_results_are(tmp_path):
    path = tmp_path / "found.json"
    path.write_text("old")
    for written in (0, 1):
        with pytest.raises(KeyboardInterrupt) as ended, open_results("--json", str(path)) as file:
            file.write("[", 0)
            file.closing = "]"
            if written:
                file.write("1")
            raise KeyboardInterrupt
        partial = f"{path}.partial"
        assert getattr(ended.value, "__notes__", []) == [command.KEPT + partial] * written
        assert os.path.exists(partial) == written and path.read_text() == "old"
    assert json.loads((tmp_path / "found.json.partial").read_text()) == [1]
    assert sorted(os.listdir(tmp_path)) == ["found.json", "found.json.partial"]


def test_a_full_disk_names_the_file_and_keeps_what_was_whole(tmp_path):
    path = tmp_path / "found.json"
    path.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(OSError) as ended, ResultFile("--json", str(path)) as file:
            file.closing = "]"
            file.write("[1")
            resource.setrlimit(resource.RLIMIT_FSIZE, (8, before[1]))  # as if the disk had eight bytes
            file.write(", 22222222222222")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert command.sentence(ended.value) == f"{path}: File too large" and path.read_text() == "old"
    assert (tmp_path / "found.json.partial").read_text() == "[1]"
    device = ResultStream("/dev/full")
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"), device:
        device.write("x")


def test_a_link_is_replaced_and_a_device_is_not(tmp_path):
    other = tmp_path / "other"
    other.write_text("theirs")
    (tmp_path / "link").symlink_to(other)
    with open_results("--csv", str(tmp_path / "link")) as file:
        file.write("mine")
    assert other.read_text() == "theirs" and (tmp_path / "link").read_text() == "mine"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with open_results("--csv", str(pipe)) as file:
        file.write("mine")
    assert os.read(reading, 9) == b"mine" and pipe.is_fifo()
    os.close(reading)
    with open(other, "a") as already:  # as `--csv=/dev/stdout > FILE`
        with open_results("--csv", f"/dev/fd/{already.fileno()}") as file:
            file.write("mine")
    assert other.read_text() == "mine"


def test_outputs_that_cannot_be_written_to_are_told_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    for path, text in (
        (tmp_path, "expected a file, found a folder"), (f"{tmp_path}/none/", "expected a file, found a folder"),
        (tmp_path / "none" / "a.json", "cannot write to the folder .*none: No such file or directory"),
        (tmp_path / "file" / "a.json", "cannot write to the folder .*file: Not a directory"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"--json={path}: {text}"):
            open_results("--json", str(path))
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("given, text", [
        ({"--json": "-", "--csv": "-"}, "--json: only one of them can be the standard output"),
        ({"--json": "a", "--csv": "./b/../a"}, "--json: only one of them can be .*/a"),
        ({"--json": "pictures/a", "--explain": "pictures"}, "--json=pictures/a lies in the folder of --explain"),
    ])  # fmt: skip
def test_outputs_do_not_overwrite_each_other(given, text):
    with pytest.raises(ValueError, match=text):
        check_apart(given)
    check_apart({"--json": "a", "--csv": "", "--explain": ""})


def test_a_folder_of_pictures_replaces_that_of_an_earlier_run_and_nothing_else(tmp_path):
    path, other = tmp_path / "pictures", tmp_path / "other"
    other.write_text("theirs")
    with PictureFolder("--explain", str(path)) as folder:
        folder.add("a.jpg", {PNG: b"1", "00000_timeline.png": b"2"})
    with PictureFolder("--explain", str(path)) as folder:
        folder.add("b.jpg", {PNG: b"3"})
    assert sorted(os.listdir(path)) == [PNG, LIST] and (path / PNG).read_bytes() == b"3"
    assert json.loads((path / LIST).read_text()) == {"b.jpg": [PNG]} and path.stat().st_mode & 0o700 == 0o700
    (path / PNG).unlink()
    (path / PNG).symlink_to(other)  # planted
    with pytest.raises(ValueError, match=f"it holds other things, such as {PNG}"):
        PictureFolder("--explain", str(path))
    (path / PNG).unlink()
    (path / "diary.txt").touch()
    with pytest.raises(ValueError, match="it holds other things, such as diary.txt; name a new folder"):
        PictureFolder("--explain", str(path))
    (tmp_path / "link").symlink_to(path)
    for place, text in ((tmp_path / "link", "is a link"), (other, "not a folder"), ("/", "replaced whole"),
                        (".", "replaced whole"), (tmp_path / "none" / "a", "No such file")):  # fmt: skip
        with pytest.raises(ValueError, match=text):
            PictureFolder("--explain", str(place))
    assert other.read_text() == "theirs" and sorted(os.listdir(tmp_path)) == ["link", "other", "pictures"]


def test_an_interrupted_folder_is_kept_beside_the_old_one(tmp_path):
    path = tmp_path / "pictures"
    for turn in range(3):
        with pytest.raises(KeyboardInterrupt) as ended, PictureFolder("--explain", str(path)) as folder:
            if turn:
                folder.add("a.jpg", {PNG: b"%d" % turn})
            raise KeyboardInterrupt
        assert getattr(ended.value, "__notes__", []) == ([f"{command.KEPT}{path}.partial"] if turn else [])
    assert os.listdir(tmp_path) == ["pictures.partial"]
    assert (tmp_path / "pictures.partial" / PNG).read_bytes() == b"2"
    with pytest.raises(FileExistsError), PictureFolder("--explain", str(path)) as folder:
        os.symlink("/etc/passwd", os.path.join(folder._hidden, PNG))
        folder.add("a.jpg", {PNG: b"1"})
