"""Small steps by the real TPU compiler, as a user would call it; no TPU is needed.

Needs libtpu, which is not among the packages of `make test`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bars import grown, measured

pytest.importorskip("libtpu", reason="libtpu is needed: pip install --require-hashes -r requirements/tpu.lock")

ROOT = Path(__file__).parents[2]
# A plain masked autoencoder of two blocks with 49 patches; 256 images on each of four chips.
FIELDS = {
    "model.size": "tiny32", "model.dtype": "bfloat16", "model.instance_discrimination": False,
    "mask.strategy": "random", "model.pixel_width": 64, "model.pixel_depth": 1, "batch.size": 1024,
    "batch.per_device": 256, "duration": "10 steps", "optimizer.warmup": "0 steps",
}  # fmt: skip


def run(topology: str, output: Path, *options: str, **fields) -> subprocess.CompletedProcess:
    changes = FIELDS | {name.replace("__", "."): value for name, value in fields.items()}
    return subprocess.run(
        [
            sys.executable, "-m", "fsfm_jax.compile_check", "--config=configs/pretrain_demo.py",
            f"--topology={topology}", f"--output={output}", *options,
            *(f"--config.{name}={value}" for name, value in changes.items()),
        ],
        cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_small_step_fits_and_is_estimated(tmp_path):
    done = run("v5e:2x2", tmp_path / "found.json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads((tmp_path / "found.json").read_text())
    assert found["fits"] and found["defects"] == []
    assert (found["chips"], found["hosts"], found["images_at_once"]) == (4, 1, 256)
    figures = found["figures"]
    # The mask token's embedding is all that the model's count leaves out.
    model = 256 * found["model_flops_per_image"]
    assert model <= figures["product_flops"] <= model + 3 * 2 * 64 * 64
    assert 0 < found["needed_bytes"] < found["available_bytes"] == 15.75 * 2**30
    # Memory is near what the state and the batch take, and more.
    assert figures["memory"]["arguments"] > found["state_bytes"]
    # No program runs faster than the matrix units can multiply.
    assert figures["cycles"] > figures["product_flops"] / found["chip"]["cycle_flops"]
    assert 0 < found["rooflines"]["cycles"]["mfu"] < 1
    assert figures["gradient_copies"] == pytest.approx(1, abs=0.02) and figures["unknown_loops"] == []


def test_accumulation_on_several_hosts_reduces_once(tmp_path):
    done = run("v5e:4x4", tmp_path / "found.json", batch__size=4096, batch__per_device=64)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads((tmp_path / "found.json").read_text())
    assert (found["chips"], found["hosts"], found["micro_batches"], found["images_at_once"]) == (16, 4, 4, 64)
    figures = found["figures"]
    # The loop over micro-batches is seen, and its products are counted four times.
    model = 256 * found["model_flops_per_image"]
    assert model <= figures["product_flops"] <= model + 4 * 3 * 2 * 64 * 64
    assert figures["gradient_copies"] == pytest.approx(1, abs=0.02)
    assert set(figures["gradient_reductions"]) == {"f32"}
    assert all(one["group"] == 16 for one in figures["collectives"]) and found["defects"] == []


def test_what_does_not_fit_is_a_sentence_with_numbers(tmp_path):
    done = run("v5e:2x2", tmp_path / "found.json", batch__size=4 * 65536, batch__per_device=65536)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "DOES NOT FIT: needs" in done.stdout and "more than a device's 15.75 GiB" in done.stdout
    assert "to make room: batch.per_device=" in done.stdout
    (found,) = json.loads((tmp_path / "found.json").read_text())
    assert not found["fits"] and found["needed_bytes"] > found["available_bytes"]


def test_a_shape_that_the_compiler_does_not_know_is_a_sentence(tmp_path):
    done = run("v5e:3x1", tmp_path / "found.json")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "error: --topology: the TPU compiler does not know v5e:3x1" in done.stderr


LARGE = pytest.mark.skipif("ALL_BARS" not in os.environ, reason="three minutes each: ALL_BARS=1 make test-tpu")


@pytest.mark.parametrize(
    "recipe", ["pretrain_vits", *(pytest.param(name, marks=LARGE) for name in ("pretrain_vitb", "pretrain_vitl"))]
)
def test_a_published_recipe_takes_no_more_flops_messages_or_memory_than_before(tmp_path, recipe):
    """Two to three minutes each. The stored figures are those of benchmarks/results/tpu.json for this slice."""
    command = [sys.executable, "-m", "fsfm_jax.compile_check", f"--config={recipe}", "--topology=v5e:16x16"]
    done = subprocess.run(
        [*command, f"--output={tmp_path / 'found.json'}"], cwd=ROOT, env=os.environ, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (found,) = json.loads((tmp_path / "found.json").read_text())
    assert grown(measured(found), json.loads((Path(__file__).parent / "bars.json").read_text())[recipe]) == []


def test_devices_of_every_kind_of_chip_make_a_mesh():
    """The table says how many devices a chip is; JAX refuses meshes of some in other forms."""
    program = (
        "import jax; from fsfm_jax.compile_check import chips; chips.prepare_environment(1);"
        "slices = [chips.open_slice(name) for name in ('v4:2x2x1', 'v5e:2x2', 'v5p:2x2x1', 'v6e:2x2', 'tpu7x:2x2x1')];"
        "auto = (jax.sharding.AxisType.Auto,);"
        "[jax.make_mesh((len(s.devices),), ('data',), auto, devices=s.devices) for s in slices];"
        "print([s.chips for s in slices])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip().endswith("[4, 4, 4, 4, 4]"), done.stderr
