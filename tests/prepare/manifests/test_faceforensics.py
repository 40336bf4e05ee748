"""FaceForensics++ with its manipulations, and DFD."""

import json

import pytest

from fsfm_jax.prepare.manifests import faceforensics
from fsfm_jax.prepare.manifests.manifest import Item, WrongDownload

PAIRS = {"train": ("000", "003"), "val": ("001", "870"), "test": ("002", "004")}
METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
FAKES = ("000_003", "003_000", "001_870", "870_001", "002_004", "004_002")


def real(video: str, compression: str = "c23") -> str:
    return f"original_sequences/youtube/{compression}/videos/{video}.mp4"


def fake(method: str, video: str, compression: str = "c23") -> str:
    return f"manipulated_sequences/{method}/{compression}/videos/{video}.mp4"


@pytest.fixture
def complete(miniature, monkeypatch):
    """The whole data set in miniature: two videos of each kind in each split."""
    monkeypatch.setattr(faceforensics, "EXPECTED", dict.fromkeys(PAIRS, 2))
    for split, pair in PAIRS.items():
        miniature.add(f"{split}.json", text=json.dumps([list(pair)]))
    miniature.add(*(real(video) for pair in PAIRS.values() for video in pair))
    miniature.add(*(fake(method, video) for method in (*METHODS, "FaceShifter") for video in FAKES))
    return miniature


def test_all(complete, listed):
    walk = complete.walk("ffpp_all")
    assert list(walk.splits) == ["train", "val", "test"] and walk.shortfalls == ()
    assert walk.class_names == ("fake", "real") and walk.real == 1
    for split, (first, second) in PAIRS.items():
        expected = [Item(real(v), f"youtube/{v}", 1, sampling="spaced:128") for v in (first, second)]
        for method in METHODS:
            for video in (f"{first}_{second}", f"{second}_{first}"):
                expected.append(Item(fake(method, video), f"{method}/{video}", 0, method, sampling="spaced:32"))
        assert listed(walk, split) == expected
    # Four manipulations of one target are four videos.
    assert len({item.video for item in listed(walk, "train")}) == 2 + 4 * 2


def test_one_manipulation(complete, listed):
    items = listed(complete.walk("ffpp_neuraltextures"), "val")
    assert [(item.video, item.label, item.sampling) for item in items] == [
        ("youtube/001", 1, "spaced:32"), ("youtube/870", 1, "spaced:32"), ("NeuralTextures/001_870", 0, "spaced:32"),
        ("NeuralTextures/870_001", 0, "spaced:32"),
    ]  # fmt: skip


def test_a_fake_follows_its_first_three_characters(complete, listed):
    complete.add(fake("Deepfakes", "002_000"))  # target of test, source of train
    walk = complete.walk("ffpp_deepfakes")
    assert "Deepfakes/002_000" in {item.video for item in listed(walk, "test")}
    assert "Deepfakes/002_000" not in {item.video for item in listed(walk, "train")}


def test_both_spellings_of_deepfakes(complete, listed):
    manipulated = complete.root / "manipulated_sequences"
    (manipulated / "Deepfakes").rename(manipulated / "DeepFakes")
    items = listed(complete.walk("ffpp_deepfakes"), "test")
    assert items[2] == Item(fake("DeepFakes", "002_004"), "Deepfakes/002_004", 0, "Deepfakes", sampling="spaced:32")
    complete.add(fake("Deepfakes", "000_003"))
    with pytest.raises(WrongDownload, match="has both DeepFakes and Deepfakes"):
        complete.walk("ffpp_deepfakes")


def test_variants(complete, listed):
    complete.add(*(real(video, "c40") for pair in PAIRS.values() for video in pair))
    complete.add(*(fake("Face2Face", video, "c40") for video in FAKES))
    assert listed(complete.walk("ffpp_face2face:c40"), "train")[0].path == real("000", "c40")
    with pytest.raises(
        WrongDownload, match="youtube/raw/videos has no .mp4 videos(?s:.*)it has c23: use --dataset=ffpp_all:c23$"
    ):
        complete.walk("ffpp_all:raw")
    with pytest.raises(WrongDownload, match="it has c23: use --dataset=ffpp_faceswap:c23$"):
        complete.walk("ffpp_faceswap:c40")
    # Every manipulation is looked at, not only the first one.
    shortfalls = complete.walk("ffpp_all:c40").shortfalls
    missing = [method for method in METHODS if any(method in sentence for sentence in shortfalls)]
    assert missing == ["Deepfakes", "FaceSwap", "NeuralTextures"]


def test_missing_and_stray_videos(complete, listed):
    (complete.root / fake("FaceSwap", "003_000")).unlink()
    (complete.root / real("870")).unlink()
    complete.add(real("999"))
    walk = complete.walk("ffpp_all")
    assert walk.shortfalls == (
        "videos of val in original_sequences/youtube/c23/videos: expected 2, found 1; missing: 870",
        "1 left out, in no split although in original_sequences/youtube/c23/videos: 999.mp4",
        "videos of train in manipulated_sequences/FaceSwap/c23/videos: expected 2, found 1; missing: 003",
    )
    assert not any("999" in item.video for split in walk.splits for item in listed(walk, split))


def test_split_files(complete):
    complete.add("val.json", text='[["001"]]')
    with pytest.raises(WrongDownload, match=r"val\.json: expected a list of pairs"):
        complete.walk("ffpp_all")
    for text in ("[[", "[" * 100_000):  # the latter is too deep for Python's reader
        complete.add("val.json", text=text)
        with pytest.raises(WrongDownload, match=r"val\.json: expected JSON"):
            complete.walk("ffpp_all")
    complete.add("val.json", text='[["000", "870"]]')
    with pytest.raises(WrongDownload, match=r"val\.json: video 000 is in train\.json too"):
        complete.walk("ffpp_all")
    complete.add("val.json", text="[]")
    walk = complete.walk("ffpp_all")
    assert "videos in val.json: expected 2, found 0" in walk.shortfalls and "val" not in walk.splits
    (complete.root / "val.json").unlink()
    with pytest.raises(WrongDownload, match="it has no val.json(?s:.*)put the split files"):
        complete.walk("ffpp_all")


def test_too_deep(complete):
    with pytest.raises(WrongDownload, match=f"2 levels too deep: use {complete.root}$"):
        complete.walk("ffpp_all", complete.root / "original_sequences/youtube")


def test_real_counts(miniature):
    numbers = [f"{number:03}" for number in range(1000)]
    for split, part in (("train", numbers[:720]), ("val", numbers[720:860]), ("test", numbers[860:])):
        pairs = list(zip(part[::2], part[1::2], strict=True))
        miniature.add(f"splits/{split}.json", text=json.dumps(pairs))
    miniature.add(real("000"), fake("Deepfakes", "000_001"))
    shortfalls = miniature.walk("ffpp_deepfakes").shortfalls
    assert len(shortfalls) == 6 and not any("json" in sentence for sentence in shortfalls)
    assert shortfalls[0].startswith("videos of train in original_sequences/youtube/c23/videos: expected 720, found 1;")
    assert shortfalls[0].endswith("missing: 001, 002, 003, 004, 005, 006, 007, 008, 009, 010 and 709 more")
    assert shortfalls[1] == "videos of val in original_sequences/youtube/c23/videos: expected 140, found 0"


def test_dfd(miniature, listed, monkeypatch):
    actor = "original_sequences/actors/raw/videos/01__exit_phone_room.mp4"
    fakes = [
        f"manipulated_sequences/DeepFakeDetection/raw/videos/01_{source}__exit_phone_room__{code}.mp4"
        for source, code in (("02", "YVGY8LOK"), ("03", "IFSURI9X"))
    ]
    miniature.add(actor, *fakes)
    walk = miniature.walk("dfd")
    assert walk.shortfalls == (
        "videos in original_sequences/actors/raw/videos: expected 363, found 1",
        "videos in manipulated_sequences/DeepFakeDetection/raw/videos: expected 3068, found 2",
    )
    method = "DeepFakeDetection"
    assert listed(walk, "test") == [
        Item(actor, "actors/01__exit_phone_room", 1, sampling="spaced:32"),
        Item(fakes[0], f"{method}/01_02__exit_phone_room__YVGY8LOK", 0, method, sampling="spaced:32"),
        Item(fakes[1], f"{method}/01_03__exit_phone_room__IFSURI9X", 0, method, sampling="spaced:32"),
    ]
    monkeypatch.setattr(faceforensics, "EXPECTED_DFD", {"actors": 1, "DeepFakeDetection": 2})
    assert miniature.walk("dfd").shortfalls == ()
    with pytest.raises(WrongDownload, match="it has raw: use --dataset=dfd:raw$"):
        miniature.walk("dfd:c23")
