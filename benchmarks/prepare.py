"""What preparation costs: processor milliseconds per face, part by part, and bytes per face.

    python -m benchmarks.prepare [FOLDER]

Pictures are those of FOLDER, by default the bundled ones; each is detected, cropped, parsed and encoded as in a build.
Time is that of the process, which keeps to one thread, so other programs count little. Writes
benchmarks/results/prepare.json when it ran on the bundled pictures.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from absl import app, logging

from benchmarks.masks import write_results
from fsfm_jax import records
from fsfm_jax.data.photo import encode_jpeg, encode_png
from fsfm_jax.data.sources import SAMPLES
from fsfm_jax.prepare.crop import cut, square_of
from fsfm_jax.prepare.detection import make_detector
from fsfm_jax.prepare.example import ExampleEncoder, Face
from fsfm_jax.prepare.faces import JPEG_QUALITY, PNG_COMPRESSION
from fsfm_jax.prepare.media import PHOTO_SUFFIXES, read_photo
from fsfm_jax.prepare.parsing import make_parser

MOST = 60  # pictures that are looked at
DETECTORS = ("dlib", "dlib+blazeface", "blazeface")
PARTS = ("crop and resize", "parse: embedded", "encode: PNG", "record: PNG")  # of every face that was detected


class Clock:
    """Processor milliseconds of named parts."""

    def __init__(self):
        self.spent: dict[str, list[float]] = {}

    def __call__(self, name: str, work: Callable):
        """Runs `work` and returns what it returns."""
        before = time.process_time()
        result = work()
        self.spent.setdefault(name, []).append((time.process_time() - before) * 1e3)
        return result


def measure(path: Path, detectors: dict, parser, encode: ExampleEncoder, clock: Clock, sizes: dict) -> None:
    """All parts for one picture."""
    image = clock("read the picture", lambda: read_photo(path))
    found = {name: clock(f"detect: {name}", lambda name=name: detectors[name](image)) for name in DETECTORS}
    if not found["dlib"]:
        return
    box = found["dlib"][0]
    square = square_of(box, *image.shape[:2])
    crop = clock("crop and resize", lambda: cut(image, square, records.IMAGE_SIZE))
    parsing_map = clock("parse: embedded", lambda: parser(image, box, square, records.IMAGE_SIZE))
    png = clock("encode: PNG", lambda: encode_png(crop, PNG_COMPRESSION))
    jpeg = clock("encode: JPEG", lambda: encode_jpeg(crop, JPEG_QUALITY))
    stored = {}
    for name, data in (("PNG", png), ("JPEG", jpeg)):
        face = Face(data, parsing_map, path.name, path.stem, -1, -1, "")
        stored[name] = clock(f"record: {name}", lambda face=face: encode(face))
    for name, data in stored.items():
        sizes.setdefault(f"record with {name} and map", []).append(len(data))
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/map.npy", parsing_map[None].astype(np.int8))
        sizes.setdefault("official files, .png and .npy", []).append(
            len(cv2.imencode(".png", crop[..., ::-1])[1]) + Path(f"{folder}/map.npy").stat().st_size
        )


def row(name: str, milliseconds: float, mean: float) -> dict:
    """One line of the table."""
    return {"part": name, "CPU ms": round(milliseconds, 2), "per core and second": round(1e3 / mean, 1)}


def main(arguments: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)  # TFDS narrates
    cv2.setNumThreads(1)
    folder = Path(arguments[1]) if len(arguments) > 1 else SAMPLES.parent
    pictures = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in PHOTO_SUFFIXES][:MOST]
    detectors, parser = {name: make_detector(name) for name in DETECTORS}, make_parser("embedded", "")
    encode, clock, sizes = ExampleEncoder(records.IMAGE_SIZE, True, ()), Clock(), {}
    measure(pictures[0], detectors, parser, encode, Clock(), {})  # what is loaded at first use does not count
    for path in pictures:
        measure(path, detectors, parser, encode, clock, sizes)
    rows = [row(name, statistics.median(found), statistics.mean(found)) for name, found in clock.spent.items()]
    for detector in DETECTORS:
        parts = ("read the picture", f"detect: {detector}", *PARTS)
        total = sum(statistics.mean(clock.spent[name]) for name in parts)
        rows.append(row(f"whole, with {detector} and PNG", total, total))
    settings = {
        "pictures": len(pictures),
        "bytes per face": {name: round(statistics.mean(found)) for name, found in sizes.items()},
    }
    if folder == SAMPLES.parent:
        write_results("prepare", settings, rows)
    else:
        print(settings, *rows, sep="\n")


if __name__ == "__main__":
    app.run(main)
