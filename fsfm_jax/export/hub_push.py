"""Upload an exported folder to a repository of the Hugging Face Hub: the files of the export, and nothing else.

What is sent is shown first, with sizes and digests. A repository that is not there is made private. Files of the
repository that differ are replaced only if that was asked for, in one commit on top of the one that was compared;
afterwards the Hub is asked what it has.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from fsfm_jax.weights.export_file import CARD, README, find_export
from fsfm_jax.weights.hub_address import Address, is_word
from fsfm_jax.weights.hub_client import Hub
from fsfm_jax.weights.signed_files import IN_FOLDER

BRANCH = "main"
MESSAGE = "Upload an export of fsfm_jax"
NEW, SAME, DIFFERENT = "new", "the same there", "differs"
MAX_PATHS = 5  # in the note on what the JSON names


class Sent(NamedTuple):
    """A file to upload: its size, its SHA-256, and the SHA-1 that git has for such content."""

    name: str
    path: str
    size: int
    sha256: str
    blob: str


def push(folder: str, repository: str, overwrite: bool, say: Callable[[str], None]) -> Address:
    """Upload an export and return the address to load it from.

    Args:
      folder: that `to_torch` wrote for Hugging Face. Its model card may have been edited since.
      repository: OWNER/NAME. overwrite: whether files of the repository that differ are replaced.
      say: prints a line.

    Raises:
      ModuleNotFoundError: huggingface_hub is not installed.
      ValueError: no such export, a file that was changed, nobody is logged in, or files that would be overwritten.
      OSError: the Hub refuses, cannot be reached, or has other bytes afterwards.
    """
    files, said = list_files(folder)
    for file in files:
        say(f"{file.name}: {file.size:,} bytes, SHA-256 {file.sha256}")
    for note in notes_on(said, folder):
        say(f"note: {note}")
    hub = Hub(f"--push={repository}")
    with hub.asking(f"--push={repository}") as api:
        head = _head(hub, api, repository, say)
        states = {file.name: state for file, state in _compare(api, repository, head, files)}
        differing = [name for name, state in states.items() if state == DIFFERENT]
        if differing and not overwrite:
            raise ValueError(
                f"--push={repository}: {', '.join(differing)} differ there, at {head}; nothing was uploaded. To "
                "replace them, run the same command without --checkpoint and with --push_overwrite"
            )
        missing = [file for file in files if states[file.name] != SAME]
        say(f"{hub.home}/{repository}: " + ", ".join(f"{name} {state}" for name, state in states.items()))
        if missing:
            add = hub.library.CommitOperationAdd
            made = api.create_commit(
                repository, [add(path_in_repo=file.name, path_or_fileobj=file.path) for file in missing],
                commit_message=MESSAGE, revision=BRANCH, parent_commit=head,
            )  # fmt: skip
            head = made.oid
            other = [file.name for file, state in _compare(api, repository, head, files) if state != SAME]
            if other:
                raise OSError(f"{repository} has other bytes than were sent, or none: {', '.join(other)}; push again")
    card = next(file for file in files if file.name == CARD)
    address = Address(repository, "", head, card.sha256)
    say(f"load it with {address}")
    return address


def list_files(folder: str) -> tuple[list[Sent], dict]:
    """Return the files of an export in the order of its JSON, its signature if any, its JSON; and the JSON's content.

    Raises:
      ValueError: no export for Hugging Face, or a file that is missing or was changed; the model card may have been.
    """
    export = find_export(folder)
    if export is None or export.said["format"] != "huggingface" or os.path.basename(export.beside) != CARD:
        raise ValueError(f"--output: {folder} is no folder that --format=huggingface wrote; name one, or --checkpoint")
    found = []
    for name, entry in export.said["files"].items():
        path = os.path.join(folder, name)
        if not is_word(name) or os.path.islink(path) or not os.path.isfile(path):
            raise ValueError(f"--output: {folder}: expected the file {name[:100]!r} that {CARD} lists; export anew")
        file = _read(name, path)
        if name != README and file.sha256 != (entry.get("sha256") if isinstance(entry, dict) else None):
            raise ValueError(f"--output: {path} is not the file that {CARD} lists; export anew")
        found.append(file)
    last = [IN_FOLDER, CARD] if os.path.isfile(os.path.join(folder, IN_FOLDER)) else [CARD]
    return [*found, *(_read(name, os.path.join(folder, name)) for name in last)], export.said


def notes_on(said: dict, folder: str) -> Iterator[str]:
    """Return what to know before publishing an export: folders in its JSON, and a licence that nobody chose."""
    paths = sorted({text for text in _texts(said) if text.startswith(("/", "~"))})
    if paths:
        more = " ..." if len(paths) > MAX_PATHS else ""
        yield f"{CARD} names places of this machine: {', '.join(paths[:MAX_PATHS])}{more}"
    if "seen" in said:
        yield f"{CARD} has a short hash of the name of each video that was trained on"
    with open(os.path.join(folder, README), encoding="utf-8") as file:
        if "choose one before publishing" in file.read():
            yield f"{README} names no licence yet; choose one there before others can see the repository"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def _read(name: str, path: str) -> Sent:
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
        file.seek(0)
        blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        while part := file.read(1 << 20):
            blob.update(part)
    return Sent(name, path, size, sha256, blob.hexdigest())


def _head(hub: Hub, api: Any, repository: str, say: Callable[[str], None]) -> str:
    """Return the commit that the branch is at; a repository that is not there is made."""
    try:
        return api.repo_info(repository, revision=BRANCH).sha
    except hub.errors.RepositoryNotFoundError:
        api.create_repo(repository, private=True, exist_ok=False)
    say(f"{hub.home}/{repository}: made, private; its page has a switch to make it public")
    return api.repo_info(repository, revision=BRANCH).sha


def _compare(api: Any, repository: str, commit: str, files: list[Sent]) -> Iterator[tuple[Sent, str]]:
    """Pair each file with what the repository has under its name at a commit."""
    there = {entry.path: entry for entry in api.get_paths_info(repository, [f.name for f in files], revision=commit)}
    for file in files:
        if file.name not in there:
            yield file, NEW
            continue
        entry = there[file.name]
        large = getattr(entry, "lfs", None)
        same = large.sha256 == file.sha256 if large else getattr(entry, "blob_id", None) == file.blob
        yield file, SAME if same else DIFFERENT
