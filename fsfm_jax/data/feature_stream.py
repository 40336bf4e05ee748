"""Stream batches of precomputed features, in the same order as the photos of the same examples."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from fsfm_jax import records
from fsfm_jax.data.label_stream import INDEX, VALID, LabelledSpec
from fsfm_jax.data.labels import LabelledSource, is_paired
from fsfm_jax.data.stream import Batch, Batches, arrange

FEATURES = "features"
# The training transform without augmentation, by its name among the evaluation transforms.
UNAUGMENTED = "resize"


class FeatureSource:
    """A labelled source with features `[n, D] float32` instead of photos."""

    def __init__(self, source: LabelledSource, features: np.ndarray):
        """Take a source and its features; raise ValueError unless there is one row for each example."""
        if len(features) != len(source):
            raise ValueError(f"{source.name}: expected features of {len(source)} examples, found {len(features)} rows")
        self.name, self.class_names, self.real = source.name, source.class_names, source.real
        self.labels, self._features, self.paired = source.labels, features, is_paired(source)
        self._source = source

    @property
    def methods(self) -> np.ndarray:
        return self._source.methods

    def __len__(self) -> int:
        return len(self._features)

    def __getitem__(self, index: int) -> dict:
        return {FEATURES: self._features[index], records.LABEL: np.int32(self.labels[index])}


class FeatureStream(Batches):
    """The endless batches of `LabelledStream`, as `features [b, D] float32` and `label [b] int32`.

    b = global batch / hosts. There is no augmentation and no mixing.
    """

    def __init__(
        self,
        sources: Sequence[tuple[FeatureSource, float | None]],
        spec: LabelledSpec,
        start_step: int,
        host: int,
        hosts: int,
    ):
        examples = arrange(sources, spec)
        # Rows are in memory: a loader process would need a copy of all of them, only to send them back.
        spec = dataclasses.replace(spec, workers=0)
        super().__init__(examples, _load, _finish, spec, start_step, host, hosts)


def _load(spec: LabelledSpec, example: dict) -> dict:
    return {name: example[name] for name in (FEATURES, records.LABEL)}


def _finish(spec: LabelledSpec, batch: Batch) -> Batch:
    return batch


def feature_batches(features: np.ndarray, global_batch: int, host: int, hosts: int) -> Iterator[Batch]:
    """Yield every row of `features [n, D]` once, in order; the last batch is padded with `valid` False.

    Each batch has `features [b, D]`, `index [b] int32` and `valid [b] bool`, b = global batch / hosts; host h has the
    rows h, h + hosts, ... of the global batch.
    """
    for start in range(0, len(features), global_batch):
        index = np.arange(start + host, start + global_batch, hosts)
        valid = index < len(features)
        rows = np.zeros((len(index), features.shape[1]), features.dtype)
        rows[valid] = features[index[valid]]
        yield {FEATURES: rows, INDEX: index.astype(np.int32), VALID: valid}
