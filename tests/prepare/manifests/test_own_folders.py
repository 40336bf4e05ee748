"""Folders of one's own: classes, lists of labels, photos without labels."""

import pytest

from fsfm_jax.prepare.manifests.manifest import Item, WrongDownload
from fsfm_jax.prepare.manifests.shares import cut, parse_shares, split_of


def test_folder_of_classes(miniature, listed):
    miniature.add(
        "real/b.jpg", "real/deep/er/a.mp4", "fake/x_frame_3.png", "fake/x_frame_10.png", "fake/.hidden.png",
        "fake/x.txt",
    )  # fmt: skip
    walk = miniature.walk("folder")
    assert listed(walk, "train") == [
        Item("fake/x_frame_10.png", "fake/x", 0, "fake", 10),
        Item("fake/x_frame_3.png", "fake/x", 0, "fake", 3),
        Item("real/b.jpg", "real/b.jpg", 1),
        Item("real/deep/er/a.mp4", "real/deep/er/a.mp4", 1, sampling="spaced:32"),
    ]
    assert list(walk.splits) == ["train"] and walk.class_names == ("fake", "real") and walk.real == 1
    assert walk.shortfalls == ()


def test_folder_of_splits(miniature, listed):
    miniature.add(
        "train/print/a.mp4", "train/live/a.png", "train/replay/a.png", "test/live/名前 é.png", "test/print/a.avi"
    )
    walk = miniature.walk("folder")
    assert list(walk.splits) == ["train", "test"] and walk.class_names == ("live", "print", "replay") and walk.real == 0
    assert [(item.path, item.label, item.method) for item in listed(walk, "train")] == [
        ("train/live/a.png", 0, ""), ("train/print/a.mp4", 1, "print"), ("train/replay/a.png", 2, "replay"),
    ]  # fmt: skip
    assert [(item.path, item.label) for item in listed(walk, "test")] == [
        ("test/live/名前 é.png", 0),
        ("test/print/a.avi", 1),
    ]
    assert walk.shortfalls == ("classes of test: expected 3, found 2; missing: replay",)


@pytest.mark.parametrize("classes, wanted, real", [
        (("Bona-Fide", "attack"), "", 0),
        (("fake_four", "real_youtube"), "", 1),
        (("realistic", "surreal"), "", None),
        (("cats", "dogs"), "", None),
        (("cats", "dogs"), "dogs", 1),
        (("a", "real"), "a", 0),  # the user's word counts for more than the name
    ])  # fmt: skip
def test_real_class(miniature, listed, classes, wanted, real):
    walk = miniature.add(*(f"{name}/1.png" for name in classes)).walk("folder", real=wanted)
    assert walk.real == real and walk.class_names == classes
    methods = [item.method for item in listed(walk, "train")]
    assert methods == ["" if real is None or label == real else name for label, name in enumerate(classes)]


def test_real_class_that_cannot_be_known(miniature):
    miniature.add("real/1.png", "live/1.png", "fake/1.png")
    with pytest.raises(WrongDownload, match="found live, real; set --real=NAME"):
        miniature.walk("folder")
    with pytest.raises(WrongDownload, match="expected one of fake, live, real, found 'reel'; did you mean 'real'"):
        miniature.walk("folder", real="reel")


@pytest.mark.parametrize("paths, message", [
        (["train/a/1.png", "train/b/1.png", "c/1.png"], "next to train it has c"),
        (["a/1.png", "b/1.png", "2.png"], "it has files of no class, such as 2.png"),
        (["train/a/1.png", "train/b/1.png", "train/2.mp4"], "train has files of no class, such as 2.mp4"),
        (["a/1.png"], "it has one class, a(?s:.*)use --dataset=photos$"),
        (["a/1.png", "b/1.txt"], "b has no photos or videos"),
    ])  # fmt: skip
def test_folder_that_is_none(miniature, paths, message):
    with pytest.raises(WrongDownload, match=message):
        miniature.add(*paths).walk("folder")


def test_photos(miniature, listed):
    walk = miniature.add("b.png", "a/1.MP4", "a/2.jpeg", "notes.txt").walk("photos")
    assert listed(walk, "train") == [
        Item("a/1.MP4", "a/1.MP4", sampling="spaced:128"), Item("a/2.jpeg", "a/2.jpeg"), Item("b.png", "b.png"),
    ]  # fmt: skip
    assert walk.class_names == () and walk.real is None


def test_label_file(miniature, listed):
    miniature.add("a b/1, 2.png", "x.mp4", "y_frame_7.jpg", "z.png")
    miniature.add("train.txt", text="\ufeffx.mp4\t0\r\na b/1, 2.png 1\r\n\r\n")
    miniature.add("test.txt", text="y_frame_7.jpg,1\na b/1, 2.png, 0\nz.png , 2")
    walk = miniature.walk("label_file")
    assert listed(walk, "train") == [
        Item("x.mp4", "x.mp4", 0, sampling="spaced:32"),
        Item("a b/1, 2.png", "a b/1, 2.png", 1),
    ]
    assert listed(walk, "test") == [
        Item("y_frame_7.jpg", "y", 1, frame=7), Item("a b/1, 2.png", "a b/1, 2.png", 0), Item("z.png", "z.png", 2),
    ]  # fmt: skip
    assert list(walk.splits) == ["test", "train"] and walk.class_names == ("0", "1", "2") and walk.real is None
    assert miniature.walk("label_file", real="1").real == 1
    miniature.add("classes.txt", text="print attack\nlive\nmask\n")
    walk = miniature.walk("label_file")
    assert walk.class_names == ("print attack", "live", "mask") and walk.real == 1
    assert [item.method for item in listed(walk, "test")] == ["", "print attack", "mask"]


@pytest.mark.parametrize("line, message", [
        ("a.png", "line 2: expected a path and a label"),
        ("a.png one", "line 2: expected a path and a label"),
        ("a.png -1", "line 2: expected a path and a label"),
        ("a.png 1.0", "line 2: expected a path and a label"),
        ("a.png 123456", "line 2: expected a path and a label"),
        ("/etc/a.png 1", "line 2: expected a path below --input without .., found '/etc/a.png'"),
        ("x/../../a.png 1", "line 2: expected a path below --input without .."),
        ("C:\\\\a.png 1", "line 2: expected a path below --input without .."),
        ("a.doc 1", "line 2: expected a photo or video .*found 'a.doc'"),
        ("ok.png 1", "line 2: 'ok.png' is listed twice"),
    ])  # fmt: skip
def test_label_line_that_cannot_be_right(miniature, line, message):
    miniature.add("train.txt", text=f"ok.png 0\n{line}\n").add("ok.png")
    with pytest.raises(WrongDownload, match=f"train.txt, {message}"):
        miniature.walk("label_file")


def test_label_file_lacks_files_or_classes(miniature, listed):
    miniature.add("train.txt", text="a.png 0\nb.png 1\n").add("b.png")
    walk = miniature.walk("label_file")
    assert [item.path for item in listed(walk, "train")] == ["b.png"]
    assert walk.shortfalls == ("files of train.txt: expected 2, found 1; missing: a.png",)
    miniature.add("classes.txt", text="one\n")
    with pytest.raises(WrongDownload, match="classes.txt names 1 classes, the lists have label 1"):
        miniature.walk("label_file")
    miniature.add("classes.txt", text="one\none\n")
    with pytest.raises(WrongDownload, match="classes.txt names a class twice"):
        miniature.walk("label_file")
    miniature.add("test.txt")
    with pytest.raises(WrongDownload, match="test.txt has no lines"):
        miniature.walk("label_file")
    (miniature.root / "test.txt").write_bytes(b"caf\xe9.png 0")
    with pytest.raises(WrongDownload, match="test.txt: expected a list in UTF-8"):
        miniature.walk("label_file")


def test_shares_keep_the_frames_of_a_video_together_and_do_not_depend_on_company(miniature, listed):
    names = [f"{number}.jpg" for number in range(200)] + [f"v_frame_{number}.png" for number in range(20)]
    shares = parse_shares("train=70, val=10,test=20")
    walk = cut(miniature.add(*names).walk("photos"), shares)
    found = {split: {item.path for item in listed(walk, split)} for split in walk.splits}
    assert list(found) == ["train", "val", "test"] and set().union(*found.values()) == {*names}
    assert sum(map(len, found.values())) == len(names)
    # 200 draws: within 4 deviations (200 * 0.7 * 0.3) ** 0.5 of 140.
    assert abs(sum(not name.startswith("v") for name in found["train"]) - 140) < 4 * 6.5
    assert sum(any(name.startswith("v") for name in names) for names in found.values()) == 1
    # Stays for ever: records and results of others depend on it.
    assert [split_of(f"{number}.jpg", shares) for number in range(4)] == ["train", "val", "test", "train"]


@pytest.mark.parametrize("text", ["train=70", "a=50,b=40", "train=x,test=1", "train=0,test=100", "a=50,a=50", ""])
def test_shares_that_are_none_are_refused(text):
    with pytest.raises(ValueError, match="shares: expected"):
        parse_shares(text)


def test_shares_need_a_set_without_splits_and_enough_of_it(miniature):
    miniature.add("train/live/a.png", "train/fake/a.png", "test/live/a.png", "test/fake/a.png")
    with pytest.raises(ValueError, match="expected a data set without splits, found train, test"):
        cut(miniature.walk("folder"), {"train": 50, "test": 50})
    with pytest.raises(ValueError, match="no photo or video falls to (train|test)"):
        cut(miniature.walk("photos", miniature.root / "train/live"), {"train": 50, "test": 50})
