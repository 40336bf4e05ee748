"""Where the metrics of a run go: the table of writers, and all that a run has as one object; process 0 only."""

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax
import numpy as np

from fsfm_jax.config.fields import one_of
from fsfm_jax.run.console import Console
from fsfm_jax.run.metrics_file import METRICS_FILE, MetricsFile
from fsfm_jax.run.tensorboard import TensorBoard
from fsfm_jax.run.writer import RunInfo, Writer

__all__ = ["METRICS_FILE", "WRITERS", "RunInfo", "Writer", "Writers", "open_writers", "writer_names"]

# One row for each writer: its name in the field `writers`, and what opens it. More can be added before a run is
# started: docs/logging.md.
WRITERS: dict[str, Callable[[RunInfo], Writer]] = {
    "console": Console,
    "jsonl": MetricsFile,
    "tensorboard": TensorBoard,
}


def writer_names(text: str) -> tuple[str, ...]:
    """Return the names in the field `writers`, "console,jsonl"; "" means no writer.

    Raises:
      ValueError: one that is not in `WRITERS`, or the same twice.
    """
    names = tuple(filter(None, (name.strip() for name in text.split(","))))
    for name in names:
        one_of("writers", name, WRITERS)
        if names.count(name) > 1:
            raise ValueError(f"writers: {name} is there twice in {text!r}; name it once")
    return names


def open_writers(names: Iterable[str], run: RunInfo, lent: Sequence[Writer] = ()) -> "Writers":
    """Open the writers of a run by their names; every process but the first gets none.

    Args:
      lent: writers that are open already, of the program that starts the run; they are flushed and not closed.

    Raises:
      ValueError: a writer that lacks a method, or cannot be opened.
      NotSaved: a writer's file cannot be written.
    """
    if jax.process_index():
        return Writers(run, ())
    with contextlib.ExitStack() as opened:
        owned = []
        for name in names:
            owned.append(_check(WRITERS[name](run)))
            opened.callback(owned[-1].close)
        writers = Writers(run, owned, [_check(writer) for writer in lent])
        opened.pop_all()
    return writers


def _check(writer: Writer) -> Writer:
    """Return a picture is written at the very end: what lacks that method must fail before training."""
    if not isinstance(writer, Writer):
        wanted = ("write", "write_image", "flush", "close")
        lacks = [name for name in wanted if not callable(getattr(writer, name, None))]
        name = type(writer).__name__
        raise ValueError(f"writers: {name}: expected methods {', '.join(wanted)}; it has no {', '.join(lacks)}")
    return writer


class Writers:
    """All writers of a run as one.

    Speed and time left are over the steps of this process, its first (compiling) step left out.
    """

    def __init__(self, run: RunInfo, owned: Sequence[Writer], lent: Sequence[Writer] = ()):
        self._run, self._owned, self._all = run, list(owned), [*owned, *lent]
        self._started: tuple[int, float] | None = None

    def __bool__(self) -> bool:
        """Return whether there is any."""
        return bool(self._all)

    def write_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take the metrics of training of step `step` (1 = first), and adds speed and time left to them."""
        now = time.monotonic()
        if self._started is None:
            self._started = (step, now)
        done, seconds = step - self._started[0], now - self._started[1]
        rate = done / seconds if seconds > 0 and done else math.nan
        speed = {
            "images_per_second": rate * self._run.images_per_step,
            "seconds_left": (self._run.last_step - step) / rate if rate else math.nan,
        }
        self.write(step, {**metrics, **speed})

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Take values as they are."""
        for writer in self._all:
            writer.write(step, values)

    def write_image(self, step: int, name: str, image: np.ndarray) -> None:
        """Take a picture `[H, W, 3] uint8`, RGB."""
        for writer in self._all:
            writer.write_image(step, name, image)

    def flush(self) -> None:
        """Return when everything written is where it can be read."""
        for writer in self._all:
            writer.flush()

    def close(self) -> None:
        """Close every writer that was opened here, also when one of them fails, and flushes the others."""
        with contextlib.ExitStack() as stack:
            for writer in self._all:
                stack.callback(writer.close if writer in self._owned else writer.flush)
