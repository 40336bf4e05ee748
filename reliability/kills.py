"""Test whether a run loses anything: kill many runs at random moments, and try all other faults.

    python -m reliability.kills [--kills N] [--parallel N] [--folder FOLDER]

A tiny pretraining is killed (SIGKILL), started again and killed again, until it has ended; then it is compared with a
run that nobody disturbed, byte for byte: parameters, both moments, target, step, key, and metrics.jsonl apart from
speeds. Moments are spread evenly over a run's life; a share is aimed at the inside of a checkpoint's writing. The rows
after that are one run each, see `reliability.kill_hurdles`. On a CPU the order of sums, and so the last bits, depends
on the number of cores: all processes of a campaign must have the same ones. A kill takes about ten seconds of a
processor. A campaign in FOLDER is resumed. Writes reliability/results/kills.json.
"""

import argparse
import concurrent.futures
import json
import logging
import os
import shutil
import tempfile
import time
from pathlib import Path

from benchmarks.masks import write_results
from reliability import RESULTS
from reliability.kill_chains import FIELDS, chain, differences, finish, start
from reliability.kill_hurdles import HURDLES

AIMED, MOST = 0.45, 8  # share of kills inside a write; kills of one run at the most
SHORTEST = 15.0  # seconds over which the others are spread, at the least


def campaign(folder: Path, undisturbed: Path, kills: int, parallel: int, life: float) -> list[dict]:
    """Return a report of each chain, see `kill_chains.chain`, and its `differences`; FOLDER/chains.jsonl counts too."""
    kept = folder / "chains.jsonl"
    chains = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    number = len(chains)

    def one(number: int) -> dict:
        workdir = folder / f"chain{number}"
        shutil.rmtree(workdir, ignore_errors=True)
        report = chain(workdir, number, life, AIMED, MOST)
        report["differences"] = [] if report["complaints"] else differences(workdir, undisturbed)
        if not report["complaints"] and not report["differences"]:
            shutil.rmtree(workdir)
        return report

    with concurrent.futures.ThreadPoolExecutor(parallel) as pool:
        running = set()
        while sum(report["kills"] for report in chains) < kills or running:
            while sum(report["kills"] for report in chains) < kills and len(running) < parallel:
                running.add(pool.submit(one, number))
                number += 1
            done, running = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in done:
                chains.append(future.result())
                print(sum(report["kills"] for report in chains), chains[-1], flush=True)
                with kept.open("a") as file:
                    file.write(json.dumps(chains[-1]) + "\n")
    return chains


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=None, help="for the runs; by default a temporary one")
    options = parser.parse_args()
    logging.getLogger("absl").setLevel(logging.ERROR)
    folder = options.folder or Path(tempfile.mkdtemp())
    undisturbed = folder / "undisturbed"
    folder.mkdir(parents=True, exist_ok=True)
    finish(start(folder / "warm"))  # compiles
    shutil.rmtree(folder / "warm")
    started = time.monotonic()
    if not (undisturbed / "reconstruction.png").exists():
        finish(start(undisturbed))
    life = max(time.monotonic() - started, SHORTEST)
    print(f"an undisturbed run takes {life:.1f} s", flush=True)
    chains = campaign(folder, undisturbed, options.kills, options.parallel, life)
    kills = sum(report["kills"] for report in chains)
    differing = [text for report in chains for text in report["differences"] + report["complaints"]]
    inside = sum(report["inside"] for report in chains)
    rows = [{
        "what happens": f"SIGKILL, {kills} times in {len(chains)} runs, {inside} of them inside a checkpoint's writing",
        "expected": "byte for byte the undisturbed run",
        "found": "that" if not differing else f"{len(differing)} differences",
        "differences": len(differing),
    }]  # fmt: skip
    for name, (expected, hurdle) in HURDLES.items():
        workdir = folder / name.replace(" ", "_")
        shutil.rmtree(workdir, ignore_errors=True)
        found, wrong = hurdle(workdir, undisturbed)
        found = found.replace(str(workdir), "RUN")
        rows.append({"what happens": name, "expected": expected, "found": found, "differences": len(wrong)})
        print(rows[-1], wrong, flush=True)
        differing += wrong
    settings = {
        "fields": FIELDS, "in parallel": options.parallel, "runs": len(chains), "kills": kills,
        "aimed at a write": AIMED, "inside a write": inside, "lines cut short": sum(r["torn"] for r in chains),
        "kills before the first step": sum(at == 0 for r in chains for at in r["at"]),
        "seconds of an undisturbed run": round(life, 1), "cores": len(os.sched_getaffinity(0)),
        "what differs": differing,
    }  # fmt: skip
    write_results("kills", settings, rows, RESULTS)


if __name__ == "__main__":
    main()
