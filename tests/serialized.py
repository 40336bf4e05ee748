"""Tiny detectors with drawn parameters, so that scores differ from image to image, and what is said of them."""

import dataclasses
import hashlib
import json
from pathlib import Path

import jax
import numpy as np
from tuning import FINETUNING

from fsfm_jax.config import finetune
from fsfm_jax.config.fields import flat
from fsfm_jax.detection.detector import Detector
from fsfm_jax.detection.saved import save_detector
from fsfm_jax.resolve.task import task_of
from fsfm_jax.tasks.classify import ClassifyTask
from fsfm_jax.tasks.normalisation import Statistics

SIDE = 32
# Two blocks in float32 in another order of summation: some 1e-6 of logarithms of about 1.
TOLERANCE = 1e-5
STATISTICS = Statistics((0.55, 0.42, 0.37), (0.28, 0.24, 0.23))
THRESHOLD = {
    "value": 0.25, "rule": "equal error", "split": "val", "miss_rate": 0.125, "false_alarm_rate": None,
}  # fmt: skip
CALIBRATION = {"split": "val", "temperature": 1.5, "thresholds": {"frame": [THRESHOLD], "video": [THRESHOLD] * 2}}
SELECTION = {"rule": "last", "metric": None, "oracle": False, "label": "Step 7, the last."}


def card(**config) -> dict:
    """The card of a detector of images of 32 pixels, as a run leaves it; `model__size` stands for `model.size`."""
    changed = {name.replace("__", "."): value for name, value in config.items()}
    return {
        "config": dict(flat(finetune.finetune())) | FINETUNING | changed,
        "class_names": ["fake", "real"], "real": 1, "statistics": dataclasses.asdict(STATISTICS), "image_size": SIDE,
        "step": 7, "selection": SELECTION, "calibration": CALIBRATION, "seen": None, "versions": {"jax": "0.1"},
        "origin": {"kind": "run", "path": "runs/pretraining"},
    }  # fmt: skip


def drawn(task: ClassifyTask) -> dict:
    """Parameters of a task, products at their scale."""
    random = np.random.default_rng(0)

    def draw(path, leaf):
        scale = leaf.shape[0] ** -0.5 if path[-1].key == "kernel" else 0.3
        return (random.normal(size=leaf.shape) * scale + (path[-1].key == "scale")).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(task.init, jax.random.key(0)))


def detector(**config) -> Detector:
    """A detector that was never on a disk."""
    about = card(**config)
    task = task_of(about)
    return Detector("drawn", task, drawn(task), about)


def run(workdir: Path, **config) -> str:
    """The working directory of a run that ended with such a detector."""
    made = detector(**config)
    save_detector(str(workdir), 7, made.params, made.card)
    return str(workdir)


def images(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)


def live(of: Detector, pixels: np.ndarray) -> np.ndarray:
    """What the detector says itself."""
    return np.asarray(jax.jit(of.task.log_probabilities)(of.params, pixels))


def replace(path: Path, content: bytes, **changes) -> None:
    """Writes other bytes into an artifact, with a sidecar that vouches for them; `artifact__kind` is a field below."""
    about = json.loads(Path(f"{path}.json").read_text())
    about["artifact"] |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    for name, value in changes.items():
        *outer, inner = name.split("__")
        place = about
        for part in outer:
            place = place[part]
        place[inner] = value
    path.write_bytes(content)
    Path(f"{path}.json").write_text(json.dumps(about))
