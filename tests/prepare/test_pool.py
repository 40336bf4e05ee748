"""Builds that are killed, whose workers die or hang, and whose disk is full."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fsfm_jax import records
from fsfm_jax.data.sources import RecordSource
from fsfm_jax.data.statistics import UNFINISHED, read_card

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "fsfm_jax" / "data" / "samples"
# A build of its own process whose workers meet trouble: `spawn` reads this file again in each of them.
TROUBLED = """
import os, signal, sys, time
from pathlib import Path
from fsfm_jax.prepare import faces, pool
from fsfm_jax.prepare.preparation import build

trouble, root, out = sys.argv[1:4]
real = faces.FaceMaker.__call__

def troubled(self, root, item):
    once = Path(out).parent / "once"
    if trouble == "dies or hangs" and item.path.endswith("sample3_1.png"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if trouble == "dies or hangs" and item.path.endswith("sample5_1.png"):
        time.sleep(1000)
    if trouble == "dies once" and item.path.endswith("sample3_1.png") and not once.exists():
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, root, item)

faces.FaceMaker.__call__ = troubled
if trouble == "dies at start":
    faces.FaceMaker.__init__ = lambda self, options: os._exit(3)

if __name__ == "__main__":
    run = lambda jobs, options, progress: pool.run(jobs, options, 2, progress, seconds_per_face=3.0)
    build("cropped_and_parsed", Path(root), Path(out), run, name="faces", faces_per_shard=5)
"""


def digests(directory: Path) -> dict[str, str]:
    files = (path for path in sorted(directory.iterdir()) if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def troubled(tmp_path: Path, trouble: str) -> tuple[subprocess.CompletedProcess, Path]:
    script = tmp_path / "troubled.py"
    script.write_text(TROUBLED)
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, str(script), trouble, str(SAMPLES / "pretrain"), str(out)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done, out


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    done, out = troubled(tmp_path_factory.mktemp("undisturbed"), "none")
    assert done.returncode == 0, done.stderr
    return out


def test_a_worker_that_dies_by_chance_changes_nothing(tmp_path, undisturbed):
    done, out = troubled(tmp_path, "dies once")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "once").exists()
    assert digests(out) == digests(undisturbed)


def test_files_that_kill_or_stop_their_worker_are_passed_over_and_listed(tmp_path, undisturbed):
    done, out = troubled(tmp_path, "dies or hangs")
    assert done.returncode == 0, done.stderr
    assert read_card(out).splits["train"].dropped == {"died": 2}
    found = [json.loads(line) for line in (out / "fsfm_report_train.jsonl").read_text().splitlines()]
    assert [line["path"] for line in found] == [f"images/mit_faceapi_sample{name}_1.png" for name in (3, 5)]
    assert {line["outcome"] for line in found} == {"dropped"}
    names = [
        [source[i][records.SOURCE] for i in range(len(source))] for source in map(RecordSource, (out, undisturbed))
    ]
    assert names[0] == [name for name in names[1] if not name.endswith(("sample3_1.png", "sample5_1.png"))]


def test_workers_that_cannot_start_end_the_run(tmp_path):
    done, out = troubled(tmp_path, "dies at start")
    assert done.returncode == 1 and "RuntimeError: a worker process died before it began" in done.stderr
    assert not (out / records.CARD_FILE).exists()


# Photos and one video, detected and parsed: half a minute of work for one core.
@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("raw") / "photos"
    root.mkdir()
    for path in [*sorted(SAMPLES.glob("mit_faceapi_sample[1-3]_*.jpg")), SAMPLES / "pd_nasa_astronaut_pan.mp4"]:
        shutil.copy(path, root)
    (root / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    return root


def command(raw: Path, out: Path, workers: int = 2) -> list[str]:
    return [
        sys.executable, "-m", "fsfm_jax.prepare.build", "--dataset=photos", f"--input={raw}", f"--output={out}",
        "--name=faces", f"--workers={workers}", "--frames=2", "--faces_per_shard=2", "--image_encoding=jpeg",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def one_worker(raw, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("one") / "out"
    done = subprocess.run(command(raw, out, 1), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert read_card(out).splits["train"].dropped == {"truncated": 1}
    return out


def wait_for(condition, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not condition() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_killed_and_started_again_it_ends_with_the_same_bytes(raw, one_worker, tmp_path):
    out, whole = tmp_path / "out", digests(one_worker)
    unfinished = out / UNFINISHED
    moments = (
        lambda: (unfinished / "plan.json").exists(),
        lambda: any(unfinished.glob("*.partial")),
        lambda: len(list(unfinished.glob("*.result.json"))) >= 2,
        lambda: len(list(unfinished.glob("*.result.json"))) >= 4 and any(unfinished.glob("*.partial")),
        lambda: (out / "dataset_info.json").exists(),
    )
    killed = 0
    for moment in moments:
        process = subprocess.Popen(command(raw, out), cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        wait_for(moment, process)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        # Whatever bears the name of a shard is whole, and no reader takes the rest for a data set.
        for shard in out.glob("faces-train.array_record-*"):
            assert digests(out)[shard.name] == whole[shard.name]
        if not (out / records.CARD_FILE).exists():
            with pytest.raises(ValueError, match="is unfinished"):
                RecordSource(out)
    assert killed >= 4  # the last moment may come too late
    done = subprocess.run(command(raw, out), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert digests(out) == whole and not unfinished.exists()


def test_ctrl_c_ends_the_workers_and_says_how_to_go_on(raw, tmp_path):
    out = tmp_path / "out"
    process = subprocess.Popen(command(raw, out), cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    wait_for(lambda: any((out / UNFINISHED).glob("*.partial")), process)
    process.send_signal(signal.SIGTERM)
    # The pipes close when the last worker has gone.
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.splitlines()[-1] == "stopped; run the same command again to resume"


def test_a_second_run_in_the_same_folder_is_refused(raw, tmp_path):
    out = tmp_path / "out"
    first = subprocess.Popen(command(raw, out), cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: (out / UNFINISHED / "plan.json").exists(), first)
        second = subprocess.run(command(raw, out), cwd=ROOT, capture_output=True, text=True, check=False)
    finally:
        first.kill()
        first.wait()
    assert second.returncode == 1
    assert "another process is making records here" in second.stderr.splitlines()[-1]


# As on a full disk, writing fails: beyond 40 kB of one file.
FULL_DISK = """
import resource, runpy, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))
runpy.run_module("fsfm_jax.prepare.build", run_name="__main__", alter_sys=True)
"""


def test_a_disk_that_is_full_ends_the_run_with_a_sentence(undisturbed, tmp_path):
    out = tmp_path / "out"
    # Nothing to detect or parse: what is tried is the writing.
    options = ["--dataset=cropped_and_parsed", f"--input={SAMPLES / 'pretrain'}", f"--output={out}", "--name=faces"]
    options += ["--workers=2", "--faces_per_shard=5"]
    limited = [sys.executable, "-c", FULL_DISK, *options]
    done = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cannot be written" in done.stderr and done.stderr.splitlines()[-1].startswith("error: ")
    assert "run the same command again" in done.stderr
    assert not list(out.glob("*.array_record-*"))
    unlimited = [sys.executable, "-m", "fsfm_jax.prepare.build", *options]
    again = subprocess.run(unlimited, cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert digests(out) == digests(undisturbed)
