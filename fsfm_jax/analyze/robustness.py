"""Measure a detector on corrupted images: each corruption at each strength, compared with the clean data sets.

All files are written below one folder:

    robustness.png       AUC over strength, a plot for each corruption
    table.md, table.csv  a row for each set, corruption and strength
    results.json         the same numbers with all settings
    parts/NAME/          a file for each row, from which the same command resumes
"""

import dataclasses
import functools
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

import jax
import numpy as np

from fsfm_jax import __version__, command
from fsfm_jax.analyze.robustness_table import panels_of, write_tables
from fsfm_jax.config.fields import RANGES, one_of
from fsfm_jax.data.corrupted_source import CorruptedSource
from fsfm_jax.data.corruption import CORRUPTIONS, STRENGTHS
from fsfm_jax.data.labels import LabelledSource
from fsfm_jax.detection import facts
from fsfm_jax.detection.detector import Detector, digest_parameters
from fsfm_jax.detection.inversion import warn_inverted
from fsfm_jax.detection.opener import Unsaid, open_scorer
from fsfm_jax.detection.prediction import Predictions
from fsfm_jax.detection.predictor import TRANSFORM
from fsfm_jax.detection.results import named_by_hand
from fsfm_jax.detection.serialized_scorer import Serialized, scorer_of
from fsfm_jax.detection.sets import open_for, open_sets
from fsfm_jax.figures import plot
from fsfm_jax.figures.comparison import COLOURS
from fsfm_jax.figures.robustness import plot_robustness
from fsfm_jax.metrics import binary, bootstrap, curve, thresholds, video
from fsfm_jax.metrics.summary import Resampling
from fsfm_jax.metrics.thresholds import Threshold
from fsfm_jax.metrics.value import split_reasons
from fsfm_jax.resolve.report import RESAMPLING_SEED, EvaluationSpec
from fsfm_jax.run.progress import Progress
from fsfm_jax.run.workdir import make_folder, read_text, write_text

RESULTS, PICTURE, PARTS = "results.json", "robustness.png", "parts"
THREADS = 2  # threads that decode and corrupt photos
RESAMPLING = Resampling(1000, 0.95, RESAMPLING_SEED)  # the defaults of an evaluation
KEPT = "resize"  # the transform that does not change the images of a `CorruptedSource`

Cell = tuple[str, str] | None  # corruption and strength; None for clean images
Key = tuple[str, Cell]  # key of a row: name of its data set, and cell


@dataclasses.dataclass(frozen=True)
class RobustnessSpec:
    """Settings of a robustness report.

    Attributes:
      cells: corruptions at their strengths; the first is None, the clean images.
      seed: seed of noise and positions of the corruptions.
      batch: batch size in images.
    """

    cells: tuple[Cell, ...]
    seed: int
    batch: int


def resolve_robustness(
    corruptions: Sequence[str] | None, strengths: Sequence[str] | None, seed: int, batch: int
) -> RobustnessSpec:
    """Check the options; None means all corruptions or all strengths. The order is that of their tables.

    Raises:
      ValueError: if a name is unknown, a list is empty, the seed is out of range, or the number of devices does not
        divide the batch.
    """
    asked = []
    for option, words, known in (("corruptions", corruptions, CORRUPTIONS), ("strengths", strengths, STRENGTHS)):
        chosen = {one_of(f"--{option}", word, known) for word in (known if words is None else words)}
        if not chosen:
            raise ValueError(f"--{option}: expected some of {', '.join(known)}, with commas; found nothing")
        asked.append([name for name in known if name in chosen])
    low, high, _ = RANGES["seed"]
    if not low <= seed <= high:
        raise ValueError(f"--seed: expected {low} to {high}, found {seed}")
    if batch % jax.device_count():
        raise ValueError(f"--batch: expected a multiple of {jax.device_count()} devices; found {batch}")
    return RobustnessSpec((None, *((name, strength) for name in asked[0] for strength in asked[1])), seed, batch)


def report_robustness(checkpoint: str, unsaid: Unsaid, data: str, spec: RobustnessSpec, folder: str) -> dict:
    """Write the report on a detector below `folder`, and return the content of `results.json`.

    Args:
      checkpoint, unsaid: as in `open_scorer`.
      data: labelled sets, `NAME=SPEC,NAME=SPEC`, as in an evaluation.
      spec: settings of the report.
      folder: output folder.

    Raises:
      ValueError, FileNotFoundError: if the detector or a data set cannot be opened, there are more sets than colours,
        or `folder` has parts of another report.
    """
    detector = open_scorer(checkpoint, unsaid)
    sets = open_sets(data, "--data", functools.partial(open_for, detector))
    if len(sets) > len(COLOURS):
        raise ValueError(f"--data: expected at most {len(COLOURS)} sets, found {len(sets)}")
    about = _describe(detector)
    keys = [(name, cell) for name in sets for cell in spec.cells]
    identities = {key: _identify(about, sets[key[0]], key[1], spec) for key in keys}
    rows = {key: _read_part(folder, key, identities[key]) for key in keys}
    missing = [key for key in keys if rows[key] is None]
    if len(missing) < len(keys):
        command.say(f"{len(keys) - len(missing)} of {len(keys)} rows were measured before", sys.stderr)
    for name in sets:
        make_folder(os.path.join(folder, PARTS, name))
    for key, found in _measure_all(detector, sets, missing, spec):
        rows[key] = found
        write_text(_part(folder, key), _as_text({"identity": identities[key], "found": found}))
    content = {
        "detector": about, "seed": spec.seed, "bootstrap": {**RESAMPLING._asdict(), "unit": "video"},
        "corruptions": _describe_corruptions(spec.cells),
        facts.KEY: {
            "detector": facts.describe_detector(detector, detector.params, about["transform"], about["image_size"]),
            "sets": {name: facts.describe_whole(source) for name, source in sets.items()},
        },
        "data": {
            name: {
                "dataset": source.name, "fingerprint": source.fingerprint,
                "rows": [_name(cell) | rows[name, cell] for cell in spec.cells],
            }
            for name, source in sets.items()
        },
    }  # fmt: skip
    warnings = [warn_inverted(name, rows[name, None], named_by_hand(detector)) for name in sets]
    warnings = [*filter(None, warnings)]
    for warning in warnings:
        command.say(f"warning: {warning}", sys.stderr)
    write_text(os.path.join(folder, RESULTS), _as_text(content))
    write_tables(folder, content, warnings)
    title = f"Robustness of {os.path.basename(os.path.normpath(detector.name))}"
    plot.save(os.path.join(folder, PICTURE), plot_robustness(title, panels_of(content)))
    return content


def _measure_all(
    detector: Detector | Serialized, sets: Mapping[str, LabelledSource], keys: Sequence[Key], spec: RobustnessSpec
) -> Iterator[tuple[Key, dict]]:
    """Score the sets and corruptions of `keys` one after the other, and yield the results."""
    if not keys:
        return
    scorer = scorer_of(detector, EvaluationSpec(KEPT, spec.batch, THREADS))
    params, threshold = scorer.place(detector.params), kept_threshold(detector)
    transform, size = detector.own_transform or TRANSFORM, _size(detector)
    progress = Progress(sum(len(sets[name]) for name, _ in keys), "images")
    try:
        for name, cell in keys:
            progress.about = f"{name}: {' '.join(cell) if cell else 'clean images'}"
            source = CorruptedSource(sets[name], transform, size, cell, spec.seed, progress.add)
            yield (name, cell), measure(scorer(params, source), threshold)
    finally:
        progress.close()


def measure(found: Predictions, threshold: Threshold) -> dict:
    """Return a row as JSON: AUC of frames and videos with intervals, and both error rates of the videos.

    Each photo counts as one video. `false_alarm_rate` is the share of real videos classified as forged at the
    threshold; `miss_rate` is the share of forged videos classified as real.
    """
    scored, grouped = found.binary_scores(), found.by_video()
    videos = grouped.binary_scores(scored.classes)
    levels = {"frame": (scored, grouped.index), "video": (videos, np.arange(len(videos)))}
    row = {}
    for level, (of, index) in levels.items():
        interval = bootstrap.intervals(of, {"auc": curve.area}, index, *RESAMPLING)["auc"]
        row[level] = {
            "examples": len(of), "positives": of.positives, "negatives": of.negatives,
            **split_reasons({"auc": binary.auc(of)}), "interval": interval.as_json(),
        }  # fmt: skip
    rates = {
        "false_alarm_rate": binary.false_negative_rate(videos, threshold.value),
        "miss_rate": binary.false_positive_rate(videos, threshold.value),
    }
    return row | {"decisions": split_reasons(rates)}


def kept_threshold(detector: Detector | Serialized) -> Threshold:
    """Return the detector's threshold for videos; 0.5, as in the released code, if it was not calibrated."""
    kept = detector.thresholds("video")
    return kept[-1] if kept else thresholds.fixed(video.VIDEO_THRESHOLD)


def _describe(detector: Detector | Serialized) -> dict:
    if isinstance(detector, Detector):
        weights, of = digest_parameters(detector.params), "all parameters by name"
        dtype = np.dtype(detector.task.model.dtype).name
    else:
        weights, of, dtype = detector.card["artifact"]["sha256"], "the file", detector.card["artifact"]["dtype"]
    return {
        "checkpoint": detector.name, "weights_sha256": weights, "weights_sha256_of": of, "dtype": dtype,
        "class_names": list(detector.class_names), "real": detector.class_names[detector.real],
        "image_size": _size(detector), "transform": detector.own_transform or TRANSFORM,
        "threshold": kept_threshold(detector).as_json(), "selection": detector.card["selection"]["label"],
        "fsfm_jax": __version__,
    }  # fmt: skip


def _size(detector: Detector | Serialized) -> int:
    return detector.task.model.image_size if isinstance(detector, Detector) else detector.image_size


def _describe_corruptions(cells: Iterable[Cell]) -> dict[str, dict]:
    found: dict[str, dict] = {}
    for name, strength in filter(None, cells):
        chosen = CORRUPTIONS[name]
        row = found.setdefault(name, {"title": chosen.title, "values_of": chosen.source, "strengths": {}})
        value = chosen.values[STRENGTHS.index(strength)]
        row["strengths"][strength] = {"value": list(value), "text": chosen.describe(strength)}
    return found


def _identify(about: Mapping, source: LabelledSource, cell: Cell, spec: RobustnessSpec) -> dict:
    """Return everything that a row depends on, without batch size and path; the batch size may change the last bits."""
    return {
        **{name: value for name, value in about.items() if name not in ("checkpoint", "selection")},
        "dataset": source.name, "fingerprint": source.fingerprint, "seed": spec.seed,
        "value": None if cell is None else list(CORRUPTIONS[cell[0]].values[STRENGTHS.index(cell[1])]),
        "bootstrap": RESAMPLING._asdict(),
    }  # fmt: skip


def _part(folder: str, key: Key) -> str:
    name, cell = key
    return os.path.join(folder, PARTS, name, f"{'-'.join(cell) if cell else 'none'}.json")


def _read_part(folder: str, key: Key, identity: Mapping) -> dict | None:
    """Read the row of an earlier call, None if there is none; raise ValueError if its settings differ."""
    path = _part(folder, key)
    text = read_text(path)
    if text is None:
        return None
    try:
        kept = json.loads(text)
        before, found = kept["identity"], kept["found"]
        other = [f"{name} {before[name]}, not {now}" for name, now in identity.items() if before[name] != now]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected a row written by this command ({error}); remove this file") from error
    if other:
        raise ValueError(
            f"{path}: found a row of another report: {'; '.join(other)}. Use another --output, or remove "
            f"{os.path.join(folder, PARTS)} to measure every row again"
        )
    return found


def _name(cell: Cell) -> dict:
    return {"corruption": cell[0] if cell else None, "strength": cell[1] if cell else None}


def _as_text(content: Mapping) -> str:
    return json.dumps(content, indent=1) + "\n"
