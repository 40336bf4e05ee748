"""Ready-made frames with the lists of few-shot face anti-spoofing."""

import pytest

from fsfm_jax.prepare.manifests import frame_lists
from fsfm_jax.prepare.manifests.manifest import Item, WrongDownload


def lists(miniature, one: str, **paths: list[str]):
    """Writes lists such as `real_train=[...]` and the frames in them."""
    for kind, names in paths.items():
        miniature.add(f"txt/{one}_{kind}.txt", text="".join(f"{name}\n" for name in names))
        miniature.add(*(f"frame/{name}" for name in names))


@pytest.fixture
def only_msu(monkeypatch):
    monkeypatch.setitem(frame_lists.SETS, "mcio_frames", ("msu", "celeb"))


def test_mcio(miniature, listed, only_msu):
    real = [
        f"msu/train/real/real_client00{number}_android_SD_scene01_frame{frame}.png"
        for number in range(4)
        for frame in (0, 1)
    ]
    fake = ["msu/train/fake/attack_client002_android_SD_ipad_video_scene01_frame0.png"]
    # Lists of training name frames of the folder test as well.
    of_test = ["msu/test/fake/attack_client001_android_SD_ipad_video_scene01_frame0.png"]
    lists(miniature, "msu", real_train=real, fake_train=fake + of_test, real_shot=real, fake_shot=fake)
    lists(miniature, "msu", real_test=["msu/test/real/a_frame0.png"], fake_test=of_test)
    lists(miniature, "celeb", real_train=["celeb/real/167_live_096546.jpg"], fake_train=["celeb/fake/1_spoof_2.jpg"])
    seconds = ["msu/test/real/a_frame1.png", of_test[0].replace("frame0", "frame1")]
    miniature.add(*(f"frame/{path}" for path in seconds))
    walk = miniature.walk("mcio_frames")
    assert list(walk.splits) == ["msu_train", "msu_test", "msu_shot", "celeb_train"] and walk.shortfalls == ()
    assert walk.class_names == ("attack", "bona_fide") and walk.real == 1
    assert [(item.path, item.label) for item in listed(walk, "msu_train")] == sorted(
        [(f"frame/{path}", 1) for path in real] + [(f"frame/{path}", 0) for path in fake + of_test]
    )
    # Both frames of a video are tested, though the list names the first alone.
    video = "msu/test/fake/attack_client001_android_SD_ipad_video_scene01"
    assert listed(walk, "msu_test") == [
        Item(f"frame/{video}_frame0.png", video, 0, frame=0),
        Item(f"frame/{video}_frame1.png", video, 0, frame=1),
        Item("frame/msu/test/real/a_frame0.png", "msu/test/real/a", 1, frame=0),
        Item("frame/msu/test/real/a_frame1.png", "msu/test/real/a", 1, frame=1),
    ]
    assert [item.path for item in listed(walk, "msu_shot") if item.label] == [f"frame/{path}" for path in real[:5]]
    assert listed(walk, "celeb_train")[1] == Item(
        "frame/celeb/real/167_live_096546.jpg", "celeb/real/167_live_096546.jpg", 1
    )
    (miniature.root / "frame" / seconds[0]).unlink()
    assert miniature.walk("mcio_frames").shortfalls == (
        f"frames of msu test: expected 4, found 3; missing: {seconds[0]}",
    )


def test_wcs(miniature, listed):
    for one, real, fake in (
        ("wmca", "31.01.18_035_01_000_0_01_00.jpg", "31.01.18_514_01_035_1_05_05.jpg"),
        ("cefa", "3_499_1_1_1_00.jpg", "3_499_3_2_2_01.jpg"),
        ("surf", "Training_real_part_A_real.rssdk_color_91.jpg", "Training_fake_part_A_06_enm_b.rssdk_color_91.jpg"),
    ):
        for part in ("train", "test", "shot"):
            real_path, fake_path = f"{one}/train/real/{real}", f"{one}/train/fake/{fake}"
            lists(miniature, one, **{f"real_{part}": [real_path], f"fake_{part}": [fake_path]})
    lists(miniature, "surf", real_test=["surf/test/real/Val_0007_007243-color.jpg"])
    walk = miniature.walk("wcs_frames")
    assert len(walk.splits) == 9 and walk.shortfalls == ()
    assert [
        (item.video, item.frame, item.label) for split in ("wmca_train", "cefa_train") for item in listed(walk, split)
    ] == [
        ("wmca/train/fake/31.01.18_514_01_035_1_05", 5, 0), ("wmca/train/real/31.01.18_035_01_000_0_01", 0, 1),
        ("cefa/train/fake/3_499_3_2_2", 1, 0), ("cefa/train/real/3_499_1_1_1", 0, 1),
    ]  # fmt: skip
    # The attacks of surf_shot are there as well.
    assert [(item.video, item.frame, item.label) for item in listed(walk, "surf_shot")] == [
        ("surf/train/fake/Training_fake_part_A_06_enm_b.rssdk", 91, 0),
        ("surf/train/real/Training_real_part_A_real.rssdk", 91, 1),
    ]
    alone = listed(walk, "surf_test")[0 if "test/real" in listed(walk, "surf_test")[0].path else 1]
    assert alone.video == "surf/test/real/Val_0007_007243-color.jpg" and alone.label == 1


def test_lists_that_are_missing_or_contradict(miniature, only_msu):
    lists(miniature, "msu", real_train=["msu/a.png"], fake_train=["msu/b.png"])
    assert miniature.walk("mcio_frames").shortfalls == (
        "lists txt/msu_{fake,real}_test.txt: expected 2, found 0",
        "lists txt/msu_{fake,real}_shot.txt: expected 2, found 0",
        "lists txt/celeb_{fake,real}_train.txt: expected 2, found 0",
    )
    lists(miniature, "msu", fake_train=["msu/b.png", "msu/a.png"])
    with pytest.raises(WrongDownload, match="msu/a.png is listed both as real and as fake of msu train"):
        miniature.walk("mcio_frames")
    (miniature.root / "txt/msu_fake_train.txt").unlink()
    with pytest.raises(WrongDownload, match="it has no txt/msu_fake_train.txt, but the list of the other class"):
        miniature.walk("mcio_frames")


def test_one_level_too_high(miniature):
    miniature.add("MCIO/txt/msu_real_train.txt", "MCIO/frame/msu/a.png")
    with pytest.raises(WrongDownload, match=f"one level too high: use {miniature.root / 'MCIO'}$"):
        miniature.walk("mcio_frames")
