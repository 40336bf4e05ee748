"""Map labelled sources to the classes of a detector, and join several sources into one."""

import hashlib
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from fsfm_jax import records
from fsfm_jax.data.labels import (
    LabelledSource,
    RecordsOfOneClass,
    check_classes,
    for_training,
    has_labels,
    is_paired,
    open_labelled,
)
from fsfm_jax.data.provenance import provenance_of
from fsfm_jax.data.sources import path_and_split


def open_classed(spec: str, class_names: tuple[str, ...], real: int) -> LabelledSource:
    """Open `CLASS=SPEC`, whose forged faces are of class CLASS; SPEC alone if its classes are exactly these.

    For records without labels, CLASS (which may be the real one) is the class of all faces.

    Raises:
      ValueError: CLASS is not one of `class_names`, CLASS is real for records with labels, CLASS is missing although
        the data set has other classes, or `open_labelled` refuses SPEC.
    """
    name, equals, rest = spec.strip().partition("=")
    others = [other for index, other in enumerate(class_names) if index != real]
    if equals and name in class_names and not has_labels(rest):
        return RecordsOfOneClass(*path_and_split(rest), name, class_names, real)
    if not equals:
        source = open_labelled(spec)
        if (source.class_names, source.real) == (class_names, real):
            return source
        raise ValueError(
            f"{spec.strip()}: expected the classes {', '.join(class_names)}, found {', '.join(source.class_names)}; "
            f"name the class of its forgeries, such as {others[0]}={spec.strip()}"
        )
    if name not in others:
        raise ValueError(f"{spec.strip()}: expected one of {', '.join(others)} before the =, found {name!r}")
    return Relabelled(open_labelled(rest), name, class_names, real)


class Relabelled:
    """A source with the classes `class_names`: its real faces stay real, all others become class `forged`."""

    def __init__(self, source: LabelledSource, forged: str, class_names: tuple[str, ...], real: int):
        self.name, self.dataset = f"{forged}={source.name}", source.dataset
        self.class_names, self.real = class_names, real
        self._source, self._forged, self._name = source, class_names.index(forged), forged
        self.paired, self.provenance = is_paired(source), provenance_of(source)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict:
        example = self._source[index]
        return {**example, records.LABEL: self._label(example[records.LABEL])}

    def for_training(self) -> "Relabelled":
        """Return the same mapping of the source as a training stream reads it."""
        return Relabelled(for_training(self._source), self._name, self.class_names, self.real)

    def _label(self, label: int) -> int:
        return self.real if label == self._source.real else self._forged

    @cached_property
    def labels(self) -> np.ndarray:
        return np.where(self._source.labels == self._source.real, self.real, self._forged)

    @property
    def videos(self) -> np.ndarray:
        return self._source.videos

    @property
    def methods(self) -> np.ndarray:
        return self._source.methods

    @property
    def pixel_sums(self):
        return self._source.pixel_sums

    @property
    def fingerprint(self) -> str:
        words = (self._source.fingerprint, *self.class_names, str(self._forged))
        return hashlib.sha256("\n".join(words).encode()).hexdigest()


class Together:
    """A concatenation of sources for evaluation; their classes must agree.

    Video ids are unique only within a data set, so with several data sets its name is prepended.
    """

    def __init__(self, sources: Sequence[LabelledSource]):
        self.parts = tuple(sources)
        self.class_names, self.real = check_classes(list(sources))
        self.name = ",".join(source.name for source in sources)
        self.dataset = sources[0].dataset
        self._ends = np.cumsum([len(source) for source in sources])
        self._several = len({source.dataset for source in sources}) > 1

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> dict:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name}: example {index} of {len(self)}")
        part = int(np.searchsorted(self._ends, index, side="right"))
        example = self.parts[part][index - int(self._ends[part]) + len(self.parts[part])]
        return {**example, records.VIDEO: self._id(self.parts[part], example[records.VIDEO])}

    def _id(self, source: LabelledSource, video: str) -> str:
        return f"{source.dataset}/{video}" if self._several else str(video)

    @property
    def labels(self) -> np.ndarray:
        return np.concatenate([source.labels for source in self.parts])

    @property
    def videos(self) -> np.ndarray:
        return np.array([self._id(source, video) for source in self.parts for video in source.videos])

    @property
    def methods(self) -> np.ndarray:
        return np.concatenate([source.methods for source in self.parts])

    @property
    def pixel_sums(self):
        first, *others = (source.pixel_sums for source in self.parts)
        return sum(others, first)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256("\n".join(source.fingerprint for source in self.parts).encode()).hexdigest()


def open_together(text: str, opened=open_labelled) -> LabelledSource:
    """Open `SPEC,SPEC` as one source; `opened` opens one of them."""
    sources = [opened(spec) for spec in text.split(",")]
    return sources[0] if len(sources) == 1 else Together(sources)


def parts_of(source: LabelledSource) -> tuple[LabelledSource, ...]:
    """Return the sources that `source` was joined from, or itself."""
    return source.parts if isinstance(source, Together) else (source,)
