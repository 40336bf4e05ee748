"""MSU-MFSD, CASIA-FASD, Replay-Attack, OULU-NPU and CelebA-Spoof."""

import pytest

from fsfm_jax.prepare.manifests import mcio
from fsfm_jax.prepare.manifests.manifest import Item, WrongDownload


def test_expected_numbers_are_those_of_the_papers():
    totals = {
        name: [sum(part) for part in zip(*splits.values(), strict=True)] for name, splits in mcio.EXPECTED.items()
    }
    # Attacks and bona fide: 280 and 600 videos; 1,200 of 1,300 (100 enrol); 3,600 of 4,950 (1,350 for development).
    assert totals == {
        "msu_mfsd": [210, 70], "casia_fasd": [450, 150], "replay_attack": [1000, 200], "oulu_npu": [2880, 720],
    }  # fmt: skip


def expect(monkeypatch, name, **splits):
    monkeypatch.setitem(mcio.EXPECTED, name, splits)


def test_msu(miniature, listed, monkeypatch):
    expect(monkeypatch, "msu_mfsd", train=(2, 1), test=(1, 1))
    attacks = [
        f"scene01/attack/attack_client{name}_scene01{suffix}"
        for name, suffix in (("001_android_SD_printed_photo", ".mp4"), ("002_android_SD_ipad_video", ".mp4"))
    ]
    attacks.append("scene01/attack/attack_client002_laptop_SD_iphone_video_scene01.mov")
    real = ["scene01/real/real_client001_laptop_SD_scene01.MOV", "scene01/real/real_client002_android_SD_scene01.mp4"]
    miniature.add(*attacks, *real, "scene01/real/real_client002_android_SD_scene01.face")
    miniature.add("train_sub_list.txt", text="02\n").add("test_sub_list.txt", text="   1.0000000e+00\n")
    walk = miniature.walk("msu_mfsd")
    assert listed(walk, "train") == [
        Item(attacks[1], attacks[1], 0, "ipad_video", sampling="pair"),
        Item(attacks[2], attacks[2], 0, "iphone_video", sampling="pair"),
        Item(real[1], real[1], 1, sampling="pair"),
    ]
    assert listed(walk, "test") == [
        Item(attacks[0], attacks[0], 0, "printed_photo", sampling="pair"),
        Item(real[0], real[0], 1, sampling="pair"),
    ]
    assert walk.shortfalls == () and walk.class_names == ("attack", "bona_fide") and walk.real == 1
    miniature.add("scene01/real/real_client003_android_SD_scene01.mp4")
    assert miniature.walk("msu_mfsd").shortfalls == (
        "1 left out, in no list or not named as expected: scene01/real/real_client003_android_SD_scene01.mp4",
    )
    miniature.add("test_sub_list.txt", text="1\n2\n")
    with pytest.raises(WrongDownload, match=r"clients \[2\] are in train_sub_list.txt and in test_sub_list.txt"):
        miniature.walk("msu_mfsd")
    for text in ("client1", "1e999", "nan"):
        miniature.add("test_sub_list.txt", text=f"{text}\n")
        with pytest.raises(WrongDownload, match=f"line 1: expected the number of a client, found '{text}'"):
            miniature.walk("msu_mfsd")


CASIA_VIDEOS = [*(str(number) for number in range(1, 9)), "HR_1", "HR_2", "HR_3", "HR_4"]


def test_casia(miniature, listed, monkeypatch):
    expect(monkeypatch, "casia_fasd", train=(9, 3), test=(18, 6))
    miniature.add(*(f"train_release/1/{video}.avi" for video in CASIA_VIDEOS))
    miniature.add(*(f"test_release/{person}/{video}.avi" for person in (1, 10) for video in CASIA_VIDEOS))
    walk = miniature.walk("casia_fasd")
    items = listed(walk, "train")
    assert {item.video for item in items if item.label == 1} == {"1/1", "1/2", "1/HR_1"}
    methods = {item.video.split("/")[1]: item.method for item in items if item.label == 0}
    warped, cut, video = "warped photo", "cut photo", "video"
    assert methods == {"3": warped, "4": warped, "HR_2": warped, "5": cut, "6": cut, "HR_3": cut} | dict.fromkeys(
        ("7", "8", "HR_4"), video
    )
    assert len({item.video for item in listed(walk, "test")}) == 24 and walk.shortfalls == ()
    (miniature.root / "test_release/10/HR_1.avi").unlink()
    miniature.add("test_release/10/copy of 1.avi")
    assert miniature.walk("casia_fasd").shortfalls == (
        "1 left out, not named 1 to 8 or HR_1 to HR_4: test_release/10/copy of 1.avi",
        "bona_fide videos of test: expected 6, found 5",
    )
    with pytest.raises(WrongDownload, match=f"1 level too deep: use {miniature.root}$"):
        miniature.walk("casia_fasd", miniature.root / "train_release")


def test_replay(miniature, listed, monkeypatch):
    expect(monkeypatch, "replay_attack", train=(3, 1), devel=(1, 0), test=(0, 1))
    real = "real/client001_session01_webcam_authenticate_adverse_1.mov"
    highdef = "attack_highdef_client001_session01_highdef_photo_adverse.mov"
    attacks = ["attack/fixed/" + highdef, "attack/hand/" + highdef]
    attacks.append("attack/hand/attack_print_client001_session01_highdef_photo_controlled.mov")
    miniature.add(*(f"train/{path}" for path in (*attacks, real)), f"devel/{attacks[0]}", f"test/{real}")
    miniature.add("enroll/client001_session01_webcam_authenticate_adverse_1.mov", "face-locations/x.face")
    walk = miniature.walk("replay_attack")
    assert (
        [(item.video, item.label, item.method) for item in listed(walk, "train")]
        == [
            (attacks[0][:-4], 0, "highdef_photo"),  # held by a support and by hand: two videos
            (attacks[1][:-4], 0, "highdef_photo"),
            (attacks[2][:-4], 0, "print_photo"),
            (real[:-4], 1, ""),
        ]
    )
    assert list(walk.splits) == ["train", "devel", "test"] and walk.shortfalls == ()
    expect(monkeypatch, "replay_attack", train=(300, 1), devel=(1, 60), test=(0, 1))
    assert miniature.walk("replay_attack").shortfalls == (
        "attack videos of train: expected 300, found 3",
        "bona_fide videos of devel: expected 60, found 0",
    )


@pytest.mark.parametrize("nested", [False, True])
def test_oulu(miniature, listed, monkeypatch, nested):
    expect(monkeypatch, "oulu_npu", train=(4, 1), test=(1, 1))
    train = "Train_files/Train_files" if nested else "Train_files"
    miniature.add(*(f"{train}/1_1_01_{kind}.avi" for kind in range(1, 6)), f"{train}/1_1_01_1.txt")
    miniature.add("Test_files/6_3_36_1.avi", "Test_files/6_3_36_5.avi", "Dev_files/1_1_21_1.avi")
    walk = miniature.walk("oulu_npu")
    assert [(item.video, item.label, item.method) for item in listed(walk, "train")] == [
        ("1_1_01_1", 1, ""), ("1_1_01_2", 0, "print"), ("1_1_01_3", 0, "print"), ("1_1_01_4", 0, "replay"),
        ("1_1_01_5", 0, "replay"),
    ]  # fmt: skip
    assert listed(walk, "train")[0] == Item(f"{train}/1_1_01_1.avi", "1_1_01_1", 1, sampling="pair")
    assert [item.video for item in listed(walk, "test")] == ["6_3_36_1", "6_3_36_5"]
    assert list(walk.splits) == ["train", "test"] and walk.shortfalls == ()


def test_oulu_person_11_is_no_bona_fide_video(miniature, listed):
    # The name of an attack may contain "1_1" and end in "1.avi" only if its kind is 1.
    miniature.add("Train_files/1_1_11_2.avi", "Train_files/1_1_11_21.avi", "Test_files/1_1_36_1.avi")
    walk = miniature.walk("oulu_npu")
    assert [(item.video, item.label) for item in listed(walk, "train")] == [("1_1_11_2", 0)]
    assert walk.shortfalls[0] == ("1 left out, not named phone_session_person_kind: Train_files/1_1_11_21.avi")


def test_celeba_spoof(miniature, listed):
    train = ["Data/train/4980/spoof/000003.jpg", "Data/train/4980/live/000184.png", "Data/train/5/live/000184.png"]
    miniature.add(*train, "Data/train/4980/live/000184_BB.txt", "Data/test/10/spoof/1.JPG")
    walk = miniature.walk("celeba_spoof")
    first, *others = train
    assert listed(walk, "train") == [Item(first, first, 0, "spoof"), *(Item(path, path, 1) for path in others)]
    assert [item.label for item in listed(walk, "test")] == [0]
    assert walk.shortfalls == () and walk.class_names == ("attack", "bona_fide")
    (miniature.root / "Data/test/10/spoof/1.JPG").unlink()
    walk = miniature.walk("celeba_spoof")
    assert list(walk.splits) == ["train"]
    assert walk.shortfalls == ("parts with photos: expected 2, found 1; missing: Data/test",)
