"""Writes a trained detector as an ONNX file in int8, which is accepted only if it judges as before.

    python -m fsfm_jax.export.quantise --checkpoint=runs/dfd --data=data/ffpp:val --output=detector.onnx

The network is converted to ONNX, and its products are quantised with ranges that some images of the validation split
give. Then both score the whole split. The file is written if AUC and verdicts move by less than the bounds of
`detection.acceptance`; if not, the products that int8 changes most stay in float32, first a tenth and then a quarter of
them. Temperature and thresholds are fitted again on the scores in int8. `FILE.json` says all of this.
"""

import dataclasses
import functools
import math
import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import app, flags
from absl import logging as absl_logging

from fsfm_jax import command, records
from fsfm_jax.data.class_map import open_together
from fsfm_jax.data.label_stream import INDEX, VALID
from fsfm_jax.data.labels import LabelledSource
from fsfm_jax.detection.acceptance import Agreement, compare
from fsfm_jax.detection.calibrate import LEVELS, calibrate
from fsfm_jax.detection.detector import Detector, digest_parameters
from fsfm_jax.detection.opener import Unsaid, open_detector
from fsfm_jax.detection.prediction import Predictions, image_batches
from fsfm_jax.detection.predictor import TRANSFORM
from fsfm_jax.detection.serialized_scorer import SerializedScorer
from fsfm_jax.detection.sets import open_for
from fsfm_jax.export.serialize import check_size, write_serialized
from fsfm_jax.metrics.card import INT8
from fsfm_jax.models.antispoof import NORM_AXES
from fsfm_jax.resolve.report import EvaluationSpec
from fsfm_jax.tasks.normalisation import STATISTICS
from fsfm_jax.weights import artifact, onnx_file
from fsfm_jax.weights.onnx_artifact import OnnxArtifact
from fsfm_jax.weights.onnx_fusion import fuse
from fsfm_jax.weights.onnx_int8 import Measured, measure, quantise
from fsfm_jax.weights.onnx_structure import check_structure
from fsfm_jax.weights.runtime import ONNX, open_runtime

FORMATS = ("onnx-int8",)
DTYPE = "float32"  # of what is quantised and compared with
KEPT = (0.0, 0.1, 0.25)  # shares of the products that stay in float32, one attempt each
FUSED_TOLERANCE = 1e-4  # of log-probabilities, as `onnx_file.TOLERANCE`


@dataclasses.dataclass(frozen=True)
class Quantised:
    """A detector in int8 before it is written.

    Attributes:
      content: of the ONNX file. calibration: temperature and thresholds of its own scores.
      kept: names of the products that stay in float32. products: how many there are.
    """

    content: bytes
    agreement: Agreement
    calibration: dict
    kept: tuple[str, ...]
    products: int


def quantise_detector(
    detector: Detector, source: LabelledSource, images: int, batch: int, false_alarm_rate: float
) -> Quantised:
    """Quantise a detector and compare it with itself on a validation split.

    Args:
      images: of the split that give the ranges of the activations, evenly spaced.
      batch: images that are scored at a time.
      false_alarm_rate: of the threshold that is fitted again, 0..1.

    Raises:
      ModuleNotFoundError: the packages of the extra onnx are not installed.
      ValueError: a split of one class, or no attempt that is accepted.
    """
    transform = detector.own_transform or TRANSFORM
    side, spec = detector.task.model.image_size, EvaluationSpec(transform, batch, 1)
    whole, _ = onnx_file.convert(detector.task, detector.params)
    plain, fused = load(detector, whole), fuse(whole)
    pixels = _spread(source, images, side, spec)
    change = np.abs(load(detector, fused).log_probabilities(pixels[:4]) - plain.log_probabilities(pixels[:4])).max()
    if not change <= FUSED_TOLERANCE:
        raise ValueError(f"{detector.name}: expected the same scores after fusing operations; found {change:.3g} off")
    before = SerializedScorer(load(detector, fused), spec)(None, source)
    measured, tried = measure(fused, pixels), []
    kept_thresholds = {level: detector.thresholds(level) for level in LEVELS}
    for kept in choose_kept(measured):
        content = quantise(fused, {name: one for name, one in measured.items() if name not in kept})
        after: Predictions = SerializedScorer(load(detector, content), spec)(None, source)
        agreement = compare(before, after, kept_thresholds, false_alarm_rate)
        if agreement.accepted:
            return Quantised(content, agreement, calibrate(after, false_alarm_rate), kept, len(measured))
        tried.append(f"{len(kept)} of {len(measured)} products in float32: {agreement.describe()}")
    raise ValueError(f"{detector.name}: no int8 file is written, since it would judge otherwise. {'; '.join(tried)}")


def choose_kept(measured: Mapping[str, Measured]) -> list[tuple[str, ...]]:
    """Return the products that stay in float32 in each attempt: those with the largest errors, more each time."""
    worst = sorted(measured, key=lambda name: -measured[name].error)
    return [tuple(worst[: math.ceil(share * len(worst))]) for share in KEPT]


def load(detector: Detector, content: bytes) -> OnnxArtifact:
    """Return a model in ONNX Runtime, with the card of the detector that it was made from; ValueError as a reader's."""
    check_structure(detector.name, content)
    card = detector.card | {"image_size": detector.task.model.image_size}
    return OnnxArtifact(detector.name, card, ONNX, open_runtime(ONNX, detector.name)(content))


def write(detector: Detector, output: str, made: Quantised, images: int) -> dict:
    """Write the file and its sidecar, whose thresholds are those of the scores in int8; returns the sidecar."""
    about = {
        "kind": "onnx", "platforms": ["onnxruntime", "openvino"], "opset": onnx_file.OPSET, "dtype": INT8,
        "quantised": made.agreement.as_json() | {
            "from_weights_sha256": digest_parameters(detector.params), "calibration_images": images,
            "activations": "uint8, one fixed scale each", "weights": "7 bits in int8, a scale for each column",
            "products": made.products, "products_in_float32": list(made.kept),
        },
    }  # fmt: skip
    again = dataclasses.replace(detector, card=detector.card | {"calibration": made.calibration})
    return write_serialized(again, output, made.content, about)


def _spread(source: LabelledSource, count: int, side: int, spec: EvaluationSpec) -> np.ndarray:
    """Take at most `count` images of `source`, evenly spaced, `[n, side, side, 3] uint8`."""
    places = np.linspace(0, len(source) - 1, count).astype(int)
    found = []
    for batch in image_batches(source, spec.transform, side, spec):
        found.append(batch[records.IMAGE][batch[VALID] & np.isin(batch[INDEX], places)])
    return np.concatenate(found)


def open_split(detector: Detector, text: str) -> LabelledSource:
    """Open a validation split of one or several sources in the classes of a detector, as `data.validation` has it.

    Raises:
      ValueError, FileNotFoundError: as `open_for`.
    """
    return open_together(text, functools.partial(open_for, detector))


def choose_rate(detector: Detector, chosen: float | None) -> float:
    """Return the rate that the detector keeps to, if none is chosen."""
    calibration = detector.card["calibration"]
    if chosen is not None:
        return chosen
    if calibration is None or "false_alarm_rate" not in calibration:
        raise ValueError(f"--false_alarm_rate: {detector.name} keeps none; say the share of real faces, such as 0.01")
    return calibration["false_alarm_rate"]


def define_flags() -> None:
    # Not when imported: flags are shared by the whole process, and other programs have an --output too.
    flags.DEFINE_string("checkpoint", None, "Working directory of a fine-tuning run, an export or an official file.")
    flags.DEFINE_string(
        "data", None, "Validation split as in `data.validation`: data/ffpp:val, or several, CLASS=SPEC,CLASS=SPEC."
    )
    flags.DEFINE_string("output", None, "File to write, FILE.onnx; FILE.onnx.json is written next to it.")
    flags.DEFINE_enum("format", FORMATS[0], FORMATS, "What to write.")
    flags.DEFINE_integer("images", 64, "Images that give the ranges of the activations.", lower_bound=1)
    flags.DEFINE_integer("batch", 16, "Images that are scored at a time.", lower_bound=1)
    flags.DEFINE_float(
        "false_alarm_rate", None, "False alarm rate of the new threshold, 0 to 1; by default the detector's own.",
        0.0, 1.0,
    )  # fmt: skip
    flags.DEFINE_string("classes", "", "Classes of an official file by index, such as fake,real.")
    flags.DEFINE_string("statistics", "", f"Channel statistics, if no file has them: {', '.join(STATISTICS)}.")
    flags.DEFINE_string("norm_over", "", f"For official anti-spoofing files: {' or '.join(NORM_AXES)} (the first).")


def main(arguments: list[str]) -> None:
    """Run the command line."""
    chosen: Any = flags.FLAGS
    if len(arguments) > 1 or None in (chosen.checkpoint, chosen.data, chosen.output):
        raise app.UsageError("expected --checkpoint=WORKDIR_OR_FILE, --data=SPLIT and --output=FILE.onnx")
    absl_logging.set_verbosity(absl_logging.WARNING)
    try:
        folder = os.path.dirname(os.path.abspath(chosen.output))
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"--output: there is no folder {folder}")
        unsaid = Unsaid(chosen.classes, chosen.statistics, chosen.norm_over)
        detector = open_detector(chosen.checkpoint, unsaid, DTYPE)
        rate = choose_rate(detector, chosen.false_alarm_rate)
        check_size(detector)
        source = open_split(detector, chosen.data)
        made = quantise_detector(detector, source, chosen.images, chosen.batch, rate)
        card = write(detector, chosen.output, made, min(chosen.images, len(source)))
    except (ValueError, OSError, ModuleNotFoundError) as error:
        sys.exit(f"error: {error}")
    agreed = made.agreement
    print(f"{chosen.output}: {card['artifact']['bytes']:,} bytes, int8, {len(made.kept)} of {made.products} products "
          f"in float32\n{agreed.split}, {agreed.examples} faces: {agreed.describe()}")  # fmt: skip
    print(f"{artifact.sidecar_of(chosen.output)} says how to use it")


if __name__ == "__main__":
    command.start(sys.modules[__name__], sys.argv[1:])
