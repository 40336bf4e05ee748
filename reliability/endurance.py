"""Test for leaks in a long run: memory, threads, processes and open files over 10,000 steps.

    python -m reliability.endurance [--steps=10000] [--workers=0]

A real pretraining of a tiny network, started as users start it, with a checkpoint every 500 steps, without any before
the end, and with one every 50. Beside it the kernel is asked once a second what the run and its loader processes use.
Writes reliability/results/endurance.json.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import app, flags

from benchmarks.masks import write_results
from reliability import RESULTS

ROOT = Path(__file__).parents[1]
FIELDS = {
    "data.train": "synthetic:64", "data.statistics": "vggface2", "data.threads": 1, "batch.size": 4,
    "batch.per_device": 4, "model.size": "tiny32", "model.pixel_width": 16, "model.pixel_depth": 1,
    "model.pixel_heads": 4, "model.rep_depth": 1, "model.rep_heads": 2, "model.projection_hidden": 16,
    "model.projection_features": 8, "model.dtype": "float32", "optimizer.warmup": "10 steps",
    "figure.faces": 1,
}  # fmt: skip
SETTLED = 1000  # the step after which nothing may grow

_STEPS = flags.DEFINE_integer("steps", 10000, "Optimizer steps.", lower_bound=2 * SETTLED)
_WORKERS = flags.DEFINE_integer("workers", 0, "Loader processes.", lower_bound=0)


def family(pid: int) -> list[int]:
    """List a process and all below it."""
    found = [pid]
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            children = Path(f"/proc/{pid}/task/{task}/children").read_text().split()
            found += [one for child in children for one in family(int(child))]
    except (FileNotFoundError, ProcessLookupError):
        pass  # it has just ended
    return found


def used(pid: int) -> dict[str, int]:
    """Measure resident kilobytes, threads, open files and number of processes of a process and all below it."""
    total = {"resident_kb": 0, "threads": 0, "files": 0, "processes": 0}
    for one in family(pid):
        try:
            status = dict(line.split(":", 1) for line in Path(f"/proc/{one}/status").read_text().splitlines())
            files = len(os.listdir(f"/proc/{one}/fd"))
        except (FileNotFoundError, ProcessLookupError):
            continue
        total["resident_kb"] += int(status["VmRSS"].split()[0]) if "VmRSS" in status else 0
        total["threads"] += int(status["Threads"])
        total["files"] += files
        total["processes"] += 1
    return total


def last_step(path: Path) -> int:
    """Return the step in the last whole line of a run's metrics; 0 before the first."""
    if not path.exists():
        return 0
    with open(path, "rb") as file:
        file.seek(max(path.stat().st_size - 4096, 0))
        lines = file.read().decode().splitlines()
    for line in reversed(lines):
        try:
            return json.loads(line)["step"]
        except (ValueError, KeyError):
            continue  # the first may be cut by the seek, the last is being written
    return 0


def watched(folder: Path, steps: int, every: int, workers: int) -> tuple[list[dict], float]:
    """Sample a run once a second, each time with its step; return the samples and the seconds that it took.

    Raises:
      RuntimeError: the run failed.
    """
    fields = FIELDS | {"duration": f"{steps} steps", "checkpoint.every": f"{every} steps", "data.workers": workers}
    options = [f"--config.{name}={value}" for name, value in fields.items()]
    command = [sys.executable, "-m", "fsfm_jax.main", "--config=configs/pretrain_demo.py", f"--workdir={folder}"]
    started = time.monotonic()
    with open(folder.parent / "log", "wb") as log:
        run = subprocess.Popen([*command, *options], cwd=ROOT, stdout=log, stderr=log)
        samples = []
        while run.poll() is None:
            time.sleep(1.0)
            samples.append({"step": last_step(folder / "metrics.jsonl")} | used(run.pid))
    if run.returncode:
        raise RuntimeError(f"the run ended with {run.returncode}: {(folder.parent / 'log').read_text()[-2000:]}")
    return samples, time.monotonic() - started


def median(samples: list[dict], name: str) -> float:
    """Return the median of a name over samples."""
    values = sorted(sample[name] for sample in samples)
    return values[len(values) // 2]


def found(samples: list[dict], steps: int, every: int) -> list[dict]:
    """Return rows of the table: use around step `SETTLED` and at the end, and the most in between."""
    width = steps // 20
    early = [one for one in samples if SETTLED <= one["step"] < SETTLED + width]
    late = [one for one in samples if steps - width <= one["step"] < steps]
    settled = [one for one in samples if SETTLED <= one["step"] < steps]
    names = {"resident_kb": "resident, MB", "threads": "threads", "files": "open files", "processes": "processes"}
    rows = []
    for name, what in names.items():
        scale = 1000 if name == "resident_kb" else 1
        row = {f"around step {SETTLED}": median(early, name) / scale, "at the end": median(late, name) / scale}
        row["most between"] = max(one[name] for one in settled) / scale
        rows.append({"a checkpoint every": every, "what": what} | row)
    return rows


def main(arguments: list[str]) -> None:
    steps, rows, courses = _STEPS.value, [], {}
    for every in (500, steps, 50):
        with tempfile.TemporaryDirectory() as temporary:
            samples, seconds = watched(Path(temporary) / "run", steps, every, _WORKERS.value)
        rows += found(samples, steps, every)
        # The course of the memory, a tenth of the run each.
        tenths = [[one for one in samples if part <= 10 * one["step"] / steps < part + 1] for part in range(10)]
        courses[f"every {every}"] = [median(part, "resident_kb") / 1000 if part else None for part in tenths]
        print(every, round(seconds), courses[f"every {every}"], flush=True)
    settings = {"steps": steps, "workers": _WORKERS.value, "resident_mb_by_tenth": courses}
    write_results("endurance", settings, rows, RESULTS)


if __name__ == "__main__":
    app.run(main)
