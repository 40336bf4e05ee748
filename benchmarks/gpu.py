"""Measure this project on a GPU, in ten minutes. Run this first on a machine that has one.

    python -m benchmarks.gpu [--minutes=10] [--sizes=vitb,vits,vitl]

In order: loss and gradients against the CPU's; train steps of the pretraining recipes for several micro-batches, with
activations kept and computed again; attention in our form and in those of JAX (XLA and cuDNN); fine-tuning, FS-Adapter
and inference; and the loader. Needs requirements/cuda.lock. The batches are already on the device, so the step alone is
timed. The results go to benchmarks/results/gpu.json after every row; please send that file with a report.

The same numbers for PyTorch: `python -m benchmarks.speed`, on CPUs only. A run that is killed and resumed:
`python -m reliability.kills`. XLA may add in another order each time; `XLA_FLAGS=--xla_gpu_deterministic_ops=true`
makes sums repeatable. Run the benchmark with and without it for its cost. Nothing here was run on a GPU yet.
"""

import functools
import os

from absl import app

from benchmarks import chip
from benchmarks.input import measure_records

MICRO_BATCHES = (128, 64, 256, 512)


def measure(report: chip.Report, sizes: list[str], seconds: float) -> None:
    """Add all rows, the most important ones first."""
    for dtype, products in chip.PRECISIONS:
        compare = functools.partial(chip.precision, dtype, products)
        report.add("against the CPU", f"{dtype}, products {products}", compare)
    for size in sizes:
        for images in MICRO_BATCHES:
            for remat in ("none", "attention") if images == MICRO_BATCHES[0] else ("none",):
                step = functools.partial(chip.pretraining, f"pretrain_{size}", images, seconds, model__remat=remat)
                report.add("pretraining", f"{size}, {images} images, remat {remat}", step)
    for name, shape in chip.ATTENTIONS.items():
        for form in ("ours", "xla", "cudnn"):
            report.add("attention", f"{name}, {form}", functools.partial(chip.attention, shape, form, seconds / 3))
    for name, recipe in chip.TUNED.items():
        report.add(name, "vitb, 64 images", functools.partial(chip.fine_tuning, recipe, 64, seconds))
    score = functools.partial(chip.inference, chip.TUNED["fine-tuning"], 256, seconds)
    report.add("inference", "vitb, 256 images", score)
    cores = len(os.sched_getaffinity(0))
    for encoding in ("jpeg", "png"):
        report.add("loader", f"{encoding}, {cores} processes", functools.partial(measure_records, encoding, cores))


def main(arguments: list[str]) -> None:
    chip.start("gpu", "gpu", measure)


if __name__ == "__main__":
    app.run(main)
