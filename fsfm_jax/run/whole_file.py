"""Files that appear under their name only when they are complete."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from typing import BinaryIO


@contextlib.contextmanager
def whole_file(path: str | os.PathLike, hidden: bool = False) -> Iterator[BinaryIO]:
    """Open a new file, which is on the disk and named `path` once the block has ended without an error.

    Args:
      hidden: the unfinished file's name starts with a dot, for folders whose files are read as one table.

    Raises:
      OSError: the folder is not there or cannot be written to.
    """
    path = os.fspath(path)
    folder, name = os.path.split(path)
    # Two programs may write the same file at a time.
    unfinished = os.path.join(folder, f"{'.' if hidden else ''}{name}.{uuid.uuid4().hex}.tmp")
    with open(unfinished, "xb") as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(unfinished, path)
        finally:
            if os.path.exists(unfinished):
                os.unlink(unfinished)
