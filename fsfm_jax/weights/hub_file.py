"""Weight files of the Hugging Face Hub, fetched when a command names one and never otherwise.

An address is `hf://OWNER/REPOSITORY/FILE@REVISION`. Whoever can change a repository can change what a name means, so
the revision is not optional and the bytes have to have a SHA-256 that was known before. No token is sent, and no host
is asked but the Hub and the stores it keeps its files in.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from fsfm_jax.text import plain
from fsfm_jax.weights.official_file import SUFFIXES, kind_of

SCHEME = "hf://"
FORM = f"{SCHEME}OWNER/REPOSITORY/FILE@REVISION"
INSTALL = "pip install 'fsfm-jax[hub]'"
WORD = re.compile(r"[A-Za-z0-9_.+-]+")
DIGEST = re.compile(r"[0-9a-f]{64}")
# The Hub's own host, and where it redirects to for large files.
HUB, STORES = "huggingface.co", (".huggingface.co", ".hf.co")
RELEASED = "Wolowolo/fsfm-3c"
# First digits of the SHA-256 of released files, by repository, folder and name, as third parties report them. All 64
# digits are a digest to compare with; fewer can refuse a file but not vouch for one.
KNOWN = {(RELEASED, "FS-VFM_ViT-L_VF2_600e/checkpoint-599.pth"): "3fd99324"}


class Address(NamedTuple):
    """A file of a repository at a revision: a commit, which never moves, or the name of a branch or tag."""

    repository: str
    file: str
    revision: str

    @property
    def folder_and_name(self) -> str:
        """The last two parts of the file, the last if there is one only."""
        return "/".join(self.file.split("/")[-2:])

    def __str__(self) -> str:
        return f"{SCHEME}{self.repository}/{self.file}@{self.revision}"


def parse_address(text: str) -> Address:
    """The parts of an address.

    Raises:
      ValueError: another form, no revision, or a file that is no weight file.
    """
    place, at, revision = text.removeprefix(SCHEME).rpartition("@")
    shown = plain(text)
    if not at:
        raise ValueError(f"{shown}: expected {FORM}, found no @REVISION; name a commit, since a branch can move")
    parts = place.split("/")
    words = all(WORD.fullmatch(part) and part.strip(".") for part in (*parts, *revision.split("/")))
    if not text.startswith(SCHEME) or len(parts) < 3 or not words:
        raise ValueError(f"{shown}: expected {FORM}, of letters, digits and . _ + -")
    if kind_of(place) is None:
        raise ValueError(f"{shown}: expected a weight file, a name that ends in {', '.join(SUFFIXES)}")
    return Address("/".join(parts[:2]), "/".join(parts[2:]), revision)


def fetch_all(paths: Sequence[str], digests: str) -> tuple[list[str], list[str]]:
    """The files of addresses among `paths` on this machine, other paths as they are, and a line about each that counts.

    Args:
      digests: the SHA-256 of each path in their order, with commas; "" for none. Those of local files are also checked.

    Raises:
      ModuleNotFoundError: huggingface_hub is not installed.
      ValueError: a malformed address or digest, or a file with other bytes. OSError: a file that cannot be fetched.
    """
    expected = [text.strip().lower() for text in digests.split(",")] if digests else [""] * len(paths)
    if len(expected) != len(paths) or not all(DIGEST.fullmatch(text) or not text for text in expected):
        raise ValueError(
            f"--sha256: expected 64 hexadecimal digits for each of {len(paths)} files, with commas; found {digests!r}"
        )
    # Every address is checked before anything is fetched.
    addresses = [parse_address(path) if path.startswith(SCHEME) else None for path in paths]
    found, lines = [], []
    for path, address, want in zip(paths, addresses, expected, strict=True):
        local = path if address is None else fetch(address)
        if address is not None or want:
            known = "" if address is None else KNOWN.get((address.repository, address.folder_and_name), "")
            lines.append(check_digest(local, path, want, known, address is not None))
        found.append(local)
    return found, lines


def check_digest(local: str, name: str, expected: str, known: str, required: bool) -> str:
    """Compares the bytes of a file with a digest, and returns a line with what they are.

    Args:
      name: of the file, in messages.
      expected: what the user says, 64 digits or ""; known: the first digits, or all, as reported before, or "".
      required: whether a file that no digest vouches for is refused.

    Raises:
      ValueError: other bytes, or no digest to compare with; the message has the digest that was found.
    """
    with open(local, "rb") as file:
        size, digest = os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest()
    about = f"{name}: {size:,} bytes, SHA-256 {digest}"
    if not digest.startswith(known):
        raise ValueError(f"{about}: expected {known}..., as reported for the released file; do not use {local}")
    vouched = expected or (known if DIGEST.fullmatch(known) else "")
    if vouched and digest != vouched:
        raise ValueError(f"{about}: expected {vouched}; it is another file or a damaged copy, do not use {local}")
    if required and not vouched:
        some = f"only the first {len(known)} digits are known here, and they agree" if known else "none is known here"
        raise ValueError(
            f"{about}: no digest to compare it with ({some}). If whoever released the file gives this one, run the "
            f"same command with --sha256={digest}; nothing is fetched again"
        )
    return about


def fetch(address: Address) -> str:
    """The path of a file of the Hub on this machine; it is kept in the cache of huggingface_hub.

    Raises:
      ModuleNotFoundError: huggingface_hub is not installed.
      ValueError: the Hub sends to a host that is not its own. OSError: there is no such file, or no connection.
    """
    # Read when huggingface_hub is imported: its other protocol asks hosts that are not seen here.
    os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import huggingface_hub
        from huggingface_hub import constants
        from huggingface_hub.errors import HTTPError
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{address}: {error}; {INSTALL}, or download the file and name it") from error
    home = constants.ENDPOINT
    try:
        with _staying_at(home, huggingface_hub.get_session()):
            return huggingface_hub.hf_hub_download(
                address.repository, address.file, revision=address.revision, token=False, endpoint=home
            )
    except (HTTPError, OSError) as error:
        said = plain(str(error).strip().split("\n")[0][:300])
        raise OSError(f"{address}: cannot be fetched from {home}: {said or type(error).__name__}") from error


@contextlib.contextmanager
def _staying_at(home: str, client: Any) -> Iterator[None]:
    """Refuses every request of a client to other hosts than `home` and, of the Hub, its stores."""

    def check(request: Any) -> None:
        asked = urlsplit(str(request.url))
        wanted = urlsplit(home)
        own = asked.netloc == wanted.netloc
        store = wanted.netloc == HUB and (asked.hostname or "").endswith(STORES)
        if asked.scheme != wanted.scheme or not (own or store):
            raise ValueError(
                f"{home} sends to {asked.scheme}://{asked.netloc} for the file, which is not a host of its own; if you "
                "trust that host, download the file in another way and name it"
            )

    client.event_hooks["request"].append(check)
    try:
        yield
    finally:
        client.event_hooks["request"].remove(check)
