"""The weights that come with the package: a small encoder and a small detector, both under the name `small`.

They are safetensors exports, each with its JSON, and `python -m supply.small` makes them. The digests below belong to
the files of this version, so a changed or damaged file is refused by name.
"""

import hashlib
import os
from pathlib import Path

NAME = "small"
FOLDER = Path(__file__).with_name("small")
ENCODER, DETECTOR = "encoder.safetensors", "detector.safetensors"
MAX_BYTES = 10_000_000  # of all files together
USED = "No --checkpoint is given: this is the small demonstration detector that comes with fsfm_jax."
NONE_BUILT_IN = "this build of fsfm_jax has no weights of its own"
AGAIN = "Install fsfm_jax again"
# File -> SHA-256, written by `python -m supply.small`; empty where no weights were built in.
DIGESTS: dict[str, str] = {
    "detector.safetensors": "3c67c4b07e6feb40d4790aa3baf2eff972fa141a230556889c5c4b52b658d7b3",
    "detector.safetensors.json": "6c3b983c6990957f765b9c5172ef11d4fedbd6cf05cb819486f2c0e4836ff7d2",
    "encoder.safetensors": "65d0c9694e694b081e6ad93a453054f3bf7c33cd42bb6d8eadc3b661d4a001e2",
    "encoder.safetensors.json": "ed92ffa4b062c25689edbc6e24931389d0ad74f5a1d1dcad4096cdfdf7121c29",
}


def is_built_in() -> bool:
    """Return whether this build contains weights."""
    return bool(DIGESTS)


def find_weights(part: str) -> str:
    """Return the path of `ENCODER` or `DETECTOR`, after the file and its JSON have been compared with the digests.

    Raises:
      FileNotFoundError: this build has no weights of its own, or a file of them is missing.
      ValueError: a file is not the one that belongs to this version.
    """
    if not is_built_in():
        raise FileNotFoundError(
            f"{NAME}: {NONE_BUILT_IN}; name the working directory of a run, an export or a weight file instead"
        )
    for name in (part, f"{part}.json"):
        path = FOLDER / name
        if not path.is_file():
            raise FileNotFoundError(f"{NAME}: {path} is missing. {AGAIN}")
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != DIGESTS[name]:
            raise ValueError(
                f"{NAME}: {path}: expected the SHA-256 {DIGESTS[name]} of the file that belongs to this version; found "
                f"{found}. {AGAIN}"
            )
    return str(FOLDER / part)


def is_named(checkpoint: str | None) -> bool:
    """Return whether the checkpoint is one of the package: None, or its name `small`."""
    return checkpoint is None or checkpoint == NAME


def as_text(checkpoint: str | os.PathLike | None) -> str | None:
    """Return a checkpoint as openers take it; a path object is a place, never the name `small`."""
    if checkpoint is None or isinstance(checkpoint, str):
        return checkpoint
    path = os.fspath(checkpoint)
    return os.path.join(os.curdir, path) if path == NAME else path


def resolve_name(checkpoint: str | None, part: str) -> str:
    """Return `checkpoint`, or the path of `part` if it is None or the name `small`.

    Nothing is read for any other checkpoint. A file or folder called `small` makes the name ambiguous: neither a run of
    the user nor the weights of the package may be taken for the other without a word.

    Raises:
      FileNotFoundError, ValueError: as `find_weights`.
      ValueError: there is something called `small` in the current folder, and the name was given.
    """
    if checkpoint is None:
        return find_weights(part)
    if checkpoint != NAME:
        return checkpoint
    if os.path.lexists(NAME):
        raise ValueError(
            f"{NAME}: it is the name of the weights that come with fsfm_jax, and there is {os.path.abspath(NAME)}. "
            f"Write ./{NAME} for what is there; for the weights of fsfm_jax name no checkpoint, or rename what is there"
        )
    return find_weights(part)
