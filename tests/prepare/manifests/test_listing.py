"""Order, links, odd names, and what the file name of a frame says."""

import os

import pytest

from fsfm_jax.prepare.manifests.listing import entries, files, folders, frame_of, media, media_item, tree
from fsfm_jax.prepare.manifests.manifest import NO_FRAME, Item, WrongDownload


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


def test_link_to_nothing(miniature):
    (miniature.root / "a.png").symlink_to(miniature.root / "gone.png")
    (miniature.root / "a.txt").symlink_to(miniature.root / "gone.txt")
    with pytest.raises(WrongDownload, match=r"a\.png: expected a file, found a link to nothing"):
        list(tree(miniature.root, "", (".png",)))


def test_name_that_is_not_utf8(miniature):
    (miniature.root / os.fsdecode(b"caf\xe9.png")).write_text("")
    with pytest.raises(WrongDownload, match=r"expected file names in UTF-8, found b'caf\\xe9.png'"):
        list(tree(miniature.root, "", (".png",)))


def test_folder_that_cannot_be_listed(miniature, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(
        PermissionError, match="the folder cannot be listed .Permission denied.; allow reading"
    ) as error:
        entries(miniature.root)
    assert error.value.filename == str(miniature.root)


@pytest.mark.parametrize(
    "path, video, frame",
    [
        ("train/fake/Deepfakes_000_003_frame_12.png", "train/fake/Deepfakes_000_003", 12),
        ("a_frame_1_frame_2.png", "a", NO_FRAME),  # what stands before the first separator
        ("id_0224/lora_001_000.png", "id_0224/lora_001_000.png", NO_FRAME),
        ("_frame_3.png", "_frame_3.png", NO_FRAME),
        ("x_frame_7/y.png", "x_frame_7/y.png", NO_FRAME),  # the separator counts in file names alone
    ],
)
def test_frame_of(path, video, frame):
    assert frame_of(path) == (video, frame)


def test_media_item():
    assert media_item("a.MP4", 32, label=1) == Item("a.MP4", "a.MP4", 1, sampling="spaced:32")
    assert media_item("a.hdf5", 8) == Item("a.hdf5", "a.hdf5", sampling="spaced:8")
    assert media_item("a_frame_4.JPG", 32, method="x") == Item("a_frame_4.JPG", "a", method="x", frame=4)


def test_media_that_cannot_be_read_is_not_passed_over(miniature):
    miniature.add("a.png", "b.TIFF", "c.txt")
    with pytest.raises(WrongDownload, match=r"b\.TIFF: this kind of file cannot be read"):
        list(media(miniature.root, ""))
