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
from collections.abc import Iterable, Iterator

from fsfm_jax.apps.read_worker import READY, REFUSED
from fsfm_jax.apps.reading import Reading, Settings
from fsfm_jax.apps.ticket import READ, GivenUp, Ticket
from fsfm_jax.apps.wire import BrokenWorker, read_header, read_reading
from fsfm_jax.prepare.media import sandbox

MEMORY = sandbox.MEMORY  # bytes of address space of a worker, and of each process that it decodes a file in
SECONDS = 300.0
TICK = 0.1  # seconds that `read_as_done` waits before it asks for more files
AHEAD = 2  # files in work or finished per worker beyond the one that is waited for


class Readers:
    """Reads files with `workers` processes; a context manager."""

    def __init__(self, settings: Settings, workers: int, seconds: float = SECONDS, memory: int = MEMORY):
        """Starts the first worker.

        Args:
          seconds: that a file may take before its worker is killed.
          memory: bytes of address space of a worker.

        Raises:
          ValueError: no worker, or a detector, parser or weights that cannot be had; the text is that of `FaceReader`.
        """
        if workers < 1:
            raise ValueError(f"workers: expected at least 1, found {workers}")
        sandbox.warn()
        self._settings, self._seconds, self._memory = settings, seconds, memory
        # Last in, first out: a worker that is ready is taken before one is started.
        self._idle: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        self._alive: set[_Worker] = set()
        self._closed = False
        for _ in range(workers - 1):
            self._idle.put(None)  # started when it is needed
        self._idle.put(self._start())
        self._workers = workers
        self._threads = concurrent.futures.ThreadPoolExecutor(workers, "reader")

    def __enter__(self) -> "Readers":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Ends the workers; files that are being read are given up."""
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
        """Reads one file; may be called from several threads.

        Args:
          faces, frames: for this file, in the place of the settings' own; see `Settings`.
          ticket: is told of each frame; giving it up kills the process that reads the file.

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
        """Reads files in their order, a few ahead of what is taken."""
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
        """Reads files and yields each when it has been read: a slow one keeps none of the others waiting.

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

    def _start(self) -> "_Worker":
        if self._closed:
            raise RuntimeError("these readers have been closed")
        worker = _Worker(self._settings, self._seconds, self._memory)
        self._alive.add(worker)
        return worker


def _wait(pending: set, seconds: float | None) -> tuple[list[Reading], set]:
    done, left = concurrent.futures.wait(pending, seconds, concurrent.futures.FIRST_COMPLETED)
    return [future.result() for future in done], left


class _Worker:
    """One process and the pipes to it."""

    def __init__(self, settings: Settings, seconds: float, memory: int):
        self._side, self._seconds, self.late = settings.side, seconds, False
        self._errors = tempfile.TemporaryFile()
        command = [
            sys.executable, "-m", "fsfm_jax.apps.read_worker", json.dumps(dataclasses.asdict(settings)), str(memory)
        ]  # fmt: skip
        # Safe path: the folder that the user stands in is not a place to import from.
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        environment = os.environ | {"PYTHONPATH": root, "PYTHONSAFEPATH": "1"}
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors)
        # A group of its own: Ctrl-C is for the parent, which ends its workers.
        self._process = subprocess.Popen(command, env=environment, start_new_session=True, **pipes)
        try:
            said = self._in_time(lambda: read_header(self._process.stdout))
        except BrokenWorker as error:
            why = f"{error}{self.end()}"
            raise RuntimeError(f"a process for reading files could not be started: {why}") from error
        if READY not in said:
            self.end()
            raise ValueError(str(said.get(REFUSED)))

    def read(self, wanted: list, ticket: Ticket) -> Reading:
        """The answer about a file, `wanted` being its path and more; BrokenWorker if there is none."""

        def ask() -> Reading:
            try:
                self._process.stdin.write(json.dumps(wanted).encode() + b"\n")
                self._process.stdin.flush()
            except BrokenPipeError as error:
                raise BrokenWorker("it had ended") from error
            tell = functools.partial(ticket.tell, READ)
            return read_reading(self._process.stdout, wanted[0], self._side, tell)

        return self._in_time(ask)

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
        """Kills the process and those that it started; whoever waits for its answer gets a BrokenWorker."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> str:
        """Kills the process, frees what it had, and returns its last words as the end of a sentence."""
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
