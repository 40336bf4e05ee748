"""WMCA, CASIA-SURF CeFA and CASIA-SURF."""

import pytest

from fsfm_jax.prepare.manifests import wcs
from fsfm_jax.prepare.manifests.manifest import Item, WrongDownload
from fsfm_jax.prepare.manifests.registry import DATASETS


def test_wmca(miniature, listed):
    names = [
        "31.01.18/035_01_000_0_01", "31.01.18/098_01_035_3_13", "31.01.18/514_01_035_1_05", "31.01.18/530_03_001_2_18",
    ]  # fmt: skip
    miniature.add(*(f"{name}.hdf5" for name in names))
    items = listed(miniature.walk("wmca"), "test")
    expected = [(1, ""), (0, "photo"), (0, "type 1"), (0, "fake face")]
    assert items == [
        Item(f"{name}.hdf5", name, label, method, sampling="spaced:10")
        for name, (label, method) in zip(names, expected, strict=True)
    ]
    assert miniature.walk("wmca").shortfalls == ()


def test_wmca_sorted_into_splits(miniature, listed):
    miniature.add("train/31.01.18/035_01_000_0_01.hdf5", "eval/31.01.18/036_01_000_0_00.hdf5")
    walk = miniature.walk("wmca")
    assert {split: [item.video for item in listed(walk, split)] for split in walk.splits} == {
        "eval": ["eval/31.01.18/036_01_000_0_00"],
        "train": ["train/31.01.18/035_01_000_0_01"],
    }


def test_wmca_of_two_channels_or_other_names(miniature):
    miniature.add("RGB/31.01.18/035_01_000_0_01.hdf5", "CDIT/31.01.18/035_01_000_0_01.hdf5")
    with pytest.raises(WrongDownload, match="are the same recording(?s:.*)use the folder of the colour recordings"):
        miniature.walk("wmca")
    with pytest.raises(WrongDownload, match="x.hdf5 is not named client_session"):
        miniature.add("RGB/31.01.18/x.hdf5").walk("wmca", miniature.root / "RGB")


def frames(video: str, count: int, colour: str = "profile") -> list[str]:
    return [f"{video}/{colour}/{number:04}.jpg" for number in range(1, count + 1)]


def test_cefa(miniature, listed, monkeypatch):
    monkeypatch.setattr(wcs, "EXPECTED_CEFA", {"train": 2, "dev": 2, "test": 1})
    for video, count in (("train/3_199_1_1_1", 21), ("train/3_000_3_2_2", 3), ("AF/AF-200-1980/1_200_3_1_4", 1)):
        miniature.add(*frames(video, count), *frames(video, count, "depth"))
    miniature.add(*frames("CA/CA-299/2_299_3_1_3", 1, "color"), *frames("x/2_300_1_1_1", 1))
    miniature.add(*frames("3D-Mask/002/1_002_1_1_2_1_3", 1))
    walk = miniature.walk("casia_cefa")
    assert list(walk.splits) == ["train", "dev", "test"] and walk.shortfalls == ()
    train = listed(walk, "train")
    # linspace(0, 2, 10) and linspace(0, 20, 10), cut to integers; names begin with 1.
    assert [(item.video, item.frame) for item in train] == [
        *(("train/3_000_3_2_2", number) for number in (1, 2, 3)),
        *(("train/3_199_1_1_1", number + 1) for number in (0, 2, 4, 6, 8, 11, 13, 15, 17, 20)),
    ]
    assert train[0] == Item("train/3_000_3_2_2/profile/0001.jpg", "train/3_000_3_2_2", 0, "cloth", frame=1)
    assert {item.label for item in train[3:]} == {1}
    assert [(item.video, item.label, item.method) for item in listed(walk, "dev")] == [
        ("AF/AF-200-1980/1_200_3_1_4", 0, "screen"),
        ("CA/CA-299/2_299_3_1_3", 0, "photo"),
    ]
    assert [item.video for item in listed(walk, "test")] == ["x/2_300_1_1_1"]
    assert DATASETS["casia_cefa"].cropped and DATASETS["casia_cefa"].black_borders


def test_cefa_with_secret_names(miniature):
    miniature.add(*frames("dev/003062", 1))
    with pytest.raises(WrongDownload, match="no folder is named as a video(?s:.*)without a label in their name"):
        miniature.walk("casia_cefa")
    assert miniature.add(*frames("train/1_031_1_1_1", 1)).walk("casia_cefa").shortfalls == (
        "videos of train: expected 2400, found 1",
        "videos of dev: expected 1200, found 0",
        "videos of test: expected 2400, found 0",
        "1 left out, not named ethnicity_person_device_session_attack: dev/003062",
    )


def surf_line(colour: str, label: int) -> str:
    return f"{colour} {colour.replace('color', 'depth')} {colour.replace('color', 'ir')} {label}\n"


SURF = {
    "Training/real_part/CLKJ_CS0110/real.rssdk/color/91.jpg": 1,
    "Training/fake_part/CLKJ_CS0110/06_enm_b.rssdk/color/101.jpg": 0,
    "Training/fake_part/CLKJ_CS0110/06_enm_b.rssdk/color/91.jpg": 0,
}


def test_surf(miniature, listed, monkeypatch):
    monkeypatch.setattr(wcs, "EXPECTED_SURF", {"train": 3, "val": 2, "test": 1})
    val = {"Val/0007/007243-color.jpg": 1, "Val/0007/007193-color.jpg": 0}
    test = {"Testing/0000/000000-color.jpg": 1}
    for name, labels in (("train_list", SURF), ("val_private_list", val), ("test_private_list", test)):
        miniature.add(f"{name}.txt", text="".join(surf_line(*entry) for entry in labels.items())).add(*labels)
    walk = miniature.walk("casia_surf")
    real, late, early = SURF
    fakes = "Training/fake_part/CLKJ_CS0110/06_enm_b.rssdk"
    assert listed(walk, "train") == [
        Item(late, fakes, 0, "06_enm_b", frame=101),
        Item(early, fakes, 0, "06_enm_b", frame=91),
        Item(real, "Training/real_part/CLKJ_CS0110/real.rssdk", 1, frame=91),
    ]
    assert [(item.video, item.label) for item in listed(walk, "val")] == sorted(val.items())
    assert list(walk.splits) == ["train", "val", "test"] and walk.shortfalls == ()


def test_surf_lacks_photos_and_lists(miniature):
    miniature.add("train_list.txt", text="".join(surf_line(*entry) for entry in SURF.items())).add(*list(SURF)[:2])
    assert miniature.walk("casia_surf").shortfalls == (
        "photos in train_list.txt: expected 29266, found 3",
        f"photos of train_list.txt: expected 3, found 2; missing: {list(SURF)[2]}",
        "photos in val_private_list.txt: expected 9608, found 0",
        "photos in test_private_list.txt: expected 57710, found 0",
    )


@pytest.mark.parametrize("line, message", [
        (surf_line(list(SURF)[0], 0), "line 1: expected label 1 of that folder"),
        (surf_line(list(SURF)[1], 1), "line 1: expected label 0 of that folder"),
        ("Testing/0000/0-color.jpg Testing/0000/0-depth.jpg Testing/0000/0-ir.jpg", "line 1: expected three paths"),
        (surf_line("/abs/color/1.jpg", 1), "line 1: expected a path below --input"),
        ("x" * 200_000, "line 1: expected paths and a label"),  # longer than Python's reader takes
    ])  # fmt: skip
def test_surf_list_that_cannot_be_right(miniature, line, message):
    miniature.add("train_list.txt", text=line)
    with pytest.raises(WrongDownload, match=message):
        miniature.walk("casia_surf")
