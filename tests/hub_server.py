"""A server on this machine that answers as the Hugging Face Hub does, for downloads and for uploads."""

import base64
import contextlib
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from urllib.parse import parse_qs, unquote

REPOSITORY = "someone/weights"
FIRST = "c0ffee" + "0" * 34
TOKEN = "hf_secret"


def blob_of(data: bytes) -> str:
    """The SHA-1 that git has for a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class State:
    """What the Hub has and what it was asked.

    Attributes:
      commits: name of a commit -> path -> content. branch: the commit of `main`; "" if there is no repository.
      private: whether strangers are told that there is no repository.
      asked: method, host, path and token of each request. sent: the files of the last commit.
      redirect: where downloads of files lead to, "" for nowhere. store: where uploads go, "" for this server.
      cut: bytes that are left out at the end of a download. headers: set in answers about a file.
      lost: names that a commit silently leaves out, as `.gitignore` would.
    """

    def __init__(self):
        self.commits: dict[str, dict[str, bytes]] = {}
        self.branch, self.private, self.redirect, self.store, self.cut = "", False, "", "", 0
        self.asked: list[tuple[str, str, str, str | None]] = []
        self.sent: dict[str, bytes] = {}
        self.headers: dict[str, str] = {}
        self.lost: set[str] = set()
        self.large: dict[str, bytes] = {}

    def add(self, files: dict[str, bytes]) -> str:
        """Makes a commit on top of the branch, and returns it."""
        name = FIRST if not self.commits else hashlib.sha1(f"{len(self.commits)}".encode()).hexdigest()
        self.commits[name] = self.commits.get(self.branch, {}) | files
        self.branch = name
        return name


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers for the `state` of its server."""

    protocol_version = "HTTP/1.1"

    def _start(self) -> bytes:
        self.state: State = self.server.state  # type: ignore
        token = self.headers.get("Authorization")
        self.state.asked.append((self.command, self.headers["Host"], self.path, token))
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _hidden(self) -> bool:
        """Whether there is no repository, or none for who asks; then it has been said."""
        authorised = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if self.state.branch and (authorised or not self.state.private):
            return False
        self._answer(404 if authorised else 401, b"", {"X-Error-Code": "RepoNotFound"})
        return True

    def do_HEAD(self):
        """Downloads: `/OWNER/NAME/resolve/REVISION/FILE`, and `/store/DIGEST` where they lead to."""
        self._start()
        if self.path.startswith("/store/"):
            digest = self.path.rpartition("/")[2]
            about = {"X-Repo-Commit": self.state.branch, "ETag": f'"{digest}"'}  # the library follows on the same host
            return self._answer(200, self.state.large[digest], about)
        if self._hidden():
            return None
        place, _, rest = self.path.removeprefix("/").partition("/resolve/")
        if place.startswith("api/models/"):
            return self._json({"id": REPOSITORY, "sha": self.state.branch, "siblings": []})
        revision, _, name = rest.partition("/")
        commit = self.state.branch if unquote(revision) in ("main", "v1") else revision
        if place != REPOSITORY or commit not in self.state.commits:
            return self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        data = self.state.commits[commit].get(unquote(name))
        if data is None:
            return self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        digest = hashlib.sha256(data).hexdigest()
        about = {"X-Repo-Commit": commit, "ETag": f'"{digest}"'}
        if self.state.redirect:
            self.state.large[digest] = data
            about |= {"Location": f"{self.state.redirect}/store/{digest}", "X-Linked-Size": str(len(data))}
            return self._answer(302, b"", about | {"X-Linked-ETag": f'"{digest}"'} | self.state.headers)
        return self._answer(200, data, about | self.state.headers)

    do_GET = do_HEAD

    def do_PUT(self):
        """The bytes of a large file."""
        data = self._start()
        self.state.large[hashlib.sha256(data).hexdigest()] = data
        self._answer(200, b"", {})

    def do_POST(self):
        """Everything else that an upload asks."""
        data = self._start()
        if self.path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if self.path == "/api/repos/create":
            self.state.private = json.loads(data)["visibility"] == "private"
            self.state.add({".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"})
            return self._json({"url": f"http://{self.headers['Host']}/{REPOSITORY}", "name": REPOSITORY})
        if self._hidden():
            return None
        if "/paths-info/" in self.path:
            return self._json(self._paths(self.path.rpartition("/")[2], parse_qs(data.decode())["paths"]))
        if "/preupload/" in self.path:
            files = [{
                "path": one["path"], "uploadMode": "lfs" if one["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            } for one in json.loads(data)["files"]]  # fmt: skip
            return self._json({"files": files})
        if self.path.endswith("/info/lfs/objects/batch"):
            store = self.state.store or f"http://{self.headers['Host']}"
            return self._json({"transfer": "basic", "objects": [
                one | {"actions": {"upload": {"href": f"{store}/store/{one['oid']}"}}}
                for one in json.loads(data)["objects"]
            ]})  # fmt: skip
        assert "/commit/main" in self.path, self.path
        return self._commit([json.loads(line) for line in data.splitlines()])

    def _paths(self, revision: str, names: list[str]) -> list[dict]:
        found = []
        for name, data in self.state.commits[revision].items():
            if name in names:
                one = {"type": "file", "path": name, "size": len(data), "oid": blob_of(data)}
                if name.endswith(".safetensors"):
                    pointer = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
                    one |= {"lfs": pointer, "oid": "0" * 40}
                found.append(one)
        return found

    def _commit(self, lines: list[dict]) -> None:
        if lines[0]["value"].get("parentCommit", self.state.branch) != self.state.branch:
            return self._answer(412, b'{"error": "the branch has moved"}', {"Content-Type": "application/json"})
        files = {}
        for line in lines[1:]:
            value = line["value"]
            is_large = line["key"] == "lfsFile"
            files[value["path"]] = self.state.large[value["oid"]] if is_large else base64.b64decode(value["content"])
        self.state.sent = files
        commit = self.state.add({name: data for name, data in files.items() if name not in self.state.lost})
        self._json({"success": True, "commitOid": commit, "commitUrl": f"http://{self.headers['Host']}/x/{commit}"})

    def _json(self, value) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _answer(self, code: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) - self.state.cut] if self.state.cut else data)
            self.close_connection = self.close_connection or bool(self.state.cut)

    def log_message(self, format, *args):
        """Says nothing."""


@contextlib.contextmanager
def running() -> Iterator[tuple[str, State]]:
    """The address of a server, and its state."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.state = State()  # type: ignore
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", server.state  # type: ignore
        server.shutdown()
        thread.join()
