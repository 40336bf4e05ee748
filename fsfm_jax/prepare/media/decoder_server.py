"""The server process, which forks a process for each file to decode; started by `apart.Apart`.

It imports the decoders once and decodes nothing itself but a grey picture of its own. For each file it forks a copy,
which serves that file and then exits. So a copy starts within milliseconds and holds no data of another file. The cost
of a fork grows with the loaded code: a server for plain photos (`PLAIN`) loads only their decoders. Everything must be
loaded here: the copy opens its file, closes the sandbox around itself, and can open nothing more (`sandbox`).

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
import traceback
from collections.abc import Callable

import numpy as np
from PIL import Image

from fsfm_jax.prepare.media import sandbox
from fsfm_jax.prepare.media.raw_file import open_regular
from fsfm_jax.prepare.media.unusable import Unusable

PHOTO, VIDEO = "photo", "video"
PLAIN, ALL = "plain", "all"
MEDIA = "fsfm_jax.prepare.media"
# Loaded before any file is decoded; PyAV and Python import the last ones for files that have what they read.
TEXTS = ("encodings.ascii", "encodings.latin_1", "encodings.unicode_escape", "encodings.utf_16", "encodings.utf_16_be",
         "encodings.utf_16_le", "encodings.utf_32", "encodings.cp1252")  # fmt: skip
PLAIN_ONES = (f"{MEDIA}.photo_file", *TEXTS)
LOADED = {
    PLAIN: PLAIN_ONES,
    ALL: (*PLAIN_ONES, f"{MEDIA}.heif_file", f"{MEDIA}.video", "av.subtitles.stream", "av.subtitles.subtitle"),
}
READY = b"ready\n"
LENGTH = struct.Struct("<I")
BUFFER = 1 << 20  # bytes
MAX_REQUEST = 1 << 16
SECONDS = {PHOTO: 600, VIDEO: 6 * 3600}  # of processor time; a caller that waits gives up earlier
DEATH_OF_PARENT = 1  # PR_SET_PDEATHSIG of Linux


def main() -> None:
    end_with(os.getppid())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the caller
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name in LOADED[sys.argv[1]]:
        importlib.import_module(name)
    _warm_up()
    gc.collect()
    gc.freeze()  # a collection in a copy would touch, and so copy, all of the memory
    requests = socket.socket(fileno=0)
    with contextlib.suppress(ConnectionError):  # the caller has ended
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
    """Run the lazy initialisation of the decoders once, so that no copy has to do it inside its sandbox."""
    from fsfm_jax.data.photo import encode_jpeg
    from fsfm_jax.prepare.media.photo_file import read_photo

    Image.init()  # Pillow imports its readers when they are needed
    traceback.format_stack()  # and Python what reads source files for a traceback
    with open(os.memfd_create("grey"), "r+b", buffering=0) as file:
        file.write(encode_jpeg(np.full((16, 16, 3), 128, np.uint8), 90))
        read_photo(file.fileno())


def end_with(parent: int) -> None:
    """Ask the system to kill this process when its parent ends (Linux only)."""
    libc = _libc()
    if hasattr(libc, "prctl"):
        libc.prctl(DEATH_OF_PARENT, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _live(server: int, kind: str, path: str, end: int, requests: socket.socket) -> None:
    """Run a copy; never return."""
    code = 1
    try:
        end_with(server)
        requests.close()
        gc.disable()
        with socket.socket(fileno=end) as link, link.makefile("rb") as lines, link.makefile("wb", BUFFER) as answers:
            _guard(answers, lambda: _serve(kind, path, lines, answers))
        code = 0
    except BrokenPipeError:
        code = 0  # nobody waits for the answer any more
    finally:
        os._exit(code)


def _serve(kind: str, path: str, lines: io.BufferedIOBase, answers: io.BufferedIOBase) -> None:
    from fsfm_jax.prepare.media.photo_file import read_photo

    file = open_regular(path)
    sandbox.close(SECONDS[kind])
    if kind == VIDEO:
        _serve_video(file, lines, answers)
        return
    found = read_photo(file)
    _write(answers, {"content": [found.notes]}, found.image)


def _serve_video(file: int, lines: io.BufferedIOBase, answers: io.BufferedIOBase) -> None:
    from fsfm_jax.prepare.media.video import open_video

    with open_video(file) as found:

        def frame(index: int | None) -> None:
            image = None if index is None else found.read(index)
            _write(answers, {"content": [found.count, found.rate, found.notes]}, image)

        frame(None)
        for line in lines:
            _guard(answers, lambda index=int(line): frame(index))


def _guard(answers: io.BufferedIOBase, work: Callable[[], None]) -> None:
    try:
        work()
    except Unusable as error:
        _write(answers, {"unusable": [error.reason, str(error)]}, None)
    except BrokenPipeError:
        raise
    except PermissionError as error:
        words = f"the decoder tried what its sandbox does not allow ({error.strerror})"
        _write(answers, {"unusable": ["forbidden", words]}, None)
    except MemoryError:
        _write(answers, {"unusable": ["too_large", "it does not fit into the memory of its process"]}, None)
    except Exception:  # a bug is reported where it can end the run
        _write(answers, {"fault": traceback.format_exc()}, None)


def _write(answers: io.BufferedIOBase, content: dict, image: np.ndarray | None) -> None:
    header = json.dumps(content | {"shape": None if image is None else image.shape[:2]}).encode()
    answers.write(LENGTH.pack(len(header)) + header)
    if image is not None:
        answers.write(np.ascontiguousarray(image))
    answers.flush()


if __name__ == "__main__":
    main()
