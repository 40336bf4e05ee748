"""How far the work on a file is, and whether somebody still waits for its answer; shared by the threads of a server."""

import contextlib
import threading
from collections.abc import Callable, Iterator

WAIT, READ, SCORE, EXPLAIN = "wait", "read", "score", "explain"


class GivenUp(Exception):
    """Nobody waits for the answer any more."""


class Ticket:
    """The progress of one file, in one of the stages above."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._progress = WAIT, 0, 0
        self._given_up = False
        self._end: Callable[[], None] | None = None

    @property
    def progress(self) -> tuple[str, int, int]:
        """The stage, how many of its parts are done, and how many there are; 0 where nothing is counted."""
        return self._progress

    def tell(self, stage: str, done: int = 0, of: int = 0) -> None:
        """Keep how far the work is.

        Raises:
          GivenUp: the work should end.
        """
        self._progress = stage, done, of
        if self._given_up:
            raise GivenUp

    @contextlib.contextmanager
    def ending(self, end: Callable[[], None]) -> Iterator[None]:
        """Let `give_up` call `end` while the block runs; `end` must be quick and safe from another thread.

        Raises:
          GivenUp: on entry, if that was called already.
        """
        with self._lock:
            if self._given_up:
                raise GivenUp
            self._end = end
        try:
            yield
        finally:
            with self._lock:
                self._end = None

    def give_up(self) -> None:
        """End what can be ended; the rest stops at the next `tell`."""
        with self._lock:
            self._given_up = True
            if self._end is not None:
                self._end()
