"""Which files the arguments of a command mean: files, folders and patterns."""

import glob
import os
from collections.abc import Iterable, Iterator


def expand(arguments: Iterable[str]) -> dict[str, str]:
    """Return paths of all files, each once, in the order of the arguments; those of a folder or pattern by name.

    A folder stands for all files in it and below, apart from those whose name starts with a dot and targets of links.
    A file that is named is taken whatever it is. A folder that may not be listed is also a path.

    Returns:
      By path why it cannot be used, a sentence; "" for everything but those folders.

    Raises:
      FileNotFoundError: an argument that is no file, no folder, and a pattern of none.
      PermissionError: an argument in a folder that may not be entered.
      ValueError: no file at all.
    """
    found: dict[str, str] = {}
    for argument in arguments:
        for path in [argument] if _exists(argument) else _matches(argument):
            found.update(below(path) if os.path.isdir(path) else {path: ""})
    if not found:
        raise ValueError("expected photos or videos; found empty folders")
    return found


def check_folders(arguments: Iterable[str]) -> list[str]:
    """Return the folders that `arguments` name, each once.

    Raises:
      ValueError: an argument that is no folder.
    """
    for argument in arguments:
        if not os.path.isdir(argument):
            raise ValueError(f"{argument}: expected a folder to watch; found {_kind(argument)}")
    return list(dict.fromkeys(arguments))


def check_outside(flag: str, folder: str, arguments: Iterable[str]) -> None:
    """Refuse a folder of results inside a folder whose files are scored; ValueError."""
    place = os.path.join(os.path.realpath(folder), "")
    for argument in arguments:
        if os.path.isdir(argument) and place.startswith(os.path.join(os.path.realpath(argument), "")):
            raise ValueError(f"{flag}={folder}: lies in {argument}, whose files are scored; name a folder outside")


def _kind(argument: str) -> str:
    return "a file" if os.path.lexists(argument) else "nothing of this name"


def _exists(argument: str) -> bool:
    try:
        os.lstat(argument)
    except PermissionError as error:
        raise PermissionError(f"{argument}: a folder on the way to it may not be entered: {error.strerror}") from error
    except (OSError, ValueError):  # also a name that no file can have
        return False
    return True


def _matches(argument: str) -> list[str]:
    matches = sorted(glob.glob(argument, recursive=True)) if glob.has_magic(argument) else []
    if not matches:
        raise FileNotFoundError(f"{argument}: there is no such file or folder, and no file of this pattern")
    return matches


def below(folder: str) -> Iterator[tuple[str, str]]:
    """Yield files in a folder and below by name, then folders that cannot be listed with the reason."""
    refused: list[OSError] = []
    for parent, folders, files in os.walk(folder, onerror=refused.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from ((os.path.join(parent, name), "") for name in sorted(files) if not name.startswith("."))
    yield from ((error.filename, f"the folder cannot be listed: {error.strerror}") for error in refused)
