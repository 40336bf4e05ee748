"""What the loader delivers: images per second, decoded, masked and batched, from records as PNG and as JPEG.

    python -m benchmarks.input

The bundled faces are packed into a temporary folder and read over and over, so the disk plays no part.
`images/s` is by the clock and suffers from other programs; processor time per image does not. Writes
benchmarks/results/input.json.
"""

import tempfile
import time

from absl import app, logging

from benchmarks.masks import write_results
from fsfm_jax.data.masking import MaskSpec
from fsfm_jax.data.sources import SAMPLES, RecordSource
from fsfm_jax.data.stream import Stream, StreamSpec
from fsfm_jax.prepare.pack import pack

BATCH, SECONDS, REPEATS = 64, 2.0, 3
LENGTH = 3_000_000  # about VGGFace2
ENCODINGS = {"png": "keep", "jpeg": "jpeg"}
MASK = MaskSpec("crfr_p", 0.75, "image", "exact")


class Repeated:
    """A small source as if it were long.

    grain shuffles by hashing indices until one falls inside the data set; over 24 examples that alone costs more
    than decoding, over millions next to nothing.
    """

    def __init__(self, source: RecordSource, length: int):
        self._source, self._length = source, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict:
        return self._source[index % len(self._source)]


def measure(source: Repeated, threads: int) -> tuple[float, float]:
    """Images per second, and processor milliseconds per image over all threads."""
    spec = StreamSpec(
        seed=0, global_batch=BATCH, patch_size=16, augment=False, mask=MASK, draw_group=BATCH, other_mask=False,
        workers=0, threads=threads,
    )  # fmt: skip
    stream = Stream([(source, None)], spec, 0, 0, 1)
    # What threads prepared before the clock starts is a gift: let them go through it first.
    for _ in range(2 * threads + 2):
        next(stream)
    images, started, processor = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - started < SECONDS:
        images += len(next(stream)["image"])
    rate = images / (time.perf_counter() - started)
    cost = (time.process_time() - processor) / images * 1e3
    stream.close()
    return rate, cost


def main(arguments: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)  # TFDS narrates
    rows = []
    for name, image_encoding in ENCODINGS.items():
        with tempfile.TemporaryDirectory() as folder:
            pack(SAMPLES, f"{folder}/faces", "faces", image_encoding=image_encoding)
            source = Repeated(RecordSource(f"{folder}/faces"), LENGTH)
            for threads in (0, 1, 2):
                rate, cost = max(measure(source, threads) for _ in range(REPEATS))
                rows.append({
                    "records": name, "threads": threads, "images/s": round(rate), "CPU ms per image": round(cost, 2),
                })  # fmt: skip
    write_results("input", {"batch": BATCH, "seconds": SECONDS, "best of": REPEATS, "examples": LENGTH}, rows)


if __name__ == "__main__":
    app.run(main)
