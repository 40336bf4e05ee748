"""Metrics of a detector with two or more named classes, such as real, deepfake, diffusion and spoof.

All metrics are fractions over the N examples in `ClassScores`. For videos, average the probabilities of their frames
with `video.mean_by_video` and pass the means as examples. If a class has no examples, the metrics that need it are
undefined, including every mean over the classes.
"""

import functools
from dataclasses import dataclass

import numpy as np

from fsfm_jax.metrics import binary
from fsfm_jax.metrics.scores import Classes, Scored
from fsfm_jax.metrics.value import Value, mean, split_reasons, undefined

# Tolerance, per class, for the sum of a row of C probabilities. With the float32 rounding step e, the error of a
# softmax or the exponential of a log-softmax is at most 2 e (exponentials) + e C / 2 (sum) + 1.5 e log C (logarithm and
# rounding), which is less than 2 e C. The tolerance is twice that, because accelerators have less exact exponentials.
SUM_TOLERANCE_PER_CLASS = 4 * float(np.finfo(np.float32).eps)


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Class probabilities and labels of N examples (frames, videos or images).

    Raises:
      ValueError: if there is no example, lengths differ, there are fewer than two classes, or names are not distinct
        or not one per column; if a row is non-finite, has a negative number or does not sum to 1; if a label is not a
        class.
    """

    probabilities: np.ndarray  # [N, C] float64, rows sum to 1
    labels: np.ndarray  # [N] int64, 0 to C - 1
    class_names: tuple[str, ...]  # by index

    def __post_init__(self):
        object.__setattr__(self, "class_names", tuple(self.class_names))
        object.__setattr__(self, "probabilities", np.asarray(self.probabilities, np.float64))
        _check_probabilities(self.probabilities, self.class_names)
        object.__setattr__(self, "labels", _check_labels(self.labels, *self.probabilities.shape))

    def __len__(self) -> int:
        return len(self.labels)

    @functools.cached_property
    def predicted(self) -> np.ndarray:
        """The most probable class, the first one if several are equal, `[N] int64`."""
        return self.probabilities.argmax(axis=1)

    @functools.cached_property
    def _confusion(self) -> np.ndarray:
        size = len(self.class_names)
        return np.bincount(self.labels * size + self.predicted, minlength=size * size).reshape(size, size)

    def index(self, name: str) -> int:
        """Return the column of a class.

        Raises:
          ValueError: there is no such class.
        """
        if name not in self.class_names:
            raise ValueError(f"class: expected one of {', '.join(self.class_names)}; found {name!r}")
        return self.class_names.index(name)

    def against_the_rest(self, name: str) -> Scored:
        """Return one class as positive, scored by its probability, against all others together as negative."""
        column = self.index(name)
        return Scored(self.probabilities[:, column], self.labels == column, Classes(name, f"class other than {name}"))


def confusion(classified: ClassScores) -> np.ndarray:
    """Count how often each true class (row) was predicted as each class (column), `[C, C] int64`."""
    return classified._confusion.copy()


def accuracy(classified: ClassScores) -> Value:
    """Return the share of the examples whose most probable class is correct; a class may be missing."""
    return Value(float(np.trace(classified._confusion) / len(classified)))


def balanced_accuracy(classified: ClassScores) -> Value:
    """Return the mean recall over all classes."""
    return mean(*(recall(classified, name) for name in classified.class_names))


def log_loss(classified: ClassScores) -> Value:
    """Return the mean of `-log p(label)` over the examples, in nats; p is clipped to 2.2e-16 from 0 and 1."""
    picked = classified.probabilities[np.arange(len(classified)), classified.labels]
    return Value(float(-np.mean(np.log(np.clip(picked, binary.PROBABILITY_EPSILON, 1 - binary.PROBABILITY_EPSILON)))))


def recall(classified: ClassScores, name: str) -> Value:
    """Return the share of the examples of a class that are predicted as it.

    Raises:
      ValueError: if there is no such class; this holds for all functions below.
    """
    right, present, _ = _counts(classified, name)
    return Value(right / present) if present else undefined(_missing(classified, name))


def precision(classified: ClassScores, name: str) -> Value:
    """Return the share of the examples predicted as a class that belong to it; undefined without predictions of it."""
    right, _, predicted = _counts(classified, name)
    if not predicted:
        return undefined(f"none of {len(classified)} examples was predicted as {name}")
    return Value(right / predicted)


def f1(classified: ClassScores, name: str) -> Value:
    """Return `2 correct / (present + predicted)`, the harmonic mean of precision and recall; 0 if never predicted."""
    right, present, predicted = _counts(classified, name)
    return Value(2 * right / (present + predicted)) if present else undefined(_missing(classified, name))


def auc(classified: ClassScores, name: str) -> Value:
    """Return the area under the ROC curve of a class against the rest; ties count half."""
    return binary.auc(classified.against_the_rest(name))


def summarise_classes(classified: ClassScores, split: str) -> dict:
    """Return all metrics above as a dict for JSON, without NaN.

    Undefined metrics are null in `metrics` and have their reason in `undefined`. Rows of `confusion` are true classes
    and columns are predicted classes, both in the order of `class_names`.

    split: name of the split.
    """
    by_class = {name: _summarise_class(classified, name) for name in classified.class_names}
    overall = {
        "accuracy": accuracy(classified),
        "balanced_accuracy": balanced_accuracy(classified),
        "log_loss": log_loss(classified),
        "macro_auc": mean(*(values["auc"] for _, values in by_class.values())),
    }
    return {
        "split": split,
        "class_names": list(classified.class_names),
        "examples": len(classified),
        **split_reasons(overall),
        "confusion": confusion(classified).tolist(),
        "classes": {name: {**counts, **split_reasons(values)} for name, (counts, values) in by_class.items()},
    }


def _summarise_class(classified: ClassScores, name: str) -> tuple[dict[str, int], dict[str, Value]]:
    right, present, predicted = _counts(classified, name)
    metrics = {"recall": recall, "precision": precision, "f1": f1, "auc": auc}
    values = {metric: function(classified, name) for metric, function in metrics.items()}
    return {"examples": present, "predicted": predicted, "right": right}, values


def _counts(classified: ClassScores, name: str) -> tuple[int, int, int]:
    """Count the examples of a class that are predicted as it, all its examples, and all predictions of it."""
    index, counts = classified.index(name), classified._confusion
    return int(counts[index, index]), int(counts[index].sum()), int(counts[:, index].sum())


def _missing(classified: ClassScores, name: str) -> str:
    return f"no {name} among {len(classified)} examples"


def _check_probabilities(probabilities: np.ndarray, names: tuple[str, ...]) -> None:
    shape = probabilities.shape
    if len(shape) != 2 or not shape[0] or shape[1] < 2:
        raise ValueError(f"probabilities: expected shape [N, C] with N > 0 and C > 1, found {shape}")
    if len(names) != shape[1] or len(set(names)) < len(names) or not all(names):
        raise ValueError(f"class_names: expected {shape[1]} distinct names, one per column; found {names}")
    with np.errstate(invalid="ignore", over="ignore"):
        sums = probabilities.sum(axis=1)
    tolerance = SUM_TOLERANCE_PER_CLASS * shape[1]
    # A NaN or infinity makes the sum non-finite, and then the comparison is false.
    strange = ~(np.abs(sums - 1) <= tolerance) | (probabilities < 0).any(axis=1)
    if strange.any():
        place = int(np.argmax(strange))
        raise ValueError(
            f"probabilities: expected finite rows from 0 that sum to 1 within {tolerance:.2g}, found "
            f"{probabilities[place].tolist()} with the sum {sums[place]} at position {place} of {len(sums)} and "
            f"{int(strange.sum()) - 1} more; apply the softmax in float32 or float64"
        )


def _check_labels(labels: np.ndarray, count: int, classes: int) -> np.ndarray:
    """Return `labels` as `[N] int64`."""
    labels = np.asarray(labels)
    if labels.shape != (count,):
        raise ValueError(f"labels: expected shape ({count},) as the probabilities, found {labels.shape}")
    if labels.dtype.kind not in "iub":
        raise ValueError(f"labels: expected integers, found {labels.dtype}")
    strange = (labels < 0) | (labels >= classes)
    if strange.any():
        place = int(np.argmax(strange))
        raise ValueError(
            f"labels: expected 0 to {classes - 1}, found {labels[place]} at position {place} of {count} "
            f"and {int(strange.sum()) - 1} more"
        )
    return labels.astype(np.int64)
