"""Write the results of an evaluation below one folder.

    predictions/NAME.csv       one row per frame (or .parquet)
    metrics.json               all metrics of all data sets, with the reason for each missing number
    table.md                   the papers' table with our and the published numbers, and the facts behind them
    figures/NAME.png           ROC curve and histogram of the scores, frames and videos
    figures/NAME_calibration.png    reliability, without and with the detector's temperature if it has one
"""

import json
import logging
import os
from collections.abc import Mapping

import jax

from fsfm_jax.data.labels import LabelledSource
from fsfm_jax.detection import calibrate, facts, prediction_file, tables
from fsfm_jax.detection.detector import Detector
from fsfm_jax.detection.inversion import warn_inverted
from fsfm_jax.detection.prediction import Predictions, Scorer
from fsfm_jax.detection.selective import fit_selective, report_selective
from fsfm_jax.detection.tables import SELECTIVE
from fsfm_jax.figures.calibration import draw_reliability
from fsfm_jax.figures.detection import draw_scores
from fsfm_jax.metrics import thresholds
from fsfm_jax.metrics.methods import auc_by_method
from fsfm_jax.metrics.multiclass import summarise_classes
from fsfm_jax.metrics.summary import Resampling, summarise
from fsfm_jax.metrics.thresholds import Threshold
from fsfm_jax.resolve.report import ReportSpec
from fsfm_jax.run.workdir import make_folder, read_text, write_text

LOG = logging.getLogger("fsfm_jax")
METRICS, TABLE = "metrics.json", "table.md"
NOT_CALIBRATED = "Not calibrated: there was no validation split."


def evaluate_sets(
    detector: Detector,
    sets: Mapping[str, LabelledSource],
    chooser: LabelledSource | None,
    spec: ReportSpec,
    folder: str,
    scorer: Scorer,
    held_out: LabelledSource | None,
) -> dict[str, dict]:
    """Score every set, write all results below `folder` (process 0) and return the summaries by name.

    Args:
      chooser: a split to choose thresholds at equal error on; None takes the detector's own thresholds.
      scorer: scorer for the detector's task.
      held_out: the split to fit `spec.selective` on; None if that is off.

    Raises:
      ValueError: `folder` holds the results of another detector or of other sets.
    """
    _check_own(folder, detector, sets, spec)
    params = scorer.place(detector.params)
    judged = None
    if chooser is None:
        chosen = {level: detector.thresholds(level) for level in calibrate.LEVELS}
    else:
        judged = scorer(params, chooser)
        chosen = calibrate.choose(judged, None)
    fitted = None
    if spec.selective is not None:
        on = judged if held_out is chooser else scorer(params, held_out)
        fitted = fit_selective(on, spec.selective, detector.temperature)
    side = detector.task.model.image_size if isinstance(detector, Detector) else detector.image_size
    about = facts.describe_detector(detector, detector.params, spec.evaluation.transform, side)
    writes = jax.process_index() == 0
    if writes:
        for part in ("predictions", "figures"):
            make_folder(os.path.join(folder, part))
    results, made = {}, {}
    for name, source in sets.items():
        found = scorer(params, source)
        made[name] = facts.describe_set(source, found.frames, found.by_video().frames)
        results[name] = summary_of(found, chosen, detector.temperature, spec.resampling)
        if fitted is not None:
            results[name][SELECTIVE] = report_selective(found, fitted)
        if writes:
            path = os.path.join(folder, "predictions", f"{name}.{spec.predictions}")
            prediction_file.write_predictions(path, found.columns(detector.temperature))
            _draw(os.path.join(folder, "figures", name), name, found, chosen, detector.temperature)
        LOG.info("%s: %s", name, line(results[name]))
        if warning := warn_inverted(name, results[name], named_by_hand(detector)):
            LOG.warning(warning)
    if writes:
        _write(folder, results, detector, spec, {"detector": about, "sets": made})
    return results


def read_results(folder: str) -> dict:
    """Read the `metrics.json` that an evaluation left in `folder`; FileNotFoundError if there is none."""
    text = read_text(os.path.join(folder, METRICS))
    if text is None:
        raise FileNotFoundError(f"{folder}: expected the {METRICS} of an evaluation, found none; evaluate again")
    return json.loads(text)


def check_no_results(folder: str) -> None:
    """Raise ValueError if a folder holds the results of an evaluation, whose table would be overwritten."""
    if read_text(os.path.join(folder, METRICS)) is not None:
        raise ValueError(f"{folder}: holds the results of an evaluation ({METRICS}, {TABLE}). Take another --workdir")


def _check_own(folder: str, detector: Detector, sets: Mapping[str, LabelledSource], spec: ReportSpec) -> None:
    """Raise ValueError with the differences if `folder` holds the results of another evaluation."""
    text = read_text(os.path.join(folder, METRICS))
    if text is None:
        if read_text(os.path.join(folder, TABLE)) is not None:
            raise ValueError(f"{folder}: holds a {TABLE} without {METRICS}. Take another --workdir")
        return
    kept = json.loads(text)
    # Older results have no `dataset`.
    before = {name: summary.get("dataset") for name, summary in kept["data"].items()}
    lost = [name for name, data in before.items() if name not in sets or data not in (None, sets[name].name)]
    found = [f"the data sets {', '.join(kept['data'])}"] if lost else []
    for name, now in (("checkpoint", detector.name), ("transform", spec.evaluation.transform)):
        found += [f"{name} {kept[name]}, not {now}"] if kept[name] != now else []
    if found:
        raise ValueError(
            f"{folder}: holds the results of another evaluation: {'; '.join(found)}. Take another --workdir, or "
            f"remove {METRICS} and {TABLE} there to replace them"
        )


def summary_of(
    found: Predictions, chosen: Mapping[str, list[Threshold]], temperature: float | None, resampling: Resampling
) -> dict:
    """Return all metrics of one data set as JSON: frames, videos, each manipulation, classes, and calibration.

    In addition to the `chosen` thresholds, the summary has that of the released anti-spoofing code. It is fitted to
    the test set, so it is marked as an oracle; it allows comparison with published numbers.
    """
    scored, video = found.binary_scores(), found.by_video()
    by_video = video.binary_scores(scored.classes)
    oracle = {"frame": [], "video": []}
    if not scored.missing:
        oracle["frame"] = [thresholds.on_released_grid(scored, found.dataset)]
        oracle["video"] = [thresholds.on_released_grid(by_video, found.dataset)]
    summary = summarise(
        scored, found.videos, found.frames, found.dataset, species=found.species,
        frame_thresholds=[*chosen["frame"], *oracle["frame"]],
        video_thresholds=[*chosen["video"], *oracle["video"]], resampling=resampling,
    )  # fmt: skip
    summary["dataset"] = found.dataset
    summary["methods"] = auc_by_method(scored, found.videos, found.frames, found.methods)
    summary["classes"] = summarise_classes(found.class_scores(), found.dataset)
    summary["calibration"] = None if temperature is None else calibrate.calibrated_metrics(found, temperature)
    return summary


def line(summary: dict) -> str:
    """Return a one-line summary of a data set's results."""
    shown = []
    for level in ("frame", "video"):
        value = summary[level]["metrics"]["auc"]
        shown.append(f"{level} AUC " + ("undefined" if value is None else f"{100 * value:.2f} %"))
    return ", ".join(shown)


def _draw(
    path: str, name: str, found: Predictions, chosen: Mapping[str, list[Threshold]], temperature: float | None
) -> None:
    scored = found.binary_scores()
    levels = {"frame": scored, "video": found.by_video().binary_scores(scored.classes)}
    marks = {f"{level}s": chosen[level][-1].value for level in levels if chosen[level]}
    draw_scores(f"{path}.png", name, {f"{level}s": scored for level, scored in levels.items()}, marks)
    temperatures = {"raw": 1.0} | ({} if temperature is None else {f"T = {temperature:.3g}": temperature})
    diagrams = {
        f"{title}: ECE {100 * calibrate.calibration_error(found, t):.1f} %": calibrate.diagram(found, t)
        for title, t in temperatures.items()
    }
    draw_reliability(f"{path}_calibration.png", f"{name}, frames", diagrams)


def _write(folder: str, results: dict[str, dict], detector: Detector, spec: ReportSpec, known: dict) -> None:
    # Long, and not useful to a reader.
    card = {name: value for name, value in detector.card.items() if name not in ("seen", "evaluated")}
    content = {
        "checkpoint": detector.name,
        "detector": card,
        "selection": detector.card["selection"],
        "transform": spec.evaluation.transform,
        "data": results,
        facts.KEY: known,
    }
    write_text(os.path.join(folder, METRICS), json.dumps(content, indent=1, sort_keys=True) + "\n")
    notes = [_calibration_note(detector)]
    warnings = [warn_inverted(name, summary, named_by_hand(detector)) for name, summary in results.items()]
    notes += [f"Warning: {warning}." for warning in warnings if warning]
    text = tables.table(results, spec.layout, notes)
    write_text(os.path.join(folder, TABLE), f"{text}\n{facts.block(facts.read(content))}")


def named_by_hand(detector: Detector) -> bool:
    """Return whether the user named the detector's classes, because its file does not store them."""
    return detector.card["selection"].get("rule") is None


def _calibration_note(detector: Detector) -> str:
    calibration = detector.card["calibration"]
    if calibration is None:
        return NOT_CALIBRATED
    kept = calibration["thresholds"]["video"][-1]
    note = f"Threshold of the detector for videos: {kept['value']:.6g} ({kept['rule']}, chosen on {kept['split']})."
    reason = calibration.get("undefined")
    return note + (f" It has no temperature: {reason}." if reason else "")
