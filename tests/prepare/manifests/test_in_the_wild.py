"""Deepfake-Eval-2024 and FFIW."""

import pytest

from fsfm_jax.prepare.manifests import deepfake_eval, ffiw
from fsfm_jax.prepare.manifests.manifest import Item, WrongDownload

HEAD = "Filename,Date,Video Ground Truth,Audio Ground Truth,Public Comments,Finetuning Set\n"
ROWS = """\
-a.mp4,2024-11-14,Fake,Unknown,"lip sync, off",train
b.mp4,2024-11-14,Real,Fake,,train
c.mp4,2024-11-13,Unknown,Unknown,"two
lines",test
_d.mp4,2024-11-13,Real,Real,,test
"""
VIDEO_TABLE, IMAGE_TABLE = "video-metadata-publish.csv", "image-metadata-publish.csv"


@pytest.mark.parametrize("table", [VIDEO_TABLE, "video-metadata-publish-with-links.csv"])
def test_videos_of_deepfake_eval_are_judged_by_their_pictures_and_unknown_ones_left_out(miniature, listed, table):
    miniature.add(table, text=HEAD + ROWS).add(*(f"video-data/{name}.mp4" for name in ("-a", "b", "c", "_d")))
    walk = miniature.walk("deepfake_eval")
    assert listed(walk, "train") == [
        Item("video-data/-a.mp4", "video-data/-a.mp4", 0, sampling="spaced:32"),
        Item("video-data/b.mp4", "video-data/b.mp4", 1, sampling="spaced:32"),
    ]
    assert [item.path for item in listed(walk, "test")] == ["video-data/_d.mp4"]
    assert walk.shortfalls == () and (walk.class_names, walk.real) == (("fake", "real"), 1)


def test_photos_of_deepfake_eval(miniature, listed, monkeypatch):
    monkeypatch.setattr(deepfake_eval, "EXPECTED", {"images": 4})
    rows = "a.webp,Fake,Train\nb.jpg,REAL,Test\n#NAME?,Fake,Test\ngone.png,Fake,Test\n"
    miniature.add(IMAGE_TABLE, text="Filename,Ground Truth,Finetuning Set\n" + rows)
    walk = miniature.add("image-data/a.webp", "image-data/b.jpg").walk("deepfake_eval:images")
    assert listed(walk, "train") == [Item("image-data/a.webp", "image-data/a.webp", 0)]
    assert [item.label for item in listed(walk, "test")] == [1]
    assert walk.shortfalls == (
        f"1 left out, their names are #NAME? in {IMAGE_TABLE}: row 3",
        f"images of test in {IMAGE_TABLE}: expected 2, found 1; missing: image-data/gone.png",
    )


@pytest.mark.parametrize("text, message", [
        ("name,label\na.mp4,Fake\n", "row 1: expected columns Filename, Video Ground Truth, Finetuning Set with Fake"),
        (HEAD + "a.mp4,,Maybe,,,train\n", "found 'a.mp4', 'Maybe', 'train'"),
        (HEAD + "a.mp4,,Fake,,,dev\n", "found 'a.mp4', 'Fake', 'dev'"),
        (HEAD + "../a.mp4,,Fake,,,train\n", "row 1: expected a path below --input"),
        (HEAD + "a.mp4,,Fake,,,train\na.mp4,,Real,,,test\n", "row 2: a.mp4 is listed twice"),
        (HEAD + "gone.mp4,,Fake,,,train\n", "none of the videos of video-metadata-publish.csv is in video-data/"),
        (HEAD + 'a.mp4,,Fake,,"open,train\n', "expected a table in UTF-8, found something else"),
    ])  # fmt: skip
def test_a_table_of_deepfake_eval_that_cannot_be_right(miniature, text, message):
    with pytest.raises(WrongDownload, match=message):
        miniature.add(VIDEO_TABLE, text=text).add("video-data/a.mp4").walk("deepfake_eval")


def test_deepfake_eval_without_its_table(miniature):
    with pytest.raises(WrongDownload, match="it has none of video-metadata-publish.csv, video-metadata-publish-with-l"):
        miniature.add("video-data/a.mp4").walk("deepfake_eval")
    miniature.add(IMAGE_TABLE, text="Filename,Ground Truth,Finetuning Set\na.jpg,Fake,test\n").add("image-data/a.jpg")
    walk = miniature.walk("deepfake_eval:images")
    assert walk.shortfalls == (f"rows in {IMAGE_TABLE}: expected 1975, found 1",)


@pytest.mark.parametrize("inner", ["", "videos/"])
def test_ffiw(miniature, listed, monkeypatch, inner):
    monkeypatch.setattr(ffiw, "EXPECTED", {"train": 1, "val": 2})
    for kind in ("source", "target"):
        miniature.add(*(f"{kind}/{path[0]}/{inner}{path[1]}" for path in (("train", "1.mp4"), ("val", "1.mp4"))))
    miniature.add(f"source/val/{inner}2.mp4", f"target_mask/val/{inner}1.mp4")
    walk = miniature.walk("ffiw")
    assert listed(walk, "val") == [
        Item(f"source/val/{inner}1.mp4", "source/1", 1, sampling="spaced:32"),
        Item(f"source/val/{inner}2.mp4", "source/2", 1, sampling="spaced:32"),
        Item(f"target/val/{inner}1.mp4", "target/1", 0, sampling="spaced:32"),
    ]
    assert list(walk.splits) == ["train", "val"] and (walk.class_names, walk.real) == (("fake", "real"), 1)
    assert walk.shortfalls == (f"videos in target/val/{inner}".rstrip("/") + ": expected 2, found 1",)


def test_ffiw_of_other_layouts_or_without_videos(miniature):
    miniature.add("source/train/x.txt", "target/train/x.txt")
    with pytest.raises(WrongDownload, match="no .mp4 videos in source/train, source/val, target/train, target/val"):
        miniature.walk("ffiw")
    miniature.add("source/val/1.mp4", "source/val/videos/1.mp4")
    with pytest.raises(WrongDownload, match="it has videos in source/val and in source/val/videos"):
        miniature.walk("ffiw")
