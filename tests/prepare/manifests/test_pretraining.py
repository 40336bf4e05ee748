"""VGGFace2, YouTube Faces and the real videos of FaceForensics++."""

import json

import pytest

from fsfm_jax.prepare.manifests import faceforensics, vggface2, youtubefaces
from fsfm_jax.prepare.manifests.manifest import Item, WrongDownload

VGG = (
    "train/n000002/0001_01.jpg", "train/n000002/0002_01.jpg", "train/n000003/0001_01.jpg", "test/n000001/0001_01.jpg",
)  # fmt: skip


def test_vggface2(miniature, listed, monkeypatch):
    monkeypatch.setattr(vggface2, "EXPECTED", {"train": 2, "test": 1})
    miniature.add(*VGG, "train/n000002/.DS_Store", "bb_landmark.txt")
    walk = miniature.walk("vggface2")
    assert listed(walk, "train") == [Item(path, path) for path in VGG]
    assert list(walk.splits) == ["train"] and walk.class_names == () and walk.real is None and walk.shortfalls == ()


def test_vggface2_counts_people(miniature):
    miniature.add(*VGG[:3])
    assert miniature.walk("vggface2").shortfalls == (
        "people in train/: expected 8631, found 2",
        "people in test/: expected 500, found 0",
    )


@pytest.mark.parametrize("root, hint", [
        (".", "--input points one level too high: use {root}/data"),
        ("data/train", "--input points 1 level too deep: use {root}/data"),
        ("data/train/n000002", "--input points 2 levels too deep: use {root}/data"),
    ])  # fmt: skip
def test_vggface2_at_the_wrong_level(miniature, root, hint):
    miniature.add(*(f"data/{path}" for path in VGG))
    with pytest.raises(WrongDownload) as error:
        miniature.walk("vggface2", miniature.root / root)
    assert str(error.value).splitlines()[-1] == hint.format(root=miniature.root)


def test_youtubefaces(miniature, listed, monkeypatch):
    monkeypatch.setattr(youtubefaces, "EXPECTED", {"people": 2, "videos": 3})
    videos = ("Alicia_Witt/0", "Alicia_Witt/5", "Zoë_B/0")
    frames = [f"frame_images_DB/{video}/{video[-1]}.{number}.jpg" for video in videos for number in (10, 9)]
    miniature.add(*frames, "frame_images_DB/Alicia_Witt.labeled_faces.txt", "aligned_images_DB/Alicia_Witt/0/x.jpg")
    walk = miniature.walk("youtubefaces")
    items = listed(walk, "train")
    assert [item.path for item in items] == frames
    assert [item.video for item in items] == [video for video in videos for _ in range(2)]
    assert [item.frame for item in items] == [10, 9] * 3
    assert {(item.label, item.sampling) for item in items} == {(-1, "photo")} and walk.shortfalls == ()
    monkeypatch.setattr(youtubefaces, "EXPECTED", {"people": 1595, "videos": 3425})
    assert miniature.walk("youtubefaces").shortfalls == (
        "people in frame_images_DB/: expected 1595, found 2",
        "videos in frame_images_DB/: expected 3425, found 3",
    )
    with pytest.raises(WrongDownload, match=f"1 level too deep: use {miniature.root}$"):
        miniature.walk("youtubefaces", miniature.root / "frame_images_DB")


def test_ffpp_originals(miniature, listed, monkeypatch):
    monkeypatch.setattr(faceforensics, "EXPECTED", {"train": 2, "val": 2, "test": 2})
    for split, pair in (("train", ["004", "001"]), ("val", ["000", "003"]), ("test", ["002", "005"])):
        miniature.add(f"splits/{split}.json", text=json.dumps([pair]))
    videos = [f"original_sequences/youtube/c23/videos/00{number}.mp4" for number in range(6)]
    miniature.add(*videos)
    expected = [
        Item(videos[number], f"youtube/00{number}", sampling="spaced:128") for number in (0, 1, 3, 4)
    ]  # not those of the test split
    walk = miniature.walk("ffpp_originals")
    assert listed(walk, "train") == expected and list(walk.splits) == ["train"] and walk.shortfalls == ()
    of_all = listed(miniature.walk("ffpp_originals:all_frames"), "train")
    assert [item.path for item in of_all] == [item.path for item in expected]
    assert {item.sampling for item in of_all} == {"all"}
    apart = miniature.walk("ffpp_originals:splits")
    found = {split: [item.video for item in listed(apart, split)] for split in apart.splits}
    pairs = {"train": (1, 4), "val": (0, 3), "test": (2, 5)}
    assert found == {split: [f"youtube/00{number}" for number in pair] for split, pair in pairs.items()}
    assert {item.sampling for item in listed(apart, "val")} == {"spaced:32"}
