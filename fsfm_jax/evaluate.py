"""The evaluation job: one detector on many data sets, with predictions, metrics, a table and figures.

Everything is written below the working directory:

    predictions/NAME.csv   one row per frame
    metrics.json           all metrics of all data sets, with the reason for each number that is missing
    table.md               the table of the papers, ours beside the published numbers
    figures/NAME.png       ROC curve and histogram of the scores, frames and videos
"""

import json
import logging
from pathlib import Path

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from configs import common
from fsfm_jax import partition
from fsfm_jax.analyze.detection import draw_scores
from fsfm_jax.data.labelled import LabelledSource, open_labelled
from fsfm_jax.data.resizing import EVALUATIONS
from fsfm_jax.fields import check_fields, one_of
from fsfm_jax.finetune_config import detector_of
from fsfm_jax.metrics import thresholds
from fsfm_jax.metrics.scored import ANTI_SPOOFING, DEEPFAKE, Scored
from fsfm_jax.metrics.summary import Resampling, summarise
from fsfm_jax.metrics.video import aggregate
from fsfm_jax.prediction import EvaluationSpec, Predictions, compiled_scorer, predict
from fsfm_jax.published import FSFM_VIT_B
from fsfm_jax.run_identity import parameters_of

LOG = logging.getLogger("fsfm_jax")
RESAMPLING_SEED = 0


def run(config: ConfigDict, workdir: str, stop_after: str = "") -> None:
    """Evaluates the detector of a fine-tuning run.

    Raises:
      ValueError: a configuration or data set that does not fit the detector; see the message.
      FileNotFoundError: data or a fine-tuning run that is not there.
    """
    check_fields(config, common.evaluate())
    if stop_after:
        raise ValueError("--stop_after: an evaluation has no steps; leave it out")
    spec = EvaluationSpec(
        one_of("evaluation.transform", config.evaluation.transform, EVALUATIONS), config.evaluation.batch
    )
    params, saved = parameters_of(config.checkpoint, "finetune", "checkpoint")
    sets = _open_sets(config.data.sets, saved)
    chooser = open_labelled(config.data.threshold) if config.data.threshold else None
    if chooser is not None:
        _check_classes(chooser, saved)
    task, mesh = detector_of(saved), partition.make_mesh()
    params = jax.device_put(jax.tree.map(jnp.asarray, params), partition.replicated(mesh))
    scorer, size = compiled_scorer(task, mesh), task.model.image_size

    def scored(source: LabelledSource) -> Predictions:
        return predict(scorer, params, source, size, spec, mesh)

    chosen = ([], []) if chooser is None else _thresholds(scored(chooser))
    resampling = Resampling(config.bootstrap.resamples, config.bootstrap.level, RESAMPLING_SEED)
    results = {}
    for name, source in sets.items():
        found = scored(source)
        results[name] = _summary(found, chosen, resampling)
        if jax.process_index() == 0:
            _write(Path(workdir), name, found)
        LOG.info("%s: %s", name, _line(results[name]))
    if jax.process_index() == 0:
        _write_results(Path(workdir), results, saved, config)


def _open_sets(text: str, saved: dict) -> dict[str, LabelledSource]:
    """The data sets of `NAME=SPEC,NAME=SPEC`."""
    sets = {}
    for entry in text.split(","):
        name, equals, spec = entry.strip().partition("=")
        if not equals or not name.replace("-", "").replace("_", "").isalnum() or name in sets:
            raise ValueError(f"data.sets: expected NAME=SPEC,NAME=SPEC with each name once; found {entry.strip()!r}")
        sets[name] = open_labelled(spec)
        _check_classes(sets[name], saved)
    return sets


def _check_classes(source: LabelledSource, saved: dict) -> None:
    trained, real = tuple(saved["class_names"]), saved["real"]
    if (source.class_names, source.real) != (trained, real):
        raise ValueError(
            f"{source.name} has the classes {', '.join(source.class_names)} with {source.class_names[source.real]} as "
            f"real, the detector was trained on {', '.join(trained)} with {trained[real]} as real; "
            "scores would mean something else"
        )


def _scored(found: Predictions) -> Scored:
    classes = DEEPFAKE if "attack" not in found.class_names else ANTI_SPOOFING
    return Scored(found.score, found.labels == found.real, classes)


def _thresholds(found: Predictions) -> tuple[list, list]:
    """The thresholds at equal error of a split, for frames and for videos."""
    frames = _scored(found)
    videos = aggregate(frames, found.videos, found.frames).scored(frames.classes)
    return [thresholds.at_equal_error(frames, found.dataset)], [thresholds.at_equal_error(videos, found.dataset)]


def _summary(found: Predictions, chosen: tuple[list, list], resampling: Resampling) -> dict:
    scored = _scored(found)
    species = found.methods if scored.classes is ANTI_SPOOFING else None
    return summarise(
        scored, found.videos, found.frames, found.dataset, species=species, frame_thresholds=chosen[0],
        video_thresholds=chosen[1], resampling=resampling,
    )  # fmt: skip


def _write(workdir: Path, name: str, found: Predictions) -> None:
    for folder in ("predictions", "figures"):
        (workdir / folder).mkdir(parents=True, exist_ok=True)
    found.write(workdir / "predictions" / f"{name}.csv")
    scored = _scored(found)
    videos = aggregate(scored, found.videos, found.frames).scored(scored.classes)
    draw_scores(workdir / "figures" / f"{name}.png", name, {"frames": scored, "videos": videos})


def _write_results(workdir: Path, results: dict, saved: dict, config: ConfigDict) -> None:
    content = {
        "detector": {name: saved[name] for name in ("step", "class_names", "real", "statistics", "config")},
        "checkpoint": config.checkpoint,
        "selection": f"step {saved['step']}, the last of its run; no score was looked at",
        "data": results,
    }
    (workdir / "metrics.json").write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    (workdir / "table.md").write_text(table(results, f"Step {saved['step']} of {config.checkpoint}, the last."))


def table(results: dict[str, dict], caption: str) -> str:
    """Ours beside the published numbers, in Markdown; percent, intervals at the level of the bootstrap."""
    rows = ["| data set | frames | videos | frame AUC | video AUC | video EER | published frame | published video |"]
    rows += ["|---|---|---|---|---|---|---|---|"]
    for name, summary in results.items():
        frame, video = summary["frame"], summary["video"]
        published = FSFM_VIT_B.get(name, (None, None))
        cells = (
            name, f"{frame['examples']:,}", f"{video['examples']:,}", _with_interval(frame), _with_interval(video),
            _percent(video["metrics"]["equal_error_rate"]), *(_cell(value) for value in published),
        )  # fmt: skip
        rows.append(f"| {' | '.join(cells)} |")
    reasons = sorted({
        f"{name}: {metric} is undefined, {why}"
        for name, summary in results.items()
        for metric, why in summary["video"]["undefined"].items()
    })  # fmt: skip
    notes = [caption, "Published: FSFM, ViT-B, FSFM supplement.", *reasons]
    return "\n".join([*rows, "", *notes]) + "\n"


def _with_interval(level: dict) -> str:
    interval = level["intervals"]["auc"]
    if level["metrics"]["auc"] is None:
        return "undefined"
    if interval["low"] is None:
        return _percent(level["metrics"]["auc"])
    return f"{_percent(level['metrics']['auc'])} ({_percent(interval['low'])}–{_percent(interval['high'])})"


def _percent(value: float | None) -> str:
    return "undefined" if value is None else f"{100 * value:.2f}"


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _line(summary: dict) -> str:
    return ", ".join(f"{level} AUC {_percent(summary[level]['metrics']['auc'])} %" for level in ("frame", "video"))
