"""Test whether a large prediction loses or repeats files: `fsfm predict --parquet`, killed repeatedly at random.

    python -m reliability.predict_kills [--files=10000] [--kills=24] [--seconds=90] [--folder=FOLDER]

Ready-made crops of 64 pixels with the small detector of the package; no two files have the same bytes. The command is
killed with SIGKILL and started again: two in three at a random moment of its first `--seconds`, one in three inside the
writing of a part, before it has its name or just after. Then it runs to its end, and everything is counted. Parts are
written every 3 seconds instead of every 60, so that many writes are met. A campaign in FOLDER is resumed. Writes
reliability/results/predict_kills.json.
"""

import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import cv2
from absl import app, flags

from benchmarks.masks import write_results
from fsfm_jax.apps.result_parts import read_parts
from fsfm_jax.data.photo import encode_jpeg
from fsfm_jax.data.sources import SAMPLES
from fsfm_jax.prepare.media.photo_file import read_photo
from reliability import RESULTS
from reliability.endurance import family

ROOT = Path(__file__).parents[1]
SIDE, PICTURES, PART_SECONDS = 64, 20, 3.0
SETTLED = 0.2  # share of the last run after which its memory may not grow
# The command, with parts that are written sooner; in FATE a place in the writing and at which part it dies there.
COMMAND = """
import os, signal, sys
from fsfm_jax import command
from fsfm_jax.apps import predict, result_parts
result_parts.PART_SECONDS, place, at = float(sys.argv[1]), sys.argv[2], int(sys.argv[3])
replace, sync, written = os.replace, os.fsync, [0]
def die(here):
    if here == place and written[0] == at:
        os.kill(os.getpid(), signal.SIGKILL)
def fsync(file):
    die("before it is on the disk")
    sync(file)
def named(old, new):
    die("before it has its name")
    replace(old, new)
    die("after it has its name")
    written[0] += 1
os.fsync, os.replace = fsync, named
command.start(predict, sys.argv[4:])
"""
PLACES = ("before it is on the disk", "before it has its name", "after it has its name")

_FILES = flags.DEFINE_integer("files", 10000, "Files in the folder.", lower_bound=1)
_KILLS = flags.DEFINE_integer("kills", 24, "Times that the command is killed.", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 90.0, "Of a run in which it is killed at a random moment.", lower_bound=1.0)
_FOLDER = flags.DEFINE_string("folder", "", "For files and results; by default a temporary one.")


def write_files(folder: Path, count: int) -> None:
    """Write small JPEG files of `PICTURES` pictures in turn; a comment in each makes its bytes unique."""
    folder.mkdir(exist_ok=True)
    pictures = [read_photo(path).image for path in sorted(SAMPLES.parent.glob("*.jpg"))[:PICTURES]]
    data = [encode_jpeg(cv2.resize(one, (SIDE, SIDE), interpolation=cv2.INTER_AREA), 90) for one in pictures]
    for number in range(count):
        jpeg, comment = data[number % PICTURES], b"%08d" % number
        marker = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big")
        (folder / f"{number:06d}.jpg").write_bytes(jpeg[:2] + marker + comment + jpeg[2:])


def start(folder: Path, place: str = "", at: int = 0) -> subprocess.Popen:
    """Start the command; with `place`, its process dies at that place of writing its part `at`."""
    flags = ["--detector=none", f"--parquet={folder / 'results'}", str(folder / "files")]
    line = [sys.executable, "-c", COMMAND, str(PART_SECONDS), place, str(at), *flags]
    return subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def rows_of(folder: Path) -> list[str]:
    """Return the files of all rows in the existing parts."""
    there = any((folder / "results").glob("*.parquet"))
    return read_parts(str(folder / "results"), ["file"])["file"].to_pylist() if there else []


def resident(pid: int) -> int:
    """Return the resident kilobytes of a process, 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def kill(folder: Path, number: int, seconds: float) -> dict:
    """Kill one run, and return what it left."""
    drawn = random.Random(number)
    place = PLACES[number // 3 % 3] if number % 3 == 2 else ""
    process = start(folder, place, drawn.randrange(2))
    moment = 5 * seconds if place else drawn.uniform(0, seconds)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.communicate()
    names = rows_of(folder)
    return {
        "where": place or "at random", "code": process.returncode, "rows": len(names),
        "twice": len(names) - len(set(names)),
        "unfinished": len(list((folder / "results").glob(".*.tmp"))),
    }  # fmt: skip


def finish(folder: Path) -> dict:
    """Finish the last run; return its speed, and the memory of the command and of its workers over time."""
    before = len(rows_of(folder))
    process, started, seen = start(folder), time.monotonic(), []
    while process.poll() is None:
        below = [resident(one) for one in family(process.pid)[1:]]
        seen.append((resident(process.pid), sum(below)))
        time.sleep(1)
    seconds = time.monotonic() - started
    said, _ = process.communicate()
    settled = seen[int(SETTLED * len(seen)) : -2]  # at its end it lets go
    parts = [settled[place * len(settled) // 4 : (place + 1) * len(settled) // 4] for place in range(4)]
    files = len(rows_of(folder)) - before
    return {
        "code": process.returncode, "files": files, "seconds": round(seconds, 1), "said": said.splitlines()[:2],
        "a second": round(files / seconds, 1),
        "MB of the command, greatest in each quarter": [round(max(own for own, _ in part) / 1024) for part in parts],
        "MB of workers, greatest in each quarter": [round(max(all_ for _, all_ in part) / 1024) for part in parts],
    }  # fmt: skip


def count(folder: Path, files: int) -> list[dict]:
    """Check the results row by row, and return what is wrong."""
    table = read_parts(str(folder / "results"), ["file", "score", "reason"])
    wanted = {str(folder / "files" / f"{number:06d}.jpg") for number in range(files)}
    names = Counter(table["file"].to_pylist())
    scores: dict[int, list[float]] = {}
    for name, score in zip(table["file"].to_pylist(), table["score"].to_pylist(), strict=True):
        scores.setdefault(int(Path(name).stem) % PICTURES, []).append(score)
    spread = max(max(found) - min(found) for found in scores.values())
    return [
        {"what": "files", "expected": files, "found": len(wanted & set(names))},
        {"what": "files with a result that were not there", "expected": 0, "found": len(set(names) - wanted)},
        {"what": "files with two results", "expected": 0, "found": sum(times > 1 for times in names.values())},
        {"what": "files without a score", "expected": 0, "found": table["score"].null_count},
        {"what": "greatest difference between scores of one picture", "expected": "below 1e-5",
         "found": f"{spread:.1e}"},
        {"what": "unfinished parts", "expected": 0, "found": len(list((folder / "results").glob(".part*")))},
    ]  # fmt: skip


def main(_: list[str]) -> None:
    folder = Path(_FOLDER.value or tempfile.mkdtemp())
    folder.mkdir(exist_ok=True)
    if not (folder / "files").exists():
        write_files(folder / "files", _FILES.value)
    log = folder / "kills.jsonl"
    lives = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    while len(lives) < _KILLS.value and (not lives or lives[-1]["rows"] < _FILES.value):
        lives.append(kill(folder, len(lives), _SECONDS.value))
        print(lives[-1], flush=True)
        with log.open("a") as file:
            file.write(json.dumps(lives[-1]) + "\n")
    last = finish(folder)
    print(last, flush=True)
    process = start(folder)
    said, _ = process.communicate()
    rows, again = count(folder, _FILES.value), f"{_FILES.value:,} of {_FILES.value:,} files have a result already"
    rows += [
        {"what": "kills after which a file had two", "expected": 0, "found": sum(one["twice"] > 0 for one in lives)},
        {"what": "what the command says then", "expected": again, "found": said.splitlines()[0]},
    ]
    killed = [one for one in lives if one["code"] == -signal.SIGKILL]  # a run may end before its moment
    settings = {
        "files": _FILES.value, "kills": len(killed), "where": dict(Counter(one["where"] for one in killed)),
        "rows after each kill": [one["rows"] for one in killed],
        "unfinished parts that kills left": sum(one["unfinished"] for one in killed),
        "seconds between parts": PART_SECONDS, "the last run": last,
    }  # fmt: skip
    write_results("predict_kills", settings, rows, RESULTS)


if __name__ == "__main__":
    app.run(main)
