"""Measure this project on TPU chips, in ten minutes. Run this first on a machine that has one.

    python -m benchmarks.tpu_chip [--minutes=10] [--sizes=vitb,vits,vitl]

In order: train steps of the pretraining recipes with their own micro-batch and two others, next to what
benchmarks/results/tpu.json estimates for one chip; inference and fine-tuning; loss and gradients against the CPU's; and
the loader. Needs requirements/tpu.lock. On a slice of several hosts, run it on one host with its chips alone. The
batches are already on the device, so the step alone is timed. The results go to benchmarks/results/tpu_chip.json after
every row; please send that file with a report. Nothing here was run on a TPU yet.
"""

import functools
import logging
import os

import jax
from absl import app, flags

from benchmarks import chip
from benchmarks.gpu import PRECISIONS, TUNED
from benchmarks.input import measure_records
from benchmarks.masks import RESULTS
from fsfm_jax.config.recipes import load_recipe

_MINUTES = flags.DEFINE_float("minutes", 10, "No measurement starts later.", lower_bound=0)
_SIZES = flags.DEFINE_list("sizes", ["vitb", "vits", "vitl"], "Sizes, in this order, of configs/pretrain_SIZE.py.")
_SECONDS = flags.DEFINE_float("seconds", 3, "Seconds of steps in a row, after compiling.", lower_bound=0)
_ANYWHERE = flags.DEFINE_bool("anywhere", False, "Also run on other devices, to try the program.")


def measure(report: chip.Report, sizes: list[str], seconds: float) -> None:
    """Add all rows, the most important ones first."""
    for size in sizes:
        own = load_recipe(f"pretrain_{size}").batch.per_device
        for images in (own, 2 * own, 4 * own):
            step = functools.partial(chip.pretraining, f"pretrain_{size}", images, seconds)
            report.add("pretraining", f"{size}, {images} images", step)
    report.add("inference", "vitb, 256 images", functools.partial(chip.inference, TUNED["fine-tuning"], 256, seconds))
    for name, recipe in TUNED.items():
        report.add(name, "vitb, 64 images", functools.partial(chip.fine_tuning, recipe, 64, seconds))
    for dtype, products in PRECISIONS:
        compare = functools.partial(chip.precision, dtype, products)
        report.add("against the CPU", f"{dtype}, products {products}", compare)
    cores = len(os.sched_getaffinity(0))
    report.add("loader", f"jpeg, {cores} processes", functools.partial(measure_records, "jpeg", cores))


def main(arguments: list[str]) -> None:
    logging.getLogger("absl").setLevel(logging.INFO)
    if jax.default_backend() != "tpu" and not _ANYWHERE.value:
        raise app.UsageError(
            f"expected a TPU; JAX found {jax.devices()[0].device_kind}. Install requirements/tpu.lock, or try the "
            "program with --anywhere"
        )
    report = chip.Report(RESULTS / "tpu_chip.json", _MINUTES.value)
    measure(report, _SIZES.value, _SECONDS.value)
    print(f"{len(report.rows)} rows in {report.path}")


if __name__ == "__main__":
    app.run(main)
