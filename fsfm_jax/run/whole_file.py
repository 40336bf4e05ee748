"""Files that appear under their name only when they are complete."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from typing import BinaryIO


@contextlib.contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A new file to write to, which is on the disk and named `path` when the block has ended without an error.

    Raises:
      OSError: the folder is not there or cannot be written to.
    """
    path = os.fspath(path)
    unfinished = f"{path}.{uuid.uuid4().hex}.tmp"  # two programs may write the same file at a time
    with open(unfinished, "xb") as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(unfinished, path)
        finally:
            if os.path.exists(unfinished):
                os.unlink(unfinished)
