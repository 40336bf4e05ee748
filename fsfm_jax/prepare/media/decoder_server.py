"""The process that makes a process for each file to decode; started by `apart.Apart`.

It imports the decoders once and decodes nothing itself but a grey picture of its own. For each file it forks a copy,
which serves that file and ends with it, so a copy starts within milliseconds and holds nothing of another file. What a
fork costs grows with what is loaded: a server for plain photos (`PLAIN`) loads their decoders alone.

Its standard input is a socket. A request is [kind, path] in JSON, with the end of another socket, on which the copy
answers; when the copy has ended, its exit code comes back as a line. The copy sends a first answer unasked: a photo, or
what is known of a video; then one for each line that it gets, the number of a frame. An answer is a header in JSON with
its length before it, and the pixels of a picture.
"""

import contextlib
import ctypes
import functools
import gc
import importlib
import io
import json
import os
import resource
import signal
import socket
import struct
import sys
import tempfile
import traceback
from collections.abc import Callable

import numpy as np

from fsfm_jax.prepare.media.unusable import Unusable

PHOTO, VIDEO = "photo", "video"
PLAIN, ALL = "plain", "all"
LOADED = {PLAIN: ("photo_file",), ALL: ("photo_file", "heif_file", "video")}  # before any file is decoded
READY = b"ready\n"
LENGTH = struct.Struct("<I")
BUFFER = 1 << 20  # bytes
MAX_REQUEST = 1 << 16
DEATH_OF_PARENT = 1  # PR_SET_PDEATHSIG of Linux


def main() -> None:
    end_with(os.getppid())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever asks
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name in LOADED[sys.argv[1]]:
        importlib.import_module(f"fsfm_jax.prepare.media.{name}")
    _warm_up()
    gc.collect()
    gc.freeze()  # a collection in a copy would touch, and so copy, all of the memory
    requests = socket.socket(fileno=0)
    with contextlib.suppress(ConnectionError):  # whoever asks has ended
        requests.sendall(READY)
        while True:
            request, ends, _, _ = socket.recv_fds(requests, MAX_REQUEST, 1)
            if not request:
                return
            kind, path = json.loads(request)
            server = os.getpid()
            copy = os.fork()
            if copy == 0:
                _live(server, kind, path, ends[0], requests)
            os.close(ends[0])
            _, status = os.waitpid(copy, 0)
            requests.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def _warm_up() -> None:
    """Does once what the first photo makes the decoders do, so that no copy has to."""
    from fsfm_jax.data.photo import encode_jpeg
    from fsfm_jax.prepare.media.photo_file import read_photo

    # Without a place for a file, as in a read-only container, each copy does it.
    with contextlib.suppress(OSError), tempfile.NamedTemporaryFile() as file:
        file.write(encode_jpeg(np.full((16, 16, 3), 128, np.uint8), 90))
        file.flush()
        read_photo(file.name)


def end_with(parent: int) -> None:
    """Lets this process be killed when its parent ends, where the system can (Linux)."""
    libc = _libc()
    if hasattr(libc, "prctl"):
        libc.prctl(DEATH_OF_PARENT, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _live(server: int, kind: str, path: str, end: int, requests: socket.socket) -> None:
    """All that a copy does; does not return."""
    code = 1
    try:
        end_with(server)
        requests.close()
        gc.disable()
        with socket.socket(fileno=end) as link, link.makefile("rb") as lines, link.makefile("wb", BUFFER) as answers:
            (_serve_photo if kind == PHOTO else _serve_video)(path, lines, answers)
        code = 0
    except BrokenPipeError:
        code = 0  # nobody waits for the answer any more
    finally:
        os._exit(code)


def _serve_photo(path: str, lines: io.BufferedIOBase, answers: io.BufferedIOBase) -> None:
    from fsfm_jax.prepare.media.photo_file import read_photo

    def photo() -> None:
        found = read_photo(path)
        _write(answers, {"content": [found.notes]}, found.image)

    _guard(answers, photo)


def _serve_video(path: str, lines: io.BufferedIOBase, answers: io.BufferedIOBase) -> None:
    from fsfm_jax.prepare.media.video import open_video

    def video() -> None:
        with open_video(path) as found:

            def frame(index: int | None) -> None:
                image = None if index is None else found.read(index)
                _write(answers, {"content": [found.count, found.rate, found.notes]}, image)

            frame(None)
            for line in lines:
                _guard(answers, lambda index=int(line): frame(index))

    _guard(answers, video)


def _guard(answers: io.BufferedIOBase, work: Callable[[], None]) -> None:
    try:
        work()
    except Unusable as error:
        _write(answers, {"unusable": [error.reason, str(error)]}, None)
    except BrokenPipeError:
        raise
    except MemoryError:
        _write(answers, {"unusable": ["too_large", "it does not fit into the memory of its process"]}, None)
    except Exception:  # a fault of the program is told where it can end the run
        _write(answers, {"fault": traceback.format_exc()}, None)


def _write(answers: io.BufferedIOBase, content: dict, image: np.ndarray | None) -> None:
    header = json.dumps(content | {"shape": None if image is None else image.shape[:2]}).encode()
    answers.write(LENGTH.pack(len(header)) + header)
    if image is not None:
        answers.write(np.ascontiguousarray(image))
    answers.flush()


if __name__ == "__main__":
    main()
