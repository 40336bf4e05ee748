"""A detector from whatever holds one: a finished fine-tuning run, or an official fine-tuned file."""

import dataclasses

from fsfm_jax.config import DTYPES, STATISTICS
from fsfm_jax.detection.detector import Detector, open_detector
from fsfm_jax.detection.official import open_official
from fsfm_jax.export.official_file import kind_of
from fsfm_jax.fields import one_of
from fsfm_jax.models.antispoof import NORM_AXES

OFFICIAL_DTYPE = "bfloat16"  # as an evaluation takes official files


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
    """Whether a checkpoint is a weight file by its name; a working directory otherwise."""
    return bool(checkpoint) and kind_of(checkpoint) is not None


def open_checkpoint(checkpoint: str, unsaid: Unsaid, dtype: str = "", named: str = "--{}") -> Detector:
    """The detector of a finished fine-tuning run, or of an official fine-tuned file.

    Args:
      unsaid: for official files alone.
      dtype: of the matrix products; "": the detector's own, and bfloat16 for official files.
      named: what errors call the fields of `unsaid` and the dtype, "--{}" on a command line.

    Raises:
      FileNotFoundError: nothing there, or a run that has not ended.
      ValueError: what `open_detector` and `open_official` refuse, or a field for the other kind of checkpoint.
    """
    chosen = DTYPES[one_of(named.format("dtype"), dtype, DTYPES)] if dtype else None
    if not is_official(checkpoint):
        given = [named.format(name) for name, value in dataclasses.asdict(unsaid).items() if value]
        if given:
            raise ValueError(
                f"{', '.join(given)}: expected for official files alone; {checkpoint} is a run, which says it itself"
            )
        detector = open_detector(checkpoint)
        if chosen is None:
            return detector
        model = dataclasses.replace(detector.task.model, dtype=chosen)
        return dataclasses.replace(detector, task=dataclasses.replace(detector.task, model=model))
    if not unsaid.classes:
        raise ValueError(
            f"{named.format('classes')}: {checkpoint} does not say what its outputs are; name them by index, such as "
            "fake,real (the official code numbers folders by name)"
        )
    known = None
    if unsaid.statistics:
        known = STATISTICS[one_of(named.format("statistics"), unsaid.statistics, STATISTICS)]
    norm_over = one_of(named.format("norm_over"), unsaid.norm_over or NORM_AXES[0], NORM_AXES)
    return open_official(checkpoint, unsaid.classes, known, norm_over, chosen or DTYPES[OFFICIAL_DTYPE])
