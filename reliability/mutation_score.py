"""Test whether the tests of a module detect changes of its code: a sample of small changes, one at a time.

    python -m reliability.mutation_score [--changes N] [--seed N] [--only PART ...]

Each sampled change (`reliability.code_changes`) is made in a copy of the checkout, where the module's own test files
run until the first failure. A change that no test notices is a survivor. One process runs the tests: it has imported
the libraries once, and forks for each change. A change that takes four times the processor time of the unchanged
module counts as noticed. Writes reliability/results/mutation_score.json after each module, and keeps the rows of the
modules that are not run.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.masks import write_results
from reliability import RESULTS
from reliability.code_changes import changed, changes

ROOT = Path(__file__).parents[1]
FILE = RESULTS / "mutation_score.json"
# Modules below fsfm_jax, and the files below tests that are about them.
MODULES = {
    "data/masking.py": ["data/test_masking.py"],
    "losses.py": ["test_losses.py"],
    "weights/safetensors_file.py": ["weights/test_safetensors_file.py"],
    "weights/torch_pickle.py": ["weights/test_torch_pickle.py", "weights/test_torch_file.py"],
    "weights/torch_file.py": ["weights/test_torch_file.py", "weights/test_torch_archives.py"],
    "weights/torch_writer.py": ["weights/test_torch_writer.py"],
    "weights/official_arguments.py": ["weights/test_official_arguments.py"],
    "weights/official_optimizer.py": ["weights/test_official_optimizer.py"],
    "weights/timm_state.py": ["weights/test_timm_state.py"],
    "run/digests.py": ["run/test_workdir.py", "test_kills.py"],
    "run/checkpoint.py": ["run/test_checkpoint.py", "test_kills.py"],
    "models/positions.py": ["models/test_positions.py"],
    "models/rotary.py": ["models/test_rotary.py"],
    "models/relative.py": ["models/test_relative.py"],
    "models/ops.py": ["models/test_ops.py", "models/test_layers.py"],
    "models/layers.py": ["models/test_layers.py"],
    "models/regressor.py": ["models/test_regressor.py"],
    "models/flops.py": ["models/test_flops.py"],
}
# Forks for each line of input, and answers with the exit status of the tests and their processor seconds.
SERVER = """
import json, os, resource, sys
import pytest, numpy, jax, jax.numpy, flax.linen, optax

for line in sys.stdin:
    files, seconds = json.loads(line)
    child = os.fork()
    if not child:
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 1), os.dup2(sink, 2)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        os._exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *files]))
    _, status, used = os.wait4(child, 0)
    print(json.dumps([os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime]), flush=True)
"""
LONGEST = 900  # processor seconds of an unchanged module
Run = Callable[[list[str], int], tuple[int, float]]


@contextlib.contextmanager
def tests_in(folder: Path) -> Iterator[Run]:
    """Yield a function that runs test files in `folder`: the exit code of pytest and the processor seconds."""
    cache = folder.parent / "compiled"
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SERVER], cwd=folder, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as server:  # fmt: skip

        def run(files: list[str], seconds: int) -> tuple[int, float]:
            server.stdin.write(json.dumps([[f"tests/{name}" for name in files], seconds]) + "\n")
            server.stdin.flush()
            code, used = json.loads(server.stdout.readline())
            return code, used

        yield run
        server.stdin.close()


def score(module: str, folder: Path, run: Run, most: int, seed: int) -> dict:
    """Return the row of a module with its survivors; RuntimeError if its tests fail without a change."""
    place = folder / "fsfm_jax" / module
    source = place.read_text()
    code, used = run(MODULES[module], LONGEST)
    if code:
        raise RuntimeError(f"expected the tests of {module} to pass before any change, found exit code {code}")
    every = changes(source)
    sample = sorted(random.Random(f"{seed}/{module}").sample(range(len(every)), min(most, len(every))))
    survivors = []
    for number in sample:
        place.write_text(changed(source, number))
        try:
            code, _ = run(MODULES[module], round(4 * used) + 20)
        finally:
            place.write_text(source)
        change = every[number]
        print(f"{module}:{change.line} {change.was!r} -> {change.now!r}: {code}", flush=True)
        if code == 0:
            survivors.append(f"{change.line}: {change.was} -> {change.now}")
    noticed = len(sample) - len(survivors)
    return {
        "module": module, "possible": len(every), "made": len(sample), "noticed": noticed,
        "score": round(noticed / len(sample), 3), "survivors": survivors,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=20, help="changes of a module at the most (default 20)")
    parser.add_argument("--seed", type=int, default=0, help="chooses the changes (default 0)")
    parser.add_argument("--only", nargs="*", default=[], help="parts of the names of modules (default: all modules)")
    options = parser.parse_args()
    chosen = [name for name in MODULES if not options.only or any(part in name for part in options.only)]
    rows = {row["module"]: row for row in json.loads(FILE.read_text())["rows"]} if FILE.exists() else {}
    with tempfile.TemporaryDirectory() as above:
        folder = Path(above) / "copy"
        tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in tracked.splitlines():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
        with tests_in(folder) as run:
            for module in chosen:
                rows[module] = score(module, folder, run, options.changes, options.seed)
                made, noticed = (sum(row[name] for row in rows.values()) for name in ("made", "noticed"))
                settings = {"changes of a module": options.changes, "seed": options.seed, "score": noticed / made}
                write_results("mutation_score", settings, [rows[name] for name in MODULES if name in rows], RESULTS)


if __name__ == "__main__":
    main()
