"""Tiny pretraining and fine-tuning runs on drawn forgeries, for the tests of the downstream jobs."""

import json
from pathlib import Path

from configs import pretrain_demo
from fsfm_jax.config import evaluate
from fsfm_jax.config import finetune as finetuning
from fsfm_jax.detection import results
from fsfm_jax.detection.validation import FILE
from fsfm_jax.jobs import finetune, pretrain

STEPS = 6
PRETRAINING = {
    "data.train": "samples:train", "data.statistics": "vggface2", "data.threads": 1, "batch.size": 8,
    "batch.per_device": 1, "model.size": "tiny16", "model.pixel_width": 16, "model.pixel_depth": 1,
    "model.rep_depth": 1, "model.projection_hidden": 16, "model.projection_features": 8, "duration": "2 steps",
    "optimizer.warmup": "0 steps", "checkpoint.every": "2 steps", "figure.faces": 1,
}  # fmt: skip
FINETUNING = {
    "data.train": "forged:blend:24", "data.validation": "forged:blend:16:1", "data.threads": 1,
    "batch.size": 16, "batch.per_device": 2, "model.size": "tiny16", "model.dtype": "float32",
    "augment.rand_augment": "none", "duration": f"{STEPS} steps", "optimizer.warmup": "1 steps",
    "checkpoint.every": "3 steps", "evaluation.batch": 8, "bootstrap.resamples": 20,
}  # fmt: skip
TEST_SET = "A=forged:blend:16:2:1"
TESTED = {"data__test": TEST_SET, "writers": "console,jsonl,tensorboard"}


def changed(config, fields: dict):
    """`config` with fields by their dotted names."""
    config.update_from_flattened_dict(fields)
    return config


def dotted(fields: dict) -> dict:
    return {name.replace("__", "."): value for name, value in fields.items()}


def tiny(**fields):
    """The fine-tuning configuration of the tests; `data__train` stands for `data.train`."""
    return changed(finetuning.finetune(), {**FINETUNING, **dotted(fields)})


def tiny_pretraining(**fields):
    """The pretraining configuration of the tests."""
    return changed(pretrain_demo.get_config(), PRETRAINING | dotted(fields))


def evaluation_of(detector: str, sets: str, **fields):
    """An evaluation of a detector with few resamples."""
    base = {"checkpoint": detector, "data.sets": sets, "evaluation.batch": 16, "bootstrap.resamples": 20}
    return changed(evaluate.evaluate(), {**base, **dotted(fields)})


def pretrained_run(folder: Path) -> str:
    """The workdir of a pretraining of two steps."""
    pretrain.run(tiny_pretraining(), str(folder))
    return str(folder)


def tuned_run(folder: Path, init: str, **fields) -> str:
    """The workdir of a finished fine-tuning."""
    finetune.run(tiny(init=init, **fields), str(folder))
    return str(folder)


def draw_nothing(patch) -> None:
    """Have no pictures drawn of test sets where nobody reads them."""
    patch.setattr(results, "_draw", lambda *_: None)


def looks(workdir: str) -> list[dict]:
    """What a run saw of its validation set."""
    return [json.loads(line) for line in (Path(workdir) / FILE).read_text().splitlines()]
