"""Score labelled data sets with a serialized detector, on one device; make the scorer of any detector."""

from typing import Any

import jax
import numpy as np

from fsfm_jax import partition, records
from fsfm_jax.data.label_stream import DETAILS, INDEX, VALID
from fsfm_jax.data.labels import LabelledSource
from fsfm_jax.detection.detector import Detector
from fsfm_jax.detection.prediction import Predictions, Scorer, image_batches, predictions_of
from fsfm_jax.resolve.report import EvaluationSpec
from fsfm_jax.weights.artifact import Artifact
from fsfm_jax.weights.onnx_artifact import OnnxArtifact

Serialized = Artifact | OnnxArtifact


class SerializedScorer:
    """A scorer like `prediction.Scorer`, whose parameters are in the detector's file."""

    def __init__(self, detector: Serialized, spec: EvaluationSpec):
        """Make a scorer; raise ValueError if there are several processes."""
        if jax.process_count() > 1:
            raise ValueError(f"checkpoint: expected one process, as {detector.name} is serialized; name the run")
        self._detector, self._spec = detector, spec

    def place(self, params: None) -> None:
        """Do nothing: the file holds the parameters."""

    def __call__(self, params: None, source: LabelledSource) -> Predictions:
        """Score all examples of `source`.

        Raises:
          ValueError: a photo cannot be decoded, or a score is non-finite.
        """
        scores = np.full((len(source), len(self._detector.class_names)), np.nan, np.float32)
        details: dict[int, Any] = {}
        for batch in image_batches(source, self._spec.transform, self._detector.image_size, self._spec):
            index, valid = batch[INDEX], batch[VALID]
            found = np.asarray(self._detector.log_probabilities(batch[records.IMAGE]))
            scores[index[valid]] = found[valid]
            if DETAILS in batch:
                details.update(zip(index[valid].tolist(), batch[DETAILS], strict=True))
        return predictions_of(source, scores, details)


def scorer_of(detector: Detector | Serialized, spec: EvaluationSpec) -> Scorer | SerializedScorer:
    """Make the scorer of a detector: on all devices, or on one if it is serialized; raise ValueError as they do."""
    if isinstance(detector, Detector):
        return Scorer(detector.task, spec, partition.make_mesh())
    return SerializedScorer(detector, spec)
