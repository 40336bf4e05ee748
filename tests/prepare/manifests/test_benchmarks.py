"""DeepfakeBench and DF40: manifests of ready-made crops."""

import json

import pytest

from fsfm_jax.data.benchmark_manifest import is_real, read_manifest
from fsfm_jax.prepare.manifests.df40 import FAMILIES
from fsfm_jax.prepare.manifests.manifest import Item, WrongDownload


def manifest(dataset: str, videos: dict[str, dict[str, dict]]) -> str:
    """The JSON of `{label: {split: {video: frames}}}`, or with a level of compressions above the videos."""

    def entries(label, inside):
        if all(isinstance(frames, list) for frames in inside.values()):
            return {video: {"label": label, "frames": frames} for video, frames in inside.items()}
        return {compression: entries(label, below) for compression, below in inside.items()}

    labels = {
        label: {split: entries(label, inside) for split, inside in splits.items()} for label, splits in videos.items()
    }
    return json.dumps({dataset: labels})


def frames(folder: str, *names: str) -> list[str]:
    return [f"{folder}/{name}.png" for name in names]


UADFV = {
    "UADFV_Real": {"train": {}, "test": {"0000": frames("UADFV/real/frames/0000", "009", "000")}},
    "UADFV_Fake": {"test": {"0000_fake": frames("UADFV/fake/frames/0000_fake", "000")}},
}


def add(miniature, name, videos, place="dataset_json"):
    """Adds a manifest and all frames in it."""
    text = manifest(name, videos)
    miniature.add(f"{place}/{name}.json", text=text)
    for video in read_manifest(miniature.root / place / f"{name}.json"):
        miniature.add(*(path.replace("\\", "/") for path in video.frames))
    return miniature


@pytest.mark.parametrize("place", ["dataset_json", "preprocessing/dataset_json"])
def test_every_frame_of_a_manifest_is_an_item_and_no_other(miniature, listed, place):
    add(miniature, "UADFV", UADFV, place).add("UADFV/real/frames/0000/001.png", "UADFV/real/landmarks/0000/000.npy")
    walk = miniature.walk("deepfakebench")
    assert listed(walk, "uadfv_test") == [
        Item("UADFV/fake/frames/0000_fake/000.png", "UADFV_Fake/0000_fake", 0, "UADFV_Fake", 0),
        Item("UADFV/real/frames/0000/000.png", "UADFV_Real/0000", 1, frame=0),
        Item("UADFV/real/frames/0000/009.png", "UADFV_Real/0000", 1, frame=9),
    ]
    assert list(walk.splits) == ["uadfv_test"] and walk.shortfalls == ()
    assert (walk.class_names, walk.real) == (("fake", "real"), 1)


def test_compressions_are_splits_of_their_own_and_a_name_in_two_methods_is_two_videos(miniature, listed):
    place = "FaceForensics++\\manipulated_sequences\\{}\\c23\\frames\\000_003"
    videos = {"FF-real": {"test": {"c23": {"000": frames("FaceForensics++/r/c23/000", "7")}, "c40": {}}}}
    for label, folder in (("FF-DF", "Deepfakes"), ("FF-F2F", "Face2Face")):
        videos[label] = {"test": {"c23": {"000_003": [f"{place.format(folder)}\\000.png"]}, "c40": {}}}
    videos["FF-DF"]["test"]["c40"] = {"000_003": frames("FaceForensics++/d/c40/000_003", "000")}
    walk = add(miniature, "FaceForensics++", videos).walk("deepfakebench")
    assert list(walk.splits) == ["faceforensics_c23_test", "faceforensics_c40_test"] and walk.shortfalls == ()
    assert [(item.path, item.video, item.method) for item in listed(walk, "faceforensics_c23_test")] == [
        ("FaceForensics++/manipulated_sequences/Deepfakes/c23/frames/000_003/000.png", "FF-DF/000_003", "FF-DF"),
        ("FaceForensics++/manipulated_sequences/Face2Face/c23/frames/000_003/000.png", "FF-F2F/000_003", "FF-F2F"),
        ("FaceForensics++/r/c23/000/7.png", "FF-real/000", ""),
    ]


def test_frames_without_numbers_are_numbered_by_their_place(miniature, listed):
    paths = [*frames("a/1", "seed9", "seed1"), *frames("a/2", "seed3")]
    add(miniature, "X", {"X_Fake": {"test": {"v": paths, "w": frames("b", "seed")}}, "X_Real": {}})
    items = listed(miniature.walk("deepfakebench"), "x_test")
    assert [(item.path, item.frame) for item in items] == [
        ("a/1/seed1.png", 1), ("a/1/seed9.png", 0), ("a/2/seed3.png", 2), ("b/seed.png", -1),
    ]  # fmt: skip


def test_frames_that_are_missing_and_videos_without_frames_are_told_by_name(miniature, listed):
    videos = {"UADFV_Real": {"test": {"0001": []}}, **{f"x{label}": splits for label, splits in UADFV.items()}}
    add(miniature, "UADFV", videos)
    (miniature.root / "UADFV/real/frames/0000/009.png").unlink()
    walk = miniature.walk("deepfakebench")
    assert walk.shortfalls == (
        "1 left out, without frames in dataset_json/UADFV.json: UADFV_Real/0001",
        "frames of uadfv_test: expected 3, found 2; missing: UADFV/real/frames/0000/009.png",
    )
    assert len(listed(walk, "uadfv_test")) == 2


@pytest.mark.parametrize("path, message", [
        ("/data/UADFV/000.png", "expected a path below --input without .., found '/data/UADFV/000.png'"),
        ("T:\\\\data\\\\000.png", "expected a path below --input"),
        ("UADFV/../../000.png", "expected a path below --input"),
        ("UADFV\\\\..\\\\000.png", "expected a path below --input"),
        ("UADFV/gone.png", "none of the frames of its manifests is there, such as UADFV/gone.png"),
    ])  # fmt: skip
def test_paths_that_lead_elsewhere_or_nowhere_are_refused(miniature, path, message):
    text = '{"UADFV": {"UADFV_Real": {"test": {"0": {"frames": ["PATH"]}}}}}'.replace("PATH", path)
    with pytest.raises(WrongDownload, match=message):
        miniature.add("dataset_json/UADFV.json", text=text).walk("deepfakebench")


@pytest.mark.parametrize("text, message", [
        ("[]", "UADFV.json: expected a manifest of DeepfakeBench, found another file .data sets: expected an object"),
        ("{", "expected a manifest of DeepfakeBench, found another file"),
        ("[" * 100000, "expected a manifest of DeepfakeBench"),
        ('{"U": {"U_Real": {"test": {"0": {"frames": "a.png"}}}}}', "U_Real test 0: expected frames, a list of paths"),
        ('{"U": {"U_Real": {"test": {"0": {"label": "U_Fake", "frames": []}}}}}', "expected the label U_Real, found"),
        ('{"U": {"Unknown": {"test": {"0": {"frames": []}}}}}', "label 'Unknown': expected one that ends in _real"),
        ('{"U": {"U_Real": {"test": {"0": {"frames": []}, "0": {"frames": []}}}}}', "each key once, found '0' twice"),
        ('{"U": {"U_Real": {"test": {"0": {"frames": ["a/1.png"]}, "1": {"frames": ["a/1.png"]}}}}}',
         "the frame a/1.png is in video U_Real/0 and in U_Real/1; it would count twice"),
        ('{"0": {"U_Real": {"test": {"0": {"frames": ["a/1.png"]}}}}}', "expected a name that begins with a letter"),
        ('{"U": {"U_Real": {"test": {"0": {"frames": ["a/1"]}}}}, "u": {"U_Real": {"test": {"0": {"frames": ["b"]}}}}}',
         "would both be the split u_test"),
        ("{}", "it has no manifests with videos"),
    ])  # fmt: skip
def test_manifests_that_cannot_be_right(miniature, text, message):
    with pytest.raises(WrongDownload, match=message):
        miniature.add("dataset_json/UADFV.json", "a/1.png", text=text).walk("deepfakebench")


def test_labels_of_deepfakebench():
    real = ["FF-real", "DFD_real", "CelebDFv2_real", "DFDCP_Real", "simswap_Real"]
    fake = ["FF-DF", "FF-FH", "DFD_fake", "DFDCP_FakeA", "DFDC_Fake", "whichisreal_Fake"]
    assert all(map(is_real, real)) and not any(map(is_real, fake))
    for label in ("real", "whichisreal", "FF-XY", "Celeb-realistic"):
        with pytest.raises(ValueError, match=f"label '{label}'"):
            is_real(label)


# --- DF40 ---

OTHERS = [method for methods in FAMILIES.values() for method in methods]
FF = "deepfakes_detection_datasets/FaceForensics++/original_sequences/youtube/c23/frames/000"


def df40_of(miniature, *names: str):
    """A method each, with the same real video for those that were made of FaceForensics++."""
    for name in names:
        method, _, domain = name.rpartition("_")
        method, domain = (method, domain) if domain in ("ff", "cdf") else (name, "")
        real = FF if domain else f"deepfakes_detection_datasets/DF40/{method}/real"
        fake = f"deepfakes_detection_datasets/DF40/{method}/{domain or 'fake'}/frames/000_003"
        add(miniature, name, {
            f"{method}_Real": {"test": {"000": frames(real, "000")}},
            f"{method}_Fake": {"test": {"000_003": frames(fake, "000")}},
        })  # fmt: skip
    return miniature


def test_df40_has_forty_methods_in_four_families():
    assert {family: len(methods) for family, methods in FAMILIES.items()} == {
        "face-swapping": 10, "face-reenactment": 13, "entire-face-synthesis": 12, "face-editing": 5,
    }  # fmt: skip
    assert len(set(OTHERS)) == 40


def test_df40_methods_share_real_faces_and_have_a_family(miniature, listed):
    df40_of(miniature, "simswap_ff", "danet_ff", "MidJourney", "FSAll_ff")
    walk = miniature.walk("df40")
    place = "deepfakes_detection_datasets/DF40"
    assert listed(walk, "test_ff") == [
        Item(f"{place}/danet/ff/frames/000_003/000.png", "danet/000_003", 0, "face-reenactment/danet", 0),
        Item(f"{place}/simswap/ff/frames/000_003/000.png", "simswap/000_003", 0, "face-swapping/simswap", 0),
        Item(f"{FF}/000.png", f"real/{FF}/000", 1, frame=0),
    ]
    assert [(item.video, item.method) for item in listed(walk, "test_midjourney")] == [
        ("MidJourney/000_003", "entire-face-synthesis/MidJourney"), (f"real/{place}/MidJourney/real/000", ""),
    ]  # fmt: skip
    assert sorted(walk.splits) == ["test_ff", "test_midjourney"]
    (shortfall,) = walk.shortfalls
    assert shortfall.startswith("methods with a manifest: expected 40, found 3; missing: fsgan, faceswap, inswap,")


def test_df40_complete_and_with_a_method_that_it_does_not_have(miniature):
    df40_of(miniature, *(f"{method}_ff" for method in OTHERS))
    assert miniature.walk("df40").shortfalls == ()
    assert df40_of(miniature, "dalle2_face_ff", "sd1.5").walk("df40").shortfalls == (
        "2 left out, manifests of no method of DF40: dataset_json/dalle2_face_ff.json, dataset_json/sd1.5.json",
    )


def test_df40_refuses_a_frame_of_two_methods_and_a_folder_without_its_manifests(miniature):
    add(miniature, "UADFV", UADFV)
    with pytest.raises(WrongDownload, match="it has no manifest of a method of DF40"):
        miniature.walk("df40")
    for name in ("simswap_ff", "fomm_ff"):
        add(miniature, name, {"x_Fake": {"test": {"a": frames("same", "000")}}})
    with pytest.raises(
        WrongDownload, match="same/000.png of test_ff is both face-reenactment/fomm and face-swapping/sim"
    ):
        miniature.walk("df40")
