"""Weights of the Hugging Face Hub, fetched when a checkpoint is an address `hf://...` and never otherwise.

An owner of a repository can change the files behind a name. So the revision is required, and the bytes must have a
SHA-256 that was known before: in the address, in `--sha256`, or in `KNOWN`.
"""

import hashlib
import logging
import os
import uuid
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fsfm_jax.weights.export_file import CARD, FORMATS, README
from fsfm_jax.weights.hub_address import COMMIT, DIGEST, SCHEME, Address, is_word, parse_address
from fsfm_jax.weights.hub_client import Hub
from fsfm_jax.weights.sidecar_file import read_table

LOG = logging.getLogger(__name__)
RELEASED = "Wolowolo/fsfm-3c"
# First digits of the SHA-256 of released files, by repository, folder and name, as third parties report them. All 64
# digits are a digest to compare with; fewer can refuse a file but not vouch for one.
KNOWN = {(RELEASED, "FS-VFM_ViT-L_VF2_600e/checkpoint-599.pth"): "3fd99324"}
MAX_FILES = 64  # of an export


class Found(NamedTuple):
    """The local files of an address.

    Attributes:
      path: of the file, alone in a folder; or of the folder of an export.
      sha256: of the file, or of the export's JSON.
      lines: remarks for the user; moved: a remark that the revision can move, or "".
    """

    path: str
    sha256: str
    lines: tuple[str, ...]
    moved: str


def is_address(checkpoint: str | None) -> bool:
    """Return whether a checkpoint is an address of the Hub."""
    return checkpoint is not None and checkpoint.startswith(SCHEME)


def fetch_checkpoint(text: str) -> str:
    """Return the local path of an address; a revision that can move is logged as a warning.

    Raises:
      ModuleNotFoundError: huggingface_hub is not installed.
      ValueError: a malformed address, no digest, or other bytes. OSError: a file that cannot be fetched.
    """
    found = fetch(parse_address(text))
    for line in found.lines:
        LOG.info("%s", line)
    if found.moved:
        LOG.warning("%s", found.moved)
    return found.path


def fetch_all(paths: Sequence[str], digests: str) -> tuple[list[str], list[str]]:
    """Fetch the addresses among `paths`; return local paths, other paths unchanged, and a line for each remark.

    Args:
      digests: the SHA-256 of each path in their order, with commas; "" for none, or where the address says it. Those of
        local files are also checked.

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
    addresses = [parse_address(path) if is_address(path) else None for path in paths]
    for address, want in zip(addresses, expected, strict=True):
        if address is not None and want and address.sha256 not in ("", want):
            raise ValueError(f"--sha256: {want} is not the digest of {address}; leave one of them out")
    found, lines = [], []
    for path, address, want in zip(paths, addresses, expected, strict=True):
        if address is None:
            found.append(path)
            lines += [check_digest(path, path, want, "")[1]] if want else []
            continue
        one = fetch(address._replace(sha256=want or address.sha256))
        found.append(one.path)
        lines += [*one.lines, *([one.moved] if one.moved else [])]
    return found, lines


def fetch(address: Address) -> Found:
    """Fetch the files of an address, and compare each with its digest before reading it.

    Raises:
      ModuleNotFoundError: huggingface_hub is not installed.
      ValueError: other bytes, no digest to compare with, or an export with invalid JSON. OSError: fetching failed.
    """
    hub, file = Hub(address.unpinned), address.file or CARD
    local = hub.download(address.repository, file, address.revision)
    known = KNOWN.get((address.repository, address.folder_and_name), "")
    digest, line = check_digest(local, address.unpinned, address.sha256, known, address)
    lines, paths = [line], {os.path.basename(file): local}
    # The library keeps a file in a folder that is called after its commit.
    commit = os.path.basename(local.removesuffix(f"/{file}"))
    if not address.file:
        revision = commit if COMMIT.fullmatch(commit) else address.revision
        for name, wanted in _listed(local, address).items():
            paths[name] = hub.download(address.repository, name, revision)
            lines.append(check_digest(paths[name], f"{address.unpinned}: {name}", wanted, "")[1])
    moved = "" if COMMIT.fullmatch(address.revision) else (
        f"{address.unpinned}: {address.revision} is the name of a branch or tag and can move; now it is the commit "
        f"{commit}. Write @{commit}"
    )  # fmt: skip
    folder = _place(hub.folder(digest), paths)
    path = os.path.join(folder, os.path.basename(file)) if address.file else folder
    return Found(path, digest, tuple(lines), moved)


def check_digest(
    path: str, name: str, expected: str, known: str, address: Address | None = None
) -> tuple[str, str]:
    """Compare the bytes of a file with a digest; return their digest and a line that describes them.

    Args:
      name: of the file, in messages.
      expected: the user's digest, 64 digits or ""; known: the first digits, or all, as reported before, or "".
      address: source of the file; if given, a file without a known digest is refused.

    Raises:
      ValueError: other bytes, or no digest to compare with; the message has the digest that was found.
    """
    with open(path, "rb") as file:
        size, digest = os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest()
    about = f"{name}: {size:,} bytes, SHA-256 {digest}"
    if not digest.startswith(known):
        raise ValueError(f"{about}: expected {known}..., as reported for the released file; do not use {path}")
    vouched = expected or (known if DIGEST.fullmatch(known) else "")
    if vouched and digest != vouched:
        raise ValueError(f"{about}: expected {vouched}; it is another file or a damaged copy, do not use {path}")
    if address is not None and not vouched:
        some = f"only the first {len(known)} digits are known here, and they agree" if known else "none is known here"
        raise ValueError(
            f"{about}: no digest to compare it with ({some}). If the publisher of the file states this one, write "
            f"{address.pinned(digest)} instead; nothing is fetched again"
        )
    return digest, about


def _listed(card: str, address: Address) -> dict[str, str]:
    """Return the files of an export that programs read, with their digests from its JSON.

    The model card is left out: people complete it where it is published.
    """
    said = read_table(card)
    files = said.get("files")
    if said.get("format") not in FORMATS or not isinstance(files, dict) or not 0 < len(files) <= MAX_FILES:
        raise ValueError(f"{address}: {CARD} is not that of an export of fsfm_jax; name a weight file, REPOSITORY/FILE")
    found = {}
    for name, entry in files.items():
        digest = entry.get("sha256") if isinstance(entry, dict) else None
        if not is_word(name) or not isinstance(digest, str) or not DIGEST.fullmatch(digest):
            raise ValueError(
                f"{address}: {CARD}: files: expected names without folders, each with its sha256; found "
                f"{name[:100]!r}. Do not use this repository"
            )
        if name != README:
            found[name] = digest
    return found


def _place(folder: str, paths: Mapping[str, str]) -> str:
    """Link files into a folder of their own, and return it.

    In the library's cache, other files of the repository may be next to them. They must not change the meaning of an
    address.
    """
    for name, path in paths.items():
        partial = os.path.join(folder, f".{name}.{uuid.uuid4().hex}")
        os.symlink(os.path.realpath(path), partial)
        os.replace(partial, os.path.join(folder, name))
    return folder
