"""Scores of a classifier on a labelled data set: every example exactly once, on any number of devices and hosts."""

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from fsfm_jax import partition, records
from fsfm_jax.data.labelled import LabelledSource
from fsfm_jax.data.labelled_stream import INDEX, VALID, evaluation_batches
from fsfm_jax.tasks.classify import ClassifyTask

COLUMNS = ("dataset", "video", "frame", "label", "method", "score", "source")


@dataclasses.dataclass(frozen=True)
class EvaluationSpec:
    """How a data set is looked at.

    Attributes:
      transform: "resize", the whole crop to the network's size; "resize_center", the shorter side to 256, then the
        middle 224.
      batch: images at a time, over all devices and hosts.
    """

    transform: str
    batch: int


@dataclasses.dataclass(frozen=True)
class Predictions:
    """One row per example, in the order of the data set.

    Attributes:
      dataset: its name.
      probabilities: `[n, C] float32`.
      class_names: by index; real: the index of real (bona fide) faces; `score` is its probability.
      labels, frames: `[n] int64`; videos, methods, sources: `[n]` text.
    """

    dataset: str
    probabilities: np.ndarray
    class_names: tuple[str, ...]
    real: int
    labels: np.ndarray
    videos: np.ndarray
    frames: np.ndarray
    methods: np.ndarray
    sources: np.ndarray

    @property
    def score(self) -> np.ndarray:
        """The probability of being real, `[n] float32`."""
        return self.probabilities[:, self.real]

    def write(self, path: Path) -> None:
        """Writes a CSV, one row per frame; scores with all their digits."""
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for row in range(len(self.labels)):
                writer.writerow([
                    self.dataset, self.videos[row], self.frames[row], self.labels[row], self.methods[row],
                    repr(float(self.score[row])), self.sources[row],
                ])  # fmt: skip


def compiled_scorer(task: ClassifyTask, mesh: Mesh) -> Callable[[Any, jax.Array], jax.Array]:
    """`(params, images [B, H, W, 3] uint8) -> [B, C] float32`; compiled once for each size of batch."""
    return jax.jit(task.probabilities, out_shardings=partition.batch_sharding(mesh))


def predict(
    scorer: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    source: LabelledSource,
    size: int,
    spec: EvaluationSpec,
    mesh: Mesh,
) -> Predictions:
    """Scores all examples of `source`.

    Raises:
      ValueError: a batch that the devices or hosts do not divide, or a photo that cannot be decoded.
    """
    if spec.batch % mesh.size:
        raise ValueError(f"evaluation.batch: {spec.batch} images do not divide among {mesh.size} devices")
    probabilities = np.full((len(source), len(source.class_names)), np.nan, np.float32)
    hosts, host = jax.process_count(), jax.process_index()
    for batch in evaluation_batches(source, spec.transform, size, spec.batch, host, hosts):
        images = partition.to_global({records.IMAGE: batch[records.IMAGE]}, mesh)[records.IMAGE]
        found = scorer(params, images)
        rows = batch[INDEX], batch[VALID], np.concatenate([np.asarray(part.data) for part in _shards(found)])
        if hosts > 1:
            rows = multihost_utils.process_allgather(rows, tiled=True)
        index, valid, values = (np.asarray(part) for part in rows)
        probabilities[index[valid]] = values[valid]
    assert not np.isnan(probabilities).any(), "an example was not scored"
    examples = [source[index] for index in range(len(source))]
    return Predictions(
        dataset=source.name,
        probabilities=probabilities,
        class_names=source.class_names,
        real=source.real,
        labels=np.array([example[records.LABEL] for example in examples], np.int64),
        videos=np.array([example[records.VIDEO] for example in examples]),
        frames=np.array([example[records.FRAME] for example in examples], np.int64),
        methods=np.array([example[records.METHOD] for example in examples]),
        sources=np.array([example[records.SOURCE] for example in examples]),
    )


def _shards(array: jax.Array) -> list:
    """This process's parts of an array that is split along its first axis, in order."""
    return sorted(array.addressable_shards, key=lambda shard: shard.index[0].start or 0)
