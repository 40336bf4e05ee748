"""Files of the Hub, fetched by huggingface_hub from a server on this machine that answers as the Hub does.

Run by `make test-parity`, since huggingface_hub is not among the packages of `make test`.
"""

import hashlib
import http.server
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

WHY = "huggingface_hub is needed; run `make test-parity`"
huggingface_hub = pytest.importorskip("huggingface_hub", reason=WHY)

from huggingface_hub import constants  # noqa: E402

from fsfm_jax.weights import hub_file  # noqa: E402

ROOT = Path(__file__).parents[2]
NAMES = ("checkpoint-599.pth", "checkpoint-te-599.pth")
FILES = {name: (ROOT / "tests" / "golden" / name).read_bytes() for name in NAMES}
DIGESTS = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
COMMIT = "c0ffee" + "0" * 34


class Hub(http.server.BaseHTTPRequestHandler):
    """Serves the golden files at any branch called main and at COMMIT; `sends_to` is where it redirects to."""

    asked: list[tuple[str, str, str | None]] = []
    sends_to = ""

    def do_HEAD(self):
        name = self.path.rpartition("/")[2]
        Hub.asked.append((self.headers["Host"], self.path, self.headers.get("Authorization")))
        stored = self.path.startswith("/store/")
        if not stored and f"/resolve/{COMMIT}/" not in self.path and "/resolve/main/" not in self.path:
            return self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        if name not in FILES:
            return self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        about = {"X-Repo-Commit": COMMIT, "ETag": f'"{DIGESTS[name]}"'}
        if Hub.sends_to and not stored:
            large = {"Location": f"{Hub.sends_to}/store/{name}", "X-Linked-Size": str(len(FILES[name]))}
            return self._answer(302, b"", about | large | {"X-Linked-ETag": f'"{DIGESTS[name]}"'})
        self._answer(200, FILES[name], about)

    do_GET = do_HEAD

    def _answer(self, code, data, headers):
        self.send_response(code)
        for name, value in (headers | {"Content-Length": str(len(data))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *_):
        """Says nothing."""


@pytest.fixture(scope="module")
def server():
    """The address of the server."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def use(endpoint, monkeypatch):
    """What HF_ENDPOINT does where huggingface_hub is imported later."""
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture
def hub(server, tmp_path, monkeypatch):
    """The server as the Hub of this process, with an empty cache and a token that nobody should see."""
    use(server, monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(Hub, "asked", [])
    monkeypatch.setattr(Hub, "sends_to", "")
    return server


def address(name=NAMES[0], revision=COMMIT):
    return f"hf://someone/weights/folder/{name}@{revision}"


@pytest.mark.parametrize("redirected", [False, True])
def test_a_file_comes_as_it_is_and_without_a_token(hub, redirected, monkeypatch):
    monkeypatch.setattr(Hub, "sends_to", hub if redirected else "")
    (path,), (line,) = hub_file.fetch_all([address()], DIGESTS[NAMES[0]])
    assert Path(path).read_bytes() == FILES[NAMES[0]]
    assert line == f"{address()}: {len(FILES[NAMES[0]]):,} bytes, SHA-256 {DIGESTS[NAMES[0]]}"
    assert Hub.asked and all(token is None for _, _, token in Hub.asked)
    assert any("/store/" in where for _, where, _ in Hub.asked) == redirected
    # At a commit it is not asked for again, and nothing is left behind in the client.
    before = len(Hub.asked)
    assert hub_file.fetch_all([address()], DIGESTS[NAMES[0]])[0] == [path] and len(Hub.asked) == before
    assert all("staying_at" not in hook.__qualname__ for hook in huggingface_hub.get_session().event_hooks["request"])


def test_other_bytes_are_refused(hub):
    with pytest.raises(ValueError, match=f"SHA-256 {DIGESTS[NAMES[0]]}: expected {DIGESTS[NAMES[1]]}"):
        hub_file.fetch_all([address()], DIGESTS[NAMES[1]])
    with pytest.raises(ValueError, match=f"no digest to compare it with.*--sha256={DIGESTS[NAMES[0]]}"):
        hub_file.fetch_all([address()], "")


def test_another_host_is_not_asked(hub, monkeypatch):
    # The same machine by another name, and a store that the real Hub would be allowed.
    for other in (hub.replace("127.0.0.1", "localhost"), "http://cdn-lfs.hf.co", hub.replace("http:", "https:")):
        monkeypatch.setattr(Hub, "sends_to", other)
        monkeypatch.setattr(Hub, "asked", [])
        with pytest.raises(ValueError, match=f"{hub} sends to {other} for the file, which is not a host of its own"):
            hub_file.fetch_all([address()], DIGESTS[NAMES[0]])
        assert {host for host, *_ in Hub.asked} == {hub.removeprefix("http://")}


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ("https://huggingface.co/x", True),
        ("https://cdn-lfs-us-1.hf.co/x", True),
        ("https://cdn-lfs.huggingface.co/x", True),
        ("https://huggingface.co.evil.org/x", False),
        ("https://huggingface.co@evil.org/x", False),
        ("https://evilhf.co/x", False),
        ("https://huggingface.co:8443/x", False),
        ("http://huggingface.co/x", False),
    ],
)
def test_which_hosts_are_those_of_the_hub(asked, allowed):
    client = huggingface_hub.get_session()
    before = len(client.event_hooks["request"])
    with hub_file._staying_at("https://huggingface.co", client):
        check = client.event_hooks["request"][-1]
        request = client.build_request("GET", asked)
        if allowed:
            check(request)
        else:
            with pytest.raises(ValueError, match="which is not a host of its own"):
                check(request)
    assert len(client.event_hooks["request"]) == before


def test_what_is_not_there_is_a_sentence(hub):
    for name, revision in ((NAMES[0], "gone"), ("gone.pth", "main")):
        with pytest.raises(OSError, match=f"{name}@{revision}: cannot be fetched from {hub}: .*404"):
            hub_file.fetch_all([address(name, revision)], DIGESTS[NAMES[0]])


def test_nobody_answers(hub, monkeypatch):
    use("http://127.0.0.1:1", monkeypatch)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # it tries again, later each time
    with pytest.raises(OSError, match="main: cannot be fetched from http://127.0.0.1:1: "):
        hub_file.fetch_all([address(revision="main")], DIGESTS[NAMES[0]])


def imported(server, folder, *arguments):
    options = [f"--output={folder}/run", "--pixel_heads=4", "--rep_heads=4", "--statistics=vggface2"]
    return subprocess.run(
        [sys.executable, "-m", "fsfm_jax.cli", "import", *arguments, *options], capture_output=True, text=True,
        cwd=ROOT, env={**os.environ, "HF_ENDPOINT": server, "HF_HOME": f"{folder}/home"},
    )  # fmt: skip


def test_the_command_imports_a_pair_from_the_hub(hub, tmp_path):
    pair = [address(name, "main") for name in NAMES]
    done = imported(hub, tmp_path, *pair, f"--sha256={DIGESTS[NAMES[0]]},{DIGESTS[NAMES[1]]}")
    assert done.returncode == 0, done.stderr[-2000:]
    said = done.stdout.splitlines()
    assert [line.rpartition(" ")[2] for line in said[:2]] == [DIGESTS[name] for name in NAMES]
    assert said[2].startswith(f"{tmp_path}/run: tiny8, online and target network, moments after 1 steps")
    refused = imported(hub, tmp_path / "other", *pair, f"--sha256={DIGESTS[NAMES[0]]},{'0' * 64}")
    assert refused.returncode == 1 and "it is another file or a damaged copy" in refused.stderr
    assert not (tmp_path / "other" / "run").exists()
