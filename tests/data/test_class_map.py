"""Sources in the classes of another detector, and several as one."""

import numpy as np
import pytest
from prepared import records_of_faces

from fsfm_jax import records
from fsfm_jax.data.class_map import Relabelled, Together, open_classed, open_together, parts_of
from fsfm_jax.data.class_names import parse_classes
from fsfm_jax.data.forgery import ForgedSource
from fsfm_jax.data.labels import check_labels, open_labelled
from fsfm_jax.data.photo import encode_png
from fsfm_jax.data.synthetic import synthetic_face

FOUR = ("real", "deepfake", "diffusion", "spoof")


class Small:
    """Examples with the given labels; each is a video."""

    real, pixel_sums = 1, 0

    def __init__(self, dataset: str, labels: list[int], class_names=("fake", "real")):
        self.name, self.dataset, self.class_names = f"{dataset}:train", dataset, class_names
        self.labels, self.fingerprint = np.array(labels), f"{dataset} {labels}"
        self.videos = np.array([f"v{k}" for k in range(len(labels))])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict:
        return {records.LABEL: int(self.labels[index]), records.VIDEO: str(self.videos[index]), records.FRAME: index}


def test_forged_faces_become_the_class_real_ones_stay_real_and_the_fingerprint_says_it():
    source = Relabelled(Small("a", [0, 1, 0]), "spoof", FOUR, 0)
    np.testing.assert_array_equal(source.labels, [3, 0, 3])
    assert [source[k][records.LABEL] for k in range(3)] == [3, 0, 3]
    assert (source.class_names, source.real, source.dataset, source.name) == (FOUR, 0, "a", "spoof=a:train")
    assert source[1][records.FRAME] == 1 and list(source.videos) == ["v0", "v1", "v2"]
    prints = [Relabelled(Small("a", [0, 1]), name, FOUR, 0).fingerprint for name in ("spoof", "deepfake")]
    assert len({*prints, Small("a", [0, 1]).fingerprint}) == 3


def test_records_without_labels_are_of_the_class_that_is_said(tmp_path):
    faces = [(encode_png(synthetic_face(0, number, 224)[0], 1), synthetic_face(0, number, 224)[1], f"{number}.png")
             for number in range(3)]  # fmt: skip
    records_of_faces(tmp_path / "r", {"train": faces}, 8)
    real, fake = (open_classed(f"{name}={tmp_path}/r:train", ("fake", "real"), 1) for name in ("real", "fake"))
    np.testing.assert_array_equal(real.labels, [1, 1, 1])
    np.testing.assert_array_equal(fake.labels, [0, 0, 0])
    shown = (records.LABEL, records.METHOD, records.VIDEO)
    assert [[source[2][name] for name in shown] for source in (real, fake)] == [[1, "", "2.png"], [0, "faces", "2.png"]]
    assert real.fingerprint != fake.fingerprint and (fake.name, fake.dataset) == ("fake=faces:train", "faces")
    with pytest.raises(ValueError, match="no split 'test', its splits are train"):
        open_classed(f"real={tmp_path}/r:test", ("fake", "real"), 1)
    with pytest.raises(ValueError, match="For records without labels, name the class of all faces.*real="):
        open_labelled(f"{tmp_path}/r:train")


@pytest.mark.parametrize("spec, message", [
        ("forged:blend:8", "expected the classes real, deepfake.*found fake, real; .*as deepfake=forged:blend:8"),
        ("deepfak=forged:blend:8", "expected one of deepfake, diffusion, spoof before the =, found 'deepfak'"),
        ("real=forged:blend:8", "expected one of deepfake, diffusion, spoof before the =, found 'real'"),
    ])  # fmt: skip
def test_a_class_must_be_said_and_be_one_of_a_forgery(spec, message):
    with pytest.raises(ValueError, match=message):
        open_classed(spec, FOUR, 0)


def test_a_source_that_has_the_classes_needs_no_word():
    assert isinstance(open_classed("forged:blend:8", ("fake", "real"), 1), ForgedSource)
    assert open_classed("spoof=forged:print:8", FOUR, 0).labels.max() == 3


@pytest.mark.parametrize("text", ["real", "fake,spoof", "real,fake,fake", "real,bona_fide"])
def test_classes_need_different_names_and_one_real(text):
    with pytest.raises(ValueError, match="data.classes: expected two or more distinct names, exactly one real or "):
        parse_classes(text)


def test_classes_are_in_the_order_of_the_text():
    assert parse_classes("fake, real") == (("fake", "real"), 1) and parse_classes(",".join(FOUR)) == (FOUR, 0)


def test_several_sources_follow_each_other_and_keep_videos_of_several_data_sets_apart():
    together = Together([Small("a", [0, 1]), Small("b", [1, 0, 0])])
    assert len(together) == 5 and list(together.labels) == [0, 1, 1, 0, 0]
    assert [together[k][records.LABEL] for k in range(5)] == [0, 1, 1, 0, 0]
    assert list(together.videos) == ["a/v0", "a/v1", "b/v0", "b/v1", "b/v2"]
    assert [together[k][records.VIDEO] for k in range(5)] == list(together.videos)
    assert [part.dataset for part in parts_of(together)] == ["a", "b"] and len(parts_of(Small("a", [1]))) == 1
    for index in (-1, 5):
        with pytest.raises(IndexError, match=f"example {index} of 5"):
            together[index]
    assert list(Together([Small("a", [0]), Small("a", [1])]).videos) == ["v0", "v0"]


def test_one_source_is_itself_and_others_must_agree():
    assert isinstance(open_together("forged:blend:8"), ForgedSource)
    together = open_together("forged:blend:8,forged:blend:8:1")
    assert len(together) == 16 and list(together.methods) == ["" if label else "blend" for label in together.labels]
    with pytest.raises(ValueError, match="they cannot be trained or evaluated together"):
        open_together("forged:blend:8,forged:print:8")


def test_training_needs_every_class_and_a_judge_real_and_forged_ones():
    def four(*labels):
        return Small("a", list(labels), FOUR) if labels else None

    for source in (four(0, 1, 2, 3), four(3, 2, 1, 0, 0)):
        source.real = 0
        check_labels([source], "data.train", every_class=True)
    lacking = four(0, 1, 3)
    lacking.real = 0
    with pytest.raises(ValueError, match="data.train: no face of class diffusion in a:train; add data with such"):
        check_labels([lacking], "data.train", every_class=True)
    check_labels([lacking], "data.validation", every_class=False)
    for labels, missing in (((1, 2), "real, spoof"), ((0, 0), "deepfake, diffusion, spoof")):
        source = four(*labels)
        source.real = 0
        with pytest.raises(ValueError, match=f"data.validation: no face of class {missing} in a:train"):
            check_labels([source], "data.validation", every_class=False)


@pytest.mark.parametrize("label", [-1, 2])
def test_labels_that_no_class_has_are_refused(label):
    with pytest.raises(ValueError, match=f"data.train: a:train has the label {label}, expected 0 to 1 for fake, real"):
        check_labels([Small("a", [0, 1, label])], "data.train", every_class=True)
