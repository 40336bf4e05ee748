"""The list of a checkpoint's files with their sizes and SHA-256, by which damage is found before anything is read.

It is written inside the folder of a save before that becomes a checkpoint: one that is visible has its list, whenever
the process was killed. Bytes are read once more for it, behind the training. In an object store only sizes are listed:
it keeps checksums of its own, and reading everything back would double what goes over the network.
"""

import concurrent.futures
import hashlib
import itertools
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

from fsfm_jax.text import join_first, plain

LOG = logging.getLogger("fsfm_jax")
FILE = "digests.json"
# Orbax's own words on a checkpoint, where a save promises the list: one that is gone is missed.
ABOUT, PROMISE = "_CHECKPOINT_METADATA", {"list": FILE}
CHUNK = 1 << 22  # bytes
THREADS = 4
WHOLE, MISSING, UNREADABLE, OTHER_SIZE, OTHER_BYTES = range(5)
SAID = {
    MISSING: "missing",
    UNREADABLE: "cannot be read",
    OTHER_SIZE: "not of the size that was written",
    OTHER_BYTES: "not the bytes that were written (SHA-256)",
}

Entry = list  # [size in bytes, SHA-256 or None]


def write_digests(folder: epath.Path, remote: bool, last: Mapping[str, bytes]) -> None:
    """Write the list of everything below `folder` and of the files `last`, which come after it.

    With `remote` it has sizes only.
    """
    names = [name for name in _names(folder) if name != FILE]
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        entries = dict(zip(names, pool.map(lambda name: _entry(folder / name, not remote), names), strict=True))
    for name, data in last.items():
        entries[name] = [len(data), None if remote else hashlib.sha256(data).hexdigest()]
    content = {"files": entries, "sha256": _of_list(entries)}
    with (folder / FILE).open("wb") as file:
        file.write(json.dumps(content, indent=0, sort_keys=True).encode())
        file.flush()
        if not remote:
            os.fsync(file.fileno())


def complaints(folder: epath.Path) -> list[str]:
    """Return what is wrong with the checkpoint in `folder`, a line for each file; empty if it is whole.

    All hosts must ask, and all get the same answer; each reads its share of the files. A checkpoint from before there
    were lists cannot be inspected: that is said, and nothing is wrong with it.
    """
    try:
        entries = _read(folder / FILE)
    except FileNotFoundError:
        return _without_list(folder)
    except ValueError as error:
        return [str(error)]
    found = np.array(examine(folder, entries, jax.process_index(), jax.process_count()))
    if jax.process_count() > 1:
        found = np.max(multihost_utils.process_allgather(found), axis=0)
    pairs = zip(entries, found.tolist(), strict=True)
    return [f"{plain(name)}: {SAID[code]}" for name, code in pairs if code]


def last_whole(directory: epath.Path, steps: list[int], complaints_of: Callable[[int], list[str]]) -> int | None:
    """Return the last of `steps` without complaints, None if there are no steps; all others are named, loudly.

    Raises:
      ValueError: there are steps, and none is whole.
    """
    damaged = []
    for step in reversed(steps):
        found = complaints_of(step)
        if not found:
            if damaged and jax.process_index() == 0:
                LOG.error("%s\nUsed instead: %s, which is whole", "\n".join(damaged), directory / str(step))
            return step
        damaged.append(damage(directory / str(step), found))
    if damaged:
        raise ValueError(
            "\n".join(damaged) + f"\nNo whole checkpoint is left in {directory}, and nothing starts anew by itself. "
            "Bring these files back from a copy, or take another folder"
        )
    return None


def damage(folder: epath.Path, found: list[str]) -> str:
    """Return the sentence on a checkpoint with complaints."""
    shown = join_first(found, 20, "\n  ")
    return f"the checkpoint {folder} is damaged, {len(found)} of its files:\n  {shown}"


def set_aside(folder: epath.Path) -> None:
    """Rename a damaged checkpoint, so that it is kept but not used; the first of several hosts does it."""
    if jax.process_index():
        return
    names = (f"{folder.name}.damaged{number}" for number in itertools.chain([""], itertools.count(2)))
    place = next(place for name in names if not (place := folder.parent / name).exists())
    folder.rename(place)
    LOG.error("%s is kept as %s", folder, place)


def _read(path: epath.Path) -> dict[str, Entry]:
    text = path.read_bytes()
    try:
        content = json.loads(text)
        entries = content["files"]
        whole = content["sha256"] == _of_list(entries)
        if not all(_is_inside(name) and _is_entry(entry) for name, entry in entries.items()):
            raise ValueError("an entry that is none")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{FILE}: {SAID[UNREADABLE]}") from error
    if not whole:
        raise ValueError(f"{FILE}: {SAID[OTHER_BYTES]}")
    return entries


def _is_inside(name: str) -> bool:
    """Return whether a name stays inside the folder: a list may come from anywhere, and its files are opened."""
    return not name.startswith("/") and ".." not in name.split("/")


def _is_entry(entry: object) -> bool:
    if type(entry) is not list or len(entry) != 2:
        return False
    size, digest = entry
    return type(size) is int and (digest is None or type(digest) is str)


def _without_list(folder: epath.Path) -> list[str]:
    try:
        about = json.loads((folder / ABOUT).read_bytes())
        promised = about["custom_metadata"] == PROMISE
    except FileNotFoundError:
        return [f"{ABOUT}: {SAID[MISSING]}"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return [f"{ABOUT}: {SAID[UNREADABLE]}"]
    if promised:
        return [f"{FILE}: {SAID[MISSING]}"]
    LOG.warning("%s has no %s: it was saved before there was one, and its bytes cannot be verified", folder, FILE)
    return []


def examine(folder: epath.Path, entries: Mapping[str, Entry], host: int, hosts: int) -> list[int]:
    """Examine each file in the order of `entries`, and return WHOLE or a key of SAID for it.

    With several hosts, each reads its share of the files, and says WHOLE of all others.
    """
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        mine = pool.map(lambda name: _compare_file(folder / name, *entries[name]), list(entries)[host::hosts])
        found = [WHOLE] * len(entries)
        found[host::hosts] = mine
    return found


def _compare_file(path: epath.Path, size: int, digest: str | None) -> int:
    try:
        # The size first: what is cut short needs no reading.
        if path.stat().length != size:
            return OTHER_SIZE
        return WHOLE if _entry(path, digest is not None)[1] == digest else OTHER_BYTES
    except FileNotFoundError:
        return MISSING
    except OSError:
        return UNREADABLE


def _names(folder: epath.Path, above: str = "") -> Iterator[str]:
    for place in sorted(folder.iterdir()):
        if place.is_dir():
            yield from _names(place, f"{above}{place.name}/")
        else:
            yield above + place.name


def _entry(path: epath.Path, read: bool) -> Entry:
    size = path.stat().length
    if not read:
        return [size, None]
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return [size, digest.hexdigest()]


def _of_list(entries: Mapping[str, Entry]) -> str:
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()
