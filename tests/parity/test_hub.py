"""Files of the Hub, fetched and uploaded by huggingface_hub, from and to a server here that answers as the Hub does.

Run by `make test-parity`, since huggingface_hub is not among the packages of `make test`.
"""

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import hub_server
import numpy as np
import pytest
from hub_server import FIRST, REPOSITORY, TOKEN

WHY = "huggingface_hub is needed; run `make test-parity`"
huggingface_hub = pytest.importorskip("huggingface_hub", reason=WHY)

from huggingface_hub import constants  # noqa: E402

import fsfm_jax  # noqa: E402
from fsfm_jax.export.hub_push import push  # noqa: E402
from fsfm_jax.weights import hub_file  # noqa: E402
from fsfm_jax.weights.hub_client import Hub  # noqa: E402

# The library sends the bytes of a large file by an argument that its HTTP client is about to rename.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
NAMES = ("checkpoint-599.pth", "checkpoint-te-599.pth")
FILES = {name: (GOLDEN / name).read_bytes() for name in NAMES}
DIGESTS = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
CARD = "fsfm_jax.json"
PUSHED = {"config.json", "preprocessor_config.json", "model.safetensors", "README.md", CARD}


@pytest.fixture(scope="module")
def server():
    with hub_server.running() as found:
        yield found


def use(endpoint, monkeypatch):
    """What HF_ENDPOINT does where huggingface_hub is imported later."""
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture
def hub(server, tmp_path, monkeypatch):
    """The state of a server with the golden pair, with empty caches here and a token that strangers should not see."""
    home, state = server
    state.__init__()
    state.add({f"folder/{name}": data for name, data in FILES.items()})
    use(home, monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the library tries again, later each time
    state.home = home
    return state


def address(name=NAMES[0], revision=FIRST):
    return f"hf://{REPOSITORY}/folder/{name}@{revision}"


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """A detector as a folder for Hugging Face."""
    folder = tmp_path_factory.mktemp("former")
    with tarfile.open(GOLDEN / "former" / "exports.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "export_huggingface"


@pytest.fixture
def folder(exported, tmp_path) -> Path:
    """A copy of it, to change."""
    made = tmp_path / "export"
    made.mkdir()
    for path in exported.iterdir():
        (made / path.name).write_bytes(path.read_bytes())
    return made


@pytest.mark.parametrize("redirected", [False, True])
def test_a_file_comes_as_it_is_and_without_a_token(hub, redirected):
    hub.redirect = hub.home if redirected else ""
    (path,), (line,) = hub_file.fetch_all([address()], DIGESTS[NAMES[0]])
    assert Path(path).read_bytes() == FILES[NAMES[0]]
    assert line == f"{address()}: {len(FILES[NAMES[0]]):,} bytes, SHA-256 {DIGESTS[NAMES[0]]}"
    assert hub.asked and all(token is None for *_, token in hub.asked)
    assert any("/store/" in where for _, _, where, _ in hub.asked) == redirected
    # At a commit it is not asked for again, with the digest in the address as well, and no hook is left behind.
    before = len(hub.asked)
    pinned = f"{address()}#sha256={DIGESTS[NAMES[0]]}"
    assert hub_file.fetch_all([pinned], "")[0] == [path] and len(hub.asked) == before
    hooks = huggingface_hub.get_session().event_hooks
    assert not [hook for hook in (*hooks["request"], *hooks["response"]) if "watched" in hook.__qualname__]


def test_a_branch_or_tag_is_said_to_move_and_other_files_beside_do_not_matter(hub, caplog):
    text = f"{address(revision='v1')}#sha256={DIGESTS[NAMES[0]]}"
    path = hub_file.fetch_checkpoint(text)
    moves = f"v1 is the name of a branch or tag and can move; now it is the commit {FIRST}. Write @{FIRST}"
    assert moves in caplog.text
    # Whatever else of the repository is in the library's cache: the file is alone in its folder.
    hub_file.fetch_all([address(NAMES[1])], DIGESTS[NAMES[1]])
    assert os.listdir(Path(path).parent) == [NAMES[0]]


def test_other_bytes_a_part_and_what_is_not_there_are_refused(hub):
    with pytest.raises(ValueError, match=f"SHA-256 {DIGESTS[NAMES[0]]}: expected {DIGESTS[NAMES[1]]}"):
        hub_file.fetch_all([address()], DIGESTS[NAMES[1]])
    with pytest.raises(ValueError, match=f"no digest to compare it with.*write {address()}#sha256={DIGESTS[NAMES[0]]}"):
        fsfm_jax.load_encoder(address())
    with pytest.raises(ValueError, match=f"--sha256: {'0' * 64} is not the digest of {address()}#sha256="):
        hub_file.fetch_all([f"{address()}#sha256={DIGESTS[NAMES[0]]}"], "0" * 64)
    for name, revision in ((NAMES[0], "gone"), ("gone.pth", "main")):
        with pytest.raises(OSError, match=f"{name}@{revision}: cannot be fetched from {hub.home}: .*404"):
            hub_file.fetch_all([address(name, revision)], DIGESTS[NAMES[0]])
    hub.cut = 1000
    with pytest.raises(OSError, match=f"{NAMES[1]}@{FIRST}: cannot be fetched from {hub.home}: "):
        hub_file.fetch_all([address(NAMES[1])], DIGESTS[NAMES[1]])
    hub.cut = 0
    assert hub_file.fetch_all([address(NAMES[1])], DIGESTS[NAMES[1]])[0]


def test_another_host_is_not_asked(hub):
    # The same machine by another name, and a store that the real Hub would be allowed.
    names = (hub.home.replace("127.0.0.1", "localhost"), "http://cdn-lfs.hf.co", hub.home.replace("http:", "https:"))
    for other in names:
        hub.redirect, hub.asked = other, []
        with pytest.raises(ValueError, match=f"{hub.home} sends to {other} for the file, which is not a host of its"):
            hub_file.fetch_all([address()], DIGESTS[NAMES[0]])
        assert {host for _, host, *_ in hub.asked} == {hub.home.removeprefix("http://")}


@pytest.mark.parametrize("header", ["ETag", "X-Repo-Commit"])
def test_an_answer_names_no_file_outside_of_the_cache(hub, tmp_path, header):
    hub.headers = {header: "../../../outside"}
    with pytest.raises(ValueError, match=f"answers with {header.lower()} '../../../outside': expected letters"):
        hub_file.fetch_all([address()], DIGESTS[NAMES[0]])
    assert not [path for path in tmp_path.rglob("outside*")]


@pytest.mark.parametrize(
    ("asked", "sends", "allowed"),
    [
        ("https://huggingface.co/x", False, True),
        ("https://cdn-lfs-us-1.hf.co/x", False, True),
        ("https://cdn-lfs.huggingface.co/x", False, True),
        ("https://huggingface.co.evil.org/x", False, False),
        ("https://huggingface.co@evil.org/x", False, False),
        ("https://evilhf.co/x", False, False),
        ("https://huggingface.co:8443/x", False, False),
        ("http://huggingface.co/x", False, False),
        # A store for uploads may be anywhere, but encrypted.
        ("https://store.example.org/x", True, True),
        ("http://store.example.org/x", True, False),
    ],
)
def test_which_hosts_are_those_of_the_hub(asked, sends, allowed, monkeypatch):
    use("https://huggingface.co", monkeypatch)
    client = huggingface_hub.get_session()
    before = len(client.event_hooks["request"])
    with Hub("x").watched(sends):
        check = client.event_hooks["request"][-1]
        if allowed:
            check(client.build_request("GET", asked))
        else:
            with pytest.raises(ValueError, match="which is not a host of its own"):
                check(client.build_request("GET", asked))
        told = client.build_request("GET", asked, headers={"Authorization": f"Bearer {TOKEN}"})
        if allowed and "//huggingface.co/" not in asked:
            with pytest.raises(ValueError, match="which would see the token; nothing was sent"):
                check(told)
    assert len(client.event_hooks["request"]) == before


def test_a_private_repository_is_asked_again_with_the_token_of_the_login(hub, monkeypatch):
    hub.private = True
    assert hub_file.fetch_all([address()], DIGESTS[NAMES[0]])[0]
    tokens = [token for *_, token in hub.asked]
    assert tokens[0] is None and tokens[-1] == f"Bearer {TOKEN}"
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nonexistent")
    hub.asked = []
    with pytest.raises(OSError, match="cannot be fetched from .*401"):
        hub_file.fetch_all([address(NAMES[1])], DIGESTS[NAMES[1]])
    assert all(token is None for *_, token in hub.asked)


def test_nobody_answers(hub, monkeypatch):
    use("http://127.0.0.1:1", monkeypatch)
    with pytest.raises(OSError, match="main: cannot be fetched from http://127.0.0.1:1: "):
        hub_file.fetch_all([address(revision="main")], DIGESTS[NAMES[0]])


def test_an_export_is_uploaded_and_loaded_again(hub, exported, tmp_path, monkeypatch):
    hub.__init__()
    said: list[str] = []
    there = push(str(exported), REPOSITORY, False, said.append)
    # A new repository, private, with the files of the export and nothing else.
    content = {path.name: path.read_bytes() for path in exported.iterdir()}
    assert hub.private and hub.sent == content and hub.sent.keys() == PUSHED
    for name, data in content.items():
        assert f"{name}: {len(data):,} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}" in said
    assert said[-1] == f"load it with {there}"
    assert {token for _, _, where, token in hub.asked if "/store/" not in where} == {f"Bearer {TOKEN}"}
    hub.private = False
    crops = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    fetched, local = fsfm_jax.load_detector(str(there)), fsfm_jax.load_detector(exported)
    np.testing.assert_array_equal(fetched.score(crops), local.score(crops))
    assert fetched.name == str(there)
    np.testing.assert_array_equal(fsfm_jax.load_encoder(str(there))(crops), fsfm_jax.load_encoder(exported)(crops))
    # Every file but the card for people has come, byte for byte.
    place = Path(hub_file.fetch_checkpoint(str(there)))
    assert {path.name: path.read_bytes() for path in place.iterdir()} == {
        name: data for name, data in content.items() if name != "README.md"
    }
    # Sent again, there is nothing to send.
    hub.sent = {}
    assert push(str(exported), REPOSITORY, False, said.append) == there and hub.sent == {}


def test_nothing_is_replaced_without_being_asked_for(hub, folder):
    first = push(str(folder), REPOSITORY, False, lambda line: None)
    hub.add({"README.md": b"edited on the page", "more.txt": b"of somebody"})
    edited = hub.branch
    with pytest.raises(ValueError, match=f"README.md differ there, at {edited}; nothing was .*--push_overwrite"):
        push(str(folder), REPOSITORY, False, lambda line: None)
    assert hub.branch == edited
    # The address of before still means what it meant.
    assert hub_file.fetch_checkpoint(str(first))
    again = push(str(folder), REPOSITORY, True, lambda line: None)
    assert hub.sent.keys() == {"README.md"} and again.sha256 == first.sha256
    assert hub.commits[hub.branch]["more.txt"] == b"of somebody"
    # What the Hub then has is compared.
    (folder / "README.md").write_text("completed by hand")
    hub.lost = {"README.md"}
    with pytest.raises(OSError, match="has other bytes than were sent, or none: README.md; push again"):
        push(str(folder), REPOSITORY, True, lambda line: None)


def test_a_commit_in_between_and_a_missing_login_end_an_upload(hub, folder, monkeypatch):
    real = hub_server.Handler._paths

    def moved(self, revision, names):
        found = real(self, revision, names)
        hub.add({"more.txt": b"of somebody else, meanwhile"})
        return found

    monkeypatch.setattr(hub_server.Handler, "_paths", moved)
    with pytest.raises(OSError, match=f"--push={REPOSITORY}: {hub.home} refuses: .*412"):
        push(str(folder), REPOSITORY, False, lambda line: None)
    assert hub.sent == {} and "model.safetensors" not in hub.commits[hub.branch]
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nonexistent")
    hub.asked = []
    with pytest.raises(ValueError, match="nobody is logged in; run `hf auth login`"):
        push(str(folder), REPOSITORY, False, lambda line: None)
    assert hub.asked == []


def with_files(folder: Path, files: dict) -> bytes:
    return json.dumps(json.loads((folder / CARD).read_text()) | {"files": files}).encode()


def test_the_list_of_an_export_stays_in_its_folder_and_its_digests_hold(hub, folder, tmp_path):
    vouched = json.loads((folder / CARD).read_text())["files"]
    for name in ("../model.safetensors", "/etc/passwd", "..", "a/b", "a b", ""):
        commit = hub.add({CARD: (card := with_files(folder, vouched | {name: {"sha256": "0" * 64}}))})
        asked = f"hf://{REPOSITORY}@{commit}#sha256={hashlib.sha256(card).hexdigest()}"
        with pytest.raises(ValueError, match="files: expected names without folders, each with its sha256; found"):
            fsfm_jax.load_detector(asked)
    # The JSON is that of the address, the weights are others.
    weights = (folder / "model.safetensors").read_bytes()
    honest = {path.name: path.read_bytes() for path in folder.iterdir()}
    commit = hub.add(honest | {"model.safetensors": weights[:-1] + b"\xff"})
    asked = f"hf://{REPOSITORY}@{commit}#sha256={hashlib.sha256(honest[CARD]).hexdigest()}"
    with pytest.raises(ValueError, match=f"model.safetensors: .*: expected {hashlib.sha256(weights).hexdigest()}"):
        fsfm_jax.load_detector(asked)
    with pytest.raises(ValueError, match="is not that of an export of fsfm_jax; name a weight file"):
        commit = hub.add({CARD: b"{}"})
        fsfm_jax.load_detector(f"hf://{REPOSITORY}@{commit}#sha256={hashlib.sha256(b'{}').hexdigest()}")


def run(server, folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "fsfm_jax.cli", *arguments], capture_output=True, text=True,
        cwd=ROOT, env={**os.environ, "HF_ENDPOINT": server, "HF_HOME": f"{folder}/home"},
    )  # fmt: skip


def test_the_commands_import_a_pair_and_push_a_folder(hub, tmp_path, folder):
    options = ["--pixel_heads=4", "--rep_heads=4", "--statistics=vggface2"]
    pair = [address(name, "main") for name in NAMES]
    digests = f"--sha256={DIGESTS[NAMES[0]]},{DIGESTS[NAMES[1]]}"
    done = run(hub.home, tmp_path, "import", *pair, digests, f"--output={tmp_path}/run", *options)
    assert done.returncode == 0, done.stderr[-2000:]
    said = done.stdout.splitlines()
    assert [line.rpartition(" ")[2] for line in said[:4:2]] == [DIGESTS[name] for name in NAMES]
    assert "main is the name of a branch" in said[1] and "main is the name of a branch" in said[3]
    assert said[4].startswith(f"{tmp_path}/run: tiny8, online and target network, moments after 1 steps")
    wrong = f"--sha256={DIGESTS[NAMES[0]]},{'0' * 64}"
    refused = run(hub.home, tmp_path, "import", *pair, wrong, f"--output={tmp_path}/other", *options)
    assert refused.returncode == 1 and "it is another file or a damaged copy" in refused.stderr
    assert not (tmp_path / "other").exists()
    pushed = run(
        hub.home, tmp_path, "export", "--format=huggingface", f"--output={folder}", f"--push={REPOSITORY}"
    )  # fmt: skip
    assert pushed.returncode == 0, pushed.stderr[-2000:]
    assert hub.sent.keys() == PUSHED and f"load it with hf://{REPOSITORY}@{hub.branch}#sha256=" in pushed.stdout
    assert TOKEN not in pushed.stdout + pushed.stderr
