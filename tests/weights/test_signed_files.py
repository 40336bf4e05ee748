"""Signatures: only what a key has signed, file by file, is loaded, and a refusal names the files."""

import base64
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import predicting
import pytest
import serialized
from absl import flags
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from traced_once import traced_once  # noqa: F401, a fixture that is used by itself
from videos import CLIP

from fsfm_jax import cli
from fsfm_jax.apps import serve
from fsfm_jax.detection.opener import Unsaid
from fsfm_jax.detection.predictor import open_predictor
from fsfm_jax.export import serialize
from fsfm_jax.weights import signature, signed_files
from fsfm_jax.weights.run_reader import open_reconstruction
from fsfm_jax.weights.signed_files import open_signed, verify_files, write_signature

PLAIN = serialization.NoEncryption()
# Of a folder with `weights.safetensors` and `part/card.json`, written by model_signing 1.1.1 of OpenSSF.
FOREIGN_KEY = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEBK2UNWa3XMYiGU7PRy/puioJVMWu
l/tAJqmArN/DaYaoQhM+4lxIk1Ct7gGFs0fhnAqI3rwHGObo/YCrC1+Miw==
-----END PUBLIC KEY-----
"""
FOREIGN_PAYLOAD = (
    "ewogICJfdHlwZSI6ICJodHRwczovL2luLXRvdG8uaW8vU3RhdGVtZW50L3YxIiwKICAic3ViamVjdCI6IFsKICAgIHsKICAgICAgIm5h"
    "bWUiOiAibW9kZWwiLAogICAgICAiZGlnZXN0IjogewogICAgICAgICJzaGEyNTYiOiAiYzNiZjY1ZmI5OWFkMmQwODk1Mzc3YTU5NjRm"
    "ZTA4ODExMzBhZGRkNmM0MTA5NWUyMmU1YmE3ZGExNjdkY2RlOSIKICAgICAgfQogICAgfQogIF0sCiAgInByZWRpY2F0ZVR5cGUiOiAi"
    "aHR0cHM6Ly9tb2RlbF9zaWduaW5nL3NpZ25hdHVyZS92MS4wIiwKICAicHJlZGljYXRlIjogewogICAgInJlc291cmNlcyI6IFsKICAg"
    "ICAgewogICAgICAgICJhbGdvcml0aG0iOiAic2hhMjU2IiwKICAgICAgICAibmFtZSI6ICJwYXJ0L2NhcmQuanNvbiIsCiAgICAgICAg"
    "ImRpZ2VzdCI6ICI0NDEzNmZhMzU1YjM2NzhhMTE0NmFkMTZmN2U4NjQ5ZTk0ZmI0ZmMyMWZlNzdlODMxMGMwNjBmNjFjYWFmZjhhIgog"
    "ICAgICB9LAogICAgICB7CiAgICAgICAgImFsZ29yaXRobSI6ICJzaGEyNTYiLAogICAgICAgICJuYW1lIjogIndlaWdodHMuc2FmZXRl"
    "bnNvcnMiLAogICAgICAgICJkaWdlc3QiOiAiOWExMjkwMzhkOWEwMGFlZDBjZjZhN2VhMDU5Y2E1MGE4MTM0NDkwNjFhYjg3ODQ4Y2Yx"
    "YTEzZWFmZGYzM2IyYyIKICAgICAgfQogICAgXSwKICAgICJzZXJpYWxpemF0aW9uIjogewogICAgICAiaWdub3JlX3BhdGhzIjogWwog"
    "ICAgICAgICIuZ2l0IiwKICAgICAgICAiLmdpdGh1YiIsCiAgICAgICAgIm1vZGVsLnNpZyIsCiAgICAgICAgIi5naXRhdHRyaWJ1dGVz"
    "IiwKICAgICAgICAiLmdpdGlnbm9yZSIKICAgICAgXSwKICAgICAgImFsbG93X3N5bWxpbmtzIjogZmFsc2UsCiAgICAgICJtZXRob2Qi"
    "OiAiZmlsZXMiLAogICAgICAiaGFzaF90eXBlIjogInNoYTI1NiIKICAgIH0KICB9Cn0="
)
FOREIGN = {
    "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
    "verificationMaterial": {
        "publicKey": {"hint": "3509b45e4288ba9ebb16e1d749c4a65f9919a79086b827fb241377a45545812e"}, "tlogEntries": [],
    },
    "dsseEnvelope": {
        "payload": FOREIGN_PAYLOAD, "payloadType": "application/vnd.in-toto+json",
        "signatures": [{
            "sig": "MEYCIQDvea+p8gSbjST/mujmoWj/hOj3NgDqx21y4ohFug8v4AIhALE9U1JFwc1W8OnD4t8USwXL9ekDjEjj4gc1+ZmxeQod",
            "keyid": "",
        }],
    },
}  # fmt: skip


def write_pair(folder: Path, name: str, key) -> tuple[str, str]:
    """A private key and its public one, as PEM files."""
    private, public = folder / f"{name}.pem", folder / f"{name}_public.pem"
    pem = serialization.Encoding.PEM
    private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, PLAIN))
    public.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return str(private), str(public)


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("keys")
    own, own_public = write_pair(folder, "own", ec.generate_private_key(ec.SECP256R1()))
    other, other_public = write_pair(folder, "other", ec.generate_private_key(ec.SECP384R1()))
    return SimpleNamespace(folder=folder, own=own, public=own_public, other=other, other_public=other_public)


@pytest.fixture
def export(tmp_path, keys) -> Path:
    """A folder with files of two levels, signed."""
    folder = tmp_path / "export"
    (folder / "part").mkdir(parents=True)
    for name in ("model.safetensors", "fsfm_jax.json", "part/card.json"):
        (folder / name).write_text(f"of {name}")
    write_signature(str(folder), signature.read_private_key(keys.own, "--key"))
    return folder


def refused(path: object, public: str) -> str:
    """Why nothing of `path` is loaded; looking at it alone says the same."""
    with pytest.raises((ValueError, OSError)) as looked:
        verify_files(str(path), signature.read_public_key(public, "--key"))
    with pytest.raises((ValueError, OSError)) as error, open_signed(str(path), public):
        raise AssertionError("it was loaded")
    assert str(looked.value) == str(error.value)
    return str(error.value)


def resigned(place: Path, key: str, change) -> None:
    """Writes a signature of a changed statement, by a key; with no key the old signature stays."""
    bundle = json.loads(place.read_text())
    payload = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    change(payload)
    data = json.dumps(payload).encode()
    if key:
        opened = signature.read_private_key(key, "--key")
        signed = opened.sign(signature._encode(data), signature._algorithm(opened))
        bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signed).decode()
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(data).decode()
    place.write_text(json.dumps(bundle))


def test_what_was_signed_is_copied_whole_and_the_copy_is_what_is_read(export, keys):
    with open_signed(str(export), keys.public) as copy:
        (export / "part" / "card.json").write_text("changed behind the check")
        (export / "late.json").write_text("{}")
        assert os.stat(os.path.dirname(copy)).st_mode & 0o077 == 0
        found = {str(path.relative_to(copy)): path.read_text() for path in Path(copy).rglob("*") if path.is_file()}
    assert found == {name: f"of {name}" for name in ("model.safetensors", "fsfm_jax.json", "part/card.json")}
    assert not os.path.exists(copy)
    assert signed_files.restore_paths({"a": [copy, f"{copy}/x", f"{copy}x", 1]}, copy, "E") == {
        "a": ["E", "E/x", f"{copy}x", 1]
    }


def test_a_signature_of_the_tool_of_the_format_is_verified(tmp_path):
    (tmp_path / "part").mkdir()
    (tmp_path / "weights.safetensors").write_text("weights")
    (tmp_path / "part" / "card.json").write_text("{}")
    (tmp_path / "model.sig").write_text(json.dumps(FOREIGN))
    public = tmp_path.with_suffix(".pem")
    public.write_text(FOREIGN_KEY)
    files = verify_files(str(tmp_path), signature.read_public_key(str(public), "--key"))
    assert files.names == ("part/card.json", "weights.safetensors")


HARM = {
    "part/card.json: changed (SHA-256)": lambda folder: (folder / "part" / "card.json").write_text("of part/card.jsoN"),
    "model.safetensors: missing": lambda folder: (folder / "model.safetensors").unlink(),
    "part/more.py: not in the signed list": lambda folder: (folder / "part" / "more.py").write_text(""),
    "link: not in the signed list": lambda folder: (folder / "link").symlink_to(folder.parent),
    "part/model.sig: not in the signed list": lambda folder: (folder / "part" / "model.sig").write_text(""),
    "fsfm_jax.json: expected a regular file": lambda folder: (
        (folder / "fsfm_jax.json").unlink(), os.mkfifo(folder / "fsfm_jax.json")
    ),
    "there is none. It is unsigned": lambda folder: (folder / "model.sig").unlink(),
    "found something else or a damaged one": lambda folder: (folder / "model.sig").write_text("{}"),
}  # fmt: skip


@pytest.mark.parametrize("told", HARM)
def test_every_change_of_the_files_is_named(export, keys, told):
    HARM[told](export)
    assert told in refused(export, keys.public)


def drop(payload: dict) -> None:
    payload["predicate"]["resources"].pop()


def lead_outside(payload: dict) -> None:
    payload["predicate"]["resources"][0]["name"] = "../fsfm_jax.json"


def twice(payload: dict) -> None:
    payload["predicate"]["resources"].append(payload["predicate"]["resources"][0])


def other_kind(payload: dict) -> None:
    payload["predicateType"] = "https://slsa.dev/provenance/v1"


def test_the_list_is_that_of_the_key_and_has_the_expected_form(export, keys):
    place = export / "model.sig"
    good = place.read_text()
    assert "the signature is of another key" in refused(export, keys.other_public)
    resigned(place, "", drop)
    assert "the signed list was changed after it was signed" in refused(export, keys.public)
    # What another key signed stays refused when it claims to be of ours.
    place.write_text(good)
    resigned(place, keys.other, lambda payload: None)
    assert "the signed list was changed" in refused(export, keys.public)
    for change, told in (
        (drop, "another form"), (twice, "another form"), (other_kind, "another form"),
        (lead_outside, "found ../fsfm_jax.json"),
    ):  # fmt: skip
        place.write_text(good)
        resigned(place, keys.own, change)
        assert told in refused(export, keys.public)


def test_keys_that_are_none(keys, tmp_path, monkeypatch):
    edwards, _ = write_pair(tmp_path, "edwards", ed25519.Ed25519PrivateKey.generate())
    with pytest.raises(ValueError, match="--key: .*found a key of type Ed25519PrivateKey"):
        signature.read_private_key(edwards, "--key")
    with pytest.raises(ValueError, match="expected a private key in PEM without a password"):
        signature.read_private_key(keys.public, "--key")
    with pytest.raises(ValueError, match="expected a public key in PEM, found a private key, which must stay secret"):
        signature.read_public_key(keys.own, "--key")
    with pytest.raises(FileNotFoundError, match="--key: : expected a key"):
        signature.read_public_key("", "--key")
    for name in ("cryptography.hazmat.primitives", "cryptography"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=r"--require_signature: .*; pip install 'fsfm-jax\[sign\]'"):
        with open_signed(str(tmp_path), keys.public):
            raise AssertionError("it was loaded without a check")


def test_each_kind_has_its_files_and_its_place(tmp_path):
    def found(path: Path) -> tuple:
        files = signed_files.find_files(str(path))
        return os.path.relpath(files.place, tmp_path), files.names, files.opens

    for name in ("a.jax", "a.jax.json", "b.pth", "pretrain_ds_mean_std.txt", "run/detector/7/x", "run/checkpoints/7/y",
                 "made/imported/0/z", "made/config.json", "young/checkpoints/1/y", "hf/fsfm_jax.json",
                 "hf/model.safetensors", "hf/model.sig"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert found(tmp_path / "a.jax") == ("a.jax.sig", ("a.jax", "a.jax.json"), "a.jax")
    assert found(tmp_path / "b.pth") == ("b.pth.sig", ("b.pth", "pretrain_ds_mean_std.txt"), "b.pth")
    assert found(tmp_path / "run") == ("run/detector.sig", ("detector/7/x",), "")
    assert found(tmp_path / "made") == ("made/imported.sig", ("imported/0/z",), "")
    inside = ("fsfm_jax.json", "model.safetensors")
    assert found(tmp_path / "hf") == ("hf/model.sig", inside, "")
    assert found(tmp_path / "hf" / "model.safetensors") == ("hf/model.sig", inside, "model.safetensors")
    for path, told in (("young", "Export it"), ("nothing", "nothing is there")):
        with pytest.raises((ValueError, FileNotFoundError), match=told):
            signed_files.find_files(str(tmp_path / path))
    for name in ("small", "hf://a/b@main"):
        with pytest.raises(ValueError, match="expected a file or folder of this machine"):
            signed_files.find_files(name)


def ended(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    return end.value.code


def test_a_detector_is_signed_verified_and_required_by_commands(tmp_path, keys, monkeypatch, capsys, request):
    request.addfinalizer(lambda: [delattr(flags.FLAGS, name) for name in ("key",) if name in flags.FLAGS])
    run = serialized.run(tmp_path / "run")
    path = str(tmp_path / "detector.jax")
    serialize.serialize(serialized.detector(), path, "jax", ("cpu",))
    assert ended("sign", run, path, f"--key={keys.own}") == 0
    said = capsys.readouterr().out
    assert f"{run}/detector.sig: the signature of" in said and f"{path}.sig: the signature of 2 files" in said
    delattr(flags.FLAGS, "key")
    assert ended("verify", run, path, f"--key={keys.public}") == 0
    expected = open_predictor(run, Unsaid()).log_probabilities(serialized.images(3))
    for one in (run, path):
        opened = open_predictor(one, Unsaid(), signed_by=keys.public)
        np.testing.assert_allclose(
            opened.log_probabilities(serialized.images(3)), expected, atol=serialized.TOLERANCE, rtol=0
        )
        assert opened.name == one and "fsfm_jax_signed_" not in json.dumps(opened.card)
    Path(f"{path}.json").write_text(Path(f"{path}.json").read_text() + " ")
    assert predicting.command(monkeypatch, [CLIP], checkpoint=path, require_signature=keys.public) == 1
    assert "detector.jax.json: changed (SHA-256)" in capsys.readouterr().err


def test_nothing_without_a_signature_passes_where_one_is_required(tmp_path, keys):
    run = serialized.run(tmp_path / "run")
    for place in (None, "small", run):
        with pytest.raises((ValueError, FileNotFoundError), match="no signature|It is unsigned"):
            open_predictor(place, Unsaid(), signed_by=keys.public)
        with pytest.raises((ValueError, FileNotFoundError), match="no signature|It is unsigned"):
            open_reconstruction(place, keys.public)
    write_signature(run, signature.read_private_key(keys.own, "--key"))
    chosen = SimpleNamespace(
        checkpoint=run, pretrained=run, require_signature=keys.other_public, threshold="0.5", seconds=9.0,
        detector="blazeface", least_frames=0.25, least_confidence=None, classes="", statistics="", norm_over="",
        dtype="", runtime="",
    )  # fmt: skip
    with pytest.raises(ValueError, match="of another key"):
        serve.open_site(chosen)
    chosen.pretrained = ""
    with pytest.raises(ValueError, match="of another key"):
        serve.open_site(chosen)
