"""A folder of pictures: built under a hidden name, and put in the place of an earlier run's as a whole."""

import contextlib
import json
import os
import re
import shutil
import uuid

from fsfm_jax.apps.result_file import PARTIAL, note
from fsfm_jax.command import with_name
from fsfm_jax.text import plain

LIST = "pictures.json"  # which pictures belong to which file
PICTURE = re.compile(r"\d{5,}_(frame\d+_face\d+|timeline)\.png")


class PictureFolder:
    """A context manager; the folder has its name if the block ends without an exception."""

    def __init__(self, flag: str, path: str):
        """Make the folder under its hidden name.

        Raises:
          ValueError: the folder holds something else, is a link, or cannot be made.
        """
        self._flag, self._path, self._pictures = flag, os.path.abspath(path), {}
        self._check_old()
        self._hidden = os.path.join(os.path.dirname(self._path), f".{uuid.uuid4().hex}.tmp")
        try:
            os.mkdir(self._hidden, 0o700)  # nobody else puts anything into it
        except OSError as error:
            raise ValueError(f"{flag}={path}: cannot make a folder there: {error.strerror}") from error

    def add(self, file: str, pictures: dict[str, bytes]) -> None:
        """Write the pictures of a file, PNG by name; OSError."""
        for name, content in pictures.items():
            self._write(name, content)
        self._pictures[file] = list(pictures)

    def __enter__(self) -> "PictureFolder":
        return self

    def __exit__(self, kind, error: BaseException | None, _) -> None:
        if error is not None:
            self._give_up(error)
            return
        try:
            self._write(LIST, json.dumps(self._pictures, indent=1).encode())
            self._check_old()
            os.chmod(self._hidden, 0o777 & ~_umask())
            self._replace()
        except (OSError, ValueError) as failed:
            self._give_up(failed)
            raise

    def _replace(self) -> None:
        old = f"{self._hidden}.old"
        if not os.path.isdir(self._path):
            os.rename(self._hidden, self._path)
            return
        os.rename(self._path, old)
        try:
            os.rename(self._hidden, self._path)
        except OSError:
            os.rename(old, self._path)
            raise
        shutil.rmtree(old, ignore_errors=True)

    def _write(self, name: str, content: bytes) -> None:
        try:
            with open(os.path.join(self._hidden, name), "xb") as file:  # new: no link is followed
                file.write(content)
        except OSError as error:
            raise with_name(error, os.path.join(self._path, name)) from error

    def _check_old(self) -> None:
        """Refuse whatever is not the folder of an earlier run."""
        wrong = ""
        if os.path.islink(self._path):
            wrong = "it is a link; name the folder itself"
        elif os.path.ismount(self._path) or self._path == os.getcwd():
            wrong = "it is replaced whole, which this folder cannot be; name one in it"
        elif os.path.isdir(self._path):
            foreign = _foreign(self._path)
            wrong = f"it holds other things, such as {plain(foreign[0])}; name a new folder" if foreign else ""
        elif os.path.lexists(self._path):
            wrong = "it is not a folder"
        if wrong:
            raise ValueError(f"{self._flag}={self._path}: {wrong}")

    def _give_up(self, error: BaseException) -> None:
        if not self._pictures:
            shutil.rmtree(self._hidden, ignore_errors=True)
            return
        with contextlib.suppress(OSError):
            self._write(LIST, json.dumps(self._pictures, indent=1).encode())
        left = self._path + PARTIAL
        if os.path.isdir(left) and not os.path.islink(left) and not _foreign(left):
            shutil.rmtree(left, ignore_errors=True)
        note(error, self._hidden, left)


def _foreign(folder: str) -> list[str]:
    """List what in a folder is not a regular file named as pictures are."""
    with os.scandir(folder) as entries:
        return sorted(
            entry.name for entry in entries
            if not entry.is_file(follow_symlinks=False) or (entry.name != LIST and not PICTURE.fullmatch(entry.name))
        )  # fmt: skip


def _umask() -> int:
    found = os.umask(0o077)
    os.umask(found)
    return found
