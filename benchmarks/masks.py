"""Measure the cost of a mask: processor microseconds per image and core, for every strategy.

    python -m benchmarks.masks

Parsing maps are those of the bundled faces. Time is process time, so other programs do not count. The results go to
benchmarks/results/masks.json.
"""

import json
import os
import platform
import statistics
import time
from pathlib import Path

import numpy as np

from fsfm_jax import records
from fsfm_jax.data.masking import STRATEGIES, MaskSpec, draw_masks
from fsfm_jax.data.sources import open_source

RESULTS = Path(__file__).parent / "results"
BATCH, RUNS, RATIO = 4096, 15, 0.75


def machine() -> dict:
    """Return the properties of this machine that determine speed."""
    return {"processors": os.cpu_count(), "python": platform.python_version(), "numpy": np.__version__}


def write_results(name: str, settings: dict, rows: list[dict], folder: Path = RESULTS) -> None:
    """Write FOLDER/NAME.json and print the rows as a Markdown table."""
    folder.mkdir(exist_ok=True)
    text = json.dumps({"machine": machine(), "settings": settings, "rows": rows}, indent=1, ensure_ascii=False)
    (folder / f"{name}.json").write_text(text + "\n")
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *([str(row[column]) for column in columns] for row in rows)]
    print("\n".join(f"| {' | '.join(cells)} |" for cells in lines))


def microseconds_per_image(strategy: str, bits: np.ndarray) -> list[float]:
    """Measure repeatedly, each time on a new batch `bits [B, N]`, and return all results."""
    spec, found = MaskSpec(strategy, RATIO, "image", "exact"), []
    for run in range(RUNS + 1):
        positions = np.arange(run * len(bits), (run + 1) * len(bits))
        before = time.process_time()
        draw_masks(spec, bits, positions, 0, len(bits))
        found.append((time.process_time() - before) / len(bits) * 1e6)
    return found[1:]  # the first run has cold caches


def main() -> None:
    faces = open_source("samples")
    stored = np.stack([faces[index][records.REGION_BITS] for index in range(len(faces))])
    bits = stored[np.arange(BATCH) % len(stored)]
    rows = []
    for strategy in STRATEGIES:
        found = microseconds_per_image(strategy, bits)
        median = round(statistics.median(found), 1)
        rows.append({"strategy": strategy, "µs per image, median": median, "minimum": round(min(found), 1)})
    write_results("masks", {"batch": BATCH, "patches": bits.shape[1], "ratio": RATIO, "runs": RUNS}, rows)


if __name__ == "__main__":
    main()
