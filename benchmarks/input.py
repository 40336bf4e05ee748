"""What the loader delivers: images per second, decoded, masked and batched, by format and by workers.

    python -m benchmarks.input

Records with PNG and with JPEG photos, and the official way: one .png and one .npy file for each face. "self-blended" is
the loader of fine-tuning, without augmentation, on the PNG records: every face is decoded for itself and for its blend,
so half of the images are blends. The bundled faces
are read over and over, so the disk plays no part; on a real one the small files cost a seek each.
`images/s` is by the clock and suffers from other programs; processor time per image does not, but it counts this
process alone and is left out where workers do the decoding.

A trainer says itself which one limits it: `input_wait` in its metrics and "input-bound" in its progress line. With
--config.data.repeat_batch=True it shows the speed of the device alone, to compare with the rates here.

Writes benchmarks/results/input.json.
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
    """A small source as if it were long.

    grain shuffles by hashing indices until one falls inside the data set; over 24 examples that alone costs more
    than decoding, over millions next to nothing.
    """

    def __init__(self, source: Source, length: int):
        self._source, self._length = source, length
        self.name, self.pixel_sums = source.name, source.pixel_sums

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict:
        return self._source[index % len(self._source)]


def pretraining(source: Repeated, workers: int, threads: int) -> Batches:
    """The batches of pretraining."""
    spec = StreamSpec(
        seed=0, global_batch=BATCH, patch_size=16, online=WHOLE, mask=MASK, draw_group=BATCH, other_mask=False,
        workers=workers, threads=threads,
    )  # fmt: skip
    return Stream([(source, None)], spec, 0, 0, 1)


def self_blending(source: Repeated, workers: int, threads: int) -> Batches:
    """Batches of faces and their blends."""
    spec = LabelledSpec(
        seed=0, global_batch=BATCH, augment=AugmentSpec(), mix=None, balanced=False, workers=workers, threads=threads
    )
    pairs = BlendedSource(source, "samples", np.arange(len(source)), SelfBlendSpec())
    return LabelledStream([(pairs, None)], spec, 0, 0, 1)


def measure(stream: Batches, workers: int, threads: int) -> tuple[float, float]:
    """Images per second, and processor milliseconds per image over all threads of this process; closes `stream`."""
    # What threads prepared before the clock starts is a gift: let them go through it first.
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
    """The bundled faces in one of the formats."""
    if name == "official files":
        return FolderSource(SAMPLES, "samples")
    run = lambda jobs, options, progress: pool.run(jobs, options, 1, progress)  # noqa: E731
    build("cropped_and_parsed", SAMPLES, directory / name, run, image_encoding=ENCODINGS[name])
    return RecordSource(directory / name)


def main(arguments: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)  # TFDS narrates
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
