"""Addresses of the Hub and digests of files; fetching is tested against a server in tests/parity/test_hub.py."""

import hashlib
import sys

import pytest

from fsfm_jax.weights import hub_file
from fsfm_jax.weights.hub_file import KNOWN, Address, check_digest, fetch_all, parse_address

CONTENT = b"weights of somebody"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
OTHER = "0" * 64
ADDRESS = "hf://a/b/c.pth@main"


def test_an_address_names_a_file_at_a_revision():
    text = "hf://Wolowolo/fsfm-3c/pretrained_models/FF++_o_c23_ViT-B/checkpoint-400.pth@refs/pr/1"
    address = parse_address(text)
    expected = Address("Wolowolo/fsfm-3c", "pretrained_models/FF++_o_c23_ViT-B/checkpoint-400.pth", "refs/pr/1")
    assert address == expected and str(address) == text
    # What is known is known wherever its folder lies.
    for repository, file in KNOWN:
        for above in ("", "models/"):
            known = parse_address(f"hf://{repository}/{above}{file}@main")
            assert (known.repository, known.folder_and_name) == (repository, file)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("hf://a/b/c.pth", "expected hf://OWNER/REPOSITORY/FILE@REVISION, found no @REVISION; name a commit"),
        ("hf://a/b/c.pth@", "expected hf://OWNER/REPOSITORY/FILE@REVISION, of letters"),
        ("hf://a/c.pth@main", "expected hf://OWNER/REPOSITORY/FILE@REVISION, of letters"),
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


@pytest.fixture
def file(tmp_path, monkeypatch) -> str:
    """A file that every address is fetched as."""
    path = tmp_path / "c.pth"
    path.write_bytes(CONTENT)
    monkeypatch.setattr(hub_file, "fetch", lambda address: str(path))
    return str(path)


def test_bytes_have_the_digest_that_was_said(file):
    about = f"{ADDRESS}: 19 bytes, SHA-256 {DIGEST}"
    assert fetch_all([ADDRESS], DIGEST.upper()) == ([file], [about])
    # A local file needs none, and is compared with one that is said.
    assert fetch_all([file, ADDRESS], f", {DIGEST}") == ([file, file], [about])
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
    with pytest.raises(ValueError, match=f"none is known here.*--sha256={DIGEST}; nothing is fetched again"):
        fetch_all([ADDRESS], "")
    # Some digits of it can refuse a file and cannot vouch for one; all of them can.
    monkeypatch.setattr(hub_file, "KNOWN", {("a/b", "c.pth"): DIGEST[:8]})
    with pytest.raises(ValueError, match=f"only the first 8 digits are known here, and they agree.*--sha256={DIGEST}"):
        fetch_all([ADDRESS], "")
    assert fetch_all([ADDRESS], DIGEST)[0] == [file]
    monkeypatch.setattr(hub_file, "KNOWN", {("a/b", "c.pth"): OTHER[:8]})
    for said in ("", DIGEST):
        with pytest.raises(ValueError, match="expected 00000000..., as reported for the released file"):
            fetch_all([ADDRESS], said)
    assert check_digest(file, ADDRESS, "", DIGEST, True).endswith(DIGEST)


def test_who_lacks_the_package_is_told_which_extra_has_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModuleNotFoundError, match=r"hf://a/b/c.pth@main: .*; pip install 'fsfm-jax\[hub\]'"):
        fetch_all([ADDRESS], DIGEST)
