"""The evaluation job: one detector on many data sets. What it writes is listed at `detection.results`."""

import dataclasses
import functools

from ml_collections import ConfigDict

from fsfm_jax import partition
from fsfm_jax.config import evaluate
from fsfm_jax.config.fields import check_fields, one_of
from fsfm_jax.data.class_map import open_classed
from fsfm_jax.data.labels import LabelledSource, check_labels, open_labelled
from fsfm_jax.data.resizing import EVALUATIONS
from fsfm_jax.detection.detector import Detector
from fsfm_jax.detection.opener import Unsaid, is_official, open_scorer
from fsfm_jax.detection.prediction import Scorer
from fsfm_jax.detection.results import evaluate_sets
from fsfm_jax.detection.serialized_scorer import Serialized, SerializedScorer
from fsfm_jax.detection.sets import open_sets
from fsfm_jax.detection.video_overlap import check_unseen
from fsfm_jax.models.antispoof import NORM_AXES
from fsfm_jax.resolve.pretrain import DTYPES
from fsfm_jax.resolve.report import resolve_report


def run(config: ConfigDict, workdir: str, stop_after: str = "") -> None:
    """Evaluates a detector.

    Raises:
      ValueError: a configuration or data set that does not fit the detector; see the message.
      FileNotFoundError: data or a detector that is not there.
    """
    check_fields(config, evaluate.evaluate())
    if stop_after:
        raise ValueError("--stop_after: an evaluation has no steps; leave it out")
    resolve_report(config, one_of("official.transform", config.official.transform, EVALUATIONS))
    detector = _open_scorer(config)
    spec = resolve_report(config, detector.own_transform or config.official.transform)
    opened = functools.partial(_open_for, detector)
    sets = open_sets(config.data.sets, "data.sets", opened)
    chooser = opened(config.data.threshold) if config.data.threshold else None
    if chooser is not None:
        check_labels([chooser], "data.threshold", every_class=False)
    if isinstance(detector, Detector):
        scorer = Scorer(detector.task, spec.evaluation, partition.make_mesh())
    else:
        scorer = SerializedScorer(detector, spec.evaluation)
    evaluate_sets(detector, sets, chooser, spec, workdir, scorer)


def _open_scorer(config: ConfigDict) -> Detector | Serialized:
    official = config.official
    one_of("official.dtype", official.dtype, DTYPES)
    one_of("official.norm_over", official.norm_over, NORM_AXES)
    unsaid, dtype = Unsaid(official.classes, official.statistics), ""
    if is_official(config.checkpoint):
        # These two have defaults, which mean nothing to a detector that says them itself.
        unsaid, dtype = dataclasses.replace(unsaid, norm_over=official.norm_over), official.dtype
    return open_scorer(config.checkpoint, unsaid, dtype, "official.{}")


def _open_for(detector: Detector | Serialized, spec: str) -> LabelledSource:
    """A data set in the classes of the detector, of which it saw no video in training."""
    if "=" in spec:
        source = open_classed(spec, detector.class_names, detector.real)
    else:
        source = open_labelled(spec)
    trained, real = detector.class_names, detector.real
    if (source.class_names, source.real) != (trained, real):
        raise ValueError(
            f"{source.name} has the classes {', '.join(source.class_names)} with {source.class_names[source.real]} as "
            f"real, the detector was trained on {', '.join(trained)} with {trained[real]} as real; scores would mean "
            "something else. CLASS=SPEC says of which of its classes the forged faces are"
        )
    if detector.card.get("seen") is not None:
        check_unseen(source, detector.card["seen"], detector.name)
    return source
