"""Random-access sources of labelled faces: records with labels, self-blended and forged synthetic faces.

Beside its examples a labelled source knows label and video of each of them, which balanced sampling and the check
for leaks need.
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
    """What a labelled source has.

    An example is a dict: `records.IMAGE` bytes of a PNG or JPEG of any size, `records.LABEL` index into
    `class_names`, `records.VIDEO`, `records.FRAME`, `records.METHOD` and `records.SOURCE`.
    """

    name: str
    dataset: str  # the data set that this is a split of; video ids are unique within one
    class_names: tuple[str, ...]
    real: int  # the label of real (bona fide) faces
    fingerprint: str
    pixel_sums: PixelSums
    labels: np.ndarray  # [n] int64
    videos: np.ndarray  # [n] text
    methods: np.ndarray  # [n] text, the manipulation of every example; "" for real faces, and where it is not known

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict: ...


def open_labelled(spec: str) -> LabelledSource:
    """Opens `PATH[:SPLIT]`, `blended:...` (see `data.blended_source`) or `forged:...` (see `data.forgery`).

    Raises:
      ValueError: a malformed spec, an unknown split, or a data set without labels or without a known real class.
      FileNotFoundError: no such folder.
    """
    spec = spec.strip()
    if spec.startswith(BLENDED):
        return open_blended(spec)
    return open_forged(spec) if spec.startswith("forged:") else LabelledRecords(*path_and_split(spec))


def is_made(spec: str) -> bool:
    """Whether a spec asks for labelled faces that are made here, not for records with labels."""
    return spec.strip().startswith((BLENDED, "forged:"))


def for_training(source: "LabelledSource") -> "LabelledSource":
    """The source as a training stream reads it: with what is drawn at each position, where it has such."""
    return source.for_training() if hasattr(source, "for_training") else source


def is_paired(source: object) -> bool:
    """Whether each real face of a source has a forgery of its own; the two have the same place within their classes."""
    return getattr(source, "paired", False)


class Records:
    """One split of a records directory, read as examples with a label; what its labels mean is a subclass's."""

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
        """Reads one example; ValueError if the record is damaged."""
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
        """`[n]` text, the manipulation of every example, "" where there is none or it is not known."""
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
                "labelled data set, with --real=NAME if the classes are your own; of records without labels say the "
                f"class of all faces: data.classes=real,fake and real={path}"
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
        """Reads one example; ValueError if the record is damaged."""
        method = "" if self._label == self.real else self.dataset
        return {**super().__getitem__(index), records.LABEL: self._label, records.METHOD: method}


def has_labels(spec: str) -> bool:
    """Returns whether `spec` is of records with labels, or drawn; False for records without.

    Raises:
      ValueError: a malformed spec or an unknown split. FileNotFoundError: no such folder.
    """
    return is_made(spec) or bool(read_split_card(*path_and_split(spec))[1].class_names)


def read_split_card(directory: str | os.PathLike, split: str) -> tuple[epath.Path, Card]:
    """Reads the card of records that must have `split`.

    Raises:
      ValueError: an unknown split. FileNotFoundError: no data set there.
    """
    path = epath.Path(directory)
    if not (path / records.CARD_FILE).exists():
        raise FileNotFoundError(f"no data set at {path}; make one with {BUILD} --dataset=NAME --output={path}")
    card = read_card(path)
    if split not in card.splits:
        raise ValueError(f"data set {path}: no split {split!r}, there is {', '.join(sorted(card.splits))}")
    return path, card


def check_disjoint(one: LabelledSource, other: LabelledSource) -> None:
    """Refuses two sets of which one would be judged by videos of the other.

    Only sets of one data set can share a video: ids are unique within a data set.

    Raises:
      ValueError: with how many videos they share, and the first of them.
    """
    if one.dataset != other.dataset:
        return
    shared = np.intersect1d(one.videos, other.videos)
    if shared.size:
        raise ValueError(
            f"{one.name} and {other.name} share {shared.size} videos, first {shared[0]}: what is trained on cannot "
            "judge; prepare the data set with its official splits"
        )


def check_classes(sources: list[LabelledSource]) -> tuple[tuple[str, ...], int]:
    """The class names and the real class that all sources share.

    Raises:
      ValueError: sources that disagree.
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
    """Refuses sources that together lack a class that is needed, or have labels that no class has.

    Training needs `every_class`; to judge, real faces and forged faces of any class are enough. `purpose` is the field
    that names the sources, for the message.

    Raises:
      ValueError: with the classes that are missing, or the source and the label.
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
        raise ValueError(f"{purpose}: no face of class {', '.join(missing)} in {named}; add data that has some")
