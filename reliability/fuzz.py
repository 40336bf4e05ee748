"""Test whether an untrusted file can crash, hang or mislead a reader, with a coverage-guided fuzzer for each reader.

    make fuzz
    .venv-fuzz/bin/python -m reliability.fuzz [--targets=photo,video] [--seconds=120] [--folder=FOLDER]

Every input must be read, or refused by an exception that the reader documents, with a sentence that it wrote itself; in
time, and within a bounded address space. Anything else is a finding. Each target is a process of its own: one that dies
is a finding too, and another one continues with its corpus. Needs the packages of requirements/fuzz.txt. Inputs of
findings are kept in FOLDER/TARGET; reliability/results/fuzz.json keeps the rows of targets that were not asked for.
With --keep=tests/corpus, an input for each place at which a reader was found to refuse goes into the corpus of the
tests, unless there is one.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.masks import write_results
from reliability import RESULTS
from reliability.fuzz_judge import COUNTS, READ, REFUSED, judge
from reliability.fuzz_targets import TARGETS

FILE = RESULTS / "fuzz.json"
INPUT_SECONDS = 10
MEMORY = 1 << 30  # bytes of address space beyond those of the libraries
# What libFuzzer calls the inputs that ended a process, apart from those that were slow and went on.
ENDED = ("crash-", "timeout-", "oom-")


def _quoted(word: bytes) -> str:
    return '"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n'


def prepare(name: str, folder: Path) -> None:
    """Return the corpus of a target, its honest inputs first, and its words."""
    target = TARGETS[name]
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (folder / "corpus" / f"seed-{number}").write_bytes(seed)
    (folder / "words").write_text("".join(_quoted(word) for word in target.words if len(word) <= 64))
    (folder / "counts").unlink(missing_ok=True)


def attack(name: str, folder: Path, seconds: int) -> dict:
    """Attack for `seconds` and return the row of the table."""
    prepare(name, folder)
    start, processes = time.monotonic(), 0
    while (left := seconds - int(time.monotonic() - start)) > 0 and processes < 50:
        command = [sys.executable, "-m", "reliability.fuzz_worker", name, folder, left, INPUT_SECONDS, MEMORY]
        with open(folder / "log", "ab") as log:
            environment = os.environ | {"JAX_PLATFORMS": "cpu"}
            subprocess.run(list(map(str, command)), stdout=log, stderr=log, env=environment, check=False)
        processes += 1
    if not (folder / "counts").stat().st_size:
        raise RuntimeError(f"{name}: expected the fuzzer to begin, found that it did not; see {folder / 'log'}")
    counts = COUNTS.unpack((folder / "counts").read_bytes())
    ended = [path for path in folder.iterdir() if path.name.startswith(ENDED)]
    kinds = [path for path in folder.glob("finding-*") if path.suffix != ".txt"]
    return {
        "target": name, "inputs": counts[0], "read": counts[1], "refused": counts[2],
        "kinds of findings": len(kinds) + len(ended), "processes": processes,
        "inputs that reached new code": len(list((folder / "corpus").iterdir())),
        "peak memory beyond the imports, MB": round(counts[4] / 1000), "seconds": round(time.monotonic() - start),
    }  # fmt: skip


def keep(name: str, folder: Path, kept: Path) -> int:
    """Copy the smallest input of each outcome that `kept` has none of; returns how many were copied."""
    known, copied = set(), 0
    kept.mkdir(parents=True, exist_ok=True)
    found = sorted((folder / "corpus").iterdir(), key=lambda path: (path.stat().st_size, path.name))
    with tempfile.TemporaryDirectory() as scratch:
        for path in [*sorted(kept.iterdir()), *found]:
            data = path.read_bytes()
            outcome = judge(TARGETS[name], data, Path(scratch))
            if outcome in known or outcome[0] not in (READ, REFUSED):
                continue
            known.add(outcome)
            if path.parent != kept:
                (kept / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)
                copied += 1
    return copied


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", default=",".join(TARGETS), help="names with commas; all by default")
    parser.add_argument("--seconds", type=int, default=120, help="for each target")
    parser.add_argument("--folder", type=Path, default=Path("runs/fuzz"))
    parser.add_argument("--keep", type=Path, default=None, help="corpus to add inputs to; by default none is kept")
    options = parser.parse_args()
    names = options.targets.split(",")
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        parser.error(f"--targets: expected some of {', '.join(TARGETS)}; found {', '.join(unknown)}")
    rows = []
    for name in names:
        rows.append(attack(name, options.folder / name, options.seconds))
        print(rows[-1], flush=True)
        if options.keep is not None:
            print(f"{keep(name, options.folder / name, options.keep / name)} kept", flush=True)
    if FILE.exists():
        old = {row["target"]: row for row in json.loads(FILE.read_text())["rows"]}
        found = old | {row["target"]: row for row in rows}
        rows = [found[name] for name in TARGETS if name in found]
    bounds = {"seconds of an input": INPUT_SECONDS, "address space beyond the imports, MB": round(MEMORY / 1e6)}
    settings = {
        "bounds": bounds, "inputs": sum(row["inputs"] for row in rows),
        "kinds of findings": sum(row["kinds of findings"] for row in rows),
    }  # fmt: skip
    write_results("fuzz", settings, rows, RESULTS)


if __name__ == "__main__":
    main()
