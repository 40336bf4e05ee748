"""How data sets are inspected and what is written of it, resolved from a configuration."""

import dataclasses

from ml_collections import ConfigDict

from fsfm_jax.config.fields import one_of
from fsfm_jax.data.resizing import EVALUATIONS
from fsfm_jax.metrics.summary import Resampling

LAYOUTS = ("dfd", "diff", "fas", "classes")
FORMATS = ("csv", "parquet")
RESAMPLING_SEED = 0
AS_IT_IS, TEMPERATURE, ISOTONIC = CALIBRATIONS = ("none", "temperature", "isotonic")


@dataclasses.dataclass(frozen=True)
class EvaluationSpec:
    """How a data set is inspected.

    Attributes:
      transform: "resize", the whole crop to the network's size; "resize_center", the shorter side to 256, then the
        middle 224.
      batch: images at a time, over all devices and hosts.
      threads: that decode photos, on each host.
    """

    transform: str
    batch: int
    threads: int


@dataclasses.dataclass(frozen=True)
class SelectiveSpec:
    """Verdicts on videos with abstention, and conformal sets.

    Attributes:
      calibration: of the probabilities, one of `CALIBRATIONS`.
      risk: share of wrong verdicts that is accepted, 0..0.5.
      alpha: share of videos whose set may lack their class, above 0 and at most 0.5.
      by_class: whether that holds for each class.
    """

    calibration: str
    risk: float
    alpha: float
    by_class: bool


@dataclasses.dataclass(frozen=True)
class ReportSpec:
    """What is written of an evaluation.

    Attributes:
      layout: of the table, one of `tables.LAYOUTS`.
      predictions: "csv" or "parquet".
      selective: None: nothing of this is reported.
    """

    evaluation: EvaluationSpec
    resampling: Resampling
    layout: str
    predictions: str
    selective: SelectiveSpec | None


def resolve_report(c: ConfigDict, transform: str = "") -> ReportSpec:
    """Resolve the sections `evaluation`, `bootstrap` and `report` of a configuration.

    `transform` is taken where `evaluation.transform` is empty.

    Raises:
      ValueError: a value that is not one of those allowed.
    """
    return ReportSpec(
        EvaluationSpec(
            one_of("evaluation.transform", c.evaluation.transform or transform, EVALUATIONS),
            c.evaluation.batch,
            c.evaluation.threads,
        ),
        Resampling(c.bootstrap.resamples, c.bootstrap.level, RESAMPLING_SEED),
        one_of("report.layout", c.report.layout, LAYOUTS),
        one_of("report.predictions", c.report.predictions, FORMATS),
        _selective(c.report.selective),
    )


def _selective(c: ConfigDict) -> SelectiveSpec | None:
    if not c.calibration:
        return None
    chosen = one_of("report.selective.calibration", c.calibration, CALIBRATIONS)
    return SelectiveSpec(chosen, c.risk, c.alpha, c.by_class)
