"""Compile every recipe's step for TPU slices, without a TPU: memory, FLOPs, messages and estimated speed.

    python -m benchmarks.tpu [--sizes=vits,vitb,vitl,vith] [--topologies=v5e:4x4,v6e:4x4] [--search] [--again]

This needs the packages of requirements/tpu.txt. Each pair of a recipe and a slice runs in a separate process
(`fsfm_jax.compile_check`): the pretrainings of all sizes, and with `--all` fine-tuning, adapters and evaluations. The
results go to benchmarks/results/tpu.json after each process. Existing results are not compiled again, unless `--again`
is given or the compiler has changed. Speeds are the compiler's estimates: nothing runs on a TPU here.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from absl import app, flags

from benchmarks.masks import RESULTS
from fsfm_jax.compile_check.report import versions
from fsfm_jax.compile_check.steps import OF, family
from fsfm_jax.config.recipes import load_recipe

FILE = RESULTS / "tpu.json"
ROOT = Path(__file__).parents[1]
WHAT = "Compiled ahead of time for slices that were not there; speeds are estimates of the compiler."

_SIZES = flags.DEFINE_list("sizes", ["vits", "vitb", "vitl", "vith"], "Sizes, the SIZE of configs/pretrain_SIZE.py.")
_TOPOLOGIES = flags.DEFINE_list("topologies", ["v5e:2x2", "v5e:4x4", "v6e:4x4", "v5p:2x2x2"], "Slices.")
_ALL = flags.DEFINE_bool("all", False, "Also compile fine-tuning, adapters and evaluations.")
_SEARCH = flags.DEFINE_bool("search", False, "Find the largest micro-batch that fits on a device.")
_AGAIN = flags.DEFINE_bool("again", False, "Compile again what is already in the results file.")


def known() -> list[dict]:
    """Read the results file without results of other versions, which are compiled again."""
    if not FILE.exists():
        return []
    now = versions()
    return [one for one in json.loads(FILE.read_text())["found"] if one.get("versions", now) == now]


def key(one: dict) -> tuple[str, str]:
    """Return the key of a result: recipe and slice."""
    return one["config"], one["topology"]


def merged(old: list[dict], new: list[dict]) -> list[dict]:
    """Merge results by recipe and slice; new ones replace old ones."""
    replaced = {key(one): one for one in old} | {key(one): one for one in new}
    return [replaced[name] for name in sorted(replaced)]


def recipes(size: str) -> list[str]:
    """Return the names of the recipes compiled for a size, as in `fsfm_jax.compile_check`."""
    pretraining = f"pretrain_{size}"
    if not _ALL.value:
        return [pretraining]
    return [name for name, _, _ in family(load_recipe(pretraining))]


def compiled(name: str, topology: str) -> list[dict]:
    """Return the results of a separate process; raise RuntimeError with the end of its stderr if it has none."""
    recipe, _, detector = name.partition(OF)
    with tempfile.TemporaryDirectory() as folder:
        output = os.path.join(folder, "found.json")
        command = [
            sys.executable, "-m", "fsfm_jax.compile_check", f"--config={recipe}", f"--topology={topology}",
            f"--output={output}", *([f"--detector={detector}"] if detector else []),
            *(["--search"] if _SEARCH.value else []),
        ]  # fmt: skip
        done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
        if not os.path.exists(output):
            if "error: " in done.stderr:  # an error message for the user is a result
                said = done.stderr.rsplit("error: ", 1)[1].strip()
                return [{"config": name, "topology": topology, "fits": False, "error": said, "versions": versions()}]
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
        with open(output, encoding="utf-8") as file:
            return json.load(file)


def row(one: dict) -> list[str]:
    """Return a row of the table."""
    gib = 2**30
    if "error" in one:
        return [one["config"], one["topology"], "", one["error"], *[""] * 6]
    needed, there = one["needed_bytes"], one["available_bytes"]
    used = "" if needed is None else f"{needed / gib:.1f} of {there / gib:.1f}"
    cells = [one["config"], one["topology"], f"{one['images_at_once']:g} x {one['micro_batches']}", used]
    if not one["fits"]:
        return [*cells, "does not fit", *[""] * 5]
    figures, lines = one["figures"], one["rooflines"]
    return [
        *cells, "fits", f"{one['compiled_over_model_flops']:.3f}", f"{lines['cycles']['images_per_second']:.0f}",
        f"{lines['cycles']['mfu']:.3f}", f"{figures['gradient_copies']:.2f}", f"{one['compile_seconds']:.0f}",
    ]  # fmt: skip


HEADER = [
    "recipe", "slice", "images at once x parts", "GiB of a device", "", "compiled / model FLOPs",
    "images/s a chip, estimated", "MFU, estimated", "reductions of a gradient", "compile s",
]  # fmt: skip


def main(arguments: list[str]) -> None:
    found = known()
    for topology in _TOPOLOGIES.value:
        for name in (name for size in _SIZES.value for name in recipes(size)):
            there = [one for one in found if key(one) == (name, topology)]
            searched = not _SEARCH.value or all("search" in one or "error" in one for one in there)
            if there and searched and not _AGAIN.value:
                continue
            found = merged(found, compiled(name, topology))
            RESULTS.mkdir(exist_ok=True)
            FILE.write_text(json.dumps({"what": WHAT, "versions": versions(), "found": found}, indent=1) + "\n")
    lines = [HEADER, ["---"] * len(HEADER), *map(row, found)]
    print("\n".join(f"| {' | '.join(cells)} |" for cells in lines))


if __name__ == "__main__":
    app.run(main)
