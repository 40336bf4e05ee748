"""Nothing lost: damage to a checkpoint is found before it is used, kills cost no step, and a folder has one run."""

import errno
import fcntl
import hashlib
import itertools
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from orbax.checkpoint.path import atomicity, atomicity_defaults

from fsfm_jax.jobs import compare, finetune, pretrain
from fsfm_jax.run import checkpoint_manager, disk
from fsfm_jax.run.checkpoint import Checkpoints, Retention, read_parts
from fsfm_jax.run.digests import FILE, complaints
from fsfm_jax.run.disk import NotSaved
from fsfm_jax.run.lock import hold
from fsfm_jax.run.metrics_file import MetricsFile
from fsfm_jax.run.workdir import Lines, make_folder
from fsfm_jax.run.writer import RunInfo

ROOT = Path(__file__).parent.parent
KEEP = Retention(5, 0)
LAST = 6
# A run of sums: it saves after every second step, and dies where it is told to.
RUN = """
import json, os, signal, sys
from typing import Any, NamedTuple
import jax, jax.numpy as jnp
from fsfm_jax.run import checkpoint_manager
from fsfm_jax.run.checkpoint import Checkpoints, Retention
from fsfm_jax.run.lock import hold
from fsfm_jax.run.workdir import Lines

folder, die_at, last = sys.argv[1], sys.argv[2], int(sys.argv[3])

class State(NamedTuple):
    step: Any
    params: Any

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def at(place, step):
    if die_at == f"{place} {step}":
        die()

def write_digests(folder, remote, last, inner=checkpoint_manager.write_digests):
    at("before the list", folder.name.split(".")[0])
    inner(folder, remote, last)
    at("after the list", folder.name.split(".")[0])

def finalize(self, step, inner=checkpoint_manager.Manager._finalize_checkpoint):
    at("after the commit", step)
    inner(self, step)

checkpoint_manager.write_digests = write_digests
checkpoint_manager.Manager._finalize_checkpoint = finalize
with hold(folder):
    checkpoints = Checkpoints(folder + "/checkpoints", Retention(2, 0))
    step = checkpoints.latest_step()
    state = State(jnp.int32(0), {"sum": jnp.float32(0.0)})
    if step is not None:
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)
        state = checkpoints.restore(step, like)
    first = int(state.step)
    lines = Lines(folder + "/metrics.jsonl", lambda line: json.loads(line)["step"] <= first)
    for number in range(first + 1, last + 1):
        state = State(jnp.int32(number), {"sum": state.params["sum"] + jnp.float32(0.1) * number})
        lines.add(json.dumps({"step": number, "sum": float(state.params["sum"])}))
        if number % 2 == 0:
            lines.flush()
            checkpoints.save(state, {"step": number})
            checkpoints.wait()
    print(first)
"""


class State(NamedTuple):
    step: Any
    params: Any


def make(step: int) -> State:
    values = np.random.default_rng(step).standard_normal((32, 8)).astype(np.float32)
    return State(jnp.int32(step), {"a": jnp.asarray(values), "b": jnp.full(40, step, jnp.float32)})


def like(state: State) -> State:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)


def save(folder: Path, *steps: int) -> None:
    checkpoints = Checkpoints(str(folder), KEEP)
    for step in steps:
        checkpoints.save(make(step), {"step": step})
    checkpoints.wait()
    checkpoints.close()


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def flip(path: Path, bit: int = 1) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= bit
    path.write_bytes(content)


def array_file(folder: Path) -> Path:
    """The file of a checkpoint that holds most of its arrays."""
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    save(folder, 1, 2)
    return folder


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    """Checkpoints of steps 1 and 2, to be harmed."""
    return Path(shutil.copytree(saved, tmp_path / "checkpoints"))


def test_a_changed_byte_or_a_missing_file_is_named_whichever_file_it_is(folder):
    last = folder / "2"
    names = files(last)
    assert complaints(epath.Path(last)) == [] and {FILE, "run/metadata", "_CHECKPOINT_METADATA"} < {*names}
    assert len(names) > 10
    for name in names:
        content = (last / name).read_bytes()
        flip(last / name)
        (found,) = complaints(epath.Path(last))
        assert found.startswith(f"{name}: "), name
        (last / name).write_bytes(content[:-1])
        (found,) = complaints(epath.Path(last))
        assert found.startswith(f"{name}: "), name
        (last / name).unlink()
        assert complaints(epath.Path(last)) == [f"{name}: missing"]
        (last / name).write_bytes(content)
    assert complaints(epath.Path(last)) == []


def test_a_list_that_was_changed_says_nothing_about_files(folder):
    path = folder / "2" / FILE
    content = json.loads(path.read_text())
    for entries, said in (
        # As if one file had never been.
        (dict(list(content["files"].items())[1:]), "not the bytes that were written (SHA-256)"),
        ({}, "not the bytes that were written (SHA-256)"),
    ):
        path.write_text(json.dumps(content | {"files": entries}))
        assert complaints(epath.Path(folder / "2")) == [f"{FILE}: {said}"]
    # One that a stranger made, with a checksum that fits: no file elsewhere is opened, and entries are what they are.
    for entries in ({"../1/digests.json": [1, None]}, {"/etc/passwd": [1, None]}, {"run/metadata": ["1", None]}):
        digest = hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()
        path.write_text(json.dumps({"files": entries, "sha256": digest}))
        assert complaints(epath.Path(folder / "2")) == [f"{FILE}: cannot be read"]
    # Nor are names shown that a terminal would obey.
    entries = {"\x1b[2J": [1, None]}
    digest = hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({"files": entries, "sha256": digest}))
    assert complaints(epath.Path(folder / "2")) == [r"\x1b[2J: missing"]


@pytest.mark.parametrize("harm", [flip, Path.unlink])
def test_the_last_whole_checkpoint_is_used_and_the_damaged_one_set_aside(folder, harm, caplog):
    file = array_file(folder / "2")
    harm(file)
    checkpoints = Checkpoints(str(folder), Retention(1, 0))
    with pytest.raises(ValueError, match=f"checkpoints/2 is damaged, 1 of its files:\n  .*{file.name}"):
        checkpoints.restore(2, like(make(2)))
    assert checkpoints.latest_step() == 1 and checkpoints.steps() == [1]
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(said) == 2 and file.name in said[0] and f"Used instead: {folder}/1, which is whole" in said[0]
    assert said[1] == f"{folder}/2 is kept as {folder}/2.damaged"
    restored = checkpoints.restore(1, like(make(1)))
    np.testing.assert_array_equal(restored.params["a"], make(1).params["a"])
    # The run gets there again: with one checkpoint kept, a damaged later one would have cost this one its place.
    checkpoints.save(make(2), {"step": 2})
    checkpoints.wait()
    assert checkpoints.latest_step() == 2 and checkpoints.run(2) == {"step": 2}
    checkpoints.close()
    assert sorted(path.name for path in folder.iterdir()) == ["2", "2.damaged"]


def test_a_run_without_a_whole_checkpoint_does_not_start_anew(folder):
    for step in "12":
        (folder / step / "run" / "metadata").unlink()
    before = files(folder)
    checkpoints = Checkpoints(str(folder), KEEP)
    with pytest.raises(ValueError, match="1 is damaged(.|\n)*run/metadata: missing\nNo whole checkpoint is left in"):
        checkpoints.latest_step()
    checkpoints.close()
    assert files(folder) == before


def test_readers_of_parameters_pass_over_what_is_damaged(folder, caplog):
    flip(array_file(folder / "2"))
    parts, run = read_parts(str(folder), ("params",))
    assert run == {"step": 1} and "Used instead" in caplog.text
    np.testing.assert_array_equal(parts["params"]["a"], make(1).params["a"])
    with pytest.raises(ValueError, match="checkpoints/2 is damaged"):
        read_parts(str(folder), ("params",), 2)
    assert files(folder / "2")  # a reader moves nothing


def test_a_checkpoint_from_before_there_were_lists_is_used_and_that_is_said(folder, caplog):
    about = folder / "2" / "_CHECKPOINT_METADATA"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"custom_metadata": {}}))
    (folder / "2" / FILE).unlink()
    checkpoints = Checkpoints(str(folder), KEEP)
    assert checkpoints.latest_step() == 2
    checkpoints.close()
    assert f"{folder}/2 has no {FILE}" in caplog.text


def test_the_list_is_written_behind_the_training_and_before_the_checkpoint_is_one(tmp_path, monkeypatch):
    go_on, inner = threading.Event(), checkpoint_manager.write_digests

    def slowly(*arguments):
        assert go_on.wait(60)
        inner(*arguments)

    monkeypatch.setattr(checkpoint_manager, "write_digests", slowly)
    checkpoints = Checkpoints(str(tmp_path), KEEP)
    checkpoints.save(make(1), {})  # returns
    assert not (tmp_path / "1").exists()
    go_on.set()
    checkpoints.wait()
    checkpoints.close()
    assert complaints(epath.Path(tmp_path / "1")) == []


def test_a_clock_that_is_set_during_a_save_costs_nothing(tmp_path, monkeypatch):
    real, asked = time.time, itertools.count()
    # Every look at the clock on the wall is a day before or after the last one.
    monkeypatch.setattr(time, "time", lambda: real() + 86_400 * (next(asked) % 2))
    for step in (1, 2, 3):
        save(tmp_path, step)
    assert complaints(epath.Path(tmp_path / "3")) == [] and next(asked) > 3


def test_a_checkpoint_that_cannot_be_removed_is_told(tmp_path, monkeypatch):
    remove = type(epath.Path(tmp_path)).rmtree

    def busy(self, *arguments, **keywords):
        if self.name == "1":
            raise OSError("it is busy")
        remove(self, *arguments, **keywords)

    checkpoints = Checkpoints(str(tmp_path), Retention(1, 0))
    checkpoints.save(make(1), {})
    checkpoints.wait()
    monkeypatch.setattr(type(epath.Path(tmp_path)), "rmtree", busy)
    checkpoints.save(make(2), {})
    with pytest.raises(NotSaved, match="the last one, of step 2, is still there.; found: it is busy"):
        checkpoints.wait()
    assert complaints(epath.Path(tmp_path / "2")) == []


@pytest.mark.parametrize(("file", "heard"), [("future.py", False), ("storage_backend.py", True)])
def test_only_what_is_raised_as_well_is_not_logged(caplog, file, heard):
    where = f"site-packages/orbax/checkpoint/{file}"
    failed = (OSError, OSError("it is busy"), None)
    record = logging.LogRecord("absl", logging.ERROR, where, 1, "Failed to remove checkpoint", (), failed)
    logging.getLogger("absl").handle(record)
    assert ("Failed to remove checkpoint" in caplog.text) == heard


def test_an_object_store_gets_a_list_of_sizes(tmp_path, monkeypatch):
    # Nothing is renamed there; a file of its own says that a checkpoint is complete.
    inner = checkpoint_manager.write_digests
    monkeypatch.setattr(checkpoint_manager, "write_digests", lambda folder, remote, last: inner(folder, True, last))
    committed = lambda path, **_: atomicity.CommitFileTemporaryPath  # noqa: E731
    monkeypatch.setattr(atomicity_defaults, "get_default_temporary_path_class", committed)
    save(tmp_path, 1)
    entries = json.loads((tmp_path / "1" / FILE).read_text())["files"]
    assert all(digest is None for _, digest in entries.values())
    assert {name: size for name, (size, _) in entries.items()} == {
        name: (tmp_path / "1" / name).stat().st_size for name in files(tmp_path / "1") if name != FILE
    }
    file = array_file(tmp_path / "1")
    os.truncate(file, 10)
    (found,) = complaints(epath.Path(tmp_path / "1"))
    assert found == f"{file.relative_to(tmp_path / '1')}: not of the size that was written"


def test_kills_within_a_save_cost_no_step(tmp_path):
    def run(workdir: Path, die_at: str, code: int) -> str:
        command = [sys.executable, "-c", RUN, str(workdir), die_at, str(LAST)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert ended.returncode == code, ended.stderr[-3000:]
        return ended.stdout

    # Also a list that is written and not committed is no checkpoint; one that is committed has its list.
    run(tmp_path, "after the list 4", -signal.SIGKILL)
    assert {path.name.split(".")[0] for path in (tmp_path / "checkpoints").iterdir()} == {"2", "4"}
    assert not (tmp_path / "checkpoints" / "4").exists()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "su')
    run(tmp_path, "after the commit 4", -signal.SIGKILL)
    assert complaints(epath.Path(tmp_path / "checkpoints" / "4")) == []
    assert run(tmp_path, "", 0) == "4\n"
    total, rows = np.float32(0), []
    for number in range(1, LAST + 1):
        total = np.float32(total + np.float32(np.float32(0.1) * np.float32(number)))
        rows.append({"step": number, "sum": float(total)})
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == rows
    assert read_parts(str(tmp_path / "checkpoints"), ("params",))[0]["params"]["sum"] == total
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["4", "6"]


def test_a_folder_has_one_run_at_a_time_and_one_that_cannot_be_written_to_is_told_before(tmp_path):
    workdir = tmp_path / "run"
    with hold(str(workdir)):
        holder = rf"run: expected no other run.*process {os.getpid()} on .*, since 20\d\d-"
        with pytest.raises(ValueError, match=holder):
            with hold(str(workdir)):
                raise AssertionError("two runs")
        with hold(str(tmp_path / "other")):
            pass
    assert list(workdir.iterdir()) == []
    (workdir / ".lock").write_text('{"pid": 1, "host": "of a process that was killed", "since": "long ago"}\n')
    with hold(str(workdir)):
        assert json.loads((workdir / ".lock").read_text())["pid"] == os.getpid()
    (tmp_path / "file").write_text("")
    with pytest.raises(NotSaved, match="file/run: expected to write a folder; found: .*GB are free there"):
        make_folder(str(tmp_path / "file" / "run"))
    (tmp_path / "third" / ".lock").mkdir(parents=True)
    with pytest.raises(NotSaved, match=r"\.lock: expected to write the lock of this run; found"):
        with hold(f"{tmp_path}/third"):
            raise AssertionError("not locked")


@pytest.mark.parametrize("job", [pretrain.run, finetune.run, compare.run])
def test_every_training_job_holds_its_folder(tmp_path, job):
    with hold(str(tmp_path)):
        with pytest.raises(ValueError, match="expected no other run here"):
            job(None, str(tmp_path))  # before anything of its configuration is looked at


def test_a_lock_that_its_holder_takes_away_meanwhile_is_not_taken_for_ours(tmp_path, monkeypatch):
    path, inner, calls = tmp_path / ".lock", fcntl.flock, []

    def flock(*arguments):
        calls.append(arguments)
        if len(calls) == 1:  # the run before ends between our opening the file and locking it
            path.unlink()
        inner(*arguments)

    monkeypatch.setattr(fcntl, "flock", flock)
    with hold(str(tmp_path)):
        assert len(calls) == 2 and path.exists()
        with pytest.raises(ValueError, match="expected no other run here"):
            with hold(str(tmp_path)):
                raise AssertionError("two runs")


def test_a_disk_without_room_for_a_checkpoint_is_told_before_training(tmp_path, monkeypatch):
    checkpoints, state = Checkpoints(str(tmp_path), KEEP), make(1)
    usage = shutil.disk_usage(tmp_path)
    wanted = 4 + 4 * 32 * 8 + 4 * 40
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: usage._replace(free=wanted))
    checkpoints.check_room(state)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: usage._replace(free=wanted - 1))
    with pytest.raises(NotSaved, match=f"{tmp_path}: expected .* for one checkpoint; found 0.000 GB. Make room"):
        checkpoints.check_room(state)
    checkpoints.close()


def test_a_line_that_has_no_room_leaves_no_half_line_and_metrics_go_on_after_one(tmp_path):
    path = tmp_path / "lines"
    lines = Lines(str(path), lambda line: True)
    lines.add("whole")

    class Full:
        """A file whose disk takes three more bytes."""

        def __init__(self, file):
            self._file = file

        def write(self, data: bytes) -> int:
            return self._file.write(data[:3])

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

    lines._file = Full(lines._file)
    with pytest.raises(NotSaved, match=f"{path}: expected to write a line; found: .*{os.strerror(errno.ENOSPC)}"):
        lines.add("no room")
    lines.close()
    assert path.read_text() == "whole\n"
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"ste')
    info = RunInfo(str(tmp_path), 2, 4, 4, 8)
    MetricsFile(info).close()
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'
    path.write_text('{"step": 1}\n\0\0\0\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl: expected a JSON object with a step in each line; found"):
        MetricsFile(info)
