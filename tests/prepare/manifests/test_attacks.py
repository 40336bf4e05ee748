"""UniAttackData, UniAttackData+ and SiW-Mv2."""

import pytest

from fsfm_jax.prepare.manifests import siw_mv2, uniattack
from fsfm_jax.prepare.manifests.manifest import Item, WrongDownload


def uniattackdata(miniature, protocol: str, train: str, dev: str):
    """A protocol with its lists and all photos of them."""
    for part, text in (("train", train), ("dev", dev)):
        miniature.add(f"{protocol}/{part}_label.txt", text=text)
        miniature.add(*(f"{protocol}/{part}/{number}.jpg" for number in (1, 2, 3)))
    return miniature


@pytest.mark.parametrize("live, spoof", [("1", "0"), ("0", "1")])
@pytest.mark.parametrize("front", ["p2.1/", ""])
def test_uniattackdata_has_the_labels_that_one_says(miniature, listed, monkeypatch, live, spoof, front):
    monkeypatch.setattr(uniattack, "EXPECTED_DEV", {"p2.1": 2})
    train = f"{front}train/2.jpg {live}\n{front}train/1.jpg {spoof}\n"
    uniattackdata(miniature, "p2.1", train, f"{front}dev/3.jpg {spoof}\n{front}dev/1.jpg {live}\n")
    miniature.add("p2.1/test.txt", text="test/1.jpg\n")
    walk = miniature.walk("uniattackdata:p2.1", real=live)
    assert listed(walk, "train") == [
        Item("p2.1/train/1.jpg", "p2.1/train/1.jpg", 0), Item("p2.1/train/2.jpg", "p2.1/train/2.jpg", 1),
    ]  # fmt: skip
    assert [(item.path, item.label) for item in listed(walk, "dev")] == [("p2.1/dev/1.jpg", 1), ("p2.1/dev/3.jpg", 0)]
    assert list(walk.splits) == ["train", "dev"] and walk.shortfalls == ()
    assert (walk.class_names, walk.real) == (("attack", "bona_fide"), 1)


def test_uniattackdata_lacks_photos_lines_or_lists(miniature):
    uniattackdata(miniature, "p1", "train/1.jpg 1\ntrain/9.jpg 0\n", "dev/1.jpg 1\ndev/2.jpg 0\n")
    miniature.add("p1/test_label.txt", text="test/1.jpg 1\ntest/2.jpg 0\n").add("p1/test/1.jpg", "p1/test/2.jpg")
    walk = miniature.walk("uniattackdata", real="1")
    assert list(walk.splits) == ["train", "dev", "test"]
    assert walk.shortfalls == (
        "photos of train: expected 2, found 1; missing: p1/train/9.jpg",
        "photos in p1/dev_label.txt: expected 6000, found 2",
    )
    with pytest.raises(WrongDownload, match="it has no p2.2/train_label.txt"):
        miniature.walk("uniattackdata:p2.2", real="1")


@pytest.mark.parametrize("train, real, message", [
        ("train/1.jpg 1\n", "", "expected --real=0 or --real=1, the label of live faces in its lists, found ''"),
        ("train/1.jpg 1\n", "live", "expected --real=0 or --real=1"),
        ("train/1.jpg 1\ntrain/2.jpg live\n", "1", 'line 2: expected a path and 0 or 1, such as "p1/train/0'),
        ("train/1.jpg\n", "1", "line 1: expected a path and 0 or 1"),
        ("../1.jpg 1\n", "1", "line 1: expected a path below --input"),
        ("train/1.jpg 1\np1/train/1.jpg 0\n", "1", "line 2: p1/train/1.jpg is listed both as live and as an attack"),
        ("train/1.jpg 1\n", "1", "p1/train_label.txt has bona_fide alone"),
        ("", "1", "p1/train_label.txt has no line alone"),
        ("train/8.jpg 1\ntrain/9.jpg 0\n", "1", "none of the photos of its lists is there"),
    ])  # fmt: skip
def test_a_list_of_uniattackdata_that_cannot_be_right(miniature, train, real, message):
    with pytest.raises(WrongDownload, match=message):
        miniature.add("p1/train_label.txt", text=train).add("p1/train/1.jpg").walk("uniattackdata", real=real)


@pytest.mark.parametrize("place", ["", "phase1/"])
def test_uniattackdata_plus_has_kinds_of_attack(miniature, listed, place):
    train = "Data-train/3.png 2_1_0\nData-train/1.png 0_0_0\nData-train/2.png 1_0_2\n"
    miniature.add(f"{place}Protocol-train.txt", text=train).add(*(f"Data-train/{number}.png" for number in (1, 2, 3)))
    miniature.add(f"{place}Protocol-test.txt", text="Data-test/1.png\n").add("Data-test/1.png")
    walk = miniature.walk("uniattackdata_plus")
    assert listed(walk, "train") == [
        Item("Data-train/1.png", "Data-train/1.png", 1),
        Item("Data-train/2.png", "Data-train/2.png", 0, "1/0/2"),
        Item("Data-train/3.png", "Data-train/3.png", 0, "2/1/0"),
    ]
    assert list(walk.splits) == ["train"] and (walk.class_names, walk.real) == (("attack", "bona_fide"), 1)
    assert walk.shortfalls == (
        "lists Protocol-val.txt: expected 1, found 0",
        f"1 left out, it has no labels such as 2_1_0: {place}Protocol-test.txt: split test",
    )


@pytest.mark.parametrize("text, message", [
        ("Data-train/1.png 0_0_0\nData-train/2.png\n", 'line 2: expected a path and a code, such as "Data-t'),
        ("Data-train/1.png 0_0_0\nData-train/1.png 1_0_0\n", "line 2: Data-train/1.png is listed with two codes"),
        ("/Data-train/1.png 0_0_0\n", "line 1: expected a path below --input"),
        ("Data-train/9.png 0_0_0\n", "none of the photos of its lists is there"),
    ])  # fmt: skip
def test_a_list_of_uniattackdata_plus_that_cannot_be_right(miniature, text, message):
    with pytest.raises(WrongDownload, match=message):
        miniature.add("Protocol-train.txt", text=text).add("Data-train/1.png").walk("uniattackdata_plus")


LISTS = {
    "trainlist_live.txt": "Live_1\nLive_2\n", "testlist_live.txt": "Live_10\n",
    "trainlist_all.txt": "Makeup_Co_5\nPaper_4\nMakeup_Co_5\nMask_Mann_1\n", "testlist_all.txt": "Partial_Funnyeye_2\n",
}  # fmt: skip
VIDEOS = (
    "Live/Live_1.mov", "Live/live_2.mp4", "Live/Live_10.mov", "Spoof/Makeup_Cosmetic/Makeup_Co_5.mov",
    "Spoof/Print/Paper_4.mov", "Spoof/Mannequin/Mask_Mann_1.mov",
    "Spoof/Partial_FunnyeyeGlasses/Partial_Funnyeye_2.mov",
)  # fmt: skip


def siw(miniature, place: str = "", **changed: str):
    for name, text in (LISTS | {f"{name}.txt": text for name, text in changed.items()}).items():
        miniature.add(place + name, text=text)
    return miniature.add(*VIDEOS)


@pytest.fixture
def few_videos(monkeypatch):
    monkeypatch.setattr(siw_mv2, "EXPECTED", {"Live": 3, "Spoof": 4})


@pytest.mark.parametrize("place", ["", "pro_3_text/"])
def test_siw_mv2(miniature, listed, few_videos, place):
    walk = siw(miniature, place).walk("siw_mv2")
    assert [(item.path, item.label, item.method) for item in listed(walk, "train")] == [
        ("Live/Live_1.mov", 1, ""), ("Live/live_2.mp4", 1, ""),
        ("Spoof/Makeup_Cosmetic/Makeup_Co_5.mov", 0, "Makeup_Cosmetic"),  # repeated in the list, one video
        ("Spoof/Mannequin/Mask_Mann_1.mov", 0, "Mannequin"), ("Spoof/Print/Paper_4.mov", 0, "Print"),
    ]  # fmt: skip
    assert listed(walk, "test")[0] == Item("Live/Live_10.mov", "Live/Live_10", 1, sampling="spaced:10")
    assert listed(walk, "test")[1].method == "Partial_FunnyeyeGlasses" and len(listed(walk, "test")) == 2
    assert walk.shortfalls == () and (walk.class_names, walk.real) == (("attack", "bona_fide"), 1)
    assert len(siw_mv2.KINDS) == 14 == len(set(siw_mv2.KINDS.values()))


def test_siw_mv2_lists_videos_that_it_lacks_and_has_some_in_no_list(miniature):
    walk = siw(miniature, testlist_live="Live_902\n").add("Spoof/Replay/Replay_7.mov").walk("siw_mv2")
    assert walk.shortfalls == (
        "videos in Live/: expected 785, found 3", "videos in Spoof/: expected 915, found 5",
        "videos of test: expected 2, found 1; missing: Live_902",
        "2 left out, in no list: Live/Live_10.mov, Spoof/Replay/Replay_7.mov",
    )  # fmt: skip


@pytest.mark.parametrize("changed, message", [
        ({"trainlist_all": "Makeup_Xx_5\n"}, "trainlist_all.txt, line 1: expected one of .*found 'Makeup_Xx_5'"),
        ({"trainlist_all": "Live_1\n"}, "trainlist_all.txt, line 1: expected one of Makeup_Co"),
        ({"trainlist_live": "Live_1\nPaper_4\n"}, "trainlist_live.txt, line 2: expected Live_1, found 'Paper_4'"),
        ({"testlist_all": "Paper_4\n"}, "Paper_4 of its lists are both in train and in test"),
    ])  # fmt: skip
def test_lists_of_siw_mv2_that_cannot_be_right(miniature, changed, message):
    with pytest.raises(WrongDownload, match=message):
        siw(miniature, **changed).walk("siw_mv2")


def test_siw_mv2_without_a_list_or_with_two_videos_of_a_name(miniature):
    with pytest.raises(WrongDownload, match="Live/Live_1.mov and Live/x/Live_1.mp4 have the same name"):
        siw(miniature).add("Live/x/Live_1.mp4").walk("siw_mv2")
    (miniature.root / "testlist_all.txt").unlink()
    with pytest.raises(WrongDownload, match="it has no testlist_all.txt"):
        miniature.walk("siw_mv2")
