"""Decode each file in its own process, so that a compromised decoder cannot affect another file.

The caller receives finished pictures and sentences, as data, and decodes nothing itself.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fsfm_jax.data.photo import encoding_of
from fsfm_jax.prepare.media.decoder_server import ALL, BUFFER, LENGTH, PHOTO, PLAIN, READY, VIDEO
from fsfm_jax.prepare.media.photo_file import MAX_PIXELS, Photo
from fsfm_jax.prepare.media.raw_file import first_bytes
from fsfm_jax.prepare.media.unusable import REASONS, Unusable

if TYPE_CHECKING:
    from fsfm_jax.prepare.media.video import Video

START_LENGTH = 16  # bytes that tell a plain photo
MAX_HEADER = 1 << 20  # bytes
# Variables that a process needs to start. The others may hold secrets, such as tokens of a cloud or a hub, and a
# process that was taken over could put them into an answer.
NEEDED = re.compile("(PATH|HOME|LANG|TMPDIR|VIRTUAL_ENV|LD_.*|LC_.*|PYTHON.*)$")
ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 3))


class Decoders(Protocol):
    """How photos and videos are decoded."""

    def read_photo(self, path: str | os.PathLike) -> Photo:
        """Read a photo as `photo_file.read_photo` does."""

    def open_video(self, path: str | os.PathLike) -> AbstractContextManager["Video"]:
        """Open a video as `video.open_video` does."""


class Here:
    """A decoder in this process, for trusted files and for callers that decode a single file."""

    def read_photo(self, path: str | os.PathLike) -> Photo:
        """Read a photo as `photo_file.read_photo` does."""
        from fsfm_jax.prepare.media.photo_file import read_photo

        return read_photo(path)

    def open_video(self, path: str | os.PathLike) -> AbstractContextManager["Video"]:
        """Open a video as `video.open_video` does."""
        from fsfm_jax.prepare.media.video import open_video

        return open_video(path)


HERE = Here()


class Apart:
    """A decoder of each file in a process of its own, one at a time; for use by one thread.

    Raises what the decoders raise, and `Unusable` "crashed" where the process died twice.
    """

    def __init__(self):
        self._servers: dict[str, _Server] = {}

    def read_photo(self, path: str | os.PathLike) -> Photo:
        """Read a photo as `photo_file.read_photo` does."""
        plain = encoding_of(first_bytes(path, START_LENGTH)) is not None
        with _File(self._server(PLAIN if plain else ALL), PHOTO, path) as file:
            content, image = file.ask(None)
            return Photo(image, tuple(map(str, content[0])))

    @contextmanager
    def open_video(self, path: str | os.PathLike) -> Iterator["Video"]:
        """Open a video as `video.open_video` does."""
        with _File(self._server(ALL), VIDEO, path) as file:
            content, _ = file.ask(None)
            yield _VideoApart(file, *_read_facts(content))

    def close(self) -> None:
        """End the processes."""
        for server in self._servers.values():
            server.end()
        self._servers = {}

    def _server(self, kind: str) -> "_Server":
        if kind not in self._servers:
            self._servers[kind] = _Server(kind)
        return self._servers[kind]


def _read_facts(content: list) -> tuple[int, float | None, tuple[str, ...]]:
    count, rate, notes = content
    return int(count), None if rate is None else float(rate), tuple(map(str, notes))


@dataclass
class _VideoApart:
    """A video that is decoded elsewhere."""

    _file: "_File"
    count: int
    rate: float | None
    notes: tuple[str, ...]

    def read(self, index: int) -> np.ndarray:
        """Read frames as `VideoFile.read` does."""
        content, image = self._file.ask(int(index))
        self.notes = _read_facts(content)[2]
        return image


class _Server:
    """The server process, which forks a process per file; it is restarted when it has ended."""

    def __init__(self, kind: str):
        self._kind = kind
        self._waiting = False  # whether the exit code of a copy has yet to come
        self._start()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        # Safe path: nothing is imported from the current folder.
        environment = {name: value for name, value in os.environ.items() if NEEDED.match(name)}
        environment |= {"PYTHONPATH": ROOT, "PYTHONSAFEPATH": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "fsfm_jax.prepare.media.decoder_server", self._kind]
        self._process = subprocess.Popen(command, stdin=theirs, stdout=2, env=environment)
        theirs.close()
        self._socket, self._lines, self._ready = ours, ours.makefile("rb"), False

    def begin(self, kind: str, path: str | os.PathLike) -> socket.socket:
        """Start a process for a file and return its socket. Restart the server if it has ended."""
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        request = json.dumps([kind, os.path.abspath(os.fspath(path))]).encode()
        with theirs:
            if not self._send(request, theirs):
                self.end()
                self._start()
                if not self._send(request, theirs):
                    ours.close()
                    raise RuntimeError("the process that decodes files cannot be started; see what it said above")
        self._waiting = True
        return ours

    def _send(self, request: bytes, end: socket.socket) -> bool:
        """Return whether the server accepted a request; it may end at any moment."""
        if self.exit_code() is None or not self._is_ready():
            return False
        try:
            socket.send_fds(self._socket, [request], [end.fileno()])
        except ConnectionError:
            return False
        return True

    def exit_code(self) -> int | None:
        """Wait for the process of the last file; return its exit code, 0 without one, None without a server."""
        if not self._waiting:
            return 0
        self._waiting = False
        line = self._lines.readline()
        return int(line) if line.endswith(b"\n") else None

    def end(self) -> None:
        """End the server and its processes."""
        self._process.kill()
        self._process.wait()
        self._lines.close()
        self._socket.close()
        self._waiting = False

    def _is_ready(self) -> bool:
        self._ready = self._ready or self._lines.readline() == READY
        return self._ready


class _File:
    """A file and the process that decodes it."""

    def __init__(self, server: _Server, kind: str, path: str | os.PathLike):
        self._server, self._kind, self._path = server, kind, path
        self._start()

    def _start(self) -> None:
        link = self._server.begin(self._kind, self._path)
        self._stream = link.makefile("rwb", BUFFER)
        link.close()

    def __enter__(self) -> "_File":
        return self

    def __exit__(self, *_) -> None:
        self._end()

    def _end(self) -> None:
        try:
            self._stream.close()
        except OSError:
            pass  # it was gone before it got the question

    def ask(self, index: int | None) -> tuple[list, np.ndarray | None]:
        """Return the answer about a frame, or the first one; if the process dies, retry once with a new one."""
        if self._stream.closed:
            raise Unusable("crashed", "the process that decodes the file died twice before")
        try:
            return self._ask_once(index)
        except EOFError:
            self._end()
        self._start()
        try:
            if index is not None:
                self._ask_once(None)
            return self._ask_once(index)
        except EOFError as error:
            self._end()
            code = self._server.exit_code()
            raise Unusable("crashed", f"the process that decodes the file died twice ({_describe(code)})") from error

    def _ask_once(self, index: int | None) -> tuple[list, np.ndarray | None]:
        """Return one answer; EOFError if there is none or it is malformed."""
        try:
            if index is not None:
                self._stream.write(b"%d\n" % index)
                self._stream.flush()
            content, shape = self._header()
            if shape is None:
                return content, None
            image = np.empty(shape, np.uint8)
            view, done = memoryview(image).cast("B"), 0
            while done < len(view):
                got = self._stream.readinto(view[done:])
                if not got:
                    raise EOFError("half a picture")
                done += got
            return content, image
        except OSError as error:
            raise EOFError("it is gone") from error

    def _header(self) -> tuple[list, tuple[int, int, int] | None]:
        (length,) = LENGTH.unpack(self._exactly(LENGTH.size))
        if length > MAX_HEADER:
            raise EOFError(f"a header of {length} bytes")
        try:
            answer = json.loads(self._exactly(length))
            if "fault" in answer:
                raise RuntimeError(str(answer["fault"]))
            if "unusable" in answer:
                reason, detail = map(str, answer["unusable"])
                raise Unusable(reason if reason in REASONS else "crashed", detail)
            content = list(answer["content"])
            if answer["shape"] is None:
                return content, None
            height, width = map(int, answer["shape"])
        except Unusable:
            raise
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise EOFError("an answer of another form") from error
        if min(height, width) < 1 or height * width > MAX_PIXELS:
            raise EOFError(f"a picture of {height}x{width}")
        return content, (height, width, 3)

    def _exactly(self, length: int) -> bytes:
        data = self._stream.read(length)
        if len(data) != length:
            raise EOFError("no answer")
        return data


def _describe(code: int | None) -> str:
    """Return a phrase on how a process ended, by its exit code."""
    if code == -signal.SIGXCPU:
        return "its processor time was used up"
    return "it was ended" if code is None else f"signal {-code}" if code < 0 else f"exit code {code}"
