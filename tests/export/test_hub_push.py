"""What is uploaded, before anything is; the upload itself is tested against a server in tests/parity/test_hub.py."""

import hashlib
import json
import sys
import tarfile
from pathlib import Path

import pytest

from fsfm_jax.export import hub_push, to_torch
from fsfm_jax.export.hub_push import list_files, notes_on

FORMER = Path(__file__).parents[1] / "golden" / "former" / "exports.tar.xz"
CARD = "fsfm_jax.json"
REPOSITORY = "someone/weights"


@pytest.fixture
def folder(tmp_path) -> Path:
    """A detector as a folder for Hugging Face."""
    with tarfile.open(FORMER) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "export_huggingface"


def test_the_files_of_an_export_are_listed_and_nothing_beside_them(folder):
    (folder / "optimizer.pth").write_bytes(b"moments")
    (folder / "checkpoints").mkdir()
    # People complete the card before they publish it.
    (folder / "README.md").write_text("---\nlicense: mit\n---\nread to its end")
    files, said = list_files(str(folder))
    assert [file.name for file in files] == [*json.loads((folder / CARD).read_text())["files"], CARD]
    for file in files:
        data = (folder / file.name).read_bytes()
        assert (file.size, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert file.blob == hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    assert list(notes_on(said | {"origin": {"path": "/home/me/a.pth"}, "seen": "AAAA"}, str(folder))) == [
        f"{CARD} names places of this machine: /home/me/a.pth",
        f"{CARD} has a short hash of the name of each video that was trained on",
    ]
    (folder / "README.md").write_text("license: other  # choose one before publishing")
    assert list(notes_on({}, str(folder))) == [
        "README.md names no licence yet; choose one there before others can see the repository"
    ]


def test_a_folder_that_is_not_as_it_was_exported_is_refused(folder, tmp_path):
    weights = folder / "model.safetensors"
    data, said = weights.read_bytes(), json.loads((folder / CARD).read_text())
    weights.write_bytes(data[:-1] + b"\xff")
    with pytest.raises(ValueError, match="model.safetensors is not the file that fsfm_jax.json lists; export anew"):
        list_files(str(folder))
    (tmp_path / "elsewhere").write_bytes(data)
    weights.unlink()
    for make in (lambda: None, lambda: weights.symlink_to(tmp_path / "elsewhere")):
        make()
        with pytest.raises(ValueError, match="expected the file 'model.safetensors' that fsfm_jax.json lists"):
            list_files(str(folder))
    (folder / CARD).write_text(json.dumps(said | {"files": said["files"] | {"../export_huggingface/config.json": {}}}))
    weights.unlink()
    weights.write_bytes(data)
    with pytest.raises(ValueError, match="expected the file '../export_huggingface/config.json' that"):
        list_files(str(folder))
    for other in (tmp_path, tmp_path / "export_timm.pth", tmp_path / "export_safetensors.safetensors"):
        with pytest.raises(ValueError, match="is no folder that --format=huggingface wrote"):
            list_files(str(other))


def test_nothing_is_imported_or_asked_before_the_folder_has_been_checked(folder, monkeypatch):
    said: list[str] = []
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModuleNotFoundError, match=r"--push=someone/weights: .*; pip install 'fsfm-jax\[hub\]'"):
        hub_push.push(str(folder), REPOSITORY, False, said.append)
    # What would be sent has been shown.
    assert [line.split(":")[0] for line in said if "SHA-256" in line][-1] == CARD
    said.clear()
    with pytest.raises(ValueError, match="is no folder that --format=huggingface wrote"):
        hub_push.push(str(folder.parent), REPOSITORY, False, said.append)
    assert said == []
    assert "token" not in to_torch.SETTINGS
