"""The evaluation job: one detector on many data sets. `detection.results` lists the files that it writes."""

import dataclasses
import functools

from ml_collections import ConfigDict

from fsfm_jax.config import evaluate
from fsfm_jax.config.fields import check_fields, one_of
from fsfm_jax.data.class_map import parts_of
from fsfm_jax.data.labels import check_disjoint, check_labels
from fsfm_jax.data.resizing import EVALUATIONS
from fsfm_jax.detection.detector import Detector
from fsfm_jax.detection.opener import Unsaid, is_official, open_scorer
from fsfm_jax.detection.results import evaluate_sets
from fsfm_jax.detection.serialized_scorer import Serialized, scorer_of
from fsfm_jax.detection.sets import open_for, open_sets
from fsfm_jax.models.antispoof import NORM_AXES
from fsfm_jax.resolve.networks import DTYPES
from fsfm_jax.resolve.report import resolve_report


def run(config: ConfigDict, workdir: str, stop_after: str = "") -> None:
    """Evaluate a detector on the sets of `config.data.sets` and write the results into `workdir`.

    Raises:
      ValueError: the configuration or a data set does not fit the detector; the message says how.
      FileNotFoundError: data or the detector is missing.
    """
    check_fields(config, evaluate.evaluate())
    if stop_after:
        raise ValueError("--stop_after: an evaluation has no steps; leave it out")
    resolve_report(config, one_of("official.transform", config.official.transform, EVALUATIONS))
    detector = _open_scorer(config)
    spec = resolve_report(config, detector.own_transform or config.official.transform)
    opened = functools.partial(open_for, detector)
    sets = open_sets(config.data.sets, "data.sets", opened)
    chooser = opened(config.data.threshold) if config.data.threshold else None
    if chooser is not None:
        check_labels([chooser], "data.threshold", every_class=False)
    if spec.selective is not None:
        if chooser is None:
            raise ValueError(
                "report.selective: it is fitted on data.threshold, which is empty; name a validation split"
            )
        for part in (part for source in sets.values() for part in parts_of(source)):
            for fitted in parts_of(chooser):
                check_disjoint(fitted, part)
    evaluate_sets(detector, sets, chooser, spec, workdir, scorer_of(detector, spec.evaluation), chooser)


def _open_scorer(config: ConfigDict) -> Detector | Serialized:
    official = config.official
    one_of("official.dtype", official.dtype, DTYPES)
    one_of("official.norm_over", official.norm_over, NORM_AXES)
    unsaid, dtype = Unsaid(official.classes, official.statistics), ""
    if is_official(config.checkpoint):
        # These two fields have defaults, which do not apply to a detector that stores its own values.
        unsaid, dtype = dataclasses.replace(unsaid, norm_over=official.norm_over), official.dtype
    return open_scorer(config.checkpoint, unsaid, dtype, "official.{}")
