"""Find unreadable parts of a download by names and permissions, before the work starts.

A single damaged file is dropped later with a reason. An unsupported kind of file, or a folder without permission, may
be a large part of the data, so all of them are reported at once.
"""

import os
from collections import defaultdict
from pathlib import Path

from fsfm_jax.prepare.manifests.listing import UNREADABLE_SUFFIXES, entries, is_folder
from fsfm_jax.text import join_first, plain, utf8


def survey(root: Path, kinds: bool) -> tuple[str, ...]:
    """Return sentences on all folders below `root` that cannot be listed and, with `kinds`, on unsupported files.

    Raises:
      OSError: `root` itself cannot be listed.
    """
    closed: list[str] = []
    unread: dict[str, list[str]] = defaultdict(list)
    todo, seen = [""], set()
    while todo:
        below = todo.pop()
        try:
            status = os.stat(root / below)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            found = entries(root / below)
        except OSError:
            if not below:
                raise
            closed.append(below)
            continue
        for entry in found:
            path = f"{below}/{entry.name}" if below else entry.name
            if is_folder(entry):
                todo.append(path)
            elif kinds and entry.name.lower().endswith(UNREADABLE_SUFFIXES):
                unread[os.path.splitext(entry.name)[1].lower()].append(path)
    sentences = []
    if closed:
        names = join_first([plain(utf8(path)) for path in sorted(closed)])
        sentences.append(f"folders that cannot be listed: {len(closed)}: {names}; allow reading them or remove them")
    for suffix in sorted(unread):
        names = join_first([plain(utf8(path)) for path in sorted(unread[suffix])])
        sentences.append(
            f"files of the kind {suffix}, which is not read: {len(unread[suffix])}: {names}; convert them to PNG or "
            "MP4, or remove them"
        )
    return tuple(sentences)
