"""Working directories on a disk and in an object store, which a dictionary stands in for: whole files and lines."""

import json
import types
from pathlib import Path

import fsspec
import numpy as np
import pytest
from etils import epath
from etils.epath import backend
from event_files import read_events
from fsspec.implementations.memory import MemoryFileSystem
from tuning import tiny

from fsfm_jax.jobs import finetune
from fsfm_jax.run import checkpoint, workdir
from fsfm_jax.run.tensorboard import TensorBoard
from fsfm_jax.run.workdir import Lines, make_folder, whole, write_text
from fsfm_jax.run.writer import RunInfo

EVERYTHING = lambda line: True  # noqa: E731


class Bucket(MemoryFileSystem):
    """Objects of gs:// in a dictionary. As in a store of objects, nothing is appended and nothing renamed."""

    protocol = ("gs", "gcs")
    store: dict = {}
    pseudo_dirs = [""]
    sent: list[str] = []

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).removeprefix("gs://"))

    def _open(self, path, mode="rb", **options):
        assert "a" not in mode and "+" not in mode, "an object cannot be appended to"
        if "w" in mode:
            self.sent.append(path)
        return super()._open(path, mode, **options)

    def mv(self, *_, **__):
        raise AssertionError("an object cannot be renamed")


@pytest.fixture
def bucket(monkeypatch) -> dict:
    """The objects of gs:// by path; Python's own `open` finds nothing there."""
    monkeypatch.setattr(Bucket, "store", {})
    monkeypatch.setattr(Bucket, "sent", [])
    monkeypatch.setattr(backend.fsspec_backend, "_get_filesystem", lambda name: Bucket(skip_instance_cache=True))
    return Bucket.store


@pytest.fixture(params=["disk", "store"])
def folder(request, tmp_path) -> str:
    if request.param == "disk":
        return str(tmp_path)
    request.getfixturevalue("bucket")
    return "gs://bucket/run"


def read(path: str) -> str:
    return epath.Path(path).read_text()


def test_a_file_is_whole_or_what_it_was(folder):
    path = f"{folder}/table.md"
    make_folder(folder)
    write_text(path, "first ä\n")
    with pytest.raises(ZeroDivisionError), whole(path) as file:
        file.write(b"half")
        file.flush()
        1 / 0  # noqa: B018
    assert read(path) == "first ä\n"
    with whole(path) as file, open(file.fileno(), "w", closefd=False) as text:
        text.write("second\n")
    assert read(path) == "second\n"
    assert [place.name for place in epath.Path(folder).iterdir()] == ["table.md"]


def test_lines_go_on_and_those_of_lost_steps_are_dropped(folder):
    path = f"{folder}/lines"
    lines = Lines(path, EVERYTHING)
    for line in "abc":
        lines.add(line)
    lines.close()
    assert read(path) == "a\nb\nc\n"
    write_text(path, "a\nb\nc\nunfin")
    lines = Lines(path, keep=lambda line: line != "b\n")
    assert read(path) == "a\nc\n"
    lines.add("d")
    lines.flush()
    assert read(path) == "a\nc\nd\n"
    lines.close()
    assert read(path) == "a\nc\nd\n"


def test_event_files_and_lines_are_whole_objects_sent_at_every_flush_and_now_and_then(bucket, monkeypatch):
    folder, picture = epath.Path("gs://bucket/run/tensorboard"), np.full((2, 3, 3), 7, np.uint8)
    writer = TensorBoard(RunInfo("gs://bucket/run", 0, 9, 9, 16))
    for step in (1, 2):
        writer.write(step, {"loss": 0.5 * step})
        writer.flush()
        assert read_events(folder)[0]["loss"][-1] == (step, 0.5 * step)
    for _ in range(2):
        writer.write_image(2, "face", picture)
    writer.close()
    ((step, found),) = read_events(folder)[1]["face"]
    assert step == 2 and np.array_equal(found, picture) and len([*folder.iterdir()]) == 2
    clock = types.SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(workdir, "time", clock)
    lines, sent = Lines("gs://bucket/lines", EVERYTHING), Bucket.sent
    sent.clear()
    for second in range(302):
        clock.now = float(second)
        lines.add(str(second))
    assert len(sent) == 1 and read("gs://bucket/lines").splitlines() == [str(n) for n in range(301)]
    lines.flush()
    assert len(sent) == 2 and read("gs://bucket/lines").splitlines()[-1] == "301"
    lines.flush()
    lines.close()
    assert len(sent) == 2  # nothing new


def test_places_that_nothing_here_can_reach_are_named(monkeypatch):
    with pytest.raises(ValueError, match="elsewhere://x: expected a folder, or gs:// or s3://"):
        make_folder("elsewhere://x")
    monkeypatch.setattr(backend.fsspec_backend, "_get_filesystem", lambda name: fsspec.filesystem("gcs"))
    with pytest.raises(ValueError, match=rf"gs://bucket/x: .*gcsfs.*; for gs:// that is gcsfs=={fsspec.__version__}"):
        make_folder("gs://bucket/x")


def test_jobs_leave_everything_in_a_bucket(bucket, tmp_path, monkeypatch):
    # Checkpoints are Orbax's, whose own way to a bucket needs one: they go to a disk instead.
    local = lambda path: Path(tmp_path, str(path).removeprefix("gs://"))  # noqa: E731
    monkeypatch.setattr(checkpoint, "epath", types.SimpleNamespace(Path=lambda path: epath.Path(local(path))))
    monkeypatch.chdir(tmp_path)
    config = tiny(
        init="scratch", data__statistics="vggface2", data__test="A=forged:blend:16:2", duration="2 steps",
        checkpoint__every="1 steps",
    )  # fmt: skip
    finetune.run(config, "gs://bucket/tuned")
    assert not (tmp_path / "gs:").exists()
    results = ("predictions/A.csv", "metrics.json", "table.md", "figures/A.png", "figures/A_calibration.png")
    assert {path.removeprefix("/bucket/") for path in bucket} == {
        *(f"tuned/{name}.jsonl" for name in ("goodput", "metrics", "validation")),
        *(f"tuned/test/{name}" for name in results),
    }  # fmt: skip
    steps = [json.loads(line)["step"] for line in read("gs://bucket/tuned/metrics.jsonl").splitlines()]
    looks = [json.loads(line)["step"] for line in read("gs://bucket/tuned/validation.jsonl").splitlines()]
    assert (steps, looks) == ([1, 2], [1, 2])
    assert len(read("gs://bucket/tuned/test/predictions/A.csv").splitlines()) == 1 + 16
    assert bucket["/bucket/tuned/test/figures/A.png"].getvalue().startswith(b"\x89PNG")
