"""Measure the cost of prediction: images/s, videos/minute, program start, and a folder with broken files.

    python -m benchmarks.predict [--checkpoint=runs/finetune_demo] [--files=1000] [--broken=50]

It runs the users' command in separate processes. Photos are the bundled ones with small changes of brightness or size,
so all files differ. Broken files are truncated, empty, text, archives, videos without an index, pictures with a side of
60,000 pixels, and pictures without a face. Without a checkpoint a ViT-B with random parameters is used. The results go
to benchmarks/results/predict.json.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import cv2
import jax
import numpy as np
from absl import app, flags

from benchmarks.masks import write_results
from fsfm_jax.config import finetune
from fsfm_jax.config.fields import flat
from fsfm_jax.data.photo import encode_jpeg, encode_png
from fsfm_jax.data.sources import SAMPLES
from fsfm_jax.detection.saved import save_detector
from fsfm_jax.prepare.media.photo_file import read_photo
from fsfm_jax.resolve.task import task_of

ROOT = Path(__file__).parents[1]
BUNDLED = SAMPLES.parent
VIDEO = BUNDLED / "pd_nasa_astronaut_pan.mp4"
VIDEOS, REPEATS = 20, 3

_CHECKPOINT = flags.DEFINE_string("checkpoint", "", "Detector; by default a ViT-B with random parameters.")
_FILES = flags.DEFINE_integer("files", 1000, "Number of files in the folder.")
_BROKEN = flags.DEFINE_integer("broken", 50, "Of them.")


def drawn_detector(folder: str) -> str:
    """Make the working directory of an untrained ViT-B/16."""
    card = {
        "config": dict(flat(finetune.finetune())) | {"model.size": "vit_b16", "model.dtype": "float32"},
        "class_names": ["fake", "real"], "real": 1, "statistics": {"mean": [0.5] * 3, "std": [0.25] * 3},
        "calibration": None, "seen": None, "selection": {"label": "nothing was trained"},
    }  # fmt: skip
    params = jax.jit(task_of(card).init)(jax.random.key(0))
    save_detector(folder, 0, params, json.loads(json.dumps(card, default=list)))
    return folder


def photos(count: int) -> list[bytes]:
    """Return distinct JPEG files with one face each."""
    faces = [read_photo(path).image for path in sorted(BUNDLED.glob("*.jpg"))]
    made = []
    for number in range(count):
        image = faces[number % len(faces)]
        scale = 1 - 0.002 * (number // len(faces))
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        made.append(encode_jpeg(np.clip(image.astype(int) + number % 7 - 3, 0, 255).astype(np.uint8), 95))
    return made


def broken(count: int) -> list[bytes]:
    """Return files of eight kinds without a face to score."""
    whole = (BUNDLED / "pd_nasa_astronaut.jpg").read_bytes()
    video = VIDEO.read_bytes()
    bomb = bytearray(encode_png(np.zeros((4, 4, 3), np.uint8), 1))
    bomb[16:24] = (60000).to_bytes(4, "big") * 2  # a header with a wrong size
    bomb[29:33] = zlib.crc32(bytes(bomb[12:29])).to_bytes(4, "big")
    kinds = [
        whole[: len(whole) // 2], b"", b"<html><script>alert(1)</script></html>", b"PK\x03\x04" + bytes(400),
        video[: len(video) // 2], bytes(bomb), encode_png(np.full((200, 200, 3), 128, np.uint8), 1),
        whole[:600] + bytes(600) + whole[1200:],
    ]  # fmt: skip
    return [kinds[number % len(kinds)] for number in range(count)]


def measured(checkpoint: str, inputs: list[str], *options: str) -> tuple[float, int, list[dict]]:
    """Run the command and return its seconds, exit code and verdicts."""
    with tempfile.TemporaryDirectory() as folder:
        output = os.path.join(folder, "found.json")
        command = [sys.executable, "-m", "fsfm_jax.apps.predict", f"--checkpoint={checkpoint}", f"--json={output}"]
        start = time.monotonic()
        done = subprocess.run([*command, *options, *inputs], cwd=ROOT, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - start
        if not os.path.exists(output):
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
        return seconds, done.returncode, json.loads(Path(output).read_text())["files"]


def main(arguments: list[str]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        checkpoint = _CHECKPOINT.value or drawn_detector(str(folder / "drawn"))
        kept, files = folder / "kept", folder / "files"
        kept.mkdir()
        files.mkdir()
        for number in range(VIDEOS):
            shutil.copy(VIDEO, kept / f"{number:02d}.mp4")
        good = photos(_FILES.value - _BROKEN.value)
        every = max(_FILES.value // max(_BROKEN.value, 1), 1)
        bad, healthy, wanted = iter(broken(_BROKEN.value)), iter(good), {}
        for number in range(_FILES.value):
            sick = next(bad, None) if number % every == 0 else None
            wanted[str(files / f"{number:05d}.jpg")] = sick is None
            (files / f"{number:05d}.jpg").write_bytes(next(healthy) if sick is None else sick)
        one = str(files / "00001.jpg")
        starts = sorted(measured(checkpoint, [one])[0] for _ in range(REPEATS))
        start = starts[REPEATS // 2]
        seconds, code, found = measured(checkpoint, [str(files)])
        scored = {entry["file"]: entry["score"] is not None for entry in found}
        reasons = [entry["reason"] for entry in found if entry["score"] is None]
        of_videos, _, videos = measured(checkpoint, [str(kept)], "--frames=32")
        kinds = ", ".join(f"{reasons.count(reason)} {reason}" for reason in sorted(set(reasons)))
        rows = {
            "one photo, from the start of the program to its end": f"{start:.1f} s",
            f"folder of {len(found)} files, {_BROKEN.value} of them broken": f"{seconds:.1f} s",
            "images/s of the folder, without the start": f"{len(found) / (seconds - start):.1f}",
            "files with a score": len(found) - len(reasons),
            "files with a reason": f"{len(reasons)} ({kinds})",
            "each as it should be": scored == wanted,
            "exit code": code,
            f"videos/minute, {len(videos[0]['faces'])} frames of each, without the start": (
                f"{60 * len(videos) / (of_videos - start):.1f}"
            ),
        }
    settings = {
        "what": "The command of users with its defaults: dlib+blazeface, one face a picture, batches of 16.",
        "detector": _CHECKPOINT.value or "ViT-B/16, drawn parameters, float32",
        "starts": starts,
    }
    write_results("predict", settings, [{"what": what, "found": found} for what, found in rows.items()])


if __name__ == "__main__":
    app.run(main)
