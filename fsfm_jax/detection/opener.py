"""Open a detector from a finished run, an export, a serialized detector or an official file."""

import dataclasses
import os

from fsfm_jax.config.fields import one_of
from fsfm_jax.data.class_names import parse_classes
from fsfm_jax.detection.detector import Detector
from fsfm_jax.detection.export_reader import open_export, with_dtype
from fsfm_jax.detection.official import open_official
from fsfm_jax.models.antispoof import NORM_AXES
from fsfm_jax.resolve.networks import DTYPES
from fsfm_jax.tasks.normalisation import STATISTICS
from fsfm_jax.weights import artifact, bundled, hub_file, onnx_artifact
from fsfm_jax.weights.export_file import find_export
from fsfm_jax.weights.official_file import content_of, kind_of
from fsfm_jax.weights.runtime import JAX, ONNX, RUNTIMES
from fsfm_jax.weights.sidecar_file import read_table

OFFICIAL_DTYPE = "bfloat16"  # default of an evaluation of official files
SERIALIZED = (".jax", ".onnx")


@dataclasses.dataclass(frozen=True)
class Unsaid:
    """Settings that official files do not store; "" means not given.

    Attributes:
      classes: class names by index, such as "fake,real".
      statistics: one of `STATISTICS`, used if the folder of the file has none.
      norm_over: axis for anti-spoofing networks, one of `NORM_AXES`; the first if not given.
    """

    classes: str = ""
    statistics: str = ""
    norm_over: str = ""


def is_official(checkpoint: str) -> bool:
    """Return whether a checkpoint is a weight file without a sidecar, which stores neither classes nor dtype."""
    if hub_file.is_address(checkpoint):
        checkpoint = hub_file.fetch_checkpoint(checkpoint)
    return bool(checkpoint) and kind_of(checkpoint) is not None and find_export(checkpoint) is None


def open_scorer(
    checkpoint: str | None, unsaid: Unsaid, dtype: str = "", named: str = "--{}", runtime: str = ""
) -> Detector | artifact.Artifact | onnx_artifact.OnnxArtifact:
    """Open a scorer of face crops: as `open_detector`, or a detector that `serialize` wrote for JAX or in ONNX.

    Args:
      checkpoint, unsaid, dtype, named: see `open_detector`.
      runtime: one of `RUNTIMES`, of a serialized detector; "": JAX for a .jax file, ONNX Runtime for ONNX.

    Raises:
      FileNotFoundError: the checkpoint does not exist, or a serialized detector lacks its sidecar.
      ValueError: `open_detector`, `artifact.read` or `onnx_artifact.read` refuses it, or the runtime does not run such
        a file.
    """
    if runtime:
        one_of(named.format("runtime"), runtime, RUNTIMES)
    if checkpoint is None or checkpoint == bundled.NAME or not _is_serialized(checkpoint):
        return open_detector(checkpoint, unsaid, dtype, named)
    if dtype:
        raise ValueError(f"{named.format('dtype')}: {checkpoint} is serialized in a fixed dtype; leave this out")
    kind = artifact.read_card(checkpoint)["artifact"]["kind"]
    in_onnx = kind == onnx_artifact.KIND
    if runtime and (runtime != JAX) != in_onnx:
        runs, remedy = ("onnx or openvino", "") if in_onnx else ("jax", ", or export it with --format=onnx")
        raise ValueError(
            f"{named.format('runtime')}: {checkpoint} is for {runs}; found {runtime}. Leave it out, or name the run "
            f"that it was made from{remedy}"
        )
    found = onnx_artifact.read(checkpoint, runtime or ONNX) if in_onnx else artifact.read(checkpoint)
    check_agrees(unsaid, named, checkpoint, found.class_names, found.card["statistics"], None)
    return found


def open_detector(checkpoint: str | None, unsaid: Unsaid, dtype: str = "", named: str = "--{}") -> Detector:
    """Open the detector of a finished fine-tuning run, an export, or an official fine-tuned file.

    Args:
      checkpoint: the --workdir of a run, a weight file, the folder of an export, a Hub address, or `small`; None opens
        the detector of the package.
      unsaid: settings for official files only; an export stores them, so given values must agree.
      dtype: dtype of the matrix products; "": the detector's own, bfloat16 for official files.
      named: pattern for field names in errors, "--{}" on a command line.

    Raises:
      FileNotFoundError: the checkpoint does not exist, or its run has not finished.
      ValueError: `open_saved`, `open_export` or `open_official` refuses it, a field is for another kind of
        checkpoint, or a field contradicts an export.
      ModuleNotFoundError, ValueError, OSError: `hub_file.fetch_checkpoint` refuses the address.
    """
    if checkpoint is not None and hub_file.is_address(checkpoint):
        fetched = open_detector(hub_file.fetch_checkpoint(checkpoint), unsaid, dtype, named)
        return dataclasses.replace(fetched, name=checkpoint)
    chosen = DTYPES[one_of(named.format("dtype"), dtype, DTYPES)] if dtype else None
    own, checkpoint = bundled.is_named(checkpoint), bundled.resolve_name(checkpoint, bundled.DETECTOR)
    if _is_serialized(checkpoint):
        raise ValueError(f"checkpoint: {checkpoint} is serialized and can only score; name the run or file it is from")
    export = find_export(checkpoint)
    if export is not None:
        detector, _ = open_export(export)
        detector = dataclasses.replace(detector, name=bundled.NAME) if own else detector
        check_agrees(
            unsaid, named, checkpoint, detector.class_names, detector.card["statistics"], detector.task.model.norm_over
        )
        return detector if chosen is None else with_dtype(detector, chosen)
    if kind_of(checkpoint) is None:
        given = [named.format(name) for name, value in dataclasses.asdict(unsaid).items() if value]
        if given:
            raise ValueError(
                f"{', '.join(given)}: expected for official files only, but {checkpoint} is a run, which stores it; "
                "leave it out"
            )
        from fsfm_jax.detection.saved import open_saved  # Orbax, a second that weight files should not wait for

        detector = open_saved(checkpoint)
        return detector if chosen is None else with_dtype(detector, chosen)
    content = content_of(checkpoint, "checkpoint")
    if not unsaid.classes:
        raise ValueError(
            f"{named.format('classes')}: {checkpoint} does not store its class names; give them by index, such as "
            "fake,real (the official code sorts the class folders by name)"
        )
    known = None
    if unsaid.statistics:
        known = STATISTICS[one_of(named.format("statistics"), unsaid.statistics, STATISTICS)]
    norm_over = one_of(named.format("norm_over"), unsaid.norm_over or NORM_AXES[0], NORM_AXES)
    return open_official(checkpoint, unsaid.classes, known, norm_over, chosen or DTYPES[OFFICIAL_DTYPE], content)


def _is_serialized(checkpoint: str) -> bool:
    """Return whether `serialize` wrote it, by its sidecar; or by its name, so that an error names a missing sidecar."""
    if "://" in checkpoint or not os.path.isfile(checkpoint):
        return False
    if checkpoint.endswith(SERIALIZED):
        return True
    beside = artifact.sidecar_of(checkpoint)
    return os.path.isfile(beside) and (
        kind_of(checkpoint) is None or read_table(beside).get("format") == artifact.FORMAT
    )


def check_agrees(
    unsaid: Unsaid, named: str, checkpoint: str, class_names: tuple[str, ...], statistics: dict, norm_over: str | None
) -> None:
    """Raise ValueError with the field if a given setting contradicts the detector's own."""
    said = {}
    if unsaid.classes:
        said["classes"] = unsaid.classes, ",".join(class_names), parse_classes(unsaid.classes)[0] == class_names
    if unsaid.statistics:
        known = STATISTICS[one_of(named.format("statistics"), unsaid.statistics, STATISTICS)]
        own = [list(statistics[name]) for name in ("mean", "std")]
        said["statistics"] = unsaid.statistics, f"{own}", own == [list(known.mean), list(known.std)]
    if unsaid.norm_over and norm_over is not None:
        said["norm_over"] = unsaid.norm_over, norm_over, unsaid.norm_over == norm_over
    for name, (given, has, agrees) in said.items():
        if not agrees:
            field = named.format(name)
            raise ValueError(f"{field}: expected {has}, as {checkpoint} says; found {given}. Leave {field} out")
