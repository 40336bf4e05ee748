"""Ready-made face crops, with parsing maps or labelled by folder."""

import pytest

from fsfm_jax.prepare.manifests.manifest import Item, WrongDownload


def crops(below: str, *stems: str) -> list[str]:
    return [f"{below}{path}" for stem in stems for path in (f"images/{stem}.png", f"parsing_maps/{stem}.npy")]


def test_parsed(miniature, listed):
    walk = miniature.add(*crops("", "b", "000_frame_12", "é"), "images/.DS_Store").walk("cropped_and_parsed")
    assert listed(walk, "train") == [
        Item("images/000_frame_12.png", "images/000", frame=12, parsing_map="parsing_maps/000_frame_12.npy"),
        Item("images/b.png", "images/b.png", parsing_map="parsing_maps/b.npy"),
        Item("images/é.png", "images/é.png", parsing_map="parsing_maps/é.npy"),
    ]
    assert list(walk.splits) == ["train"] and walk.class_names == () and walk.shortfalls == ()


def test_parsed_in_splits(miniature, listed):
    walk = miniature.add(*crops("train/", "a"), *crops("val/", "a")).walk("cropped_and_parsed")
    assert list(walk.splits) == ["train", "val"]
    assert listed(walk, "val") == [Item("val/images/a.png", "val/images/a.png", parsing_map="val/parsing_maps/a.npy")]
    with pytest.raises(WrongDownload, match="it has both images and train, val"):
        miniature.add(*crops("", "a")).walk("cropped_and_parsed")


def test_parsed_without_pairs(miniature):
    miniature.add(*crops("", "a"), *(f"images/{number:02}.png" for number in range(12)), "parsing_maps/z.npy")
    with pytest.raises(WrongDownload) as error:
        miniature.walk("cropped_and_parsed")
    text = str(error.value)
    assert "found 13 unmatched files" in text and "and 3 more" in text and "images/09.png has no parsing map" in text
    assert "images/10.png" not in text


def test_parsed_lacks_a_folder_or_is_at_the_wrong_level(miniature):
    miniature.add("train/images/a.png")
    with pytest.raises(WrongDownload, match="train has no folder parsing_maps"):
        miniature.walk("cropped_and_parsed")
    with pytest.raises(WrongDownload, match=f"1 level too deep: use {miniature.root / 'train'}$"):
        miniature.walk("cropped_and_parsed", miniature.root / "train/images")


def test_frames(miniature, listed):
    fakes = ["DeepFakes_000_003_frame_0.png", "DeepFakes_000_003_frame_16.png", "Face2Face_000_003_frame_0.png"]
    miniature.add(*(f"train/fake_four/{name}" for name in fakes), "train/real_youtube/youtube_000_frame_0.png")
    miniature.add(
        "test/fake/0_fake_1_frame_25.png", "test/real/0_real_1_frame_3.png", "test/real/sub/0_real_1_frame_3.png"
    )
    walk = miniature.walk("cropped_frames")
    assert listed(walk, "train") == [
        Item(f"train/fake_four/{fakes[0]}", "fake_four/DeepFakes_000_003", 0, "Deepfakes", 0),
        Item(f"train/fake_four/{fakes[1]}", "fake_four/DeepFakes_000_003", 0, "Deepfakes", 16),
        Item(f"train/fake_four/{fakes[2]}", "fake_four/Face2Face_000_003", 0, "Face2Face", 0),
        Item("train/real_youtube/youtube_000_frame_0.png", "real_youtube/youtube_000", 1, frame=0),
    ]
    assert [(item.video, item.label, item.method, item.frame) for item in listed(walk, "test")] == [
        ("fake/0_fake_1", 0, "", 25), ("real/0_real_1", 1, "", 3), ("real/sub/0_real_1", 1, "", 3),
    ]  # fmt: skip
    assert walk.class_names == ("fake", "real") and walk.real == 1 and walk.shortfalls == ()


def test_frames_of_dfd_and_of_one_manipulation(miniature, listed):
    miniature.add("test/fake_DeepFakeDetection/a_frame_1.png", "test/real_actors/b_frame_1.png")
    miniature.add("train/fake_DeepFakes/000_003_frame_1.png", "train/real_youtube/000_frame_1.png")
    walk = miniature.walk("cropped_frames")
    methods = [item.method for split in walk.splits for item in listed(walk, split)]
    assert methods == ["Deepfakes", "", "DeepFakeDetection", ""]


def test_frames_of_diff(miniature, listed):
    for condition in ("T2I", "FE"):
        below = f"test_subsets/{condition}/test"
        miniature.add(f"{below}/fake/Imagic_1.png", f"{below}/real/1.jpg")
    walk = miniature.walk("cropped_frames")
    assert list(walk.splits) == ["test_fe", "test_t2i"]
    assert listed(walk, "test_t2i") == [
        Item("test_subsets/T2I/test/fake/Imagic_1.png", "fake/Imagic_1.png", 0),
        Item("test_subsets/T2I/test/real/1.jpg", "real/1.jpg", 1),
    ]


@pytest.mark.parametrize("paths, message", [
        (["test/fake/a.png", "test/unknown/b.png"], "test/unknown is neither a class fake... nor real..."),
        (["test/fake/a.png", "test/real/b.txt"], "test/real has no photos"),
        (["test/a.png"], "it has no folders of classes"),
    ])  # fmt: skip
def test_frames_that_are_none(miniature, paths, message):
    with pytest.raises(WrongDownload, match=message):
        miniature.add(*paths).walk("cropped_frames")


def test_frames_of_one_class(miniature):
    walk = miniature.add("test/fake/a.png").walk("cropped_frames")
    assert walk.shortfalls == ("classes of test: expected 2, found 1; missing: real",)
