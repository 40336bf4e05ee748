"""Batches of stored features: the examples of the photos' batches, in their order, for any number of hosts."""

import numpy as np
import pytest

from fsfm_jax import records
from fsfm_jax.data.augment import AugmentSpec, augment
from fsfm_jax.data.feature_stream import FEATURES, UNAUGMENTED, FeatureSource, FeatureStream, feature_batches
from fsfm_jax.data.label_stream import LabelledSpec, LabelledStream
from fsfm_jax.data.photo import encode_png
from fsfm_jax.data.resizing import for_evaluation
from fsfm_jax.tasks import classify

PLAIN = AugmentSpec(size=16, flip=0.0)


class Numbered:
    """Grey pictures whose level tells their index; every third is real."""

    class_names, real = ("fake", "real"), 1

    def __init__(self, name: str, count: int, first: int = 0):
        self.name, self.first = name, first
        self.labels = np.array([int(index % 3 == 0) for index in range(count)])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict:
        picture = encode_png(np.full((20, 24, 3), self.first + index, np.uint8), 1)
        return {records.IMAGE: picture, records.LABEL: int(self.labels[index]), records.SOURCE: f"{index}"}


def stored(source: Numbered) -> FeatureSource:
    """Two features of each example: its level and the negative of it."""
    levels = source.first + np.arange(len(source), dtype=np.float32)
    return FeatureSource(source, np.stack([levels, -levels], axis=1))


def taken(kind, sources, steps: int, start: int = 0, host: int = 0, hosts: int = 1, **changes) -> list[dict]:
    spec = LabelledSpec(**{
        "seed": 3, "global_batch": 8, "augment": PLAIN, "mix": None, "balanced": False, "workers": 0, "threads": 1,
        **changes,
    })  # fmt: skip
    stream = kind(sources, spec, start, host, hosts)
    batches = [next(stream) for _ in range(steps)]
    stream.close()
    return batches


@pytest.mark.parametrize("weights", [(None, None), (0.7, 0.3)])
@pytest.mark.parametrize(("balanced", "host", "hosts"), [(False, 0, 1), (True, 0, 1), (True, 1, 2)])
def test_examples_and_their_order_are_those_of_the_photos(balanced, host, hosts, weights):
    sources = list(zip((Numbered("a", 20), Numbered("b", 33, first=100)), weights, strict=True))
    kept = [(stored(source), weight) for source, weight in sources]
    # Seven steps are more than an epoch; they start in the middle of the first.
    asked = dict(steps=7, start=3, host=host, hosts=hosts, balanced=balanced)
    photos, features = taken(LabelledStream, sources, **asked), taken(FeatureStream, kept, **asked)
    for ours, theirs in zip(features, photos, strict=True):
        assert set(ours) == {FEATURES, records.LABEL}
        assert ours[FEATURES].dtype == np.float32 and ours[FEATURES].shape == (8 // hosts, 2)
        levels = theirs[records.IMAGE][:, 5, 5, 0].astype(np.float32)
        np.testing.assert_array_equal(ours[FEATURES], np.stack([levels, -levels], axis=1))
        np.testing.assert_array_equal(ours[records.LABEL], theirs[records.LABEL])
        assert ours[records.LABEL].dtype == theirs[records.LABEL].dtype


def test_loader_processes_are_not_started_for_rows_in_memory():
    kept = [(stored(Numbered("a", 20)), None)]
    (asked,), (plain,) = taken(FeatureStream, kept, 1, workers=1), taken(FeatureStream, kept, 1)
    np.testing.assert_array_equal(asked[FEATURES], plain[FEATURES])


def test_training_without_augmentation_is_the_transform_by_that_name():
    image = np.random.default_rng(0).integers(0, 256, (37, 21, 3), np.uint8)
    for position in range(3):
        trained, _ = augment(PLAIN, image, position, 5)
        np.testing.assert_array_equal(trained, for_evaluation(UNAUGMENTED, image, 16))


def test_features_of_another_number_of_examples_are_refused():
    with pytest.raises(ValueError, match="a: expected features of 20 examples, found 19 rows"):
        FeatureSource(Numbered("a", 20), np.zeros((19, 2), np.float32))


@pytest.mark.parametrize(("count", "hosts"), [(1, 1), (8, 1), (19, 1), (19, 2), (3, 4)])
def test_evaluation_sees_every_row_once_in_equal_batches(count, hosts):
    features = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
    seen = []
    for host in range(hosts):
        for batch in feature_batches(features, 8, host, hosts):
            assert batch[FEATURES].shape == (8 // hosts, 2) and len(batch["index"]) == 8 // hosts
            index = batch["index"][batch["valid"]]
            np.testing.assert_array_equal(batch[FEATURES][batch["valid"]], features[index])
            seen += index.tolist()
    assert sorted(seen) == list(range(count))


def test_the_task_knows_them_by_the_same_name():
    assert classify.FEATURES == FEATURES
