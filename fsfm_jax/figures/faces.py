"""Faces of any data set for display: photos, and parsing maps and labels if the data set has them."""

import dataclasses
from collections.abc import Collection

import cv2
import numpy as np
from etils import epath

from fsfm_jax import records
from fsfm_jax.data.labels import LabelledSource, is_made, open_labelled
from fsfm_jax.data.photo import READ_FLAGS
from fsfm_jax.data.sources import Source, open_source, path_and_split
from fsfm_jax.data.statistics import CARD_FILE, read_card


@dataclasses.dataclass(frozen=True)
class Faces:
    """Faces of a data set, in its order or spread over it.

    Attributes:
      name: name of the data set.
      images: RGB images, `[H, W, 3] uint8` each; sizes may differ.
      maps: parsing maps, `[224, 224] uint8` each; None if the data set has none.
      labels: class names; None if the data set has none.
      videos: video ids.
      methods: methods of manipulation or attack; "" if there is none.
      sources: origin of each face for messages.
    """

    name: str
    images: list[np.ndarray]
    maps: list[np.ndarray] | None
    labels: list[str] | None
    videos: list[str]
    methods: list[str]
    sources: list[str]


def open_faces(spec: str, count: int) -> Faces:
    """Open `count` evenly spaced faces of a data set, or all if there are fewer.

    Args:
      spec: a data set as in `data.train` of pretraining (`samples`, `synthetic:N`, `PATH:SPLIT`) or of fine-tuning
        (`forged:...`, `blended:...`, `PATH:SPLIT` with labels).
      count: number of faces, at least 1.

    Raises:
      ValueError: if `count` is less than 1, or the data set raises it.
      FileNotFoundError: if there is no such data set.
    """
    if count < 1:
        raise ValueError(f"--images: expected at least 1, found {count}")
    source = _open(spec)
    return _faces(spec, source, [int(index) for index in np.unique(np.linspace(0, len(source) - 1, count, dtype=int))])


def open_methods(spec: str, count: int) -> Faces:
    """Open `count` evenly spaced faces of each method of manipulation or attack, or all if there are fewer.

    Faces without a method, such as real faces, are grouped by class. Methods come in alphabetical order, followed by
    faces without one. The data set is read once to find the methods.

    Args:
      spec: a data set as in `data.train` of fine-tuning.
      count: number of faces of each method, at least 1.

    Raises:
      ValueError: if `count` is less than 1, the data set has no labels, or the data set raises it.
      FileNotFoundError: if there is no such data set.
    """
    if count < 1:
        raise ValueError(f"--images: expected at least 1 face of each method, found {count}")
    source = _open(spec)
    if not hasattr(source, "class_names"):
        raise ValueError(f"--data: {spec} has no labels and no methods; use a labelled data set, or leave out --by")
    groups: dict[tuple[bool, str], list[int]] = {}
    for index in range(len(source)):
        example = source[index]
        method = str(example[records.METHOD])
        groups.setdefault((not method, method or source.class_names[example[records.LABEL]]), []).append(index)
    chosen = [
        group[place]
        for _, group in sorted(groups.items())
        for place in np.unique(np.linspace(0, len(group) - 1, count, dtype=int))
    ]
    return _faces(spec, source, chosen)


def find_maps(spec: str, sources: Collection[str]) -> dict[str, np.ndarray]:
    """Return the parsing maps `[224, 224] uint8` of the faces whose stored source is in `sources`, by source.

    Raises:
      ValueError: if the data set has no maps, or raises it.
      FileNotFoundError: if there is no such data set.
    """
    source, found = open_source(spec), {}
    for index in range(len(source)):
        example = source[index]
        if example[records.SOURCE] in sources:
            found[str(example[records.SOURCE])] = example[records.PARSING_MAP]
    return found


def _open(spec: str) -> Source | LabelledSource:
    return open_labelled(spec) if is_made(spec) or _has_labels(spec) else open_source(spec)


def _faces(spec: str, source: Source | LabelledSource, indices: list[int]) -> Faces:
    examples = [source[index] for index in indices]
    maps = [example[records.PARSING_MAP] for example in examples if example.get(records.PARSING_MAP) is not None]
    labelled = getattr(source, "class_names", None)
    return Faces(
        name=spec,
        images=[_decode(example) for example in examples],
        maps=maps if len(maps) == len(examples) else None,
        labels=[labelled[example[records.LABEL]] for example in examples] if labelled else None,
        videos=[str(example.get(records.VIDEO, "")) for example in examples],
        methods=[str(example.get(records.METHOD, "")) for example in examples],
        sources=[str(example.get(records.SOURCE, "")) for example in examples],
    )


def _has_labels(spec: str) -> bool:
    path, _ = path_and_split(spec)
    return (epath.Path(path) / CARD_FILE).exists() and bool(read_card(path).class_names)


def _decode(example: dict) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(example[records.IMAGE], np.uint8), READ_FLAGS)
    if image is None:
        raise ValueError(
            f"photo {example[records.SOURCE]}: expected a PNG or JPEG, found damaged data; prepare the data set again"
        )
    return image
