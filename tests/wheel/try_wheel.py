"""Use an installed wheel in an empty folder: commands, its own weights, two steps of each training, the page on Python.

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
SAMPLES = ("pd_nasa_astronaut.jpg", "pd_nasa_astronaut_pan.mp4")
# Of scores that are a rounding apart between processors and libraries; between the images they differ by 2e-5.
ROUNDING = 1e-6
WEIGHTS = "fsfm_jax/weights/small/"
MOST_BYTES = 10_000_000  # of the weights
TWO_STEPS = [
    "--config.duration=2 steps", "--config.optimizer.warmup=0 steps", "--config.checkpoint.every=2 steps",
    "--config.batch.size=4",
]  # fmt: skip
PRETRAIN = [
    "--config=pretrain_demo", "--workdir=runs/tiny", "--config.batch.per_device=4", "--config.data.train=synthetic:16",
]  # fmt: skip
FINETUNE = [
    "--config=finetune_demo", "--workdir=runs/found", "--config.init=runs/tiny", "--config.evaluation.batch=4",
    "--config.data.train=forged:blend:8", "--config.data.validation=forged:blend:8:1",
    "--config.data.test=home=forged:blend:8:2:0",
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
    weights = {name: len(content) for name, content in held.items() if name.startswith(WEIGHTS)}
    assert sum(name.endswith(".safetensors") for name in weights) == 2 and sum(weights.values()) <= MOST_BYTES, weights


def last_step(workdir: str) -> int:
    """The step of the last loss in a run's metrics."""
    lines = [json.loads(line) for line in Path(workdir, "metrics.jsonl").read_text().splitlines()]
    return [line["step"] for line in lines if "loss" in line][-1]


def check_commands() -> None:
    """The command line answers and lists its data sets."""
    import fsfm_jax

    assert not Path(fsfm_jax.__file__).is_relative_to(ROOT / "fsfm_jax"), "the checkout is imported, not the wheel"
    assert fsfm("--version") == f"fsfm_jax {fsfm_jax.__version__}\n"
    shown = fsfm("--help")
    assert all(re.search(rf"(?m)^  {name} ", shown) for name in COMMANDS), shown
    assert re.search(r"\bvggface2\b", fsfm("prepare", "--list"))


def check_weights() -> None:
    """The weights of the package judge a photo before anything was trained, and say what they are."""
    fsfm("predict", "photo.jpg", "--json=small.json")
    found = json.loads(Path("small.json").read_text())
    assert found["detector"] == "small" and found["files"][0]["verdict"] in ("real", "forged"), found
    assert "demonstration detector, and its verdicts are no evidence" in found["warnings"][0], found
    fsfm("analyze", "reconstruction", "--checkpoint=small", "--images=1", "--output=pictures")
    assert Path("pictures/reconstruction.png").is_file()


def check_preparation() -> None:
    """The face of a photo and faces of a video become records."""
    said = fsfm("prepare", "--dataset=photos", "--input=samples", "--output=data/mine")
    assert "not kept: none" in said, said
    assert Path("data/mine/fsfm_contact_sheet_train.png").is_file() and [*Path("data/mine").glob("*.array_record-*")]


def check_training() -> None:
    """Two steps of pretraining start two steps of fine-tuning; what comes out gives a photo and a video a score."""
    fsfm("train", *PRETRAIN, *TWO_STEPS)
    assert last_step("runs/tiny") == 2
    assert Path("runs/tiny/reconstruction.png").is_file()
    fsfm("train", *FINETUNE, *TWO_STEPS)
    assert last_step("runs/found") == 2
    assert Path("runs/found/test/table.md").is_file()
    fsfm("predict", "--checkpoint=runs/found", "samples", "--json=scores.json")
    found = json.loads(Path("scores.json").read_text())["files"]
    assert {Path(one["file"]).name for one in found} == {*SAMPLES}, found
    assert all(one["score"] is not None and 0 <= one["score"] <= 1 and one["faces"] for one in found), found


def check_page() -> None:
    """The examples of docs/python.md run."""
    space: dict = {}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
    assert blocks
    for number, block in enumerate(blocks):
        exec(compile(block, f"docs/python.md, example {number}", "exec"), space)
    assert space["features"].shape == (3, space["encoder"].width)
    assert space["verdict"].verdict in ("real", "forged") and len(space["verdict"].faces) == 1


def check_former() -> None:
    """A detector of version 0.1 gives the scores that it gave then."""
    import numpy as np

    from fsfm_jax.detection.opener import Unsaid
    from fsfm_jax.detection.predictor import open_predictor

    crops = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    expected = json.loads(Path("runs/expected.json").read_text())["finetune_whole"]
    np.testing.assert_allclose(
        open_predictor("runs/detector", Unsaid()).log_probabilities(crops), expected, atol=ROUNDING
    )


def main() -> None:
    wheel = Path(sys.argv[1]).resolve()
    check_content(wheel)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        with tarfile.open(ROOT / "tests" / "golden" / "former" / "runs.tar.xz") as archive:
            archive.extractall("runs", filter="data")
        os.rename("runs/finetune_whole", "runs/detector")
        os.mkdir("samples")
        for name in SAMPLES:
            shutil.copy(ROOT / "fsfm_jax" / "data" / "samples" / name, "samples")
        shutil.copy(ROOT / "fsfm_jax" / "data" / "samples" / SAMPLES[0], "photo.jpg")
        for check in (check_commands, check_weights, check_preparation, check_training, check_page, check_former):
            start = time.monotonic()
            check()
            print(f"{check.__name__}: {time.monotonic() - start:.0f} s")
        os.chdir("/")
    print(f"{wheel.name} works on Python {sys.version.partition(' ')[0]}")


if __name__ == "__main__":
    main()
