"""A tiny pretraining as a process of its own, killed at random moments and started again until it ends."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
from etils import epath

from fsfm_jax.run.checkpoint import read_parts
from fsfm_jax.run.digests import complaints
from fsfm_jax.train.state import TrainState

ROOT = Path(__file__).parents[1]
STEPS, SAVE_EVERY = 30, 3
FIELDS = {
    "data.train": "samples:train", "data.statistics": "vggface2", "data.threads": 1, "batch.size": 2,
    "batch.per_device": 2, "model.size": "tiny16", "model.pixel_width": 16, "model.pixel_depth": 1,
    "model.rep_depth": 1, "model.projection_hidden": 16, "model.projection_features": 8,
    "optimizer.base_learning_rate": 0.15, "optimizer.warmup": "2 steps", "duration": f"{STEPS} steps",
    "checkpoint.every": f"{SAVE_EVERY} steps", "checkpoint.keep_latest": 2, "figure.faces": 1,
}  # fmt: skip
# What of a step depends on the machine's speed and not on the run.
OF_TIME = {"images_per_second", "seconds_left", "input_wait"}
UNFINISHED = "*.orbax-checkpoint-tmp*"


def start(workdir: Path, environment: dict[str, str] | None = None, **changes) -> subprocess.Popen:
    """Start the command line of the README; `data__train` stands for `data.train`."""
    fields = {**FIELDS, **{name.replace("__", "."): value for name, value in changes.items()}}
    command = [sys.executable, "-m", "fsfm_jax.main", "--config=configs/pretrain_demo.py", f"--workdir={workdir}"]
    command += [f"--config.{name}={value}" for name, value in fields.items()]
    usual = {
        "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_COMPILATION_CACHE_DIR": os.environ.get("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "jax")),
    }  # fmt: skip
    environment = {**os.environ, **usual, **(environment or {})}
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=environment)


def finish(process: subprocess.Popen, code: int = 0, seconds: float = 600) -> str:
    """Wait for a process that must end with `code`, and return its output; RuntimeError if it does not."""
    said = process.communicate(timeout=seconds)[1]
    if process.returncode != code:
        raise RuntimeError(f"expected exit code {code}, found {process.returncode}:\n{said[-3000:]}")
    return said


def lines(workdir: Path) -> list[dict]:
    """Return the lines of metrics.jsonl without what depends on time; an incomplete last line is left out."""
    path = Path(workdir) / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    rows = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [{name: value for name, value in row.items() if name not in OF_TIME} for row in rows]


def saved_steps(workdir: Path) -> list[int]:
    """Return the steps of the existing checkpoints."""
    return sorted(int(path.name) for path in (Path(workdir) / "checkpoints").glob("*") if path.name.isdigit())


def differences(workdir: Path, undisturbed: Path) -> list[str]:
    """Compare a finished run with the undisturbed one: arrays, byte for byte, and metrics.jsonl."""
    found = []
    ours, theirs = (read_parts(str(folder / "checkpoints"), TrainState._fields) for folder in (workdir, undisturbed))
    if ours[1] != theirs[1]:
        found.append("the run item")
    leaves, others = (jax.tree_util.tree_leaves_with_path(parts) for parts, _ in (ours, theirs))
    if [path for path, _ in leaves] != [path for path, _ in others]:
        found.append("the names of the arrays")
    for (path, leaf), (_, other) in zip(leaves, others, strict=False):
        if np.asarray(leaf).tobytes() != np.asarray(other).tobytes():
            found.append(jax.tree_util.keystr(path))
    text = (workdir / "metrics.jsonl").read_text()
    rows = lines(workdir)
    if [row["step"] for row in rows] != list(range(1, STEPS + 1)) or not text.endswith("\n"):
        found.append(f"steps of metrics.jsonl: {[row['step'] for row in rows]}")
    elif rows != lines(undisturbed):
        found.append("values of metrics.jsonl")
    return found


def after_kill(workdir: Path) -> list[str]:
    """Find what a killed run must not leave: a last checkpoint that is damaged, gaps in the metrics."""
    steps = [row["step"] for row in lines(workdir)]
    found = [] if steps == list(range(1, len(steps) + 1)) else [f"steps of metrics.jsonl after a kill: {steps}"]
    saved = saved_steps(workdir)
    if saved:
        found += complaints(epath.Path(workdir / "checkpoints" / str(saved[-1])))
        if len(steps) < saved[-1]:
            found.append(f"metrics.jsonl ends at {len(steps)}, the checkpoint is of step {saved[-1]}")
    return found


def chain(workdir: Path, number: int, life: float, aimed: float, most: int) -> dict:
    """Kill a run `most` times at the most, then let it end.

    Args:
      number: seeds the moments. life: seconds of an undisturbed run, over which they are spread evenly.
      aimed: share of kills that fall within 30 ms of the beginning of the next checkpoint's writing instead.

    Returns:
      `kills`, `inside` (kills that left an unfinished checkpoint), `torn` (last lines that were cut short), `at` (the
      steps that were done at each), `complaints`.
    """
    generator = random.Random(number)
    report = {"kills": 0, "inside": 0, "torn": 0, "at": [], "complaints": []}
    while True:
        process = start(workdir)
        killed = False
        if report["kills"] < most:
            if generator.random() < aimed:
                killed = _kill_in_write(process, workdir, generator.randrange(1, 6), generator.uniform(0, 0.03))
            else:
                killed = _kill_after(process, generator.uniform(0, life))
        if not killed:
            try:
                finish(process)
            except RuntimeError as error:
                report["complaints"].append(str(error))
            return report
        process.communicate()
        report["kills"] += 1
        path = workdir / "metrics.jsonl"
        report["inside"] += any((workdir / "checkpoints").glob(UNFINISHED))
        report["torn"] += path.exists() and not path.read_text().endswith("\n") and path.stat().st_size > 0
        report["at"].append(len(lines(workdir)))
        report["complaints"] += after_kill(workdir)


def _kill_after(process: subprocess.Popen, seconds: float) -> bool:
    """Kill the process after some seconds; return whether it was still running."""
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        return process.wait() == -signal.SIGKILL


def _kill_in_write(process: subprocess.Popen, workdir: Path, which: int, delay: float) -> bool:
    """Kill `delay` seconds after the folder of the write number `which` from now has appeared."""
    seen = {path.name for path in (workdir / "checkpoints").glob(UNFINISHED)}  # of the process before
    fresh = set()
    while process.poll() is None:
        now = {path.name for path in (workdir / "checkpoints").glob(UNFINISHED)}
        # The same name again is another write, if it was gone in between.
        seen &= now
        fresh |= now - seen
        if len(fresh) >= which:
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            return process.wait() == -signal.SIGKILL
        time.sleep(0.001)
    return False
