"""Fine-tuning on two hosts: two processes look, choose, calibrate and test as one does, read their own rows
and write everything once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import light_compiling
import numpy as np
import portpicker
from tuning import FINETUNING, changed, looks

from fsfm_jax.config import finetune as finetuning
from fsfm_jax.detection.prediction_file import read_predictions
from fsfm_jax.detection.saved import open_saved
from fsfm_jax.jobs import finetune

ROOT = Path(__file__).parents[2]
# From scratch, so that nothing has to be pretrained; a set that two hosts with batches of 8 do not divide.
FIELDS = {
    **FINETUNING, "init": "scratch", "data.statistics": "vggface2", "batch.per_device": 16, "duration": "4 steps",
    "checkpoint.every": "2 steps", "data.test": "A=forged:blend:13:2:1",
    # Nothing moves: Adam's first steps would make much of rounding. That hosts train alike is a test of pretraining.
    "optimizer.base_learning_rate": 0.0, "optimizer.min_learning_rate": 0.0,
}  # fmt: skip
JOB = """
import json, sys
import jax
from absl import flags
from fsfm_jax.config import finetune as finetuning
from fsfm_jax.jobs import finetune
from fsfm_jax.data.forgery import ForgedSource

port, host = json.loads(sys.argv[1])
jax.distributed.initialize(f"localhost:{port}", 2, host)
flags.FLAGS.mark_as_parsed()  # grain reads a flag
config = finetuning.finetune()
config.update_from_flattened_dict(json.loads(sys.argv[2]))
read, get = [], ForgedSource.__getitem__
def noted(source, index):
    if source.name.startswith("forged:blend:13:"):
        read.append(index)
    return get(source, index)
ForgedSource.__getitem__ = noted
finetune.run(config, sys.argv[3])
with open(f"{sys.argv[3]}/read_{host}.json", "w") as file:
    json.dump(sorted(read), file)
"""


def run_on_two(workdir: Path) -> None:
    workdir.mkdir()
    port = portpicker.pick_unused_port()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", JOB, json.dumps([port, host]), json.dumps(FIELDS), str(workdir)],
            cwd=ROOT, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu", **light_compiling.ENVIRONMENT},
        )
        for host in range(2)
    ]  # fmt: skip
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors[-3000:]


def test_two_hosts_end_with_the_detector_and_the_scores_of_one(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    finetune.run(changed(finetuning.finetune(), FIELDS), str(one))
    run_on_two(two)
    assert [line["step"] for line in looks(str(two))] == [2, 4]
    for ours, theirs in zip(looks(str(two)), looks(str(one)), strict=True):
        ours, theirs = (line["splits"]["source-validation"] for line in (ours, theirs))
        assert ours["dataset"] == theirs["dataset"]
        # The same weights and one forward pass in float32, its products summed in another order.
        np.testing.assert_allclose(ours["loss"], theirs["loss"], rtol=1e-6)
    detectors = [open_saved(str(folder)) for folder in (one, two)]
    assert detectors[0].card["step"] == detectors[1].card["step"]
    assert detectors[0].card["seen"] == detectors[1].card["seen"]
    ours, theirs = (read_predictions(folder / "test" / "predictions" / "A.csv") for folder in (two, one))
    assert len(ours["score"]) == 13
    np.testing.assert_array_equal(ours["source"], theirs["source"])
    np.testing.assert_allclose(ours["score"], theirs["score"], rtol=1e-6)
    assert np.ptp(theirs["score"]) > 1e-5  # or the rows could be anybody's
    # Each host reads its own rows of every batch, and none of the other's.
    read = [json.loads((two / f"read_{host}.json").read_text()) for host in (0, 1)]
    assert read == [list(range(0, 13, 2)), list(range(1, 13, 2))]
    assert (two / "test" / "table.md").exists() and not list(two.rglob("*.tmp"))
