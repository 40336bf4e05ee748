"""Score a labelled data set with a classifier: every example exactly once, on any number of devices and hosts."""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from fsfm_jax import partition, records
from fsfm_jax.data.label_stream import DETAILS, INDEX, VALID, evaluation_batches
from fsfm_jax.data.labels import LabelledSource
from fsfm_jax.data.stream import Batch
from fsfm_jax.metrics import calibration
from fsfm_jax.metrics.multiclass import ClassScores
from fsfm_jax.metrics.scores import Classes, Scored
from fsfm_jax.metrics.video import Videos, aggregate
from fsfm_jax.resolve.report import EvaluationSpec
from fsfm_jax.tasks.classify import ClassifyTask

KEPT = 4  # compiled functions: a run scores validation and test sets, a comparison returns to each tuning
FORGED = "forged"  # name of everything that is not real, where there are more than two classes
ATTACK = "attack"  # the class of presentation attacks; their kinds are the species of ISO/IEC 30107-3


@dataclasses.dataclass(frozen=True)
class Predictions:
    """One row per example, in the order of the data set.

    Attributes:
      dataset: name of the data set.
      log_probabilities: `[n, C] float32`, natural logarithms. They distinguish scores that as float32 probabilities
        would all be 1.
      class_names: class names by index; real: the index of real (bona fide) faces.
      labels, frames: `[n] int64`; videos, methods, sources: `[n]` text.
    """

    dataset: str
    log_probabilities: np.ndarray
    class_names: tuple[str, ...]
    real: int
    labels: np.ndarray
    videos: np.ndarray
    frames: np.ndarray
    methods: np.ndarray
    sources: np.ndarray

    def probabilities(self, temperature: float = 1.0) -> np.ndarray:
        """Return `softmax(logits / T)`, `[n, C] float64`; T = 1 is uncalibrated, calibration fits another T."""
        scaled = self.log_probabilities.astype(np.float64) / temperature
        likely = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return likely / likely.sum(axis=1, keepdims=True)

    def binary_scores(self, temperature: float = 1.0) -> Scored:
        """Return the probability of being real, with all other classes as negatives."""
        positive = _spoken(self.class_names[self.real])
        others = [_spoken(name) for index, name in enumerate(self.class_names) if index != self.real]
        names = Classes(positive, others[0] if len(others) == 1 else FORGED)
        return Scored(self.probabilities(temperature)[:, self.real], self.labels == self.real, names)

    def class_scores(self, temperature: float = 1.0) -> ClassScores:
        """Return the probabilities of all classes."""
        return ClassScores(self.probabilities(temperature), self.labels, self.class_names)

    def by_video(self, temperature: float = 1.0) -> Videos:
        """Return the mean probability of being real over the frames of each video."""
        return aggregate(self.binary_scores(temperature), self.videos, self.frames)

    @property
    def losses(self) -> np.ndarray:
        """Return the cross-entropy of each example in nats, `[n] float64`."""
        return calibration.cross_entropy(self.log_probabilities, self.labels)

    @property
    def species(self) -> np.ndarray | None:
        """Return the attack instrument of each example, "" for bona fide; None unless the classes are for attacks.

        Attacks of unknown kind are one species, called `attack`.
        """
        if ATTACK not in self.class_names or len(self.class_names) != 2:
            return None
        return np.where((self.methods == "") & (self.labels != self.real), ATTACK, self.methods)

    def columns(self, temperature: float | None) -> Mapping[str, np.ndarray]:
        """Return the columns of a predictions file, one row per frame.

        `score` is the uncalibrated probability of being real. `forged` is the probability of all other classes, stored
        since small values would lose digits. `calibrated` is `score` at `temperature` (left out without one).
        `probability/CLASS` is stored for each class if there are more than two.
        """
        probabilities = self.probabilities()
        columns = {
            "dataset": np.full(len(self.labels), self.dataset),
            "video": self.videos,
            "frame": self.frames,
            "label": self.labels,
            "class": np.array(self.class_names)[self.labels],
            "method": self.methods,
            "score": probabilities[:, self.real],
            "forged": np.delete(probabilities, self.real, axis=1).sum(axis=1),
        }
        if temperature is not None:
            columns["calibrated"] = self.probabilities(temperature)[:, self.real]
        if len(self.class_names) > 2:
            named = zip(self.class_names, probabilities.T, strict=True)
            columns |= {f"probability/{name}": found for name, found in named}
        return columns | {"source": self.sources}


def _spoken(name: str) -> str:
    return name.replace("_", " ")


# Maps `(params, rows [B, ...])` to `[B, W]`, for a task.
Function = Callable[[ClassifyTask, Any, jax.Array], jax.Array]


class Sweep:
    """Apply a function of a task to every example of a data set exactly once; compiled once for equal tasks."""

    def __init__(self, task: ClassifyTask, function: Function, key: str, batch: int, mesh: Mesh):
        """Make a sweep; `function` gets `batch[key] [B, ...]`, `batch` is B. ValueError if devices do not divide B."""
        if batch % mesh.size:
            raise ValueError(f"evaluation.batch: {batch} images do not divide among {mesh.size} devices")
        self._key, self._batch, self._mesh = key, batch, mesh
        self._apply = _jitted(task, function, mesh)

    def place(self, params: Any) -> Any:
        """Place `params` as arrays on every device of the mesh."""
        return jax.device_put(jax.tree.map(jnp.asarray, params), partition.replicated(self._mesh))

    def lower_step(self, params: Any, shape: tuple[int, ...], dtype: Any) -> jax.stages.Lowered:
        """Lower the function for the shapes of `params` and rows of `shape`, without compiling or placing anything."""
        everywhere, split = partition.replicated(self._mesh), partition.batch_sharding(self._mesh)
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere), params)
        return self._apply.lower(like, jax.ShapeDtypeStruct((self._batch, *shape), dtype, sharding=split))

    def __call__(self, params: Any, batches: Iterable[Batch], count: int) -> tuple[np.ndarray, dict[int, tuple]]:
        """Return the function's values for the `count` examples in `batches`, `[count, W] float32`, equal on all hosts.

        Args:
          params: parameters on the mesh.
          batches: this host's rows, with `index` and `valid`; if they have `details`, those of all hosts are returned
            by index.
        """
        found, seen, details = None, np.zeros(count, np.int64), {}

        def take(index: np.ndarray, valid: np.ndarray, values: jax.Array) -> None:
            nonlocal found
            rows = index, valid, np.concatenate([np.asarray(part.data) for part in _shards(values)])
            if jax.process_count() > 1:
                rows = multihost_utils.process_allgather(rows, tiled=True)
            index, valid, values = (np.asarray(part) for part in rows)
            if found is None:
                found = np.full((count, values.shape[1]), np.nan, np.float32)
            found[index[valid]] = values[valid]
            np.add.at(seen, index[valid], 1)

        pending = None
        for batch in batches:
            inputs = partition.to_global({self._key: batch[self._key]}, self._mesh)[self._key]
            values = self._apply(params, inputs)
            # Results are fetched one batch late, so the device does not wait for the next photos.
            if pending is not None:
                take(*pending)
            pending = batch[INDEX], batch[VALID], values
            if DETAILS in batch:
                details.update(zip(batch[INDEX][batch[VALID]].tolist(), batch[DETAILS], strict=True))
        take(*pending)
        assert (seen == 1).all(), "an example was not scored exactly once"
        return found, gather(details)


@functools.lru_cache(maxsize=KEPT)
def _jitted(task: ClassifyTask, function: Function, mesh: Mesh) -> Callable[[Any, jax.Array], jax.Array]:
    return jax.jit(functools.partial(function, task), out_shardings=partition.batch_sharding(mesh))


def gather(details: dict[int, tuple]) -> dict[int, tuple]:
    """Return the details of all hosts' examples by index; each host passes its own. All hosts must call this."""
    if jax.process_count() == 1:
        return details
    # Hosts can exchange numbers only, so texts are sent as bytes, padded to the longest.
    own = np.frombuffer(json.dumps([[index, *values] for index, values in details.items()]).encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.array([len(own)], np.int32)).ravel()
    padded = np.zeros(lengths.max(), np.uint8)
    padded[: len(own)] = own
    texts = multihost_utils.process_allgather(padded).reshape(len(lengths), -1)
    parts = [json.loads(text[:length].tobytes()) for text, length in zip(texts, lengths, strict=True)]
    return {index: tuple(values) for part in parts for index, *values in part}


def image_batches(source: LabelledSource, transform: str, size: int, spec: EvaluationSpec) -> Iterator[Batch]:
    """Return this host's rows of all photos of `source`, for a `Sweep`; raise ValueError as `evaluation_batches`."""
    hosts = jax.process_index(), jax.process_count()
    return evaluation_batches(source, transform, size, spec.batch, spec.threads, *hosts)


class Scorer:
    """Scores labelled data sets with the network of a task; compiled once."""

    def __init__(self, task: ClassifyTask, spec: EvaluationSpec, mesh: Mesh):
        """Make a scorer; raise ValueError if the batch is not a multiple of the device count."""
        self._task, self._size, self._spec = task, task.model.image_size, spec
        self._sweep = Sweep(task, ClassifyTask.log_probabilities, records.IMAGE, spec.batch, mesh)

    def place(self, params: Any) -> Any:
        """Place `params` as arrays on every device of the mesh."""
        return self._sweep.place(params)

    def lower_step(self) -> jax.stages.Lowered:
        """Lower the function that scores a batch, without compiling; the mesh may be of absent devices."""
        params = jax.eval_shape(self._task.init, jax.random.key(0))
        return self._sweep.lower_step(params, (self._size, self._size, 3), np.uint8)

    def __call__(self, params: Any, source: LabelledSource) -> Predictions:
        """Score all examples of `source`; `params` are on the mesh.

        Raises:
          ValueError: the hosts do not divide the batch, a photo cannot be decoded, or a score is non-finite.
        """
        batches = image_batches(source, self._spec.transform, self._size, self._spec)
        return predictions_of(source, *self._sweep(params, batches, len(source)))


def predictions_of(source: LabelledSource, scores: np.ndarray, details: Mapping[int, tuple]) -> Predictions:
    """Combine log-probabilities `[n, C]` of all examples of `source` with the details of each.

    `details` has the `DETAIL_COLUMNS` of each example by index.

    Raises:
      ValueError: a score is non-finite.
    """
    check_finite(source, scores, "scores", "the detector's weights")
    columns = (np.array(column) for column in zip(*(details[index] for index in range(len(source))), strict=True))
    return Predictions(source.name, scores, source.class_names, source.real, *columns)


def check_finite(source: LabelledSource, values: np.ndarray, what: str, whose: str) -> None:
    """Raise ValueError with the count and the first photo if rows of `values [n, W]` are non-finite."""
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        first = source[int(np.argmax(bad))][records.SOURCE]
        raise ValueError(
            f"{source.name}: {int(bad.sum())} of {len(values)} {what} are non-finite, the first for {first}. Check "
            f"{whose} and its statistics, or set model.dtype=float32 if bfloat16 overflows"
        )


def _shards(array: jax.Array) -> list:
    """Return this process's shards of an array that is split along its first axis, in order."""
    return sorted(array.addressable_shards, key=lambda shard: shard.index[0].start or 0)
