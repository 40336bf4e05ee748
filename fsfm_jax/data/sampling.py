"""Group labelled examples for balanced sampling, by class, and by manipulation within a class."""

from collections.abc import Sequence

import numpy as np

from fsfm_jax.data.labels import is_paired

# Sampling of labelled examples: by natural frequency, by class in turn, or also by manipulation within a class.
SAMPLINGS = NATURAL, BY_CLASS, BY_METHOD = "natural", "classes", "methods"


class Subset:
    """A source made of some examples of another source."""

    def __init__(self, source, indices: np.ndarray):
        self._source, self._indices = source, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> dict:
        return self._source[int(self._indices[index])]


def group_examples(sources: Sequence[tuple], sampling: str) -> dict[tuple[int, str], list[Subset]]:
    """Group examples by class, and with `BY_METHOD` by manipulation, keyed by (label, method), sorted.

    Each group is a list of parts, one of each of the labelled `sources` (with weights) that has such examples. Real
    faces are one group, forged ones of unknown manipulation another.
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
    """Refuse sources whose classes cannot take turns in batches of `global_batch`.

    Raises:
      ValueError: a source has a weight or pairs of a face and its forgery, or the classes do not divide the batch.
    """
    for source, weight in sources:
        if weight is not None:
            raise ValueError(
                f"data.sampling: balanced sampling expects no weights, but {source.name} has the weight {weight:g}; "
                "leave the weights of data.train out, or set data.sampling to natural"
            )
        if is_paired(source):
            raise ValueError(
                f"data.sampling: the faces of {source.name} come in pairs, which stay together; set it to natural, and "
                "set data.balanced to balance the data sets"
            )
    classes = len(np.unique(np.concatenate([source.labels for source, _ in sources])))
    if global_batch % classes:
        raise ValueError(f"batch.size: {global_batch} images do not divide among {classes} classes; use a multiple")
