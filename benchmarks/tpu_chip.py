"""Measure this project on TPU chips, in ten minutes. Run this first on a machine that has one.

    python -m benchmarks.tpu_chip [--minutes=10] [--sizes=vitb,vits,vitl]

In order: train steps of the pretraining recipes with their own micro-batch and two others, to compare with
the estimates in benchmarks/results/tpu.json; inference and fine-tuning; loss and gradients against the CPU's; and the
loader. Needs requirements/tpu.lock. On a slice of several hosts, run it on one host with its chips alone. The
batches are already on the device, so the step alone is timed. The results go to benchmarks/results/tpu_chip.json after
every row; please send that file with a report. Nothing here was run on a TPU yet.
"""

import functools
import os

from absl import app

from benchmarks import chip
from benchmarks.input import measure_records
from fsfm_jax.config.recipes import load_recipe


def measure(report: chip.Report, sizes: list[str], seconds: float) -> None:
    """Add all rows, the most important ones first."""
    for size in sizes:
        own = load_recipe(f"pretrain_{size}").batch.per_device
        for images in (own, 2 * own, 4 * own):
            step = functools.partial(chip.pretraining, f"pretrain_{size}", images, seconds)
            report.add("pretraining", f"{size}, {images} images", step)
    score = functools.partial(chip.inference, chip.TUNED["fine-tuning"], 256, seconds)
    report.add("inference", "vitb, 256 images", score)
    for name, recipe in chip.TUNED.items():
        report.add(name, "vitb, 64 images", functools.partial(chip.fine_tuning, recipe, 64, seconds))
    for dtype, products in chip.PRECISIONS:
        compare = functools.partial(chip.precision, dtype, products)
        report.add("against the CPU", f"{dtype}, products {products}", compare)
    cores = len(os.sched_getaffinity(0))
    report.add("loader", f"jpeg, {cores} processes", functools.partial(measure_records, "jpeg", cores))


def main(arguments: list[str]) -> None:
    chip.start("tpu", "tpu_chip", measure)


if __name__ == "__main__":
    app.run(main)
