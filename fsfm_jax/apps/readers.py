"""Worker processes that read files, several at a time; a file that kills or stalls its worker is only a file less."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, TypeVar

from fsfm_jax.apps.read_worker import READY, REFUSED
from fsfm_jax.apps.reading import Reading, Settings
from fsfm_jax.apps.ticket import READ, GivenUp, Ticket
from fsfm_jax.apps.wire import BrokenWorker, read_header, read_reading
from fsfm_jax.prepare.media import sandbox

MEMORY = sandbox.MEMORY  # bytes of address space of a worker, and of each process that it decodes a file in
SECONDS = 300.0
TICK = 0.1  # seconds that `read_as_done` waits before it asks for more files
AHEAD = 2  # files in work or finished per worker beyond the one that is waited for


Answer = TypeVar("Answer")


class Readers:
    """Reads files with `workers` processes; a context manager."""

    def __init__(
        self,
        settings: Settings,
        workers: int,
        seconds: float = SECONDS,
        memory: int = MEMORY,
        first: "Worker | None" = None,
    ):
        """Start the first worker.

        Args:
          seconds: time for one file, after which its worker is killed.
          memory: bytes of address space of a worker.
          first: a worker that was started before, to take instead of a new one.

        Raises:
          ValueError: no worker, or a detector, parser or weights that cannot be had; the text is that of `FaceReader`.
        """
        if workers < 1:
            raise ValueError(f"workers: expected at least 1, found {workers}")
        sandbox.warn()
        self._settings, self._seconds, self._memory = settings, seconds, memory
        # Last in, first out: a worker that is ready is taken before one is started.
        self._idle: queue.LifoQueue[Worker | None] = queue.LifoQueue()
        self._alive: set[Worker] = set()
        self._closed = False
        for _ in range(workers - 1):
            self._idle.put(None)  # started when it is needed
        self._idle.put(self._start(first))
        self._workers = workers
        self._threads = concurrent.futures.ThreadPoolExecutor(workers, "reader")

    def __enter__(self) -> "Readers":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """End the workers; files that are being read are given up."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in list(self._alive):
            worker.kill()
        for _ in range(self._workers):  # threads that were reading give theirs back
            worker = self._idle.get()
            if worker is not None:
                worker.end()

    def read(
        self, path: str, faces: str | None = None, frames: int | None = None, ticket: Ticket | None = None
    ) -> Reading:
        """Read one file; may be called from several threads.

        Args:
          faces, frames: for this file, in the place of the settings' own; see `Settings`.
          ticket: is notified of each frame; giving it up kills the process that reads the file.

        Raises:
          RuntimeError: a worker dies before it can read anything.
          GivenUp: the ticket was given up.
        """
        ticket = ticket or Ticket()
        worker = self._idle.get()
        try:
            worker = worker or self._start()
            with ticket.ending(worker.kill):
                reading = worker.read([path, faces, frames], ticket)
            ticket.tell(READ)
            return reading
        except GivenUp:
            # It may have been killed, perhaps only after its answer.
            if worker is not None:
                self._alive.discard(worker)
                worker.end()
                worker = None
            raise
        except BrokenWorker as error:
            self._alive.discard(worker)
            late, said, worker = worker.late, worker.end(), None
            if late:
                return Reading(path, "", reason="stuck", detail=f"given up after {self._seconds:g} seconds")
            return Reading(path, "", reason="died", detail=f"the process that decoded it failed: {error}{said}")
        finally:
            self._idle.put(worker)

    def read_all(self, paths: Iterable[str]) -> Iterator[Reading]:
        """Read files in their order, a few ahead of what is taken."""
        pending: collections.deque[concurrent.futures.Future[Reading]] = collections.deque()
        try:
            for path in paths:
                pending.append(self._threads.submit(self.read, path))
                if len(pending) > AHEAD * self._workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

    def read_as_done(self, paths: Iterable[str | None]) -> Iterator[Reading | None]:
        """Read files and yields each when it has been read: a slow one keeps none of the others waiting.

        Args:
          paths: as many are taken as keep the workers busy. None, "no file now", makes it yield what is ready, and
            None if nothing is in work.
        """
        pending: set[concurrent.futures.Future[Reading]] = set()
        try:
            for path in paths:
                if path is not None:
                    pending.add(self._threads.submit(self.read, path))
                elif not pending:
                    yield None
                if path is None or len(pending) > AHEAD * self._workers:
                    done, pending = _wait(pending, TICK if path is None else None)
                    yield from done
            while pending:
                done, pending = _wait(pending, None)
                yield from done
        finally:
            for future in pending:
                future.cancel()

    def _start(self, started: "Worker | None" = None) -> "Worker":
        if self._closed:
            raise RuntimeError("these readers have been closed")
        worker = started or Worker(self._memory)
        worker.prepare(self._settings, self._seconds)
        self._alive.add(worker)
        return worker


def _wait(pending: set, seconds: float | None) -> tuple[list[Reading], set]:
    done, left = concurrent.futures.wait(pending, seconds, concurrent.futures.FIRST_COMPLETED)
    return [future.result() for future in done], left


class Worker:
    """One process and the pipes to it; a context manager that ends it.

    It imports its libraries while its parent continues, and is used after `prepare`.
    """

    def __init__(self, memory: int = MEMORY):
        """Start the process with `memory` bytes of address space, without waiting for it."""
        self._side, self._seconds, self.late = 0, SECONDS, False
        self._errors = tempfile.TemporaryFile()
        command = [sys.executable, "-m", "fsfm_jax.apps.read_worker", str(memory)]
        # Safe path: the current folder is not a place to import from.
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        environment = os.environ | {"PYTHONPATH": root, "PYTHONSAFEPATH": "1"}
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors)
        # A group of its own: Ctrl-C is for the parent, which ends its workers.
        self._process = subprocess.Popen(command, env=environment, start_new_session=True, **pipes)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_) -> None:
        self.end()

    def prepare(self, settings: Settings, seconds: float) -> None:
        """Load the detector and the parser of `settings`; each file may then take `seconds`.

        Raises:
          RuntimeError: the process ended.
          ValueError: a detector, parser or weights that cannot be loaded; the text is that of `FaceReader`.
        """
        self._side, self._seconds = settings.side, seconds
        try:
            said = self._in_time(lambda: self._ask(dataclasses.asdict(settings), read_header))
        except BrokenWorker as error:
            why = f"{error}{self.end()}"
            raise RuntimeError(f"a process for reading files could not be started: {why}") from error
        if READY not in said:
            self.end()
            raise ValueError(str(said.get(REFUSED)))

    def read(self, wanted: list, ticket: Ticket) -> Reading:
        """Return the answer about a file, `wanted` being its path and more; BrokenWorker if there is none."""
        tell = functools.partial(ticket.tell, READ)
        return self._in_time(
            lambda: self._ask(wanted, lambda answers: read_reading(answers, wanted[0], self._side, tell))
        )

    def _ask(self, question: object, answer: Callable[[BinaryIO], Answer]) -> Answer:
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise BrokenWorker("it had ended") from error
        return answer(self._process.stdout)

    def _in_time(self, ask):
        def too_late() -> None:
            self.late = True
            self.kill()

        timer = threading.Timer(self._seconds, too_late)
        timer.daemon = True
        timer.start()
        try:
            return ask()
        finally:
            timer.cancel()

    def kill(self) -> None:
        """Kill the process and those that it started; a caller that waits for its answer gets a BrokenWorker."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> str:
        """Kill the process, free its files, and return its last words as the end of a sentence; "" after the first."""
        if self._errors.closed:
            return ""
        self.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        with self._errors:
            self._errors.seek(0)
            lines = self._errors.read().decode(errors="replace").strip().splitlines()
        code = self._process.returncode
        how = f" (signal {-code})" if code < 0 else ""
        return how + (f"; it said: {lines[-1][:300]}" if lines else "")
