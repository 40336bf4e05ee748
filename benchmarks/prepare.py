"""Measure the cost of preparation: processor milliseconds of each stage per face, and bytes per face.

    python -m benchmarks.prepare [FOLDER]

Pictures are those of FOLDER, by default the bundled ones, resized to 256 and 512 pixels on the longer side. Each is
detected, cropped, parsed and encoded as in a build. Time is process time with one thread, so other programs have little
influence. The results for the bundled pictures go to benchmarks/results/prepare.json.
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
from fsfm_jax.prepare.detect.detector import make_detector
from fsfm_jax.prepare.example import ExampleEncoder, Face
from fsfm_jax.prepare.faces import JPEG_QUALITY, PNG_COMPRESSION, PNG_STRATEGY
from fsfm_jax.prepare.media.photo_file import PHOTO_SUFFIXES, read_photo
from fsfm_jax.prepare.parse.parser import make_parser

MOST = 60  # maximum number of pictures
SIZES = (256, 512)
DETECTORS = ("dlib", "dlib+blazeface", "blazeface")
PARTS = ("crop and resize", "parse: embedded", "encode: PNG", "record: PNG")  # stages of every detected face


class Clock:
    """A clock for processor milliseconds of named stages."""

    def __init__(self):
        self.spent: dict[str, list[float]] = {}

    def __call__(self, name: str, work: Callable):
        """Run `work` and return its result."""
        before = time.process_time()
        result = work()
        self.spent.setdefault(name, []).append((time.process_time() - before) * 1e3)
        return result


def measure(path: Path, size: int, detectors: dict, parser, encode: ExampleEncoder, clock: Clock, sizes: dict) -> None:
    """Measure all stages for one picture."""
    picture = read_photo(path).image
    scale = size / max(picture.shape[:2])
    resized = cv2.resize(
        picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    )
    data = encode_jpeg(resized, JPEG_QUALITY)
    image = clock("decode the picture", lambda: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB))
    found = {name: clock(f"detect: {name}", lambda name=name: detectors[name](image)) for name in DETECTORS}
    if not found["dlib"]:
        return
    box = found["dlib"][0]
    square = square_of(box, *image.shape[:2])
    crop = clock("crop and resize", lambda: cut(image, square, records.IMAGE_SIZE))
    parsing_map = clock("parse: embedded", lambda: parser(image, box, square, records.IMAGE_SIZE))
    png = clock("encode: PNG", lambda: encode_png(crop, PNG_COMPRESSION, PNG_STRATEGY))
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


def main(arguments: list[str]) -> None:
    logging.set_verbosity(logging.WARNING)  # TFDS logs every step
    cv2.setNumThreads(1)
    folder = Path(arguments[1]) if len(arguments) > 1 else SAMPLES.parent
    pictures = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in PHOTO_SUFFIXES][:MOST]
    detectors, parser = {name: make_detector(name) for name in DETECTORS}, make_parser("embedded", "")
    encode, rows, sizes = ExampleEncoder(records.IMAGE_SIZE, True, ()), [], {}
    measure(pictures[0], SIZES[0], detectors, parser, encode, Clock(), {})  # warm-up, for loading at first use
    for size in SIZES:
        clock = Clock()
        for path in pictures:
            measure(path, size, detectors, parser, encode, clock, sizes)
        times = {name: (statistics.median(found), statistics.mean(found)) for name, found in clock.spent.items()}
        for detector in DETECTORS:
            total = sum(times[name][1] for name in ("decode the picture", f"detect: {detector}", *PARTS))
            times[f"whole, with {detector} and PNG"] = total, total
        rows += [
            {
                "part": name,
                "picture": f"{size} px",
                "CPU ms": round(median, 2),
                "per core and second": round(1e3 / mean, 1),
            }
            for name, (median, mean) in times.items()
        ]
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
