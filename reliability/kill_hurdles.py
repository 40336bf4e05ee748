"""Faults of a run besides SIGKILL, one at a time; each run ends as the undisturbed one, or with an error message.

A hurdle takes the working directory to use and the undisturbed run, and returns what it found, for people, and a list
of what was wrong. Those that need a small disk of their own mount one, as root; elsewhere they are left out, which is
said.
"""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fsfm_jax.data.sources import SAMPLES
from fsfm_jax.prepare import pool
from fsfm_jax.prepare.preparation import build
from reliability.kill_chains import differences, finish, lines, saved_steps, start

Found = tuple[str, list[str]]
LIKE_UNDISTURBED = "byte for byte the undisturbed run"
JUMPS = """
import threading, time
real, begun = time.time, time.monotonic()
# To and fro by a day, every 50 ms.
time.time = lambda: real() + 86400 * (int((time.monotonic() - begun) * 20) % 3 - 1)
"""


def sentence(said: str) -> str:
    """Return the final message of a run: from its last "error: " on; else its exception, or its last line."""
    start = said.rfind("\nerror: ") + 1
    if start:
        # A loader that was killed leaves shared memory behind, which Python clears away with a warning.
        return " ".join(re.split(r"\n\S+: UserWarning: ", said[start:])[0].split())
    raised = re.findall(r"^[\w.]+(?:Error|Exception): .*", said, re.MULTILINE)
    return f"a traceback, {raised[-1]}" if raised and "Traceback" in said else said.rstrip().splitlines()[-1]


def wait_for(process: subprocess.Popen, condition: Callable[[], bool]) -> None:
    """Return when `condition` holds, or the process has ended."""
    while process.poll() is None and not condition():
        time.sleep(0.005)


def told(said: str, *parts: str) -> list[str]:
    """Return a complaint for each of `parts` that a run did not say, and one if it ended with a traceback."""
    wrong = [f"not said: {part}" for part in parts if part not in said]
    return wrong + ([sentence(said)] if sentence(said).startswith("a traceback") else [])


def sigterm(workdir: Path, undisturbed: Path) -> Found:
    """Stop a run with SIGTERM."""
    process = start(workdir)
    wait_for(process, lambda: len(lines(workdir)) > 4)
    process.send_signal(signal.SIGTERM)
    said = finish(process, os.EX_TEMPFAIL)
    wrong = told(said, "by SIGTERM; the same command goes on")
    if saved_steps(workdir)[-1] != len(lines(workdir)):
        wrong.append(f"saved {saved_steps(workdir)}, trained {len(lines(workdir))}")
    finish(start(workdir))
    return sentence(said), wrong + differences(workdir, undisturbed)


@contextlib.contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[bool]:
    """Mount a small disk at `place`, and return whether it could be done."""
    place.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
    mounted = os.geteuid() == 0 and subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(place)], check=True)


def full_disk(workdir: Path, undisturbed: Path) -> Found:
    """Leave no room for the next checkpoint, and then none for a start."""
    with small_disk(workdir, 32) as mounted:
        if not mounted:
            return "left out: no disk can be mounted here", []
        run, ballast = workdir / "run", workdir / "ballast"
        process = start(run)
        wait_for(process, lambda: bool(saved_steps(run)))
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        said = finish(process, 1)
        wrong = told(sentence(said), "error: ", str(run), "No space left on device", "GB are free there")
        again = finish(start(run), 1)  # before training
        wrong += told(sentence(again), "error: ", str(run))
        ballast.unlink()
        finish(start(run))
        return f"{sentence(said)} | again: {sentence(again)}", wrong + differences(run, undisturbed)


def read_only(workdir: Path, undisturbed: Path) -> Found:
    """Repeat a finished run on a disk that became read-only."""
    with small_disk(workdir, 32) as mounted:
        if not mounted:
            return "left out: no disk can be mounted here", []
        run = workdir / "run"
        finish(start(run))
        subprocess.run(["mount", "-o", "remount,ro", str(workdir)], check=True)
        said = finish(start(run), 1)
        return sentence(said), told(said, "error: ", str(run), "Read-only file system")


def _stopped(workdir: Path) -> Path:
    """Kill a run after two checkpoints, and return the folder of the last one."""
    process = start(workdir)
    wait_for(process, lambda: len(saved_steps(workdir)) > 1)
    process.kill()
    process.communicate()
    return workdir / "checkpoints" / str(saved_steps(workdir)[-1])


def _damaged(workdir: Path, undisturbed: Path, harm: Callable[[Path], None]) -> Found:
    last = _stopped(workdir)
    # Its largest file: an array.
    file = max((path for path in last.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    harm(file)
    said = finish(start(workdir))
    wrong = told(said, str(file.relative_to(last)), f"{last} is kept as {last}.damaged")
    used = next((line for line in said.splitlines() if line.startswith("Used instead")), "nothing")
    return f"{file.name[:8]}... named. {used}", wrong + differences(workdir, undisturbed)


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def flipped_byte(workdir: Path, undisturbed: Path) -> Found:
    """Flip one bit of the last checkpoint."""
    return _damaged(workdir, undisturbed, flip)


def missing_file(workdir: Path, undisturbed: Path) -> Found:
    """Remove one file of the last checkpoint."""
    return _damaged(workdir, undisturbed, Path.unlink)


def nothing_whole(workdir: Path, undisturbed: Path) -> Found:
    """Remove a file of each checkpoint."""
    _stopped(workdir)
    for step in saved_steps(workdir):
        (workdir / "checkpoints" / str(step) / "run" / "metadata").unlink()
    said = finish(start(workdir), 1)
    return sentence(said), told(said, "error: ", "run/metadata: missing", "No whole checkpoint is left")


def _records(workdir: Path, harm: Callable[[Path], None], at_start: bool) -> Found:
    """Run with a damaged shard of the records, and then with the restored one."""
    records, plain, run = workdir / "records", workdir / "plain", workdir / "run"
    one = lambda jobs, options, progress: pool.run(jobs, options, 1, progress)  # noqa: E731
    build("cropped_and_parsed", SAMPLES, records, one, name="faces", faces_per_shard=6)
    finish(start(plain, data__train=str(records)))
    shard = sorted(records.glob("*.array_record*"))[2]
    content = shard.read_bytes()
    if at_start:
        harm(shard)
    process = start(run, data__train=str(records))
    if not at_start:
        wait_for(process, lambda: len(lines(run)) > 2)
        harm(shard)
    said = process.communicate(timeout=600)[1]
    code = process.returncode
    wrong = told(said, "error: ", shard.name) if code else []
    if code == 0 and at_start:
        wrong.append("not noticed")
    shard.write_bytes(content)
    finish(start(run, data__train=str(records)))
    return sentence(said) if code else "the file was still open: the run ended well", wrong + differences(run, plain)


def shard_gone(workdir: Path, undisturbed: Path) -> Found:
    """Unlink a shard of the data while it is trained on."""
    return _records(workdir, Path.unlink, False)


def shard_gone_before(workdir: Path, undisturbed: Path) -> Found:
    """Remove a shard before the start."""
    return _records(workdir, Path.unlink, True)


def shard_cut(workdir: Path, undisturbed: Path) -> Found:
    """Cut a shard in half."""
    return _records(workdir, lambda path: os.truncate(path, path.stat().st_size // 2), False)


def loader_killed(workdir: Path, undisturbed: Path) -> Found:
    """Kill the process that reads the data with SIGKILL."""
    process = start(workdir, data__workers=1)
    wait_for(process, lambda: len(lines(workdir)) > 2)
    found = subprocess.run(["ps", "--ppid", str(process.pid), "-o", "pid=,args="], capture_output=True, text=True)
    workers = [int(line.split()[0]) for line in found.stdout.splitlines() if "spawn_main" in line]
    if not workers:
        process.kill()
        process.communicate()
        return "left out: no loader process was found", []
    os.kill(workers[-1], signal.SIGKILL)
    try:
        said = process.communicate(timeout=300)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return "the run waited for ever", ["the run waited for ever"]
    code = process.returncode
    finish(start(workdir))
    wrong = told(said, "error: data.workers: ") + differences(workdir, undisturbed)
    return f"exit code {code}: {sentence(said)}", wrong


def clock_jumps(workdir: Path, undisturbed: Path) -> Found:
    """Let `time.time` jump forwards and backwards."""
    workdir.mkdir(parents=True)
    (workdir / "sitecustomize.py").write_text(JUMPS)
    path = f"{workdir}{os.pathsep}{Path(__file__).parents[1]}"
    run = workdir / "run"
    finish(start(run, {"PYTHONPATH": path}))
    return "the run ended well", differences(run, undisturbed)


def two_runs(workdir: Path, undisturbed: Path) -> Found:
    """Start a second run with the same --workdir."""
    first = start(workdir)
    wait_for(first, lambda: len(lines(workdir)) > 1)
    said = finish(start(workdir), 1)
    wrong = told(said, "error: ", f"process {first.pid} on ", ", since ")
    finish(first)
    return sentence(said), wrong + differences(workdir, undisturbed)


HURDLES = {
    "SIGTERM": (f"saved, exit code 75; then {LIKE_UNDISTURBED}", sigterm),
    "a full disk": (f"a sentence with path and room; then {LIKE_UNDISTURBED}", full_disk),
    "a read-only folder": ("a sentence before anything is trained", read_only),
    "a flipped bit in a checkpoint": (f"named, the one before it is used; {LIKE_UNDISTURBED}", flipped_byte),
    "a missing file of a checkpoint": (f"named, the one before it is used; {LIKE_UNDISTURBED}", missing_file),
    "no whole checkpoint": ("a sentence, and nothing starts anew", nothing_whole),
    "a shard is not there": ("a sentence with its name; once it is back, like undisturbed", shard_gone_before),
    "a shard disappears": ("a sentence with its name, or it was still open; like undisturbed", shard_gone),
    "a shard is cut short": ("a sentence with its name; once it is back, like undisturbed", shard_cut),
    "a loader process is killed": (f"a sentence; then {LIKE_UNDISTURBED}", loader_killed),
    "a clock that jumps by a day": (LIKE_UNDISTURBED, clock_jumps),
    "two runs in one folder": (f"the second is refused; the first {LIKE_UNDISTURBED}", two_runs),
}
