"""Use an installed wheel in an empty folder: commands, two training steps, and the page about Python.

    PYTHON tests/wheel/try_wheel.py dist/NAME.whl

PYTHON is of an environment with the wheel and its requirements, and without this checkout. `make test-wheel` makes one.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FSFM = str(Path(sys.executable).with_name("fsfm"))
COMMANDS = "prepare train evaluate predict serve analyze import export compile-check".split()
TWO_STEPS = [
    "--config=pretrain_demo", "--workdir=runs/tiny", "--config.duration=2 steps", "--config.optimizer.warmup=0 steps",
    "--config.checkpoint.every=2 steps", "--config.batch.size=4", "--config.batch.per_device=4",
    "--config.data.train=synthetic:16",
]  # fmt: skip


def fsfm(*arguments: str) -> str:
    """Run `fsfm` and return what it printed; AssertionError if it failed."""
    done = subprocess.run([FSFM, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"fsfm {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def check_content(wheel: Path) -> None:
    """Every file of the package and every recipe is in the wheel, as it is in the checkout."""
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    for folder, inside in (("fsfm_jax", "fsfm_jax"), ("configs", "fsfm_jax/recipes")):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                name = f"{inside}/{path.relative_to(ROOT / folder)}"
                assert held.get(name) == path.read_bytes(), f"{wheel.name}: {name} is missing or not up to date"


def check_commands() -> None:
    """The command line answers, trains two steps and gives a photo a verdict."""
    import fsfm_jax

    assert not Path(fsfm_jax.__file__).is_relative_to(ROOT / "fsfm_jax"), "the checkout is imported, not the wheel"
    assert fsfm("--version") == f"fsfm_jax {fsfm_jax.__version__}\n"
    shown = fsfm("--help")
    assert all(re.search(rf"(?m)^  {name} ", shown) for name in COMMANDS), shown
    assert re.search(r"\bvggface2\b", fsfm("prepare", "--list"))
    fsfm("train", *TWO_STEPS)
    lines = [json.loads(line) for line in Path("runs/tiny/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line][-1] == 2
    assert Path("runs/tiny/reconstruction.png").is_file()
    fsfm("predict", "--checkpoint=runs/detector", "photo.jpg", "--json=scores.json")
    (found,) = json.loads(Path("scores.json").read_text())
    assert 0 <= found["score"] <= 1, found


def check_page() -> None:
    """The examples of docs/python.md run."""
    space: dict = {}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
    for number, block in enumerate(blocks):
        exec(compile(block, f"docs/python.md, example {number}", "exec"), space)


def main() -> None:
    wheel = Path(sys.argv[1]).resolve()
    check_content(wheel)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        with tarfile.open(ROOT / "tests" / "golden" / "former" / "runs.tar.xz") as archive:
            archive.extractall("runs", filter="data")
        os.rename("runs/finetune_whole", "runs/detector")
        shutil.copy(ROOT / "fsfm_jax" / "data" / "samples" / "pd_nasa_astronaut.jpg", "photo.jpg")
        for check in (check_commands, check_page):
            start = time.monotonic()
            check()
            print(f"{check.__name__}: {time.monotonic() - start:.0f} s")
        os.chdir("/")
    print(f"{wheel.name} works on Python {sys.version.partition(' ')[0]}")


if __name__ == "__main__":
    main()
