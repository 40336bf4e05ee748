"""The line on standard error that says how far a long job is."""

import sys
import threading
import time

from fsfm_jax.run.console import duration

QUIET_SECONDS, PLAIN_SECONDS = 5.0, 15.0


class Progress:
    """Shows how many of `total` things are done, how many a second, and how long the rest will take.

    Nothing is shown in the first five seconds. On a terminal one line is rewritten every second, elsewhere a line is
    written every 15 seconds. Any thread may call `add`.
    """

    def __init__(self, total: int, unit: str):
        """Start the clock; `unit` is the plural of what is counted."""
        self.about = ""  # what is being done, in front of the numbers
        self._total, self._unit, self._done = total, unit, 0
        self._started, self._lock = time.monotonic(), threading.Lock()
        self._next, self._terminal, self._shown = self._started + QUIET_SECONDS, sys.stderr.isatty(), False

    def add(self) -> None:
        """Count one thing that is done."""
        with self._lock:
            self._done += 1
            now = time.monotonic()
            if now < self._next:
                return
            self._next = now + (1.0 if self._terminal else PLAIN_SECONDS)
            each = (now - self._started) / self._done
            left = duration(each * (self._total - self._done))
            line = f"{self.about}: {self._done:,} of {self._total:,} {self._unit}, {1 / each:.1f} a second, {left} left"
            self._shown = True
            print(f"\r\x1b[K{line}" if self._terminal else line, end="" if self._terminal else "\n", file=sys.stderr,
                  flush=True)  # fmt: skip

    def close(self) -> None:
        """End the line."""
        if self._terminal and self._shown:
            print(file=sys.stderr, flush=True)
