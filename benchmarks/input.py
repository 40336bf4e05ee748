"""Measure the speed of the loader: decoded, masked and batched images per second, by format and workers.

    python -m benchmarks.input

The formats are records with PNG and with JPEG photos, and the official layout: one .png and one .npy file per face.
"self-blended" is the loader of fine-tuning, without augmentation, on the PNG records: every face is decoded twice, for
itself and for its blend, so half of the images are blends. The bundled faces are read repeatedly from the disk cache;
on a cold disk the small files also cost one seek each. `images/s` is wall-clock time and depends on other programs.
Processor time per image does not, but it only covers this process and is left out if workers decode.

A training run reports its own bottleneck: `input_wait` in its metrics and "input-bound" in its progress line. With
--config.data.repeat_batch=True it shows the speed of the device alone, for comparison with these rates.

The results go to benchmarks/results/input.json.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, logging

from benchmarks.masks import write_results
from fsfm_jax.data.augment import AugmentSpec
from fsfm_jax.data.blended_source import BlendedSource
from fsfm_jax.data.folder import FolderSource
from fsfm_jax.data.label_stream import LabelledSpec, LabelledStream
from fsfm_jax.data.masking import MaskSpec
from fsfm_jax.data.self_blended import SelfBlendSpec
from fsfm_jax.data.sources import SAMPLES, RecordSource, Source
from fsfm_jax.data.stream import Batches, Stream, StreamSpec
from fsfm_jax.data.views import WHOLE
from fsfm_jax.prepare import pool
from fsfm_jax.prepare.preparation import build

BATCH, SECONDS, REPEATS = 64, 2.0, 3
LENGTH = 3_000_000  # about VGGFace2
ENCODINGS = {"png": "keep", "jpeg": "jpeg"}
READERS = ((0, 0), (0, 1), (0, 2), (1, 1), (2, 1))  # loader processes, and threads in each
MASK = MaskSpec("crfr_p", 0.75, "image", "exact")


class Repeated:
    """A small source, repeated to the length of a large one.

    grain shuffles by hashing indices until one falls inside the data set. For 24 examples this costs more than
    decoding; for millions it costs almost nothing.
    """

    def __init__(self, source: Source, length: int):
        self._source, self._length = source, length
        self.name, self.pixel_sums = source.name, source.pixel_sums

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict:
        return self._source[index % len(self._source)]


def pretraining(source: Repeated, workers: int, threads: int) -> Batches:
    """Return the batches of pretraining."""
    spec = StreamSpec(
        seed=0, global_batch=BATCH, patch_size=16, online=WHOLE, mask=MASK, draw_group=BATCH, other_mask=False,
        workers=workers, threads=threads,
    )  # fmt: skip
    return Stream([(source, None)], spec, 0, 0, 1)


def self_blending(source: Repeated, workers: int, threads: int) -> Batches:
    """Return batches of faces and their blends."""
    spec = LabelledSpec(
        seed=0, global_batch=BATCH, augment=AugmentSpec(), mix=None, balanced=False, workers=workers, threads=threads
    )
    pairs = BlendedSource(source, "samples", np.arange(len(source)), SelfBlendSpec())
    return LabelledStream([(pairs, None)], spec, 0, 0, 1)


def measure(stream: Batches, workers: int, threads: int) -> tuple[float, float]:
    """Return images per second, and processor milliseconds per image over all threads; close `stream`."""
    # First consume the batches that threads prepared before the clock starts.
    for _ in range(2 * threads + 4 * workers + 2):
        next(stream)
    images, started, processor = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - started < SECONDS:
        images += len(next(stream)["image"])
    rate = images / (time.perf_counter() - started)
    cost = (time.process_time() - processor) / images * 1e3
    stream.close()
    return rate, cost


def opened(name: str, directory: Path) -> Source:
    """Open the bundled faces in one of the formats."""
    if name == "official files":
        return FolderSource(SAMPLES, "samples")
    run = lambda jobs, options, progress: pool.run(jobs, options, 1, progress)  # noqa: E731
    build("cropped_and_parsed", SAMPLES, directory / name, run, image_encoding=ENCODINGS[name])
    return RecordSource(directory / name)


def measure_records(encoding: str, workers: int) -> dict:
    """Measure the loader of pretraining on records with photos of one encoding, with `workers` processes."""
    logging.set_verbosity(logging.WARNING)  # TFDS logs every step
    with tempfile.TemporaryDirectory() as folder:
        source = Repeated(opened(encoding, Path(folder)), LENGTH)
        rate, _ = max(measure(pretraining(source, workers, 1), workers, 1) for _ in range(REPEATS))
    return {"images/s": round(rate)}


def main(arguments: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)  # TFDS logs every step
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        sources = {name: Repeated(opened(name, Path(folder)), LENGTH) for name in ("official files", *ENCODINGS)}
        loaders = {name: (source, pretraining) for name, source in sources.items()}
        loaders["self-blended"] = sources["png"], self_blending
        for name, (source, load) in loaders.items():
            for workers, threads in READERS:
                runs = [measure(load(source, workers, threads), workers, threads) for _ in range(REPEATS)]
                rate, cost = max(runs)
                rows.append({
                    "faces": name, "workers": workers, "threads": threads, "images/s": round(rate),
                    "CPU ms per image": "" if workers else round(cost, 2),
                })  # fmt: skip
    write_results("input", {"batch": BATCH, "seconds": SECONDS, "best of": REPEATS, "examples": LENGTH}, rows)


if __name__ == "__main__":
    app.run(main)
