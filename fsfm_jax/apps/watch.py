"""Files that appear in folders, each once it is complete, until the command is stopped."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence

from fsfm_jax.apps import inputs
from fsfm_jax.apps.file_stamp import FileStamp, stamp
from fsfm_jax.apps.readers import TICK


class Arrivals:
    """The files below some folders, at any depth, that are complete and have no result yet.

    A file is complete when two looks in a row find the same size and time of modification, and it is not empty.
    """

    def __init__(self, folders: Sequence[str], wanted: Callable[[FileStamp], bool]):
        """Watch a folder. `wanted` says whether a complete file is to be scored; it is asked once for each content."""
        self._folders, self._wanted = folders, wanted
        self._seen: dict[str, FileStamp] = {}  # at the last look; what is gone is forgotten
        self._asked: dict[str, FileStamp] = {}
        self._working: set[str] = set()

    def look(self) -> list[str]:
        """Look at the folders, and return the paths of the files that are to be scored now.

        Raises:
          OSError: one of the folders is gone or cannot be listed.
        """
        now, found = {}, []
        for folder in self._folders:
            os.listdir(folder)  # walking would take a folder that is gone for an empty one
            stamps = (stamp(path) for path, why in inputs.below(folder) if not why)
            now |= {one.path: one for one in stamps if one.size and os.path.isfile(one.path)}
        self._asked = {path: one for path, one in self._asked.items() if path in now}
        for path, one in now.items():
            same = path in self._seen and self._seen[path] == one
            if not same or path in self._working or (path in self._asked and self._asked[path] == one):
                continue
            self._asked[path] = one
            if self._wanted(one):
                self._working.add(path)
                found.append(path)
        self._seen = now
        return found

    def finish(self, path: str) -> None:
        """Say that a file has its result: from now on a change of it counts."""
        self._working.discard(path)

    def keep_looking(self, seconds: float) -> Iterator[str | None]:
        """Yield paths without end, with a look every `seconds`, and None while there is no other file."""
        while True:
            due = time.monotonic() + seconds
            yield from self.look()
            while (left := due - time.monotonic()) > 0:
                yield None
                time.sleep(min(TICK, left))


class Stopped(BaseException):
    """A command that watches was asked to end; not an Exception, so that nothing takes it for a broken file."""


class Stop:
    """Makes the first Ctrl-C or SIGTERM a `Stopped` in the main thread, and the second what it was before.

    A signal that is ignored, as shells do for programs in the background, stays ignored.
    """

    def __init__(self):
        self._holding = self._late = False

    def __enter__(self) -> "Stop":
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self._before = {number: one for number, one in handlers.items() if one is not signal.SIG_IGN}
        for number in self._before:
            signal.signal(number, self._ask)
        return self

    def __exit__(self, *_) -> None:
        self._restore()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Finish the block before a stop takes effect."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self._late:
            raise Stopped

    def _ask(self, *_) -> None:
        self._restore()
        if self._holding:
            self._late = True
        else:
            raise Stopped

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
