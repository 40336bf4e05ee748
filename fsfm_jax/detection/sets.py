"""Open the data sets of an evaluation, by their names in its files and tables."""

import re
from collections.abc import Callable

from fsfm_jax.data.class_map import Together, open_classed
from fsfm_jax.data.labels import LabelledSource, open_labelled
from fsfm_jax.detection.detector import Detector
from fsfm_jax.detection.serialized_scorer import Serialized
from fsfm_jax.detection.video_overlap import check_unseen

PARTS = re.compile(r"\+(?=\w+=)")  # a + without NAME= separates kinds of drawn forgeries


def open_sets(text: str, field: str, opened: Callable[[str], LabelledSource]) -> dict[str, LabelledSource]:
    """Open the sets that `parse_sets` reads; `opened` opens one part.

    Raises:
      ValueError: see `parse_sets`, or the parts of a set have different classes.
    """
    sets = {name: [opened(part) for part in parts] for name, parts in parse_sets(text, field).items()}
    return {name: parts[0] if len(parts) == 1 else Together(parts) for name, parts in sets.items()}


def parse_sets(text: str, field: str) -> dict[str, list[str]]:
    """Parse `NAME=SPEC,NAME=SPEC`; names consist of letters, digits, `-` and `_`, since they become file names.

    A set of several parts is `NAME=CLASS=SPEC+CLASS=SPEC`, with classes of the detector.

    Raises:
      ValueError: an entry has another form, or a name is repeated.
    """
    sets = {}
    for entry in text.split(","):
        name, equals, spec = entry.strip().partition("=")
        if not equals or not name.replace("-", "").replace("_", "").isalnum() or name in sets:
            raise ValueError(f"{field}: expected NAME=SPEC,NAME=SPEC with each name once; found {entry.strip()!r}")
        sets[name] = PARTS.split(spec)
    return sets


def open_for(detector: Detector | Serialized, spec: str) -> LabelledSource:
    """Open a data set in the classes of a detector; refuse videos that the detector was trained on.

    Raises:
      ValueError: the classes differ, the set has training videos, or `open_labelled` or `open_classed` refuses it.
      FileNotFoundError: the data set does not exist.
    """
    if "=" in spec:
        source = open_classed(spec, detector.class_names, detector.real)
    else:
        source = open_labelled(spec)
    trained, real = detector.class_names, detector.real
    if (source.class_names, source.real) != (trained, real):
        raise ValueError(
            f"{source.name}: expected the detector's classes {', '.join(trained)} with {trained[real]} as real, found "
            f"{', '.join(source.class_names)} with {source.class_names[source.real]} as real. Write CLASS=SPEC to "
            "assign the forged faces to one of the detector's classes"
        )
    if detector.card.get("seen") is not None:
        check_unseen(source, detector.card["seen"], detector.name)
    return source
