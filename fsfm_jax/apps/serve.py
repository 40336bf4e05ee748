"""A web page for detection and masking, on this machine.

    python -m fsfm_jax.apps.serve
    python -m fsfm_jax.apps.serve --checkpoint=runs/dfd
    python -m fsfm_jax.apps.serve --checkpoint=runs/dfd --pretrained=runs/vitb --port=7860
    FSFM_TOKEN=LONG_SECRET python -m fsfm_jax.apps.serve --checkpoint=runs/dfd --host=0.0.0.0
    python -m fsfm_jax.apps.serve --checkpoint=runs/dfd --host=0.0.0.0 --token_file=secret.txt

Without --checkpoint it shows the small detector and encoder that come with fsfm_jax, a demonstration. It listens on
loopback; any other address needs a token. See docs/serving.md.
"""

# ruff: noqa: E402

from fsfm_jax import command

if __name__ == "__main__":
    command.one_line_interrupts()  # the libraries take seconds to import

import asyncio
import dataclasses
import os
import signal
import socket
import sys
import threading
from collections.abc import MutableMapping
from typing import Any

import uvicorn
from absl import app, flags
from absl import logging as absl_logging

from fsfm_jax.apps.access import is_loopback
from fsfm_jax.apps.certainty import LEAST_FRAMES, limits_of
from fsfm_jax.apps.choice import MOST_FRAMES, Choice
from fsfm_jax.apps.detect_answer import compile_for_a_photo
from fsfm_jax.apps.mask_answer import masker_of
from fsfm_jax.apps.readers import Readers
from fsfm_jax.apps.reading import EVERY, FACES, LARGEST, Settings
from fsfm_jax.apps.verdict import check_threshold
from fsfm_jax.apps.web import SAMPLES, Site, make_app
from fsfm_jax.detection.detector import FOLDER
from fsfm_jax.detection.opener import Unsaid
from fsfm_jax.detection.predictor import open_predictor
from fsfm_jax.records import IMAGE_SIZE
from fsfm_jax.weights import bundled
from fsfm_jax.weights.export_file import find_export
from fsfm_jax.weights.run_reader import OpenedRun, open_reconstruction, reconstructs
from fsfm_jax.weights.runtime import RUNTIMES

SHORTEST_TOKEN = 16
TOKEN_VARIABLE = "FSFM_TOKEN"
PREVIEW = 1280  # pixels of the longer side of a photo that is shown
FRAME_FACES = 8  # of each frame of a video: a crowd in 32 frames would keep the page busy for minutes
MEGA = 1_000_000
SECONDS_TO_END = 5  # for files being read when the server is ended
SECONDS_TO_ANSWER = 15  # until requests are cut off; more than the above, so that they get the reason
CONNECTIONS = 64  # at a time, of whoever waits or looks


def define_flags() -> None:
    # Not when imported: flags are shared by the whole process.
    flags.DEFINE_string(
        "checkpoint", None, "A detector: workdir of a fine-tuning run, official or serialized file; by default the "
        "small demonstration detector of this package.",
    )  # fmt: skip
    flags.DEFINE_string(
        "pretrained", "", "Workdir of a pretraining run, or an export of one with its pixel decoder, to reconstruct "
        "with; by default that of this package, if its detector is shown.",
    )  # fmt: skip
    flags.DEFINE_string(
        "require_signature", None, "PEM file of a public key: refuse a --checkpoint or --pretrained that this key has "
        "not signed.",
    )  # fmt: skip
    flags.DEFINE_string("host", "127.0.0.1", "Address to listen on; any but loopback needs --token.")
    flags.DEFINE_integer("port", 7860, "To listen on; 0: any that is free.", lower_bound=0, upper_bound=65535)
    flags.DEFINE_string(
        "token", "", f"Secret of at least {SHORTEST_TOKEN} characters that every request needs. Others on this machine "
        f"see it in the list of processes: prefer --token_file, or the environment variable {TOKEN_VARIABLE}.",
    )  # fmt: skip
    flags.DEFINE_string("token_file", "", "File whose only line is the secret.")
    flags.DEFINE_integer("limit_mb", 200, "Megabytes of an upload.", lower_bound=1)
    flags.DEFINE_integer("places", 4, "Requests that are answered at a time.", lower_bound=1)
    flags.DEFINE_float("seconds", 60.0, "Time limit for one file, in seconds.", lower_bound=1.0)
    flags.DEFINE_integer(
        "frames", 32, "Frames sampled per video, evenly spaced, unless a visitor chooses otherwise.", lower_bound=1,
        upper_bound=MOST_FRAMES,
    )  # fmt: skip
    flags.DEFINE_enum(
        "faces", EVERY, FACES, f"Which faces of a picture, unless a visitor chooses otherwise; of a video's frame "
        f"{FRAME_FACES} at most.",
    )  # fmt: skip
    flags.DEFINE_string("detector", "dlib+blazeface", "Face detector, as in prediction.")
    flags.DEFINE_integer("detector_size", None, "Longer side at which pictures are searched, as in prediction.")
    flags.DEFINE_float("least_frames", LEAST_FRAMES, "Share of frames with a face for a verdict.", 0.0, 1.0)
    flags.DEFINE_float("least_confidence", None, "Score of the face detector for a verdict, as in prediction.")
    flags.DEFINE_string(
        "threshold", "false_alarm", "false_alarm or equal_error, both as kept, or a number, 0 to 1; unless a visitor "
        "chooses otherwise.",
    )  # fmt: skip
    flags.DEFINE_string("dtype", "", "Type of the matrix products; by default that of the detector.")
    flags.DEFINE_enum("runtime", "", ["", *RUNTIMES], "What runs the detector's network, as in prediction.")
    flags.DEFINE_string("classes", "", "Classes of an official file by index, such as fake,real.")
    flags.DEFINE_string("statistics", "", "Channel statistics of an official file without a file of them.")
    flags.DEFINE_string("norm_over", "", "What an official anti-spoofing file normalises: tokens or features.")


def check_address(host: str, token: str) -> None:
    """Refuse to be reached from elsewhere without a secret; ValueError."""
    if not is_loopback(host) and not token:
        raise ValueError(
            f"--host={host}: others could use this page; give a secret of at least {SHORTEST_TOKEN} characters as "
            f"--token_file=FILE, or in the environment variable {TOKEN_VARIABLE}"
        )
    if token and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.replace("-", "a").isalnum()):
        raise ValueError(f"token: expected at least {SHORTEST_TOKEN} letters, digits and dashes")


def token_of(token: str, file: str, environment: MutableMapping[str, str]) -> str:
    """Read the secret from a flag, a file or the environment, and remove it there; "" if there is none.

    Raises:
      ValueError: several of them, or a file that is no single line.
      OSError: the file cannot be read.
    """
    kept = environment.pop(TOKEN_VARIABLE, "")  # not for the processes that decode untrusted files
    given = {"--token": token, "--token_file": file, TOKEN_VARIABLE: kept}
    named = [name for name, value in given.items() if value]
    if len(named) > 1:
        raise ValueError(f"{', '.join(named)}: expected one of them")
    if token:
        command.say(
            "warning: others on this machine see --token in the list of processes; use --token_file=FILE or the "
            f"environment variable {TOKEN_VARIABLE}", sys.stderr
        )  # fmt: skip
    if not file:
        return token or kept
    if not os.path.isfile(file):
        raise ValueError(f"--token_file={file}: expected a file with the secret; there is none")
    with open(file, encoding="utf-8", errors="replace") as opened:
        lines = opened.read(4096).splitlines()
    if len(lines) != 1 or not lines[0].strip():
        raise ValueError(f"--token_file={file}: expected one line, the secret; found {len(lines)}")
    if os.stat(file).st_mode & 0o077:
        command.say(f"warning: others may read {file}; `chmod 600` makes it yours alone", sys.stderr)
    return lines[0].strip()


def open_site(chosen: Any) -> Site:
    """Open checkpoints and starts the processes that read files; `chosen` has the flags as attributes.

    Raises:
      ValueError: what the openers refuse, or neither a detector nor a pretraining run.
      FileNotFoundError: a checkpoint that is not there.
    """
    check_threshold(chosen.threshold)
    command.check_seconds(chosen.seconds)
    limits = limits_of(chosen.detector, chosen.least_frames, chosen.least_confidence)
    checkpoint, pretrained = _choose(chosen.checkpoint, chosen.pretrained)
    run: OpenedRun | None = None if pretrained == "" else open_reconstruction(pretrained, chosen.require_signature)
    masker = masker_of(run, _name(pretrained))
    predictor = readers = None
    if checkpoint != "":
        unsaid = Unsaid(chosen.classes, chosen.statistics, chosen.norm_over)
        predictor = open_predictor(
            checkpoint, unsaid, chosen.dtype, runtime=chosen.runtime, signed_by=chosen.require_signature
        )
        predictor.name = _name(checkpoint)  # visitors read it, and where it lies is not for them
        compile_for_a_photo(predictor)
        settings = Settings(
            predictor.image_size, predictor.transform, chosen.detector, chosen.faces, chosen.frames,
            detector_size=chosen.detector_size, frame_faces=FRAME_FACES, preview=PREVIEW,
        )  # fmt: skip
        readers = Readers(settings, chosen.places, chosen.seconds)
    parsing = Settings(
        IMAGE_SIZE, "resize", chosen.detector, LARGEST, 1, parser="embedded", detector_size=chosen.detector_size,
        preview=PREVIEW,
    )  # fmt: skip
    usual = Choice(chosen.faces, chosen.frames, chosen.threshold)
    return Site(
        predictor, usual, limits, readers, masker, Readers(parsing, chosen.places, chosen.seconds),
        chosen.limit_mb * MEGA, chosen.places, "", _samples(),
    )  # fmt: skip


def listening(host: str, port: int) -> socket.socket:
    """Return a listening socket; ValueError if none can be opened."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise ValueError(f"--host={host} --port={port}: {error.strerror}; another --port may be free") from error
    # Inherited by connections. Head and body of an answer are two writes; without it the second waits for the browser
    # to acknowledge the first, which takes it 40 ms. asyncio sets it for sockets whose protocol is named, ours is 0.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def make_server(site: Site) -> uvicorn.Server:
    """Make a server of `site` without starting it. It logs no addresses or names, and ignores headers of proxies."""
    config = uvicorn.Config(
        make_app(site), log_level="warning", access_log=False, server_header=False, lifespan="off", ws="none",
        timeout_graceful_shutdown=SECONDS_TO_ANSWER, limit_concurrency=CONNECTIONS, proxy_headers=False,
    )  # fmt: skip
    return uvicorn.Server(config)


def run_until(stop: threading.Event, site: Site, server: uvicorn.Server, listener: socket.socket) -> None:
    """Serve until `stop`; then give requests some seconds to end, and give up files that are being read."""

    def serve() -> None:
        try:
            asyncio.run(server.serve([listener]))
        finally:
            stop.set()

    # In a thread, so that signals are ours: uvicorn would raise them again and leave uploads and workers behind.
    thread = threading.Thread(target=serve, name="server")
    thread.start()
    stop.wait()
    server.should_exit = True
    thread.join(SECONDS_TO_END)
    for readers in (site.detect_readers, site.mask_readers):
        if readers is not None:
            readers.close()
    thread.join()


def _samples() -> tuple[str, ...]:
    """Name of the bundled photos and of the clip."""
    return tuple(sorted(path.name for path in SAMPLES.iterdir() if path.suffix in (".jpg", ".mp4")))


def _choose(checkpoint: str | None, pretrained: str) -> tuple[str | None, str | None]:
    """Choose detector and reconstructor: a path or `small`, None for those of the package, "" for nothing."""
    if checkpoint is None and not bundled.is_built_in():
        if not pretrained:
            command.say(f"No --checkpoint is given, and {bundled.NONE_BUILT_IN}: the page draws masks alone.")
        return "", pretrained
    if bundled.is_named(checkpoint):
        if checkpoint is None:
            command.say(bundled.USED)
        return checkpoint, pretrained or (checkpoint if reconstructs(checkpoint) else "")
    if checkpoint and not pretrained and _is_pretraining(checkpoint):
        return "", checkpoint
    return checkpoint, pretrained


def _name(path: str | None) -> str:
    """Return the last part of a path, or the name of the package's weights."""
    return bundled.NAME if path is None else os.path.basename(os.path.normpath(path)) if path else ""


def _is_pretraining(checkpoint: str) -> bool:
    if not os.path.isdir(checkpoint) or os.path.isdir(os.path.join(checkpoint, FOLDER)):
        return False
    export = find_export(checkpoint)
    return export is None or not export.is_detector


def _address(host: str, port: int, token: str) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/" + (f"?token={token}" if token else "")


def main(arguments: list[str]) -> None:
    """Run the server until Ctrl-C or SIGTERM."""
    chosen: Any = flags.FLAGS
    if len(arguments) > 1:
        raise app.UsageError("expected options alone, as --name=value")
    absl_logging.set_verbosity(absl_logging.ERROR)  # Orbax narrates
    signal.signal(signal.SIGTERM, command.terminate)
    command.run(lambda: _serve(chosen))


def _serve(chosen: Any) -> int:
    token = token_of(chosen.token, chosen.token_file, os.environ)
    stop = threading.Event()
    check_address(chosen.host, token)
    listener = listening(chosen.host, chosen.port)
    site = dataclasses.replace(open_site(chosen), token=token)
    server = make_server(site)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    command.say(f"Open {_address(chosen.host, listener.getsockname()[1], token)} in a browser; Ctrl-C ends.")
    run_until(stop, site, server, listener)
    return 0


if __name__ == "__main__":
    command.start(sys.modules[__name__], sys.argv[1:])
