"""The data sets of an evaluation, by the names that they have in its files and tables."""

import re
from collections.abc import Callable

from fsfm_jax.data.class_map import Together, open_classed
from fsfm_jax.data.labels import LabelledSource, open_labelled
from fsfm_jax.detection.detector import Detector
from fsfm_jax.detection.serialized_scorer import Serialized
from fsfm_jax.detection.video_overlap import check_unseen

PARTS = re.compile(r"\+(?=\w+=)")  # drawn forgeries also have a + between their kinds


def open_sets(text: str, field: str, opened: Callable[[str], LabelledSource]) -> dict[str, LabelledSource]:
    """Opens what `parse_sets` reads; `opened` opens one part.

    Raises:
      ValueError: see `parse_sets`, or parts of other classes.
    """
    sets = {name: [opened(part) for part in parts] for name, parts in parse_sets(text, field).items()}
    return {name: parts[0] if len(parts) == 1 else Together(parts) for name, parts in sets.items()}


def parse_sets(text: str, field: str) -> dict[str, list[str]]:
    """Parses `NAME=SPEC,NAME=SPEC`; names are letters, digits, `-` and `_`, since files are called by them.

    A set of several parts is `NAME=CLASS=SPEC+CLASS=SPEC`, with the classes of the detector.

    Raises:
      ValueError: an entry of another form, or a name twice.
    """
    sets = {}
    for entry in text.split(","):
        name, equals, spec = entry.strip().partition("=")
        if not equals or not name.replace("-", "").replace("_", "").isalnum() or name in sets:
            raise ValueError(f"{field}: expected NAME=SPEC,NAME=SPEC with each name once; found {entry.strip()!r}")
        sets[name] = PARTS.split(spec)
    return sets


def open_for(detector: Detector | Serialized, spec: str) -> LabelledSource:
    """Open a data set in the classes of a detector, which saw no video of it in training.

    Raises:
      ValueError: other classes, videos that were trained on, or what `open_labelled` and `open_classed` refuse.
      FileNotFoundError: no such data set.
    """
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
