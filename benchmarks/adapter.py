"""Measure what a frozen encoder saves: full fine-tuning, FS-Adapter, and FS-Adapter on features from disk.

    python -m benchmarks.adapter

The network is ViT-S/16 in float32 on drawn forgeries, without augmentation, on one device. The three steps are timed in
turn, so other programs slow down all of them; the ratio is the median over the turns. FLOPs and memory are the
compiler's counts; the state has all parameters, and the moments of the trained ones. Then one epoch is timed as in the
job, including decoding and loading: from photos, from features including their computation, and from stored features.
The results go to benchmarks/results/adapter.json.
"""

import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np
from absl import app

from benchmarks.masks import write_results
from fsfm_jax.config import finetune as finetuning
from fsfm_jax.data.feature_stream import UNAUGMENTED, FeatureSource, FeatureStream
from fsfm_jax.data.forgery import ForgedSource
from fsfm_jax.data.label_stream import LabelledStream
from fsfm_jax.detection.features import FeatureCache
from fsfm_jax.jobs.finetune_program import make_program
from fsfm_jax.optim import tuning
from fsfm_jax.resolve.finetune import Finetuning, resolve_finetuning
from fsfm_jax.tasks.normalisation import STATISTICS
from fsfm_jax.train.program import Program

SIZE, BATCH, IMAGES, TURNS = "vit_s16", 8, 64, 7
FULL, ADAPTER, CACHED = "full", "FS-Adapter", "FS-Adapter, features"
FIELDS = {
    "model.size": SIZE, "model.dtype": "float32", "model.drop_path": 0.0, "loss.contrast": 0.0,
    "batch.size": BATCH, "batch.per_device": BATCH, "evaluation.batch": BATCH,
    "duration": "100 steps", "optimizer.warmup": "10 steps", "checkpoint.every": "50 steps", "mix.probability": 0.0,
    "augment.crop": False, "augment.flip": 0.0, "augment.rand_augment": "none", "augment.erase": 0.0,
    "optimizer.layer_decay": 1.0,
}  # fmt: skip


def resolved(method: str, cache: str = "") -> Finetuning:
    """Return a run of a tuning on the images of the benchmark."""
    c = finetuning.finetune()
    c.update_from_flattened_dict({**FIELDS, "init": "benchmark", "tuning.method": method, "features.cache": cache})
    return resolve_finetuning(c, IMAGES, 2, 1, STATISTICS["vggface2"], jax.device_count())


class Kind(NamedTuple):
    """One of the three variants: its program, its compiled step, and its state, which every step replaces."""

    run: Finetuning
    program: Program
    step: jax.stages.Compiled
    state: list


def made(run: Finetuning) -> Kind:
    """Compile the step of a run."""
    program = make_program(run)
    return Kind(run, program, program.compile_step(), [program.initial_state(run.seed)])


def seconds(kind: Kind, batch: dict[str, np.ndarray]) -> float:
    """Return the wall-clock time of one step, including the transfer of the batch to the device."""
    started = time.perf_counter()
    kind.state[0], metrics = kind.step(kind.state[0], kind.program.to_device(batch))
    jax.block_until_ready((kind.state[0], metrics))
    return time.perf_counter() - started


def epoch(kind: Kind, stream: Iterator) -> None:
    """Train on every image once."""
    for _ in range(IMAGES // BATCH):
        seconds(kind, next(stream))
    stream.close()


def timed(work: Callable) -> float:
    """Return the wall-clock time of `work` in seconds."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main(arguments: list[str]) -> None:
    logging.getLogger("absl").setLevel(logging.WARNING)
    source = ForgedSource(["blend"], IMAGES)
    for index in range(IMAGES):
        source[index]  # drawn in advance, because the drawing is not measured
    with tempfile.TemporaryDirectory() as folder:
        kinds = {
            FULL: made(resolved(tuning.FULL)),
            ADAPTER: made(resolved(tuning.ADAPTER)),
            CACHED: made(resolved(tuning.ADAPTER, folder)),
        }
        adapter, cached = kinds[ADAPTER], kinds[CACHED]
        photos = lambda: LabelledStream([(source, None)], adapter.run.stream, 0, 0, 1)  # noqa: E731

        def features() -> FeatureStream:
            run, mesh = cached.run, cached.program.mesh
            # As at the start of a run: a fresh cache finds its files by the encoder's content.
            cache = FeatureCache(folder, run.task, cached.state[0].params, run.report.evaluation, mesh)
            return FeatureStream([(FeatureSource(source, cache.of(source, UNAUGMENTED)), None)], run.stream, 0, 0, 1)

        epochs = {
            "from photos": timed(lambda: epoch(adapter, photos())),
            "from features, computed first": timed(lambda: epoch(cached, features())),
            "from features that are there": timed(lambda: epoch(cached, features())),
        }
        image, row = next(photos()), next(features())
    batches = {FULL: image, ADAPTER: image, CACHED: row}
    turns = [{name: seconds(kind, batches[name]) for name, kind in kinds.items()} for _ in range(TURNS + 1)][1:]
    rows = []
    for name, kind in kinds.items():
        memory = kind.step.memory_analysis()
        params = kind.state[0].params
        rows.append({
            "step": name,
            "trained": f"{tuning.count(tuning.split(params, kind.run.trained)[0]):,}",
            "seconds": f"{statistics.median(turn[name] for turn in turns):.4f}",
            "of full": f"{statistics.median(turn[name] / turn[FULL] for turn in turns):.4f}",
            "GFLOP": f"{kind.step.cost_analysis()['flops'] / 1e9:.3f}",
            "state MB": f"{memory.argument_size_in_bytes / 1e6:.1f}",
            "temporaries MB": f"{memory.temp_size_in_bytes / 1e6:.1f}",
        })  # fmt: skip
    shown = {f"epoch {name}": f"{value:.2f} s" for name, value in epochs.items()}
    write_results("adapter", {"size": SIZE, "batch": BATCH, "images": IMAGES, "turns": TURNS, **shown}, rows)
    print("\n".join(f"{name}: {value}" for name, value in shown.items()))


if __name__ == "__main__":
    app.run(main)
