"""Open random-access sources of labelled faces: records with labels, self-blended and forged synthetic faces.

A labelled source also has the label and video of each example, for balanced sampling and the check for leaks.
"""

import hashlib
import os
from functools import cached_property
from typing import Protocol

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from fsfm_jax import records
from fsfm_jax.data.blended_source import PREFIX as BLENDED
from fsfm_jax.data.blended_source import open_blended
from fsfm_jax.data.example import DAMAGE, parse
from fsfm_jax.data.forgery import open_forged
from fsfm_jax.data.provenance import Provenance
from fsfm_jax.data.sources import one_line, open_builder, path_and_split
from fsfm_jax.data.statistics import BUILD, Card, PixelSums, read_card

STORED = (records.IMAGE, records.LABEL, records.VIDEO, records.FRAME, records.METHOD, records.SOURCE)


class LabelledSource(Protocol):
    """The interface of a labelled source.

    An example is a dict: `records.IMAGE` bytes of a PNG or JPEG of any size, `records.LABEL` index into
    `class_names`, `records.VIDEO`, `records.FRAME`, `records.METHOD` and `records.SOURCE`.
    """

    name: str
    dataset: str  # the data set that this is a split of; video ids are unique within it
    class_names: tuple[str, ...]
    real: int  # the label of real (bona fide) faces
    fingerprint: str
    pixel_sums: PixelSums
    labels: np.ndarray  # [n] int64
    videos: np.ndarray  # [n] text
    methods: np.ndarray  # [n] text, the manipulation of every example; "" for real faces, and if unknown

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict: ...


def open_labelled(spec: str) -> LabelledSource:
    """Open `PATH[:SPLIT]`, `blended:...` (see `data.blended_source`) or `forged:...` (see `data.forgery`).

    Raises:
      ValueError: the spec is malformed, the split is unknown, or the data set has no labels or no known real class.
      FileNotFoundError: the folder does not exist.
    """
    spec = spec.strip()
    if spec.startswith(BLENDED):
        return open_blended(spec)
    return open_forged(spec) if spec.startswith("forged:") else LabelledRecords(*path_and_split(spec))


def is_made(spec: str) -> bool:
    """Return whether a spec asks for generated labelled faces, not for records."""
    return spec.strip().startswith((BLENDED, "forged:"))


def for_training(source: "LabelledSource") -> "LabelledSource":
    """Return the source as a training stream reads it: with the inputs of random draws, if it has any."""
    return source.for_training() if hasattr(source, "for_training") else source


def is_paired(source: object) -> bool:
    """Return whether each real face of a source has its own forgery, at the same place within its class."""
    return getattr(source, "paired", False)


class Records:
    """One split of a records directory, read as labelled examples; subclasses define the labels."""

    def __init__(self, path: epath.Path, split: str, card: Card):
        statistics = card.splits[split]
        self.name, self.dataset = f"{card.name}:{split}", card.name
        self.fingerprint, self.pixel_sums = statistics.fingerprint, statistics.pixel_sums
        self.provenance = Provenance.from_card(card, split)
        self._length = statistics.examples
        self._records = open_builder(path, split, statistics.shard_lengths).as_data_source(
            split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
        )

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict:
        """Read one example; raise ValueError if the record is damaged."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name}: example {index} of {len(self)}")
        try:
            return parse(self._records[index], STORED)
        except DAMAGE as error:
            raise ValueError(
                f"data set {self.name}, example {index}: cannot be read ({one_line(error)}); copy it again, or make it "
                f"with {BUILD}"
            ) from error

    @cached_property
    def _index(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        # One pass over the records, about 20,000 a second.
        names = records.LABEL, records.VIDEO, records.METHOD
        rows = [tuple(example[name] for name in names) for example in map(self.__getitem__, range(len(self)))]
        labels, videos, methods = zip(*rows, strict=True) if rows else ((), (), ())
        return np.array(labels, np.int64), np.array(videos), np.array(methods)

    @property
    def labels(self) -> np.ndarray:
        """`[n] int64`, the label of every example."""
        return self._index[0]

    @property
    def videos(self) -> np.ndarray:
        """`[n]` text, the video of every example."""
        return self._index[1]

    @property
    def methods(self) -> np.ndarray:
        """`[n]` text, the manipulation of every example, "" if there is none or it is unknown."""
        return self._index[2]


class LabelledRecords(Records):
    """One labelled split of a records directory."""

    def __init__(self, directory: str | os.PathLike, split: str):
        path, card = read_split_card(directory, split)
        if not card.class_names or card.real is None:
            found = (
                "no labels" if not card.class_names else f"classes {', '.join(card.class_names)}, none known as real"
            )
            raise ValueError(
                f"data set {path}: expected labels and a real class, found {found}; make it with {BUILD} from a "
                "labelled data set, with --real=NAME if the classes are your own. For records without labels, name "
                f"the class of all faces: data.classes=real,fake and real={path}"
            )
        super().__init__(path, split, card)
        self.class_names, self.real = card.class_names, card.real


class RecordsOfOneClass(Records):
    """One split of records without labels, all of whose faces are of the class `name`.

    Faces that are not real have the name of the data set as their method.
    """

    def __init__(self, directory: str | os.PathLike, split: str, name: str, class_names: tuple[str, ...], real: int):
        path, card = read_split_card(directory, split)
        super().__init__(path, split, card)
        self.name = f"{name}={self.name}"
        self.class_names, self.real = class_names, real
        self._label = class_names.index(name)
        self.fingerprint = hashlib.sha256("\n".join((self.fingerprint, *class_names, name)).encode()).hexdigest()

    def __getitem__(self, index: int) -> dict:
        """Read one example; raise ValueError if the record is damaged."""
        method = "" if self._label == self.real else self.dataset
        return {**super().__getitem__(index), records.LABEL: self._label, records.METHOD: method}


def has_labels(spec: str) -> bool:
    """Return whether `spec` names records with labels or generated faces; False for records without labels.

    Raises:
      ValueError: the spec is malformed or the split unknown. FileNotFoundError: the folder does not exist.
    """
    return is_made(spec) or bool(read_split_card(*path_and_split(spec))[1].class_names)


def read_split_card(directory: str | os.PathLike, split: str) -> tuple[epath.Path, Card]:
    """Read the card of records that must have `split`.

    Raises:
      ValueError: the split is unknown. FileNotFoundError: there is no data set.
    """
    path = epath.Path(directory)
    if not (path / records.CARD_FILE).exists():
        raise FileNotFoundError(f"no data set at {path}; make one with {BUILD} --dataset=NAME --output={path}")
    card = read_card(path)
    if split not in card.splits:
        raise ValueError(f"data set {path}: no split {split!r}, its splits are {', '.join(sorted(card.splits))}")
    return path, card


def check_disjoint(one: LabelledSource, other: LabelledSource) -> None:
    """Refuse two sets that share videos, since training videos must not be used for evaluation.

    Only sets of one data set can share a video: ids are unique within a data set.

    Raises:
      ValueError: the sets share videos; the message has their count and the first of them.
    """
    if one.dataset != other.dataset:
        return
    shared = np.intersect1d(one.videos, other.videos)
    if shared.size:
        raise ValueError(
            f"{one.name} and {other.name}: expected no common videos, found {shared.size}, first {shared[0]}. Training "
            "videos are refused at evaluation; prepare the data set with its official splits"
        )


def check_classes(sources: list[LabelledSource]) -> tuple[tuple[str, ...], int]:
    """Return the class names and the real class that all sources share.

    Raises:
      ValueError: the sources disagree.
    """
    first = sources[0]
    for source in sources[1:]:
        if (source.class_names, source.real) != (first.class_names, first.real):
            raise ValueError(
                f"{first.name} has the classes {', '.join(first.class_names)} with {first.class_names[first.real]} as "
                f"real, {source.name} has {', '.join(source.class_names)} with {source.class_names[source.real]}; "
                "they cannot be trained or evaluated together"
            )
    return first.class_names, first.real


def check_labels(sources: list[LabelledSource], purpose: str, every_class: bool) -> None:
    """Refuse sources that together lack a required class, or have labels outside the classes.

    Training needs `every_class`; evaluation needs real faces and forged faces of any class. `purpose` is the field that
    names the sources, for the message.

    Raises:
      ValueError: a class is missing or a label is invalid; the message names the classes, or the source and label.
    """
    names, real = sources[0].class_names, sources[0].real
    counts = np.zeros(len(names), np.int64)
    for source in sources:
        low, high = int(source.labels.min()), int(source.labels.max())
        if low < 0 or high >= len(names):
            raise ValueError(
                f"{purpose}: {source.name} has the label {low if low < 0 else high}, expected 0 to {len(names) - 1} "
                f"for {', '.join(names)}; make the data set again from labelled faces"
            )
        counts += np.bincount(source.labels, minlength=len(names))
    missing = [name for name, count in zip(names, counts, strict=True) if not count]
    if missing and (every_class or names[real] in missing or len(missing) == len(names) - 1):
        named = " and ".join(source.name for source in sources)
        raise ValueError(f"{purpose}: no face of class {', '.join(missing)} in {named}; add data with such faces")
