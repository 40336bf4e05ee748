"""Addresses of weights on the Hugging Face Hub: `hf://OWNER/REPOSITORY[/FILE]@REVISION[#sha256=DIGEST]`.

Without `/FILE` the repository is an export of fsfm_jax. Its `fsfm_jax.json` names every other file with its SHA-256,
and the digest is that of this JSON. With `/FILE` the address is one weight file, and the digest is that of the file.
"""

import re
from typing import NamedTuple

from fsfm_jax.text import plain
from fsfm_jax.weights.official_file import SUFFIXES, kind_of

SCHEME = "hf://"
FORM = f"{SCHEME}OWNER/REPOSITORY[/FILE]@REVISION[#sha256=DIGEST]"
WORD = re.compile(r"[A-Za-z0-9_.+-]+")
DIGEST = re.compile(r"[0-9a-f]{64}")
COMMIT = re.compile(r"[0-9a-f]{40}")
_PIN = "#sha256="


class Address(NamedTuple):
    """A file or an export of a repository at a revision: a commit, which never moves, or the name of a branch or tag.

    `file` is "" for an export, `sha256` is "" if the address does not say it.
    """

    repository: str
    file: str
    revision: str
    sha256: str = ""

    @property
    def folder_and_name(self) -> str:
        """Return the last two parts of the file name, or the only one."""
        return "/".join(self.file.split("/")[-2:])

    @property
    def unpinned(self) -> str:
        """Return the address without its digest."""
        return f"{SCHEME}{self.repository}{'/' if self.file else ''}{self.file}@{self.revision}"

    def __str__(self) -> str:
        return self.pinned(self.sha256) if self.sha256 else self.unpinned

    def pinned(self, digest: str) -> str:
        """Return the address with a digest, as users should write it."""
        return f"{self.unpinned}{_PIN}{digest}"


def is_word(text: str) -> bool:
    """Return whether a text can be a part of a path: letters, digits and . _ + -, and not dots alone."""
    return bool(WORD.fullmatch(text) and text.strip("."))


def parse_address(text: str) -> Address:
    """Read an address.

    Raises:
      ValueError: the form is wrong, the revision is missing, the digest is malformed, or the file is no weight file.
    """
    shown = plain(text)
    place, pin, digest = text.partition("#")
    place, at, revision = place.removeprefix(SCHEME).rpartition("@")
    if not at:
        raise ValueError(f"{shown}: expected {FORM}, found no @REVISION; name a commit, since a branch can move")
    parts = place.split("/")
    words = all(map(is_word, (*parts, *revision.split("/"))))
    if not text.startswith(SCHEME) or len(parts) < 2 or not words:
        raise ValueError(f"{shown}: expected {FORM}, of letters, digits and . _ + -")
    digest = digest.removeprefix(_PIN[1:]).lower() if digest.startswith(_PIN[1:]) else ""
    if pin and not DIGEST.fullmatch(digest):
        raise ValueError(f"{shown}: expected 64 hexadecimal digits behind {_PIN}; copy all of them")
    if len(parts) > 2 and kind_of(place) is None:
        raise ValueError(
            f"{shown}: expected a weight file, a name that ends in {', '.join(SUFFIXES)}; or no file, if the "
            "repository is an export of fsfm_jax"
        )
    return Address("/".join(parts[:2]), "/".join(parts[2:]), revision, digest)


def parse_repository(text: str) -> str:
    """Check the name of a repository; ValueError if it is not OWNER/NAME."""
    parts = text.removeprefix(SCHEME).split("/")
    if len(parts) != 2 or not all(map(is_word, parts)):
        raise ValueError(f"{plain(text)}: expected OWNER/NAME of a repository, of letters, digits and . _ + -")
    return "/".join(parts)
