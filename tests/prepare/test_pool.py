"""Builds that are killed, whose workers die or hang, and whose disk is full."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prepared import digests, records_of_folder

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
    if item.path.endswith("sample3_1.png"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if item.path.endswith("sample5_1.png"):
        time.sleep(1000)
    # By chance, once among others and once alone.
    once = Path(out).parent / Path(item.path).name
    if once.name.endswith(("sample1_2.png", "sample2_1.png")) and not once.exists():
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, root, item)

faces.FaceMaker.__call__ = troubled
if trouble == "dies at start":
    faces.FaceMaker.__init__ = lambda self, options: os._exit(3)

if __name__ == "__main__":
    workers = 1 if trouble == "dies at start" else 2
    run = lambda jobs, options, progress: pool.run(jobs, options, workers, progress, seconds_per_face=3.0)
    build("cropped_and_parsed", Path(root), Path(out), run, name="faces", faces_per_shard=8)
"""


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
    """What one process makes of the folder."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    records_of_folder(out, SAMPLES / "pretrain", faces_per_shard=8)
    return out


def test_files_that_kill_or_stop_their_worker_are_passed_over_and_listed_and_deaths_by_chance_cost_nothing(
    tmp_path, undisturbed
):
    done, out = troubled(tmp_path, "dies or hangs")
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("*.png"))) == 2
    assert read_card(out).splits["train"].dropped == {"died": 2}
    found = [json.loads(line) for line in (out / "fsfm_report_train.jsonl").read_text().splitlines()]
    assert [line["path"] for line in found] == [f"images/mit_faceapi_sample{name}_1.png" for name in (3, 5)]
    assert {line["outcome"] for line in found} == {"dropped"}
    left, whole = (
        [(one[records.SOURCE], one[records.IMAGE], one[records.PARSING_MAP].tobytes()) for one in RecordSource(folder)]
        for folder in (out, undisturbed)
    )
    assert left == [example for example in whole if not example[0].endswith(("sample3_1.png", "sample5_1.png"))]


def test_workers_that_cannot_start_end_the_run(tmp_path):
    done, out = troubled(tmp_path, "dies at start")
    assert done.returncode == 1 and "RuntimeError: a worker process died before it began" in done.stderr
    assert not (out / records.CARD_FILE).exists()


@pytest.fixture
def raw(tmp_path) -> Path:
    """Photos and one video, to be detected and parsed."""
    root = tmp_path / "raw"
    root.mkdir()
    for path in [*sorted(SAMPLES.glob("mit_faceapi_sample[1-3]_*.jpg")), SAMPLES / "pd_nasa_astronaut_pan.mp4"]:
        shutil.copy(path, root)
    (root / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    return root


def command(raw: Path, out: Path, workers: int = 1) -> list[str]:
    return [
        sys.executable, "-m", "fsfm_jax.prepare.build", "--dataset=photos", f"--input={raw}", f"--output={out}",
        "--name=faces", f"--workers={workers}", "--frames=2", "--faces_per_shard=2", "--image_encoding=jpeg",
    ]  # fmt: skip


def wait_for(condition, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not condition() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_ended_killed_and_started_again_but_not_twice_at_once_it_ends_with_the_same_bytes(raw, tmp_path):
    one_process, out = tmp_path / "one", tmp_path / "out"
    card = records_of_folder(one_process, raw, "photos", frames="2", faces_per_shard=2, image_encoding="jpeg")
    assert card.splits["train"].dropped == {"truncated": 1}
    whole, unfinished = digests(one_process), out / UNFINISHED

    def written(kind: str) -> int:
        return len(list(unfinished.glob(f"*.{kind}")))

    moments = (
        (signal.SIGTERM, lambda: written("partial")),
        (signal.SIGKILL, lambda: written("result.json") >= 3 and written("partial")),
        (signal.SIGKILL, lambda: (out / "dataset_info.json").exists()),
    )
    ended = []
    for number, (ending, moment) in enumerate(moments):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command(raw, out, workers=1 if number else 2), cwd=ROOT, **pipes)
        wait_for(moment, process)
        if ending == signal.SIGTERM:
            process.send_signal(signal.SIGSTOP)  # it must not end before the second one has begun
            second = subprocess.run(command(raw, out), cwd=ROOT, capture_output=True, text=True, check=False)
            assert second.returncode == 1
            assert "another process is making records here" in second.stderr.splitlines()[-1]
        process.send_signal(ending)
        process.send_signal(signal.SIGCONT)
        # The pipes close when the last worker has gone.
        _, errors = process.communicate(timeout=60)
        ended.append(process.returncode)
        if ending == signal.SIGTERM:
            assert errors.splitlines()[-1] == "stopped; run the same command again to resume"
        # Whatever bears the name of a shard is whole, and no reader takes the rest for a data set.
        for shard in out.glob("faces-train.array_record-*"):
            assert digests(out)[shard.name] == whole[shard.name]
        if not (out / records.CARD_FILE).exists():
            with pytest.raises(ValueError, match="is unfinished"):
                RecordSource(out)
    assert ended[:2] == [1, -signal.SIGKILL]  # the last moment may come too late
    done = subprocess.run(command(raw, out), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert digests(out) == whole and not unfinished.exists()


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
    options += ["--workers=1", "--faces_per_shard=8"]
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
