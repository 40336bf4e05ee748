"""Which files the arguments of a command mean: files, folders and patterns."""

import glob
import os
from collections.abc import Iterable, Iterator


def expanded(arguments: Iterable[str]) -> list[str]:
    """Paths of all files, each once, in the order of the arguments; those of a folder or pattern by name.

    A folder stands for all files in it and below, apart from those whose name starts with a dot and what links lead to.
    A file that is named is taken whatever it is.

    Raises:
      FileNotFoundError: an argument that is no file, no folder, and a pattern of none.
      ValueError: no file at all.
    """
    found: dict[str, None] = {}
    for argument in arguments:
        if os.path.isdir(argument):
            found.update(dict.fromkeys(_below(argument)))
        elif os.path.lexists(argument):
            found[argument] = None
        else:
            matches = sorted(glob.glob(argument, recursive=True)) if glob.has_magic(argument) else []
            if not matches:
                raise FileNotFoundError(f"{argument}: there is no such file or folder, and no file of this pattern")
            for match in matches:
                found.update(dict.fromkeys(_below(match) if os.path.isdir(match) else [match]))
    if not found:
        raise ValueError("expected photos or videos; found empty folders")
    return list(found)


def _below(folder: str) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(parent, name) for name in sorted(files) if not name.startswith("."))
