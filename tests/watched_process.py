"""A process that imports everything, pretrains for two steps and looks at a photo, and tells what it did besides.

    python tests/watched_process.py FOLDER

It writes FOLDER/done.json: events of Python's audit hooks that a quiet program has no use for, the sockets that are
open at the end, the modules that could not be imported, and the lines that were logged. For `test_privacy.py`.
"""

# ruff: noqa: E402

import json
import sys

EVENTS = (
    "socket.", "urllib.", "http.client.", "ftplib.", "smtplib.", "imaplib.", "poplib.", "webbrowser.",
    "pickle.find_class", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "pty.",
)  # fmt: skip
UNIX = 1  # socket.AF_UNIX; nothing is imported before the watch begins
found = []


def _watch(event: str, arguments: tuple) -> None:
    # Loops of asyncio wake themselves through a pair of sockets without an address.
    pair = event == "socket.__new__" and arguments[1] == UNIX
    if event.startswith(EVENTS) and not pair:
        found.append([stage, event, str(arguments)[:200]])


stage = "imports"
sys.addaudithook(_watch)  # before anything else is imported

import importlib
import logging
import os
import pkgutil
from pathlib import Path


def imported() -> list[str]:
    """Imports every module; returns those that need a package which is not there."""
    import fsfm_jax

    missing = []
    for module in pkgutil.walk_packages(fsfm_jax.__path__, "fsfm_jax."):
        if module.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            missing.append(f"{module.name}: {error.name}")
    return missing


def pretrained(folder: str) -> None:
    """Two steps of a tiny network on the bundled faces."""
    from test_end_to_end import tiny_config

    from fsfm_jax.jobs import pretrain

    pretrain.run(tiny_config(duration="2 steps", optimizer__warmup="1 steps"), folder, "")


def looked_at(folder: str) -> str:
    """What a drawn detector says of a bundled photo, read in this process."""
    import numpy as np
    import serialized
    from videos import CLIP

    from fsfm_jax.apps.reading import FaceReader, Settings
    from fsfm_jax.apps.verdict import choose_rule, decide
    from fsfm_jax.detection.opener import Unsaid
    from fsfm_jax.detection.predictor import open_predictor

    opened = open_predictor(serialized.run(Path(folder)), Unsaid(), batch=4)
    reader = FaceReader(Settings(opened.image_size, opened.transform, "blazeface"))
    reading = reader.read(str(CLIP.parent / "pd_nasa_astronaut.jpg"))
    rows = opened.log_probabilities(np.stack([crop.pixels for crop in reading.crops]))
    return decide(opened, choose_rule(opened, "equal_error"), reading, rows).verdict


def sockets() -> list[str]:
    """The sockets that are open, also those of C++, which no audit hook sees."""
    links = []
    for name in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:  # that of the listing itself
            continue
    return [link for link in links if link.startswith("socket:")]


def main() -> None:
    global stage
    from absl import flags

    flags.FLAGS.mark_as_parsed()  # grain reads a flag
    folder, logged = sys.argv[1], []

    class Kept(logging.Handler):
        def emit(self, record):
            logged.append(record.getMessage())

    missing = imported()
    logging.getLogger("fsfm_jax").addHandler(Kept())
    logging.getLogger("fsfm_jax").setLevel(logging.DEBUG)
    stage = "pretraining"
    pretrained(os.path.join(folder, "pretraining"))
    stage = "prediction"
    verdict = looked_at(os.path.join(folder, "detector"))
    content = {"verdict": verdict, "events": found, "sockets": sockets(), "missing": missing, "logged": logged}
    Path(folder, "done.json").write_text(json.dumps(content))


if __name__ == "__main__":
    main()
