"""Measure files per second of `fsfm predict --parquet`, compared with predicting one file at a time.

    python -m benchmarks.batch [--files=200]

The inputs are distinct variants of the bundled photos, 300 to 500 pixels, with the small bundled detector and the
defaults of the command. Three ways are compared: the command once per file (five files), `Detector.predict` in a loop
in one process, and the command with all files. Only the first includes the program start for every file. The results
go to benchmarks/results/batch.json.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import fsfm_jax
from benchmarks.masks import write_results
from benchmarks.predict import photos
from fsfm_jax.apps.result_parts import read_parts

ROOT = Path(__file__).parents[1]
STARTS = 5


def command(*arguments: str) -> float:
    """Run the command and return its seconds."""
    started = time.monotonic()
    line = [sys.executable, "-m", "fsfm_jax.apps.predict", *arguments]
    subprocess.run(line, cwd=ROOT, check=True, capture_output=True)
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "files"
        folder.mkdir()
        for number, data in enumerate(photos(options.files)):
            (folder / f"{number:05d}.jpg").write_bytes(data)
        paths = [str(path) for path in sorted(folder.iterdir())]
        command(paths[0])  # compiles
        one = statistics.median(command(path) for path in paths[:STARTS])
        with fsfm_jax.load_detector() as detector:
            detector.predict(paths[0])
            started = time.monotonic()
            for path in paths:
                detector.predict(path)
            loop = time.monotonic() - started
        out = str(Path(temporary) / "out")
        command(f"--parquet={out}", paths[0])
        start = command(f"--parquet={out}", paths[0])  # its result exists already, so this measures the start alone
        whole = command(f"--parquet={out}", str(folder))
        scored = read_parts(out, ["file", "score"])
        assert scored.num_rows == len(paths), "a file was lost"
    count = len(paths)
    rows = [
        {"way": "the command once for each file", "files a second": f"{1 / one:.2f}"},
        {"way": "a loop over Detector.predict", "files a second": f"{count / loop:.2f}"},
        {"way": "the command with --parquet, its start included", "files a second": f"{(count - 1) / whole:.2f}"},
        {"way": "the same, without its start", "files a second": f"{(count - 1) / (whole - start):.2f}"},
    ]
    settings = {
        "files": count, "seconds of the start": round(start, 1), "cores": len(os.sched_getaffinity(0)),
        "load of the machine": os.getloadavg(),
    }  # fmt: skip
    write_results("batch", settings, rows)


if __name__ == "__main__":
    main()
