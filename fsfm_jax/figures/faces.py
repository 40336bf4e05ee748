"""Faces to look at, of any data set: photos, parsing maps where there are some, labels where there are some."""

import dataclasses

import cv2
import numpy as np
from etils import epath

from fsfm_jax import records
from fsfm_jax.data.labels import open_labelled
from fsfm_jax.data.photo import READ_FLAGS
from fsfm_jax.data.sources import open_source, path_and_split
from fsfm_jax.data.statistics import CARD_FILE, read_card


@dataclasses.dataclass(frozen=True)
class Faces:
    """The faces of a data set, in its order or spread over it.

    Attributes:
      name: of the data set.
      images: RGB, `[H, W, 3] uint8` each, of their own sizes.
      maps: `[224, 224] uint8` each; None if the data set has none.
      labels: names of their classes; None if it has none. videos: text.
    """

    name: str
    images: list[np.ndarray]
    maps: list[np.ndarray] | None
    labels: list[str] | None
    videos: list[str]


def open_faces(spec: str, count: int) -> Faces:
    """`count` faces of a data set, equally spaced, or all if there are fewer.

    Args:
      spec: as in `data.train` of pretraining (`samples`, `synthetic:N`, `PATH:SPLIT`) or of fine-tuning (`forged:...`,
        `PATH:SPLIT` with labels).

    Raises:
      ValueError: no face is asked for, or what the data set refuses. FileNotFoundError: no such data set.
    """
    if count < 1:
        raise ValueError(f"--images: expected at least 1, found {count}")
    labelled = spec.startswith("forged:") or _has_labels(spec)
    source = open_labelled(spec) if labelled else open_source(spec)
    examples = [source[int(index)] for index in np.unique(np.linspace(0, len(source) - 1, count, dtype=int))]
    maps = [example[records.PARSING_MAP] for example in examples if example.get(records.PARSING_MAP) is not None]
    names = [source.class_names[example[records.LABEL]] for example in examples] if labelled else None
    videos = [str(example.get(records.VIDEO, "")) for example in examples]
    return Faces(spec, [_decode(e) for e in examples], maps if len(maps) == len(examples) else None, names, videos)


def _has_labels(spec: str) -> bool:
    path, _ = path_and_split(spec)
    return (epath.Path(path) / CARD_FILE).exists() and bool(read_card(path).class_names)


def _decode(example: dict) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(example[records.IMAGE], np.uint8), READ_FLAGS)
    if image is None:
        raise ValueError(f"photo {example[records.SOURCE]}: damaged, it cannot be decoded; make the data set again")
    return image
