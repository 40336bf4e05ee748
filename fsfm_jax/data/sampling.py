"""Groups of labelled examples that come equally often in training: classes, and the manipulations in them."""

from collections.abc import Sequence

import numpy as np

from fsfm_jax.data.labels import is_paired

# How often labelled examples come: as they are there, or so that classes take turns, or in them manipulations as well.
SAMPLINGS = NATURAL, BY_CLASS, BY_METHOD = "natural", "classes", "methods"


class Subset:
    """Some examples of a source, as a source."""

    def __init__(self, source, indices: np.ndarray):
        self._source, self._indices = source, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> dict:
        return self._source[int(self._indices[index])]


def group_examples(sources: Sequence[tuple], sampling: str) -> dict[tuple[int, str], list[Subset]]:
    """The examples of each class, and with `BY_METHOD` of each manipulation in it, by label and method, sorted.

    Each group is a list, with a part of each of the labelled `sources` (with weights) that has some. Real faces are one
    group, forged ones of an unknown manipulation another.
    """
    groups: dict[tuple[int, str], list[Subset]] = {}
    for source, _ in sources:
        labels = source.labels
        told = sampling == BY_METHOD
        methods = np.where(labels == source.real, "", source.methods) if told else np.full(len(labels), "")
        for label, method in sorted(set(zip(labels.tolist(), methods.tolist(), strict=True))):
            chosen = np.flatnonzero((labels == label) & (methods == method))
            groups.setdefault((label, method), []).append(Subset(source, chosen))
    return dict(sorted(groups.items()))


def check_turns(sources: Sequence[tuple], global_batch: int) -> None:
    """Refuses sources whose classes cannot take turns in batches of `global_batch`.

    Raises:
      ValueError: weights, pairs of a face and its forgery, or classes that do not divide the batch.
    """
    for source, weight in sources:
        if weight is not None:
            raise ValueError(
                f"data.sampling: it decides how often each face comes, and {source.name} has the weight {weight:g}; "
                "leave the weights of data.train out, or set data.sampling to natural"
            )
        if is_paired(source):
            raise ValueError(
                f"data.sampling: the faces of {source.name} come in pairs, which keep together; set it to natural, and "
                "data.balanced for as many of each data set"
            )
    classes = len(np.unique(np.concatenate([source.labels for source, _ in sources])))
    if global_batch % classes:
        raise ValueError(f"batch.size: {global_batch} images do not divide among {classes} classes; use a multiple")
