"""Addresses of the Hub and digests of files; the library is tested against a server in tests/parity/test_hub.py."""

import hashlib
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from fsfm_jax.detection.opener import Unsaid, is_official, open_detector
from fsfm_jax.weights import bundled, checkpoint_place, hub_file
from fsfm_jax.weights.hub_address import Address, parse_address, parse_repository
from fsfm_jax.weights.hub_file import KNOWN, check_digest, fetch_all
from fsfm_jax.weights.init import open_pretrained

GOLDEN = Path(__file__).parents[1] / "golden" / "checkpoint-599.pth"
CONTENT = b"weights of somebody"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
OTHER = "0" * 64
COMMIT = "c0ffee" + "0" * 34
ADDRESS = "hf://a/b/c.pth@main"


def test_an_address_names_a_file_at_a_revision():
    text = "hf://Wolowolo/fsfm-3c/pretrained_models/FF++_o_c23_ViT-B/checkpoint-400.pth@refs/pr/1"
    address = parse_address(text)
    expected = Address("Wolowolo/fsfm-3c", "pretrained_models/FF++_o_c23_ViT-B/checkpoint-400.pth", "refs/pr/1")
    assert address == expected and str(address) == text
    pinned = parse_address(f"{text}#sha256={DIGEST.upper()}")
    assert pinned == expected._replace(sha256=DIGEST) and str(pinned) == f"{text}#sha256={DIGEST}"
    # Without a file the repository is an export.
    assert parse_address("hf://a/b@v1") == Address("a/b", "", "v1") and str(Address("a/b", "", "v1")) == "hf://a/b@v1"
    assert parse_repository("a/b") == parse_repository("hf://a/b") == "a/b"
    for wrong in ("a", "a/b/c", "../b", "a/..", "a b/c", "a/b@main", ""):
        with pytest.raises(ValueError, match="expected OWNER/NAME of a repository"):
            parse_repository(wrong)
    # What is known is known wherever its folder lies.
    for repository, file in KNOWN:
        for above in ("", "models/"):
            known = parse_address(f"hf://{repository}/{above}{file}@main")
            assert (known.repository, known.folder_and_name) == (repository, file)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("hf://a/b/c.pth", "expected hf://OWNER/REPOSITORY.*@REVISION.*, found no @REVISION; name a commit"),
        ("hf://a/b#sha256=" + DIGEST, "found no @REVISION"),
        ("hf://a/b/c.pth@", "expected hf://OWNER/REPOSITORY.*@REVISION.*, of letters"),
        ("hf://a@main", "expected hf://OWNER/REPOSITORY.*@REVISION.*, of letters"),
        ("hf://a/b/c.pth@main#", "expected 64 hexadecimal digits behind #sha256="),
        ("hf://a/b/c.pth@main#sha256=", "expected 64 hexadecimal digits behind #sha256="),
        (f"hf://a/b/c.pth@main#{DIGEST}", "expected 64 hexadecimal digits behind #sha256="),
        (f"hf://a/b/c.pth@main#sha256={DIGEST[:8]}", "expected 64 hexadecimal digits behind #sha256="),
        ("hf://a/b/../c.pth@main", "of letters"),
        ("hf://a/b/c.pth@../main", "of letters"),
        ("hf://a/b//c.pth@main", "of letters"),
        ("hf://a/b/c d.pth@main", "of letters"),
        ("hf://a/b/c.pth?x=1@main", "of letters"),
        ("hf://a/b/README.md@main", "expected a weight file, a name that ends in .pth, "),
    ],
)
def test_another_form_is_refused_before_anything_is_fetched(text, complaint, monkeypatch):
    monkeypatch.setattr(hub_file, "fetch", None)
    with pytest.raises(ValueError, match=complaint):
        fetch_all([ADDRESS, text], "")


class StoredHub:
    """Downloads everything as one file."""

    def __init__(self, folder, content):
        self.stored = folder / "snapshots" / COMMIT / "c.pth"
        self.stored.parent.mkdir(parents=True)
        self.stored.write_bytes(content)
        self.place = folder / "place"

    def download(self, repository, file, revision):
        return str(self.stored)

    def folder(self, digest):
        (self.place / digest).mkdir(parents=True, exist_ok=True)
        return str(self.place / digest)


@pytest.fixture
def file(tmp_path, monkeypatch) -> str:
    """The file that every address is fetched as, where it is placed."""
    hub = StoredHub(tmp_path, CONTENT)
    monkeypatch.setattr(hub_file, "Hub", lambda what: hub)
    path = tmp_path / "place" / DIGEST / "c.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    return str(path)


def test_bytes_have_the_digest_that_was_said(file):
    about = f"{ADDRESS}: 19 bytes, SHA-256 {DIGEST}"
    moved = f"{ADDRESS}: main is the name of a branch or tag and can move; now it is the commit {COMMIT}. "
    moved += f"Write @{COMMIT}"
    assert fetch_all([ADDRESS], DIGEST.upper()) == ([file], [about, moved])
    assert fetch_all([f"{ADDRESS}#sha256={DIGEST}"], "") == ([file], [about, moved])
    pinned = f"hf://a/b/c.pth@{COMMIT}#sha256={DIGEST}"
    assert fetch_all([pinned], DIGEST) == ([file], [f"hf://a/b/c.pth@{COMMIT}: 19 bytes, SHA-256 {DIGEST}"])
    with pytest.raises(ValueError, match=f"--sha256: {OTHER} is not the digest of {pinned}; leave one of them out"):
        fetch_all([pinned], OTHER)
    # A local file needs none, and is compared with one that is said.
    assert fetch_all([file, ADDRESS], f", {DIGEST}") == ([file, file], [about, moved])
    assert fetch_all([file], "") == ([file], [])
    assert fetch_all([file], DIGEST) == ([file], [f"{file}: 19 bytes, SHA-256 {DIGEST}"])
    for path in (file, ADDRESS):
        with pytest.raises(ValueError, match=f"{path}: 19 bytes, SHA-256 {DIGEST}: expected {OTHER}; .* do not use"):
            fetch_all([path], OTHER)


@pytest.mark.parametrize("digests", [DIGEST[:8], f"{DIGEST},{DIGEST}", f"x{DIGEST[1:]}", "sha256:" + DIGEST, ","])
def test_digests_are_whole_and_one_a_file(file, digests):
    with pytest.raises(ValueError, match="--sha256: expected 64 hexadecimal digits for each of 1 files"):
        fetch_all([ADDRESS], digests)


def test_a_file_that_no_digest_vouches_for_is_refused_with_its_own(file, monkeypatch):
    with pytest.raises(ValueError, match=f"none is known.*write {ADDRESS}#sha256={DIGEST} instead; nothing is fetched"):
        fetch_all([ADDRESS], "")
    # Some digits of it can refuse a file and cannot vouch for one; all of them can.
    monkeypatch.setattr(hub_file, "KNOWN", {("a/b", "c.pth"): DIGEST[:8]})
    with pytest.raises(ValueError, match=f"only the first 8 digits are known here, and they agree.*#sha256={DIGEST}"):
        fetch_all([ADDRESS], "")
    assert fetch_all([ADDRESS], DIGEST)[0] == [file]
    monkeypatch.setattr(hub_file, "KNOWN", {("a/b", "c.pth"): OTHER[:8]})
    for said in ("", DIGEST):
        with pytest.raises(ValueError, match="expected 00000000..., as reported for the released file"):
            fetch_all([ADDRESS], said)
    assert check_digest(file, ADDRESS, "", DIGEST, parse_address(ADDRESS))[0] == DIGEST


def test_wherever_weights_are_named_an_address_is_opened_as_the_file_is(tmp_path, monkeypatch):
    hub = StoredHub(tmp_path, GOLDEN.read_bytes())
    monkeypatch.setattr(hub_file, "Hub", lambda what: hub)
    name = f"hf://a/b/c.pth@{COMMIT}#sha256={hashlib.sha256(GOLDEN.read_bytes()).hexdigest()}"
    fetched, local = open_pretrained(name), open_pretrained(str(GOLDEN))
    # The record of a fine-tuning says where its weights are from, and not where they lay on this machine.
    assert fetched.origin == local.origin | {"path": name}
    jax.tree.map(np.testing.assert_array_equal, fetched.params, local.params)
    assert checkpoint_place.resolve(name, bundled.ENCODER) == str(tmp_path / "place" / name[-64:] / "c.pth")
    # A fine-tuned file of the official code; this one is none, as both say.
    assert is_official(name)
    for opened in (name, str(GOLDEN)):
        with pytest.raises(ValueError, match="c.pth|checkpoint-599.pth"):
            open_detector(opened, Unsaid("fake,real"))


def test_who_lacks_the_package_is_told_which_extra_has_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModuleNotFoundError, match=r"hf://a/b/c.pth@main: .*; pip install 'fsfm-jax\[hub\]'"):
        fetch_all([ADDRESS], DIGEST)
