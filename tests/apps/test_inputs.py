"""Which files the arguments mean."""

import os

import pytest

from fsfm_jax.apps.inputs import expand


@pytest.fixture
def folder(tmp_path, monkeypatch):
    names = "b.jpg", "a.png", "sub/c.mp4", "sub/.hidden.jpg", ".git/d.jpg", "notes.txt", "[x].jpg", "deep/er/e.jpg"
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("arguments, found", [
        (["b.jpg", "a.png", "b.jpg"], ["b.jpg", "a.png"]),
        (["sub"], ["sub/c.mp4"]),
        ([".git"], [".git/d.jpg"]),
        (["*.jpg"], ["[x].jpg", "b.jpg"]),
        (["**/*.jpg"], ["[x].jpg", "b.jpg", "deep/er/e.jpg"]),
        (["[x].jpg"], ["[x].jpg"]),  # a name before it is a pattern
        (["sub/.hidden.jpg"], ["sub/.hidden.jpg"]),
        (["d*"], ["deep/er/e.jpg"]),
    ])  # fmt: skip
def test_files_folders_and_patterns(folder, arguments, found):
    assert expand(arguments) == dict.fromkeys(found, "")


def test_a_folder_is_all_that_is_in_it_but_what_is_hidden(folder):
    os.symlink("..", folder / "sub" / "loop")
    assert list(expand(["."])) == ["./[x].jpg", "./a.png", "./b.jpg", "./notes.txt", "./deep/er/e.jpg", "./sub/c.mp4"]


def test_what_is_not_there_is_refused(folder):
    for name in ("c.jpg", "c" * 300, "b.jpg/c.jpg"):
        with pytest.raises(FileNotFoundError, match=f"{name}: there is no such file or folder"):
            expand([name])
    with pytest.raises(FileNotFoundError, match="c.jpg: there is no such file or folder, and no file of this pattern"):
        expand(["b.jpg", "c.jpg"])
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match="expected photos or videos; found empty folders"):
        expand(["empty"])


def test_a_folder_without_permission_is_told_of(folder, monkeypatch):
    """Whoever runs the tests may be root, to whom nothing is forbidden."""
    listed, looked = os.scandir, os.lstat

    def refusing(path):
        if os.path.basename(path) in ("sub", ".git"):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    def blind(path):
        if str(path).startswith("deep"):
            raise PermissionError(13, "Permission denied", path)
        return looked(path)

    monkeypatch.setattr(os, "scandir", refusing)
    monkeypatch.setattr(os, "lstat", blind)
    told = "the folder cannot be listed: Permission denied"
    found = expand(["b.jpg", ".", ".git"])
    assert {path: why for path, why in found.items() if why} == {"./sub": told, ".git": told} and "./a.png" in found
    with pytest.raises(PermissionError, match="deep/er/e.jpg: a folder on the way to it may not be entered"):
        expand(["deep/er/e.jpg"])
