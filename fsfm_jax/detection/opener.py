"""Open a detector from whatever holds one: a finished run, an export, a serialized detector or an official file."""

import dataclasses
import os

from fsfm_jax.config.fields import one_of
from fsfm_jax.data.class_map import parse_classes
from fsfm_jax.detection.detector import Detector, open_saved
from fsfm_jax.detection.export_reader import open_export, with_dtype
from fsfm_jax.detection.official import open_official
from fsfm_jax.models.antispoof import NORM_AXES
from fsfm_jax.resolve.pretrain import DTYPES, STATISTICS
from fsfm_jax.weights import artifact, bundled, hub_file, onnx_artifact
from fsfm_jax.weights.export_file import find_export
from fsfm_jax.weights.official_file import content_of, kind_of
from fsfm_jax.weights.runtime import JAX, ONNX, RUNTIMES
from fsfm_jax.weights.sidecar_file import read_table

OFFICIAL_DTYPE = "bfloat16"  # as an evaluation takes official files
SERIALIZED = (".jax", ".onnx")


@dataclasses.dataclass(frozen=True)
class Unsaid:
    """What official files do not say; "" for not given.

    Attributes:
      classes: names by index, such as "fake,real".
      statistics: where none lie beside the file, one of `STATISTICS`.
      norm_over: of anti-spoofing networks, one of `NORM_AXES`; the first if not given.
    """

    classes: str = ""
    statistics: str = ""
    norm_over: str = ""


def is_official(checkpoint: str) -> bool:
    """Whether a checkpoint is a weight file without a sidecar, which says neither its classes nor its dtype."""
    if hub_file.is_address(checkpoint):
        checkpoint = hub_file.fetch_checkpoint(checkpoint)
    return bool(checkpoint) and kind_of(checkpoint) is not None and find_export(checkpoint) is None


def open_scorer(
    checkpoint: str | None, unsaid: Unsaid, dtype: str = "", named: str = "--{}", runtime: str = ""
) -> Detector | artifact.Artifact | onnx_artifact.OnnxArtifact:
    """Opens what scores face crops: as `open_detector`, or a detector that `serialize` wrote for JAX or in ONNX.

    Args:
      checkpoint, unsaid, dtype, named: see `open_detector`.
      runtime: one of `RUNTIMES`, of a serialized detector; "": JAX for a .jax file, ONNX Runtime for ONNX.

    Raises:
      FileNotFoundError: nothing there, or a serialized detector without its sidecar.
      ValueError: what `open_detector`, `artifact.read` and `onnx_artifact.read` refuse, or a runtime that does not run
        such a file.
    """
    if runtime:
        one_of(named.format("runtime"), runtime, RUNTIMES)
    if checkpoint is None or checkpoint == bundled.NAME or not _is_serialized(checkpoint):
        return open_detector(checkpoint, unsaid, dtype, named)
    if dtype:
        raise ValueError(f"{named.format('dtype')}: {checkpoint} is serialized, in the dtype that it has; leave it out")
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
    """Opens the detector of a finished fine-tuning run, of an export, or of an official fine-tuned file.

    Args:
      checkpoint: the --workdir of a run, a weight file, the folder of an export, an address of the Hub, or `small`;
        None: that of the package.
      unsaid: for official files alone; an export says it itself, so what is given has to agree.
      dtype: of the matrix products; "": the detector's own, and bfloat16 for official files.
      named: what errors call the fields of `unsaid` and the dtype, "--{}" on a command line.

    Raises:
      FileNotFoundError: nothing there, or a run that has not ended.
      ValueError: what `open_saved`, `open_export` and `open_official` refuse, a field for another kind of
        checkpoint, or one that contradicts an export.
      ModuleNotFoundError, ValueError, OSError: an address that `hub_file.fetch_checkpoint` refuses.
    """
    if checkpoint is not None and hub_file.is_address(checkpoint):
        fetched = open_detector(hub_file.fetch_checkpoint(checkpoint), unsaid, dtype, named)
        return dataclasses.replace(fetched, name=checkpoint)
    chosen = DTYPES[one_of(named.format("dtype"), dtype, DTYPES)] if dtype else None
    own, checkpoint = bundled.is_named(checkpoint), bundled.resolve_name(checkpoint, bundled.DETECTOR)
    if _is_serialized(checkpoint):
        raise ValueError(f"checkpoint: {checkpoint} is serialized, it scores and no more: name what it was made from")
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
                f"{', '.join(given)}: expected for official files alone; {checkpoint} is a run, which says it itself"
            )
        detector = open_saved(checkpoint)
        return detector if chosen is None else with_dtype(detector, chosen)
    content = content_of(checkpoint, "checkpoint")
    if not unsaid.classes:
        raise ValueError(
            f"{named.format('classes')}: {checkpoint} does not say what its outputs are; name them by index, such as "
            "fake,real (the official code numbers folders by name)"
        )
    known = None
    if unsaid.statistics:
        known = STATISTICS[one_of(named.format("statistics"), unsaid.statistics, STATISTICS)]
    norm_over = one_of(named.format("norm_over"), unsaid.norm_over or NORM_AXES[0], NORM_AXES)
    return open_official(checkpoint, unsaid.classes, known, norm_over, chosen or DTYPES[OFFICIAL_DTYPE], content)


def _is_serialized(checkpoint: str) -> bool:
    """Whether `serialize` wrote it, by its sidecar; or by its name, so that a missing sidecar is named."""
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
    """Refuses what contradicts a detector that says it itself; ValueError names the field."""
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
            raise ValueError(f"{field}: {checkpoint} says it itself, {has}; found {given}. Leave {field} out")
