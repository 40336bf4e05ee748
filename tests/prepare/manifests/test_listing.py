"""Order, links, odd names, and what the file name of a frame says."""

import os

import pytest

from fsfm_jax.prepare.manifests.listing import entries, files, folders, frame_of, media, media_item, tree
from fsfm_jax.prepare.manifests.manifest import NO_FRAME, Item
from fsfm_jax.prepare.manifests.survey import survey


def test_order_depends_on_names_alone(miniature):
    paths = ["b.png", "a/z.png", "a/10.png", "a/9.png", "c/B.JPG", "c/a.jpeg", "Ünïcode 名.png"]
    miniature.add(*paths, "a/notes.txt", "a/.hidden.png", ".git/x.png", "__MACOSX/y.png")
    expected = ["a/10.png", "a/9.png", "a/z.png", "b.png", "c/B.JPG", "c/a.jpeg", "Ünïcode 名.png"]
    assert list(tree(miniature.root, "", (".png", ".jpg", ".jpeg"))) == expected
    assert list(tree(miniature.root, "c", (".jpg",))) == ["c/B.JPG"]
    assert files(miniature.root, (".png",)) == ["b.png", "Ünïcode 名.png"]
    assert folders(miniature.root) == ["a", "c"]
    assert files(miniature.root / "none", (".png",)) == [] == folders(miniature.root / "none")


def test_listing_is_lazy(miniature):
    miniature.add("a/1.png", "b/1.png")
    paths = tree(miniature.root, "", (".png",))
    assert next(paths) == "a/1.png"
    (miniature.root / "b/2.png").write_text("")
    assert list(paths) == ["b/1.png", "b/2.png"]


def test_links_are_followed_but_not_in_circles(miniature):
    miniature.add("a/b/1.png", "elsewhere/2.png")
    (miniature.root / "a/b/up").symlink_to(miniature.root / "a")
    (miniature.root / "a/other").symlink_to(miniature.root / "elsewhere")
    (miniature.root / "a/3.png").symlink_to(miniature.root / "elsewhere/2.png")
    assert list(tree(miniature.root, "a", (".png",))) == ["a/3.png", "a/b/1.png", "a/other/2.png"]


def test_what_cannot_be_read_is_listed_for_its_reader_to_say_so(miniature):
    odd = [os.fsdecode(b"caf\xe9.png"), "line\nbreak.png", "A.png", "a.png", "x" * 251 + ".png"]
    miniature.add("folder.png/b.png")
    for name in odd:
        (miniature.root / name).write_text("")
    (miniature.root / "gone.png").symlink_to(miniature.root / "nothing.png")
    (miniature.root / "circle.png").symlink_to(miniature.root / "circle.png")
    (miniature.root / "gone.txt").symlink_to(miniature.root / "nothing.txt")
    os.mkfifo(miniature.root / "pipe.png")
    expected = sorted([*odd, "folder.png/b.png", "gone.png", "circle.png", "pipe.png"])
    assert list(tree(miniature.root, "", (".png",))) == expected
    assert survey(miniature.root, kinds=True) == ()


def test_folders_that_cannot_be_listed_are_told_all_at_once(miniature, monkeypatch):
    miniature.add("a/1.png", "b/c/2.png", "b/3.png", "d/4.png")
    scandir = os.scandir

    def refuse(folder):
        if str(folder).endswith(("/a", "/c")):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert survey(miniature.root, kinds=False) == (
        "folders that cannot be listed: 2: a, b/c; allow reading them or remove them",
    )
    # Each stands where its files would, so that it is dropped with a reason and not passed over.
    assert list(tree(miniature.root, "", (".png",))) == ["a", "b/3.png", "b/c", "d/4.png"]
    assert files(miniature.root / "a", (".png",)) == [] == folders(miniature.root / "a")
    monkeypatch.setattr(os, "scandir", lambda folder: scandir(miniature.root / "nothing"))
    with pytest.raises(OSError, match="the folder cannot be listed .No such file or directory.") as error:
        entries(miniature.root)
    assert error.value.filename == str(miniature.root)
    with pytest.raises(OSError, match="cannot be listed"):
        survey(miniature.root, kinds=False)


@pytest.mark.parametrize("path, video, frame", [
        ("train/fake/Deepfakes_000_003_frame_12.png", "train/fake/Deepfakes_000_003", 12),
        ("a_frame_1_frame_2.png", "a", NO_FRAME),  # what stands before the first separator
        ("id_0224/lora_001_000.png", "id_0224/lora_001_000.png", NO_FRAME),
        ("_frame_3.png", "_frame_3.png", NO_FRAME),
        ("x_frame_7/y.png", "x_frame_7/y.png", NO_FRAME),  # the separator counts in file names alone
    ])  # fmt: skip
def test_frame_of(path, video, frame):
    assert frame_of(path) == (video, frame)


def test_media_item():
    assert media_item("a.MP4", 32, label=1) == Item("a.MP4", "a.MP4", 1, sampling="spaced:32")
    assert media_item("a.hdf5", 8) == Item("a.hdf5", "a.hdf5", sampling="spaced:8")
    assert media_item("a_frame_4.JPG", 32, method="x") == Item("a_frame_4.JPG", "a", method="x", frame=4)


def test_kinds_that_are_not_read_are_told_all_at_once(miniature):
    raw = [f"r/{number:02d}.NEF" for number in range(12)]
    miniature.add("a.png", "b.TIFF", "c.txt", "d.jxl", *raw)
    assert list(media(miniature.root, "")) == ["a.png", "b.TIFF", "d.jxl", *raw]
    jxl, nef = survey(miniature.root, kinds=True)
    assert jxl == "files of the kind .jxl, which is not read: 1: d.jxl; convert them to PNG or MP4, or remove them"
    assert nef.startswith("files of the kind .nef, which is not read: 12: r/00.NEF, r/01.NEF")
    assert nef.endswith("r/09.NEF and 2 more; convert them to PNG or MP4, or remove them")
    assert survey(miniature.root, kinds=False) == ()
