"""What is no run and no weight file: a sentence that says what it is instead, and what to do."""

import gzip
import io
import os
import tarfile

import pytest

from fsfm_jax.detection.opener import Unsaid, open_scorer
from fsfm_jax.detection.saved import open_saved
from fsfm_jax.weights.init import open_pretrained
from fsfm_jax.weights.run_reader import open_run


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    return file.getvalue()


CONTENTS = {
    "empty": (b"", "is empty: fetch the file again"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a Git LFS pointer, .* run `git lfs pull`"),
    "annex": (b"/annex/objects/SHA256E-s1--0.pth\n", "is a git-annex pointer"),
    "page": (b"\n<!DOCTYPE html><html><head>", r"is a web page \(HTML\) .*: download the file itself"),
    "xml": (b'<?xml version="1.0"?><Error><Code>AccessDenied', "is an answer in XML"),
    "text": (b'{"error": "Repository not found"}', "is text, not weights; it begins with .*Repository not found"),
    "legacy": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", r"PyTorch before 1.6: .* torch.save"),
    "tar": (tar(), r"is a tar archive, as old versions of PyTorch .* torch.save\(torch.load"),
    "gzip": (gzip.compress(b"x"), "is compressed by gzip: unpack it"),
    "HDF5": (b"\x89HDF\r\n\x1a\n", "is an HDF5 file, as Keras writes"),
}


@pytest.mark.parametrize("name", ["weights.pth", "weights.pth.tar", "weights.safetensors"])
@pytest.mark.parametrize("content", CONTENTS)
def test_what_was_saved_under_the_name_of_weights_is_named(tmp_path, content, name):
    data, text = CONTENTS[content]
    (tmp_path / name).write_bytes(data)
    for open_it, field in ((open_pretrained, "init"), (lambda p: open_scorer(p, Unsaid("fake,real")), "checkpoint")):
        with pytest.raises(ValueError, match=f"{field}: .*{name} .*{text}"):
            open_it(str(tmp_path / name))


def test_a_weight_file_under_the_other_name_is_told_its_own(tmp_path):
    for name, head, text in (
        ("a.safetensors", b"PK\3\4", "is in the zip format of PyTorch: rename it to end in .pth"),
        ("a.pth", b"\x10\0\0\0\0\0\0\0{", "is in the safetensors format: rename it to end in .safetensors"),
    ):
        (tmp_path / name).write_bytes(head + bytes(100))
        with pytest.raises(ValueError, match=text):
            open_pretrained(str(tmp_path / name))


ADDRESSES = {
    "hf://owner/model@v1": "hf:// is not read: it holds no runs; name weights of the Hub where a checkpoint or `init`",
    "https://example.org/weights.pth": "https:// is not read: download it to this machine",
    "file:///runs/a": "file:// is not read: leave out file://",
    "gs://bucket/weights.pth": "gs:// is not read: copy it",
    "dbfs://a": "dbfs:// is not read: copy it",
}
OPENERS = {
    "init": open_pretrained, "checkpoint": lambda path: open_scorer(path, Unsaid("fake,real")),
    "--checkpoint": open_run,
}  # fmt: skip


# A run may lie in an object store, and weights on the Hub.
@pytest.mark.parametrize(
    ("address", "field"),
    [
        (a, f) for a in ADDRESSES for f in OPENERS
        if not (f == "--checkpoint" and a.startswith("gs://")) and not (f != "--checkpoint" and a.startswith("hf://"))
    ],
)
def test_addresses_that_nothing_reads_are_refused_with_the_remedy(address, field):
    if field == "checkpoint" and not address.endswith(".pth"):
        # Classes are for files alone.
        with pytest.raises(ValueError, match=ADDRESSES[address]):
            open_scorer(address, Unsaid())
        return
    with pytest.raises(ValueError, match=f"{field}: {address}: expected a path on this machine.*{ADDRESSES[address]}"):
        OPENERS[field](address)


def test_places_without_a_file_say_what_they_are(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    os.symlink(tmp_path / "nowhere", tmp_path / "link.pth")
    (tmp_path / "folder.pth").mkdir()
    for name, text in {
        "pipe.pth": r"is a named pipe \(FIFO\), not a weight file", "gone.pth": "is not there",
        "link.pth": "is a link to .*nowhere, where nothing is", "folder.pth": "is a folder, not a weight file",
        "nul\0.pth": "is not readable", "x" * 300 + ".pth": "is not readable .File name too long",
    }.items():  # fmt: skip
        for field in ("init", "checkpoint"):
            with pytest.raises(FileNotFoundError, match=f"{field}: .*{text}"):
                OPENERS[field](str(tmp_path / name))
    with pytest.raises(FileNotFoundError, match="~/a.pth is not there; a shell does not replace ~ behind ="):
        open_pretrained("~/a.pth")


def test_a_folder_without_a_run_says_what_it_has(tmp_path):
    def refused(text):
        for open_it, field in ((open_pretrained, "init"), (open_saved, "checkpoint"), (open_run, "--checkpoint")):
            with pytest.raises(FileNotFoundError, match=f"{field}: no run at .*{text}"):
                open_it(str(tmp_path / "a"))

    refused("nothing is there")
    (tmp_path / "a").mkdir()
    refused("the folder is empty")
    for name in "bcdefg":
        (tmp_path / "a" / name).touch()
    refused("the folder has no checkpoints or detector or imported, but b, c, d, e, f and 1 more")
    (tmp_path / "a" / "x.pth").touch()
    refused("weight files: name one of them, such as .*/a/x.pth")
