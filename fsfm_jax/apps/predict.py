"""Says of photos and videos whether their faces are real.

    python -m fsfm_jax.apps.predict photo.jpg
    python -m fsfm_jax.apps.predict --checkpoint=runs/dfd photo.jpg video.mp4 FOLDER 'frames/*.png'
    python -m fsfm_jax.apps.predict --checkpoint=runs/dfd --json=found.json --explain=pictures FOLDER
    python -m fsfm_jax.apps.predict --checkpoint=FINETUNED.pth --classes=fake,real photo.jpg
    python -m fsfm_jax.apps.predict --checkpoint=detector.jax photo.jpg
    python -m fsfm_jax.apps.predict --checkpoint=runs/dfd --parquet=results FOLDER
    python -m fsfm_jax.apps.predict --checkpoint=runs/dfd --parquet=results --watch=5 FOLDER

Without --checkpoint the small demonstration detector judges that comes with fsfm_jax; its verdicts are no evidence.

Faces are found and cut out as in the preparation of training data. Nothing leaves the machine, and files are decoded
in processes of their own, with limits on time and memory.

With --parquet the same command resumes after any end: files that have a result are not scored again. With --watch it
scores what appears in folders until Ctrl-C or SIGTERM, and keeps what it has scored.

Exit code: 0 every file has a score; 3 some have none, the table says why; 1 nothing could be done; 130 interrupted.
"""

# ruff: noqa: E402

from fsfm_jax import command

if __name__ == "__main__":
    command.one_line_interrupts()  # the libraries take seconds to import

import contextlib
import os
import signal
import sys
from typing import Any

from absl import app, flags
from absl import logging as absl_logging

from fsfm_jax.apps.certainty import LEAST_FRAMES
from fsfm_jax.apps.reading import EVERY, FACES, LARGEST, MOST_FRAMES
from fsfm_jax.prepare.crop import SCALE
from fsfm_jax.prepare.detect.detector import DETECTORS, LONGEST
from fsfm_jax.weights import bundled
from fsfm_jax.weights.runtime import RUNTIMES

SOME_WITHOUT = 3
STANDARD_OUTPUT = "-"
SHORTEST_WATCH, LONGEST_WATCH = 0.1, 86_400.0  # seconds between two looks


def define_flags() -> None:
    # Not when imported: flags are shared by the whole process.
    flags.DEFINE_string(
        "checkpoint", None, "A fine-tuning run, an export, a .jax or .onnx file, or an official file; by default the "
        "small demonstration detector of this package.",
    )  # fmt: skip
    flags.DEFINE_string(
        "require_signature", None, "PEM file of a public key: refuse a --checkpoint that this key has not signed.",
    )  # fmt: skip
    flags.DEFINE_string("threshold", "false_alarm", "false_alarm or equal_error, both as kept, or a number, 0 to 1.")
    flags.DEFINE_enum(
        "faces", LARGEST, FACES, "Which faces of a picture are judged; with all, people are followed through a video, "
        "and each has a verdict.",
    )  # fmt: skip
    flags.DEFINE_integer("frames", 32, "Frames per video, evenly spaced.", lower_bound=1, upper_bound=MOST_FRAMES)
    flags.DEFINE_string("detector", "dlib+blazeface", f"One of {', '.join(DETECTORS)}, or none for ready-made crops.")
    flags.DEFINE_integer(
        "detector_size", None, f"Longer side in pixels at which pictures are searched (default {LONGEST}); more finds "
        "smaller faces in large pictures, and takes longer.", lower_bound=1,
    )  # fmt: skip
    flags.DEFINE_float(
        "least_frames", LEAST_FRAMES, "Share of a video's frames that must have a face for a verdict.", 0.0, 1.0
    )
    flags.DEFINE_float(
        "least_confidence", None, "Score of the face detector, in its own scale, that the deciding face must have "
        "for a verdict; by default as docs/predicting.md says for each detector.",
    )  # fmt: skip
    flags.DEFINE_float("scale", SCALE, "Side of the crop divided by the longer side of the face box.")
    flags.DEFINE_integer(
        "crop_size", None, "Side in pixels at which training crops were stored; by default their own.", lower_bound=1
    )
    flags.DEFINE_string("transform", "", "Transform of crops, resize or resize_center; by default the detector's.")
    flags.DEFINE_string("json", "", "File to write all results to, or - for the standard output.")
    flags.DEFINE_string("csv", "", "File to write a row for each face to, or - for the standard output.")
    flags.DEFINE_string(
        "parquet", "", "Folder of a large job: a row for each file, in parts that are complete or absent; the same "
        "command resumes. Shows the rate and the time left instead of a table.",
    )  # fmt: skip
    flags.DEFINE_float(
        "watch", None, "Look into the folders every so many seconds and score files that are complete, until stopped.",
        SHORTEST_WATCH, LONGEST_WATCH,
    )  # fmt: skip
    flags.DEFINE_string("explain", "", "New folder for heat maps and the course of each video's score.")
    flags.DEFINE_bool("redact", False, "Write salted digests in the place of file names, and no words of files.")
    flags.DEFINE_integer("workers", 0, "Processes that decode; by default one for each core.", lower_bound=0)
    flags.DEFINE_float("seconds", 300.0, "Time limit for one file, in seconds.", lower_bound=1.0)
    flags.DEFINE_integer("batch", 16, "Faces that are scored at a time.", lower_bound=1)
    flags.DEFINE_string("dtype", "", "Type of the matrix products; by default that of the detector.")
    flags.DEFINE_enum(
        "runtime", "", ["", *RUNTIMES], "What runs the network: jax, onnx (ONNX Runtime) or openvino; by default jax, "
        "and onnx for .onnx files.",
    )  # fmt: skip
    flags.DEFINE_string("classes", "", "Classes of an official file by index, such as fake,real.")
    flags.DEFINE_string("statistics", "", "Channel statistics of an official file without a file of them.")
    flags.DEFINE_string("norm_over", "", "What an official anti-spoofing file normalises: tokens or features.")


def main(arguments: list[str]) -> None:
    """Run the command line."""
    chosen: Any = flags.FLAGS
    if len(arguments) < 2:
        raise app.UsageError("expected photos, videos or folders")
    if chosen.checkpoint is None and not bundled.is_built_in():
        raise app.UsageError(f"expected --checkpoint=WORKDIR_OR_FILE; {bundled.NONE_BUILT_IN}")
    absl_logging.set_verbosity(absl_logging.ERROR)  # Orbax narrates
    signal.signal(signal.SIGTERM, command.terminate)
    command.run(lambda: _run(chosen, arguments[1:]))


def _run(chosen: Any, arguments: list[str]) -> int:
    # Here, so that no misspelt file name, flag or output waits for JAX to start.
    from fsfm_jax.apps import inputs
    from fsfm_jax.apps.certainty import limits_of
    from fsfm_jax.apps.picture_folder import PictureFolder
    from fsfm_jax.apps.readers import Worker
    from fsfm_jax.apps.reading import Settings
    from fsfm_jax.apps.result_file import check_apart, open_results
    from fsfm_jax.apps.verdict import check_threshold

    watched = chosen.watch is not None
    refused = dict.fromkeys(inputs.check_folders(arguments), "") if watched else inputs.expand(arguments)
    check_threshold(chosen.threshold)
    command.check_seconds(chosen.seconds)
    limits = limits_of(chosen.detector, chosen.least_frames, chosen.least_confidence)

    def settings_for(side: int, transform: str) -> Settings:
        return Settings(
            side, chosen.transform or transform, chosen.detector, chosen.faces, chosen.frames, chosen.scale,
            chosen.crop_size, detector_size=chosen.detector_size,
        )  # fmt: skip

    settings_for(1, "resize")  # refuses what does not depend on the detector
    _check_outputs(chosen)
    if chosen.parquet:
        inputs.check_outside("--parquet", chosen.parquet, arguments)
    check_apart({"--json": chosen.json, "--csv": chosen.csv, "--explain": chosen.explain})
    with contextlib.ExitStack() as stack:
        files = {
            flag: stack.enter_context(open_results(f"--{flag}", path))
            for flag, path in (("json", chosen.json), ("csv", chosen.csv)) if path
        }  # fmt: skip
        folder = stack.enter_context(PictureFolder("--explain", chosen.explain)) if chosen.explain else None
        parts = None
        if chosen.parquet:
            from fsfm_jax.apps.result_parts import ResultParts

            parts = stack.enter_context(ResultParts("--parquet", chosen.parquet))
        first = stack.enter_context(Worker())  # its libraries load while those of the predictor do
        return _predictor(chosen, refused, limits, settings_for, files, folder, parts, first)


def _check_outputs(chosen: Any) -> None:
    others = [f"--{name}" for name in ("json", "csv", "explain") if getattr(chosen, name)]
    if chosen.parquet and others:
        raise ValueError(
            f"--parquet: {', '.join(others)} cannot resume; leave it out, or make it from the Parquet files afterwards"
        )
    # Pictures show faces; the others know files by their names when they are started again.
    named = [f"--{name}" for name in ("explain", "parquet", "watch") if getattr(chosen, name) not in ("", None)]
    if chosen.redact and named:
        raise ValueError(f"--redact: expected no pictures and no names to resume with; found {', '.join(named)}")


def _predictor(
    chosen: Any,
    refused: dict[str, str],
    limits: Any,
    settings_for: Any,
    files: dict,
    folder: Any,
    parts: Any,
    first: Any,
) -> int:
    from fsfm_jax.apps import outputs
    from fsfm_jax.apps.judging import Judge, Recorder, describe_job
    from fsfm_jax.apps.readers import Readers
    from fsfm_jax.apps.redaction import Redaction
    from fsfm_jax.apps.verdict import choose_rule
    from fsfm_jax.detection.opener import Unsaid
    from fsfm_jax.detection.predictor import NO_HEAT, open_predictor

    if chosen.checkpoint is None:
        command.say(bundled.USED, sys.stderr)
    unsaid = Unsaid(chosen.classes, chosen.statistics, chosen.norm_over)
    predictor = open_predictor(
        chosen.checkpoint, unsaid, chosen.dtype, chosen.batch, chosen.runtime, chosen.require_signature
    )
    rule = choose_rule(predictor, chosen.threshold, limits, persons=chosen.faces == EVERY)
    if folder is not None and not predictor.explains:
        raise ValueError(f"--explain: {NO_HEAT}")
    settings = settings_for(predictor.image_size, predictor.transform)
    name = bundled.NAME if chosen.checkpoint is None else chosen.checkpoint
    redaction = Redaction() if chosen.redact else None
    if redaction is not None:
        name = os.path.basename(os.path.normpath(name))
    results = []
    if "json" in files:
        results.append(outputs.JsonResults(files["json"], predictor, rule, name))
    if "csv" in files:
        results.append(outputs.CsvResults(files["csv"], rule.persons))
    if parts is not None:
        job = describe_job(name, predictor.card, settings, chosen.threshold, limits, chosen.dtype, chosen.runtime)
        parts.open(job, outputs.meaning(predictor, rule, name), predictor.class_names)
        results.append(parts)
    table = sys.stderr if STANDARD_OUTPUT in (chosen.json, chosen.csv) else sys.stdout

    def open_readers(most: int) -> Readers:
        workers = min(chosen.workers or len(os.sched_getaffinity(0)), most)
        return Readers(settings, max(workers, 1), chosen.seconds, first=first)

    names = list(refused) if redaction is None else [redaction.name("")]
    width = outputs.width_for(names) if chosen.watch is None else outputs.WIDEST  # names are yet to come
    recorder = Recorder(predictor, results, folder, table, width, redaction)
    judge = Judge(predictor, rule, recorder, open_readers, chosen.faces)
    if chosen.watch is not None:
        judge.watch(parts, list(refused), chosen.watch)
    elif parts is not None:
        judge.resume(parts, refused)
    else:
        judge.judge(refused)
    for line in outputs.explanation(predictor, rule):
        recorder.say(line)
    for result in results:
        result.end()
    if chosen.watch is not None:  # stopped as it was asked to
        return 0
    return SOME_WITHOUT if recorder.without or (parts is not None and parts.without) else 0


if __name__ == "__main__":
    command.start(sys.modules[__name__], sys.argv[1:])
