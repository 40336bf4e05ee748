"""Labelled sources and their batches: what is in a batch, balance, hosts, resumption, and evaluation in order."""

import collections

import numpy as np
import pytest

from fsfm_jax import records
from fsfm_jax.data import label_stream
from fsfm_jax.data.augment import AugmentSpec
from fsfm_jax.data.label_stream import LabelledSpec, LabelledStream, evaluation_batches
from fsfm_jax.data.labels import check_classes, check_disjoint
from fsfm_jax.data.mixture import MixSpec, draw_mixture
from fsfm_jax.data.photo import encode_png
from fsfm_jax.data.stream import arrange


class Numbered:
    """Grey pictures whose level tells their index; `labels` as given, one video for each pair of examples."""

    def __init__(self, name: str, labels, first: int = 0, class_names=("fake", "real"), real: int = 1, methods=()):
        self.name, self.labels, self.first = name, np.array(labels), first
        self.dataset = name.partition(":")[0]
        self.class_names, self.real, self.methods = class_names, real, np.array(methods)
        self.videos = np.array([f"{name.partition(':')[0]} {index // 2}" for index in range(len(labels))])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict:
        return {
            records.IMAGE: encode_png(np.full((20, 24, 3), self.first + index, np.uint8), 1),
            records.LABEL: int(self.labels[index]), records.VIDEO: str(self.videos[index]),
            records.FRAME: index % 2, records.METHOD: "", records.SOURCE: f"{self.name} {index}",
        }  # fmt: skip


def spec(**changes) -> LabelledSpec:
    fields = dict(
        seed=3, global_batch=8, augment=AugmentSpec(size=16, flip=0.0), mix=None, balanced=False, workers=0, threads=1
    )
    return LabelledSpec(**{**fields, **changes})


def taken(sources, the_spec, steps, start=0, host=0, hosts=1) -> list[dict]:
    stream = LabelledStream([(source, None) for source in sources], the_spec, start, host, hosts)
    batches = [next(stream) for _ in range(steps)]
    stream.close()
    return batches


def levels(batch: dict) -> np.ndarray:
    return batch[records.IMAGE][:, 5, 5, 0]


def test_a_batch_holds_image_label_and_draws():
    (batch,) = taken([Numbered("a", [0, 1] * 10)], spec(mix=MixSpec()), 1)
    assert batch[records.IMAGE].shape == (8, 16, 16, 3) and batch[records.IMAGE].dtype == np.uint8
    assert batch[records.LABEL].dtype == np.int32
    np.testing.assert_array_equal(batch[records.LABEL], levels(batch) % 2)
    np.testing.assert_array_equal(batch[records.ERASE], np.zeros((8, 4), np.int32))
    draw = draw_mixture(MixSpec(), 16, 0, 3)
    assert (batch[records.MIX_CUTMIX] == draw.use_cutmix).all()
    assert (batch[records.MIX_RATIO] == draw.ratio).all()
    np.testing.assert_array_equal(batch[records.MIX_BOX], np.tile(draw.box, (8, 1)))
    assert records.POSITION not in batch


def test_each_epoch_sees_every_example_once():
    batches = taken([Numbered("a", [0, 1] * 6), Numbered("b", [1, 0] * 6, first=100)], spec(), 6)
    # Without mixing every image keeps all of itself.
    assert all((batch[records.MIX_RATIO] == 1).all() and not batch[records.MIX_CUTMIX].any() for batch in batches)
    seen = np.concatenate([levels(batch) for batch in batches])
    for epoch in (seen[:24], seen[24:]):
        assert sorted(epoch) == [*range(12), *range(100, 112)]
    assert list(seen[:24]) != list(seen[24:])


def test_stream_starts_at_any_step_and_does_not_depend_on_hosts():
    sources = [Numbered("a", [0, 1] * 20)]
    whole = taken(sources, spec(mix=MixSpec()), 5)
    later = taken(sources, spec(mix=MixSpec()), 2, start=3)
    parts = [taken(sources, spec(mix=MixSpec()), 2, start=3, host=host, hosts=2) for host in range(2)]
    for step in range(2):
        for key, rows in later[step].items():
            np.testing.assert_array_equal(rows, whole[3 + step][key])
            both = np.stack([parts[0][step][key], parts[1][step][key]], axis=1).reshape(rows.shape)
            np.testing.assert_array_equal(both, rows)


def test_balanced_batches_hold_as_many_of_each_class_and_data_set_that_there_is():
    # One real face in ten, and a data set three times as large as the other.
    sources = [Numbered("a", [1] + [0] * 9), Numbered("b", [1] * 3 + [0] * 27, first=100)]
    for batch in taken(sources, spec(balanced=True), 12):
        groups = list(zip(levels(batch) >= 100, batch[records.LABEL], strict=True))
        assert sorted(groups) == [(False, 0)] * 2 + [(False, 1)] * 2 + [(True, 0)] * 2 + [(True, 1)] * 2
    names = ("real", "deepfake", "spoof")
    sources = [Numbered(name, [0, kind] * 4, class_names=names, real=0) for name, kind in (("a", 1), ("b", 2))]
    (batch,) = taken(sources, spec(balanced=True, global_batch=8), 1)
    assert sorted(batch[records.LABEL].tolist()) == [0, 0, 0, 0, 1, 1, 2, 2]


def test_balance_needs_every_class_and_a_batch_that_divides():
    with pytest.raises(ValueError, match="a: no face of class 'real'; a balanced batch needs real and forged faces"):
        taken([Numbered("a", [0] * 10)], spec(balanced=True), 1)
    with pytest.raises(ValueError, match="a: no face that is forged; a balanced batch needs real and forged faces"):
        taken([Numbered("a", [1] * 10)], spec(balanced=True), 1)
    with pytest.raises(ValueError, match="batch.size: 6 images do not divide among 4 groups"):
        taken([Numbered("a", [0, 1]), Numbered("b", [0, 1])], spec(balanced=True, global_batch=6), 1)


def test_classes_and_manipulations_take_turns_exactly_from_any_step_and_on_any_hosts():
    few, many = ["", "", *["swap"] * 15, *["mask"] * 3], ["", "mask", "mask", "edit"]
    sources = [Numbered("a", [1] * 2 + [0] * 18, methods=few), Numbered("b", [1, 0, 0, 0], first=100, methods=many)]
    named = dict(zip([*range(20), *range(100, 104)], few + many, strict=True))
    for sampling in ("classes", "methods"):
        asked = spec(sampling=sampling, mix=MixSpec(), global_batch=6)
        batches = taken(sources, asked, 12)
        assert all(sorted(batch[records.LABEL]) == [0] * 3 + [1] * 3 for batch in batches)
        # The places of the classes are not those of the batch before: partners of mixing are of either class.
        assert len({tuple(batch[records.LABEL]) for batch in batches}) > 3
        seen = np.concatenate([levels(batch) for batch in batches])
        counts = collections.Counter(named[level] for level in seen)
        if sampling == "methods":  # each manipulation once in every batch, and all of its faces equally often
            for batch in batches:
                assert sorted(named[level] for level in levels(batch)) == ["", "", "", "edit", "mask", "swap"]
            assert max((seen == level).sum() for level in range(2, 17)) == 1  # 12 of 15
            visits = [(seen == level).sum() for level in (17, 18, 19, 101, 102)]
            assert sum(visits) == 12 and max(visits) - min(visits) == 1
        else:  # 36 forged faces are 21 once and 15 of them twice, in one shuffled series of both data sets
            assert counts[""] == 36 and sorted((seen == level).sum() for level in named if named[level])[0] == 1
        later = taken(sources, asked, 1, start=5)[0]
        parts = [taken(sources, asked, 1, start=5, host=host, hosts=2)[0] for host in range(2)]
        for key, rows in later.items():
            np.testing.assert_array_equal(rows, batches[5][key])
            np.testing.assert_array_equal(np.stack([part[key] for part in parts], axis=1).reshape(rows.shape), rows)


def test_each_step_has_one_size_that_its_number_decides():
    sources, asked = [Numbered("a", [0, 1] * 8)], spec(sizes=(16, 24), mix=MixSpec(mixup=0.0), global_batch=4)
    batches = taken(sources, asked, 12)
    sizes = [batch[records.IMAGE].shape[1] for batch in batches]
    assert all(batch[records.IMAGE].shape == (4, size, size, 3) for batch, size in zip(batches, sizes, strict=True))
    assert sizes == [asked.size_of(step) for step in range(12)] and set(sizes) == {16, 24}
    for step, batch in enumerate(batches):
        box = draw_mixture(MixSpec(mixup=0.0), sizes[step], step, 3).box
        np.testing.assert_array_equal(batch[records.MIX_BOX], np.tile(box, (4, 1)))
    (later,) = taken(sources, asked, 1, start=7)
    for key, rows in later.items():
        np.testing.assert_array_equal(rows, batches[7][key])
    counts = collections.Counter(asked.size_of(step) for step in range(2000))
    assert abs(counts[16] - 1000) < 4 * np.sqrt(500)  # four standard deviations of fair draws


@pytest.mark.parametrize(("weight", "paired", "size", "text"), [
    (0.5, False, 6, "data.sampling: balanced .* no weights, but a has the weight 0.5; leave the weights of data.train"),
    (None, True, 6, "data.sampling: the faces of a come in pairs, which stay together; set it to natural"),
    (None, False, 5, "batch.size: 5 images do not divide among 2 classes; use a multiple"),
])  # fmt: skip
def test_classes_that_cannot_take_turns_are_refused(weight, paired, size, text):
    source = Numbered("a", [0, 1])
    source.paired = paired
    with pytest.raises(ValueError, match=text):
        arrange([(source, weight)], spec(sampling="classes", global_batch=size))


@pytest.mark.parametrize("count, hosts", [(1, 1), (8, 1), (19, 1), (19, 2), (3, 4)])
def test_evaluation_sees_every_example_once_in_equal_batches(count, hosts):
    source = Numbered("a", [0, 1] * 10)
    source.labels = source.labels[:count]
    seen = {}
    for host in range(hosts):
        for batch in evaluation_batches(source, "resize", 16, 8, 3, host, hosts):
            assert batch[records.IMAGE].shape == (8 // hosts, 16, 16, 3)
            for row in np.flatnonzero(batch["valid"]):
                index = int(batch["index"][row])
                assert index not in seen
                seen[index] = levels(batch)[row]
    assert seen == {index: index for index in range(count)}


def test_a_video_in_two_sets_and_class_orders_that_disagree_are_refused():
    with pytest.raises(ValueError, match="a:train and a:val: expected no common videos, found 2, first a 0. Training"):
        check_disjoint(Numbered("a:train", [0] * 4), Numbered("a:val", [0] * 8))
    check_disjoint(Numbered("a:train", [0] * 4), Numbered("b:val", [0] * 4))
    assert check_classes([Numbered("a", [0]), Numbered("b", [1])]) == (("fake", "real"), 1)
    with pytest.raises(ValueError, match="a has the classes fake, real with real as real, b has real, fake with real"):
        check_classes([Numbered("a", [0]), Numbered("b", [0], class_names=("real", "fake"), real=0)])


def test_a_damaged_photo_is_named():
    with pytest.raises(ValueError, match="photo a 3: damaged"):
        label_stream.decode({records.IMAGE: b"hello", records.SOURCE: "a 3"})
