"""Compare steps on a CPU with the same steps in plain PyTorch: pretraining, fine-tuning, inference.

    make .venv-parity/.made
    .venv-parity/bin/python -m benchmarks.speed

Both use float32, the same batches from host memory, and all threads available to this process. Each pair takes turns in
one process, so other programs slow down both. The ratio is the median over the turns (above 1: JAX is faster), with its
quartiles. The ratio of processor time is also reported; other programs hardly change it, but threads that wait for each
other do. `torch_step` describes the steps in PyTorch. `JAX_NUM_CPU_DEVICES=2` in the environment creates two devices,
which train on half of the images each. With names of steps as arguments only those are measured, and no file is
written. The results go to benchmarks/results/speed.json.
"""

import logging
import os
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import torch
from absl import app

from benchmarks import torch_step
from benchmarks.masks import write_results
from fsfm_jax.config import finetune as finetuning
from fsfm_jax.config import pretrain as common
from fsfm_jax.jobs import finetune_program, pretrain
from fsfm_jax.records import ERASE, MIX_BOX, MIX_CUTMIX, MIX_RATIO
from fsfm_jax.resolve.finetune import Finetuning, resolve_finetuning
from fsfm_jax.resolve.pretrain import resolve_pretraining
from fsfm_jax.tasks.normalisation import STATISTICS
from fsfm_jax.train.program import Program

DATA, IMAGES, STEPS = STATISTICS["vggface2"], 64, "100 steps"
TURNS = {"inference ViT-S": 11, "fine-tune ViT-S": 11, "pretrain ViT-S": 11, "pretrain ViT-B": 7}
WARM_UP = 4  # turns until memory allocation is stable
SIZES = {"S": "vit_s16", "B": "vit_b16"}
BATCH, INFERENCE_BATCH = 8, 32
COMMON = {
    "model.dtype": "float32", "batch.size": BATCH, "duration": STEPS,
    "optimizer.warmup": "10 steps", "checkpoint.every": "50 steps",
}  # fmt: skip
FINETUNING = {
    "init": "benchmark", "model.drop_path": 0.0, "mix.probability": 0.0, "evaluation.batch": BATCH,
    "augment.crop": False, "augment.flip": 0.0, "augment.rand_augment": "none", "augment.erase": 0.0,
    "optimizer.layer_decay": 1.0,
}  # fmt: skip


class Pair(NamedTuple):
    """One step in JAX and in PyTorch; a call returns when its result is on the host."""

    ours: Callable[[], None]
    theirs: Callable[[], None]
    images: int


def _trained(program: Program, theirs: Callable, batch: dict[str, np.ndarray]) -> Pair:
    step, state = program.compile_step(), [program.initial_state(seed=0)]

    def ours() -> None:
        state[0], metrics = step(state[0], program.to_device(batch))
        jax.block_until_ready((state[0], metrics))

    return Pair(ours, lambda: theirs(batch), len(batch["image"]))


def _images(count: int, side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)


def _divided() -> dict[str, int]:
    return {"batch.per_device": BATCH // jax.device_count()}


def pretraining(size: str) -> Pair:
    """Return one step of pretraining with one micro-batch."""
    c = common.pretrain()
    own = {"model.size": SIZES[size], "checkpoint.keep_every": "0 steps"}
    c.update_from_flattened_dict({**COMMON, **_divided(), **own})
    resolved = resolve_pretraining(c, IMAGES, jax.device_count())
    spec, loss = resolved.model, resolved.loss
    order = np.argsort(np.random.default_rng(1).random((BATCH, spec.patches)), axis=1)
    batch = {
        "image": _images(BATCH, spec.image_size),
        "mask": order >= spec.seen,
        "region_mask": order >= spec.patches - 12,
    }
    theirs = torch_step.pretraining(spec, DATA, loss.region_weight, loss.instance_weight, resolved.schedule.peak)
    return _trained(pretrain.make_program(resolved, DATA), theirs, batch)


def _finetuning(size: str) -> Finetuning:
    c = finetuning.finetune()
    c.update_from_flattened_dict({**COMMON, **_divided(), **FINETUNING, "model.size": SIZES[size]})
    return resolve_finetuning(c, IMAGES, 2, 1, DATA, jax.device_count())


def fine_tuning(size: str) -> Pair:
    """Return one step of full fine-tuning."""
    resolved = _finetuning(size)
    model, program = resolved.task.model, finetune_program.make_program(resolved)
    batch = {
        "image": _images(BATCH, model.image_size), "label": np.arange(BATCH, dtype=np.int32) % 2,
        ERASE: np.zeros((BATCH, 4), np.int32), MIX_CUTMIX: np.zeros(BATCH, np.bool_),
        MIX_RATIO: np.ones(BATCH, np.float32), MIX_BOX: np.zeros((BATCH, 4), np.int32),
    }  # fmt: skip
    theirs = torch_step.finetuning(model.size, model.image_size, DATA, resolved.schedule.peak)
    return _trained(program, theirs, batch)


def inference(size: str) -> Pair:
    """Return the scoring of a batch by a detector."""
    task = _finetuning(size).task
    batch = {"image": _images(INFERENCE_BATCH, task.model.image_size)}
    params, score = jax.jit(task.init)(jax.random.key(0)), jax.jit(task.log_probabilities)
    theirs = torch_step.inference(task.model.size, task.model.image_size, DATA)
    return Pair(lambda: np.asarray(score(params, batch["image"])), lambda: theirs(batch), INFERENCE_BATCH)


MADE = {"pretrain": pretraining, "fine-tune": fine_tuning, "inference": inference}


def seconds(work: Callable) -> tuple[float, float]:
    """Return wall-clock and processor seconds of `work`."""
    started, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - used


def row(name: str) -> dict[str, str]:
    """Measure one pair."""
    job, size = name.split(" ViT-")
    pair = MADE[job](size)
    turns = np.array([(seconds(pair.ours), seconds(pair.theirs)) for _ in range(TURNS[name] + WARM_UP)][WARM_UP:])
    ours, theirs = np.median(turns[:, :, 0], axis=0)
    ratios = turns[:, 1] / turns[:, 0]  # [turns, (clock, processors)]
    low, middle, high = np.quantile(ratios[:, 0], (0.25, 0.5, 0.75))
    return {
        "step": name, "batch": str(pair.images), "ours, seconds": f"{ours:.3f}", "PyTorch, seconds": f"{theirs:.3f}",
        "ratio": f"{middle:.2f}", "quartiles": f"{low:.2f}–{high:.2f}",
        "ratio of processor time": f"{np.median(ratios[:, 1]):.2f}",
    }  # fmt: skip


def main(arguments: list[str]) -> None:
    logging.getLogger("absl").setLevel(logging.WARNING)
    threads = len(os.sched_getaffinity(0))  # XLA uses the same number
    torch.set_num_threads(threads)
    chosen = arguments[1:] or list(TURNS)
    rows = []
    for name in chosen:
        rows.append(row(name))
        print(rows[-1], flush=True)
    if chosen == list(TURNS):
        versions = {"jax": jax.__version__, "torch": torch.__version__}
        write_results("speed", {"threads": threads, "devices": jax.device_count(), "turns": TURNS, **versions}, rows)


if __name__ == "__main__":
    app.run(main)
