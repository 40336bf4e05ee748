"""Says of photos and videos whether their faces are real.

    python -m fsfm_jax.apps.predict --checkpoint=runs/dfd photo.jpg video.mp4 FOLDER 'frames/*.png'
    python -m fsfm_jax.apps.predict --checkpoint=runs/dfd --json=found.json --explain=pictures FOLDER
    python -m fsfm_jax.apps.predict --checkpoint=FINETUNED.pth --classes=fake,real photo.jpg
    python -m fsfm_jax.apps.predict --checkpoint=detector.jax photo.jpg

Faces are found and cut out as in the preparation of training data. Nothing leaves the machine, and files are decoded
in processes of their own, with limits on time and memory.

Exit code: 0 every file has a score; 3 some have none, the table says why; 1 nothing could be done.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from absl import app, flags
from absl import logging as absl_logging

from fsfm_jax.apps.reading import FACES, LARGEST, MOST_FRAMES
from fsfm_jax.prepare.crop import SCALE
from fsfm_jax.prepare.detect.detector import DETECTORS

SOME_WITHOUT = 3
STANDARD_OUTPUT = "-"


def _define_flags() -> None:
    # Not when imported: flags are shared by the whole process.
    flags.DEFINE_string("checkpoint", None, "A fine-tuning run, an export, a .jax or .onnx file, or an official file.")
    flags.DEFINE_string("threshold", "false_alarm", "false_alarm, equal_error (both as kept), or a number.")
    flags.DEFINE_enum("faces", LARGEST, FACES, "Which faces of a picture.")
    flags.DEFINE_integer("frames", 32, "Of each video, equally spaced.", lower_bound=1, upper_bound=MOST_FRAMES)
    flags.DEFINE_string("detector", "dlib+blazeface", f"One of {', '.join(DETECTORS)}, or none for ready-made crops.")
    flags.DEFINE_float("scale", SCALE, "Side of the crop over that of the detector's box.")
    flags.DEFINE_integer("crop_size", None, "Side that crops were stored with; by default their own.", lower_bound=1)
    flags.DEFINE_string("transform", "", "Of a crop: resize or resize_center; by default as the detector was selected.")
    flags.DEFINE_string("json", "", "File to write all results to, or - for the standard output.")
    flags.DEFINE_string("csv", "", "File to write a row for each face to, or - for the standard output.")
    flags.DEFINE_string("explain", "", "Folder for heat maps and, of videos, the course of the score.")
    flags.DEFINE_integer("workers", 0, "Processes that decode; by default one for each core.", lower_bound=0)
    flags.DEFINE_float("seconds", 300.0, "That a file may take.", lower_bound=1.0)
    flags.DEFINE_integer("batch", 16, "Faces that are scored at a time.", lower_bound=1)
    flags.DEFINE_string("dtype", "", "Of the matrix products; by default the detector's.")
    flags.DEFINE_string("classes", "", "Of official files: their classes by index, such as fake,real.")
    flags.DEFINE_string("statistics", "", "Of official files, if none lie beside.")
    flags.DEFINE_string("norm_over", "", "Of official anti-spoofing files: tokens or features.")


def main(arguments: list[str]) -> None:
    """Runs the command line."""
    chosen: Any = flags.FLAGS
    if chosen.checkpoint is None or len(arguments) < 2:
        raise app.UsageError("expected --checkpoint=WORKDIR_OR_FILE and photos, videos or folders")
    absl_logging.set_verbosity(absl_logging.ERROR)  # Orbax narrates
    try:
        code = _run(chosen, arguments[1:])
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"error: {error}")
    sys.exit(code)


def _run(chosen: Any, arguments: list[str]) -> int:
    # Here, so that no misspelt file name waits for JAX to start.
    from fsfm_jax.apps import inputs

    paths = inputs.expanded(arguments)
    if STANDARD_OUTPUT == chosen.json == chosen.csv:
        raise ValueError("--json, --csv: only one of them can be the standard output")

    from fsfm_jax.apps import explained, outputs
    from fsfm_jax.apps.judge import NO_HEAT, open_judge
    from fsfm_jax.apps.readers import Readers
    from fsfm_jax.apps.reading import Settings
    from fsfm_jax.apps.scoring import verdicts
    from fsfm_jax.apps.verdict import rule_of
    from fsfm_jax.detection.opened_detector import Unsaid

    unsaid = Unsaid(chosen.classes, chosen.statistics, chosen.norm_over)
    judge = open_judge(chosen.checkpoint, unsaid, chosen.dtype, chosen.batch)
    rule = rule_of(judge, chosen.threshold)
    if chosen.explain:
        if not judge.explains:
            raise ValueError(f"--explain: {NO_HEAT}")
        os.makedirs(chosen.explain, exist_ok=True)
    settings = Settings(
        judge.image_size, chosen.transform or judge.transform, chosen.detector, chosen.faces, chosen.frames,
        chosen.scale, chosen.crop_size,
    )  # fmt: skip
    table = sys.stderr if STANDARD_OUTPUT in (chosen.json, chosen.csv) else sys.stdout
    found, pictures = [], {}
    width = outputs.width_for(paths)
    print(outputs.header(width), file=table)
    workers = min(chosen.workers or len(os.sched_getaffinity(0)), len(paths))
    with Readers(settings, workers, chosen.seconds) as readers:
        for reading, verdict in verdicts(judge, rule, readers.read_all(paths)):
            print(outputs.row(verdict, width), file=table, flush=True)
            if chosen.explain:
                names = explained.write_pictures(chosen.explain, len(found), judge, reading, verdict)
                pictures[verdict.path] = list(names)
            found.append(verdict)
    without = sum(verdict.score is None for verdict in found)
    print(f"{len(found) - without} of {len(found)} files have a score", file=table)
    for line in outputs.explanation(judge, rule):
        print(line, file=table)
    if chosen.json:
        with _opened(chosen.json) as file:
            outputs.write_json(file, judge, rule, chosen.checkpoint, found)
    if chosen.csv:
        with _opened(chosen.csv) as file:
            outputs.write_csv(file, found)
    if chosen.explain:
        with _opened(os.path.join(chosen.explain, "pictures.json")) as file:
            json.dump(pictures, file, indent=1)
    return SOME_WITHOUT if without else 0


@contextlib.contextmanager
def _opened(path: str) -> Iterator[TextIO]:
    if path == STANDARD_OUTPUT:
        yield sys.stdout
        return
    # A file name need not be Unicode.
    with open(path, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        yield file


if __name__ == "__main__":
    _define_flags()
    app.run(main)
