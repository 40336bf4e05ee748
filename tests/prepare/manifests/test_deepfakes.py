"""Celeb-DF, DFDC, DFDCP, WildDeepfake and DiFF."""

import json

import pytest

from fsfm_jax.prepare.manifests import celebdf, dfdc
from fsfm_jax.prepare.manifests.manifest import Item, WrongDownload

CELEB_LIST = "List_of_testing_videos.txt"
V2 = (
    "1 YouTube-real/00170.mp4", "1 Celeb-real/id9_0006.mp4", "1 Celeb-real/id0_0003.mp4",
    "0 Celeb-synthesis/id0_id16_0003.mp4",
)  # fmt: skip


def celeb(miniature, lines, text=None):
    miniature.add(*(line[2:] for line in lines), "Celeb-real/id1_0000.mp4", "Celeb-synthesis/id1_id2_0000.mp4")
    return miniature.add(CELEB_LIST, text="\n".join(lines) + "\n" if text is None else text)


@pytest.fixture
def small_lists(monkeypatch):
    monkeypatch.setattr(celebdf, "EXPECTED", {"celebdf_v1": {}, "celebdf_v2": {0: 1, 1: 3}, "celebdf_pp": {1: 1}})


def test_celebdf_v1_and_v2(miniature, listed, small_lists):
    celeb(miniature, V2)
    expected = [
        Item("Celeb-real/id0_0003.mp4", "Celeb-real/id0_0003", 1, sampling="spaced:32"),
        Item("Celeb-real/id9_0006.mp4", "Celeb-real/id9_0006", 1, sampling="spaced:32"),
        Item(
            "Celeb-synthesis/id0_id16_0003.mp4", "Celeb-synthesis/id0_id16_0003", 0, "Celeb-synthesis",
            sampling="spaced:32",
        ),
    ]  # fmt: skip
    walk = miniature.walk("celebdf_v2")
    assert listed(walk, "test") == expected and list(walk.splits) == ["test"] and walk.shortfalls == ()
    assert walk.class_names == ("fake", "real") and walk.real == 1
    of_youtube = Item("YouTube-real/00170.mp4", "YouTube-real/00170", 1, sampling="spaced:32")
    assert listed(miniature.walk("celebdf_v1"), "test") == [*expected, of_youtube]


def test_celebdf_pp(miniature, listed, small_lists):
    fakes = [f"Celeb-synthesis/{folder}/id0_id1_0000.mp4" for folder in ("FaceSwap/UniFace", "TalkingFace/FLOAT")]
    lines = ["1 Celeb-real/id0_0003.mp4", *(f"0 {path}" for path in fakes)]
    celeb(miniature, lines)
    items = listed(miniature.walk("celebdf_pp"), "test")
    assert [(item.video, item.method) for item in items] == [
        ("Celeb-real/id0_0003", ""),
        ("Celeb-synthesis/FaceSwap/UniFace/id0_id1_0000", "FaceSwap/UniFace"),
        ("Celeb-synthesis/TalkingFace/FLOAT/id0_id1_0000", "TalkingFace/FLOAT"),
    ]
    with pytest.raises(WrongDownload, match="has the folders FaceSwap(?s:.*)it looks like celebdf_pp$"):
        miniature.walk("celebdf_v2")


def test_celebdf_v2_is_not_pp_and_may_lack_videos_and_lines(miniature, listed):
    celeb(miniature, V2)
    with pytest.raises(WrongDownload, match="it looks like celebdf_v2 or celebdf_v1$"):
        miniature.walk("celebdf_pp")
    (miniature.root / "Celeb-real/id9_0006.mp4").unlink()
    walk = miniature.walk("celebdf_v2")
    assert walk.shortfalls == (
        f"fake videos in {CELEB_LIST}: expected 340, found 1",
        f"real videos in {CELEB_LIST}: expected 178, found 3",
        f"videos of {CELEB_LIST}: expected 3, found 2; missing: Celeb-real/id9_0006.mp4",
    )
    assert [item.video for item in listed(walk, "test")] == ["Celeb-real/id0_0003", "Celeb-synthesis/id0_id16_0003"]


@pytest.mark.parametrize("line, message", [
        ("0 Celeb-real/id0_0003.mp4", "line 2: expected label 1 for Celeb-real"),
        ("1 Celeb-synthesis/id0_id1_0003.mp4", "line 2: expected label 0 for Celeb-synthesis"),
        ("Celeb-real/id0_0003.mp4", "line 2: expected a line such as"),
        ("1 Other/id0_0003.mp4", "line 2: expected a line such as"),
        ("1 Celeb-real/../../x.mp4", "line 2: expected a path below --input"),
    ])  # fmt: skip
def test_celebdf_list_that_cannot_be_right(miniature, line, message):
    celeb(miniature, V2, text=f"{V2[0]}\n{line}\n")
    with pytest.raises(WrongDownload, match=message):
        miniature.walk("celebdf_v2")


def test_dfdc(miniature, listed, monkeypatch):
    monkeypatch.setattr(dfdc, "EXPECTED_DFDC", 3)
    miniature.add("test/labels.csv", text="filename,label\r\nbbb.mp4,1\r\naaa.mp4,0\r\nccc.mp4,1\r\n")
    miniature.add("test/ori_videos/bbb.mp4", "test/ori_videos/x/aaa.mp4", "test/ccc.mp4", "train/aaa.mp4")
    walk = miniature.walk("dfdc")
    assert listed(walk, "test") == [
        Item("test/ori_videos/x/aaa.mp4", "aaa", 1, sampling="spaced:32"),
        Item("test/ori_videos/bbb.mp4", "bbb", 0, sampling="spaced:32"),
        Item("test/ccc.mp4", "ccc", 0, sampling="spaced:32"),
    ]
    assert walk.shortfalls == () and walk.class_names == ("fake", "real") and walk.real == 1
    inside = listed(miniature.walk("dfdc", miniature.root / "test"), "test")  # --input of the folder test works too
    assert [item.path for item in inside] == ["ori_videos/x/aaa.mp4", "ori_videos/bbb.mp4", "ccc.mp4"]


def test_dfdc_names_that_would_overwrite_each_other_and_videos_that_are_missing(miniature):
    miniature.add("labels.csv", text="filename,label\naaa.mp4,0\nbbb.mp4,1\n").add("aaa.mp4", "zzz.mp4")
    assert miniature.walk("dfdc").shortfalls == (
        "videos in labels.csv: expected 5000, found 2",
        "videos of labels.csv: expected 2, found 1; missing: bbb.mp4",
        "1 left out, not in labels.csv: zzz.mp4",
    )
    miniature.add("labels.csv", text="filename,label\naaa.mp4,0\n").add("x/aaa.mp4")
    with pytest.raises(WrongDownload, match="two videos aaa.mp4: aaa.mp4 and x/aaa.mp4"):
        miniature.walk("dfdc")


@pytest.mark.parametrize("text, message", [
        ("name,label\naaa.mp4,0\n", "expected columns filename and label"),
        ("filename,label\naaa.mp4,FAKE\n", "expected columns filename and label .0 or 1., found .*FAKE"),
        ("filename,label\naaa.mp4,0\naaa.mp4,1\n", "aaa.mp4 is listed twice"),
    ])  # fmt: skip
def test_dfdc_labels_that_cannot_be_right(miniature, text, message):
    miniature.add("labels.csv", text=text).add("aaa.mp4")
    with pytest.raises(WrongDownload, match=message):
        miniature.walk("dfdc")


def test_dfdcp(miniature, listed):
    content = {
        "original_videos/1/a.mp4": {"label": "real", "set": "test"},
        "original_videos/2/a.mp4": {"label": "real", "set": "test"},
        "method_B/1/a.mp4": {"label": "fake", "set": "test", "target_id": "1"},
        "method_A/1/a.mp4": {"label": "fake", "set": "test"},
        "method_A/1/b.mp4": {"label": "fake", "set": "train"},
        "method_A/9/gone.mp4": {"label": "fake", "set": "test"},
    }
    miniature.add("dataset.json", text=json.dumps(content)).add(*(path for path in content if "gone" not in path))
    walk = miniature.walk("dfdcp")
    # Four files of the same name are four videos.
    assert listed(walk, "test") == [
        Item("method_A/1/a.mp4", "method_A/1/a", 0, "method_A", sampling="spaced:32"),
        Item("method_B/1/a.mp4", "method_B/1/a", 0, "method_B", sampling="spaced:32"),
        Item("original_videos/1/a.mp4", "original_videos/1/a", 1, sampling="spaced:32"),
        Item("original_videos/2/a.mp4", "original_videos/2/a", 1, sampling="spaced:32"),
    ]
    assert walk.shortfalls == ("test videos of dataset.json: expected 5, found 4; missing: method_A/9/gone.mp4",)
    miniature.add("dataset.json", text='{"method_A/1/a.mp4": {"label": "FAKE", "set": "test"}}')
    with pytest.raises(WrongDownload, match="expected label real or fake of 'method_A/1/a.mp4', found 'FAKE'"):
        miniature.walk("dfdcp")


@pytest.mark.parametrize(
    "fake, real", [("fake_test", "real_test"), ("fake test", "real test"), ("test/fake", "test/real")]
)
def test_wilddeepfake(miniature, listed, fake, real):
    # Folders 1 of two archives are two videos.
    paths = [f"{fake}/0/fake/1/25.png", f"{fake}/1/fake/1/25.png", f"{real}/0/real/7/100.png", f"{real}/0/real/7/3.png"]
    walk = miniature.add(*paths, "fake_train/0/fake/1/1.png").walk("wilddeepfake")
    items = listed(walk, "test")
    assert [item.path for item in items] == paths and walk.shortfalls == () and list(walk.splits) == ["test"]
    assert [item.video for item in items] == [path.rpartition("/")[0] for path in paths]
    assert len({item.video for item in items}) == 3
    assert [(item.label, item.frame) for item in items] == [(0, 25), (0, 25), (1, 100), (1, 3)]


def test_wilddeepfake_packed_or_half(miniature):
    miniature.add("fake_test/0.tar.gz", "real_test/0/real/1/1.png")
    with pytest.raises(WrongDownload, match="fake_test has no photos(?s:.*)unpack its archives first$"):
        miniature.walk("wilddeepfake")
    miniature.add("fake_test/0/fake/1/1.png", "test/real/1.png")
    with pytest.raises(WrongDownload, match="it has both real_test and test/real"):
        miniature.walk("wilddeepfake")


DIFF = ("T2I/Midjourney/1.png", "I2I/LoRA/id_0224/lora_001_000.png", "FS/DCFace/a/1.jpg", "FE/Imagic/1.PNG")


@pytest.mark.parametrize("real", ["DiFF_real/{}", "real/{}", "{}/DiFF_real", "{}/real"])
def test_diff(miniature, listed, real):
    for part in ("val", "test"):
        miniature.add(
            *(f"{part}/{path}" for path in DIFF), *(f"{real.format(part)}/{path}" for path in ("x/1.jpg", "y/1.jpg"))
        )
    miniature.add("test/I2I/__MACOSX/LoRA/1.png", "test/I2I/LoRA/id_0224/._lora_001_000.png")
    walk = miniature.walk("diff")
    names = [f"{part}_{condition}" for part in ("val", "test") for condition in ("t2i", "i2i", "fs", "fe")]
    assert list(walk.splits) == names and walk.shortfalls == () and walk.class_names == ("fake", "real")
    items = listed(walk, "test_i2i")
    place = real.format("test")
    assert items == [
        Item("test/I2I/LoRA/id_0224/lora_001_000.png", "test/I2I/LoRA/id_0224/lora_001_000.png", 0, "LoRA"),
        Item(f"{place}/x/1.jpg", f"{place}/x/1.jpg", 1),  # two files of one name are two photos
        Item(f"{place}/y/1.jpg", f"{place}/y/1.jpg", 1),
    ]
    assert {name: list(walk.splits[name])[1:] for name in names[4:]} == dict.fromkeys(names[4:], items[1:])


def test_diff_lacks_conditions_or_real_photos(miniature):
    miniature.add(*(f"test/{path}" for path in DIFF[:3]))
    with pytest.raises(
        WrongDownload, match="it has no real photos for test(?s:.*)into one of DiFF_real/test, real/test"
    ):
        miniature.walk("diff")
    walk = miniature.add("DiFF_real/test/1.jpg").walk("diff")
    assert list(walk.splits) == ["test_t2i", "test_i2i", "test_fs"]
    assert walk.shortfalls == (
        "conditions with photos in val/: expected 4, found 0; missing: T2I, I2I, FS, FE",
        "conditions with photos in test/: expected 4, found 3; missing: FE",
    )
