"""What failures cost a run: goodput for one failure every 5, 15 and 60 minutes, as a model of measured costs.

    python -m reliability.goodput [--kills N] [--folder FOLDER]
    python -m reliability.goodput --workdir=runs/vitb

A tiny pretraining is killed (SIGKILL) N times and ends. Its goodput.jsonl gives the costs: seconds of a step, of a save
and of a restart. With --workdir the costs are those of a run of yours. The rows are a model of them, nothing was
run for hours: failures come at random with a mean time M between them (exponential), a restart takes R, a save C, and
there is a save after every T seconds of steps. Then

    goodput = T / (M e^(R / M) (e^((T + C) / M) - 1))            (Daly 2006, equation for the total wall time)
    best T  = sqrt(2 C M)                                        (Young 1974)

Young: A first order approximation to the optimum checkpoint interval, doi:10.1145/361147.361115. Daly: A higher order
estimate of the optimum checkpoint interval for restart dumps, doi:10.1016/j.future.2004.11.016. Young's interval needs
C much smaller than M. Without --workdir it writes reliability/results/goodput.json.
"""

import argparse
import itertools
import json
import logging
import math
import os
import signal
import tempfile
from pathlib import Path

from benchmarks.masks import write_results
from fsfm_jax.run.goodput import GOODPUT_FILE, Goodput, Note, read_notes, sum_attempts
from reliability import RESULTS
from reliability.kill_chains import FIELDS, finish, lines, start
from reliability.kill_hurdles import wait_for

MINUTES = (5, 15, 60)  # between failures


def best_interval(cost: float, mtbf: float) -> float:
    """Return the seconds of steps between two saves that lose least (Young); a save costs `cost` seconds."""
    return math.sqrt(2 * cost * mtbf)


def expected_share(interval: float, cost: float, restart: float, mtbf: float) -> float:
    """Return goodput, 0 to 1, by Daly's model; all arguments in seconds, `interval` between two saves."""
    return interval / (mtbf * math.exp(restart / mtbf) * math.expm1((interval + cost) / mtbf))


def costs(notes: list[Note], found: Goodput) -> dict[str, float]:
    """Read the seconds of a step, a save, and a restart with its compiling, from what a run has noted."""
    pairs = [(one, two) for one, two in itertools.pairwise(notes) if one.attempt == two.attempt]
    saves = sum(two.parts["checkpoint"] > one.parts["checkpoint"] for one, two in pairs)
    if not saves:
        raise ValueError(f"{GOODPUT_FILE}: expected a run with a saved checkpoint; found {len(notes)} lines, no save")
    return {
        "step": (found.seconds["productive"] + found.seconds["lost"]) / (found.steps + found.lost_steps),
        "save": found.seconds["checkpoint"] / saves,
        "restart": (found.seconds["restart"] + found.seconds["compile"]) / found.attempts,
    }


def measure(folder: Path, kills: int) -> tuple[list[Note], Goodput]:
    """Kill a run `kills` times, each some steps after its start, then let it finish; return its notes and goodput."""
    workdir = folder / "run"
    for number in range(kills):
        process = start(workdir)
        wait_for(process, lambda number=number: len(lines(workdir)) > 2 + number * 6)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    said = finish(start(workdir))
    print(next(line for line in said.splitlines() if line.startswith("Goodput")), flush=True)
    notes = read_notes(str(workdir / GOODPUT_FILE))
    return notes, sum_attempts(notes)


def rows_of(found: dict[str, float]) -> list[dict]:
    """Return the table of the model, a row for each time between failures."""
    rows = []
    for minutes in MINUTES:
        mtbf = 60.0 * minutes
        best = best_interval(found["save"], mtbf)
        shares = {
            f"goodput, saves {name} apart": round(expected_share(every, found["save"], found["restart"], mtbf), 4)
            for name, every in (("best interval", best), ("1 min", 60.0), ("10 min", 600.0))
        }
        rows.append({"minutes between failures": minutes, "best interval in s": round(best, 1), **shares})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=None, help="for the run; by default a temporary one")
    parser.add_argument("--workdir", type=Path, default=None, help="a run to take the costs of")
    options = parser.parse_args()
    if options.workdir is not None:
        notes = read_notes(str(options.workdir / GOODPUT_FILE))
        whole = sum_attempts(notes)
        print(whole.sentence(), json.dumps(rows_of(costs(notes, whole)), indent=1), sep="\n")
        return
    logging.getLogger("absl").setLevel(logging.ERROR)
    folder = options.folder or Path(tempfile.mkdtemp())
    notes, whole = measure(folder, options.kills)
    found = costs(notes, whole)
    settings = {
        "model": "exponential failures; costs measured on a tiny run, goodput computed", "kills": options.kills,
        "fields": FIELDS, "cores": len(os.sched_getaffinity(0)),
        "seconds of": {name: round(value, 3) for name, value in found.items()},
        "goodput of the measured run": round(whole.share, 4), "attempts": whole.attempts,
        "lost steps": whole.lost_steps,
    }  # fmt: skip
    rows = rows_of(found)
    print(json.dumps(rows, indent=1))
    write_results("goodput", settings, rows, RESULTS)


if __name__ == "__main__":
    main()
