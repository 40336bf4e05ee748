"""Run shards on the cores of one machine, and survive the death of a worker.

Decoders are written in C, and a broken file can kill them. The pool is then made anew; the shards that were being made
are tried again one at a time, and a file at which the process dies a second time is skipped and listed. The same
holds for a file that takes longer than `SECONDS_PER_FACE`.
"""

import concurrent.futures
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

from fsfm_jax.prepare.faces import FaceMaker
from fsfm_jax.prepare.media import sandbox
from fsfm_jax.prepare.media.apart import Apart
from fsfm_jax.prepare.options import Options
from fsfm_jax.prepare.shard import ShardJob, build_shard, read_progress

SECONDS_PER_FACE = 900.0
TICK = 1.0  # seconds between two looks at the progress
_worker: dict = {}  # of this process: what `_start` made


def run(
    jobs: Sequence[ShardJob],
    options: Options,
    workers: int,
    progress: Callable[[], None],
    seconds_per_face: float = SECONDS_PER_FACE,
) -> None:
    """Build the unfinished shards in `workers` processes.

    Args:
      progress: called about once a second.

    Raises:
      RuntimeError: a worker died before it began.
      Whatever `build_shard` raises; the shards that are done stay.
    """
    sandbox.warn()
    todo = [job for job in jobs if not job.is_done()]
    for job in todo:
        job.progress.unlink(missing_ok=True)
    while todo:
        try:
            _run_once(todo, options, workers, progress, seconds_per_face)
        except BrokenProcessPool:
            suspects = [(job, found[0]) for job in todo if (found := read_progress(job)) is not None]
            if not suspects:
                raise RuntimeError(
                    "a worker process died before it began its first file; run with --workers=1, "
                    "and if that dies too, look for missing memory (dmesg) or a broken installation"
                ) from None
            for job, position in suspects:
                _run_alone(job, position, options, progress, seconds_per_face)
        todo = [job for job in todo if not job.is_done()]


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _run_alone(job: ShardJob, died_at: int | None, options: Options, progress, seconds_per_face: float) -> None:
    while not job.is_done():
        try:
            _run_once([job], options, 1, progress, seconds_per_face)
        except BrokenProcessPool:
            found = read_progress(job)
            position = None if found is None else found[0]
            if position is not None and position == died_at:
                job, died_at = replace(job, skip=(*job.skip, position)), None
            else:
                died_at = position


def _run_once(jobs: Sequence[ShardJob], options: Options, workers: int, progress, seconds_per_face: float) -> None:
    executor = concurrent.futures.ProcessPoolExecutor(
        min(workers, len(jobs)), multiprocessing.get_context("spawn"), _start, (options.as_text(),)
    )
    try:
        pending = {executor.submit(_build, job) for job in jobs}
        while pending:
            done, pending = concurrent.futures.wait(pending, TICK, concurrent.futures.FIRST_COMPLETED)
            for future in done:
                future.result()
            progress()
            _kill_the_stuck(jobs, seconds_per_face)
        executor.shutdown()
    except BaseException:
        # Not `shutdown(wait=True)`: the workers would finish their shards first.
        executor.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.kill()
            process.join()
        raise


def _kill_the_stuck(jobs: Sequence[ShardJob], seconds_per_face: float) -> None:
    for job in jobs:
        found = read_progress(job)
        if found is None:
            continue
        try:
            silent = time.time() - job.progress.stat().st_mtime
            if silent > seconds_per_face:
                os.kill(found[1], signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just finished


def _start(options: str) -> None:
    """Prepare a worker: load detector and parser once for all of its shards."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker["options"] = Options.from_text(options)
    _worker["maker"] = FaceMaker(_worker["options"], Apart())


def _end_with_parent() -> None:
    # Workers of a killed parent would wait for work for ever.
    multiprocessing.parent_process().join()
    os._exit(1)


def _build(job: ShardJob) -> None:
    build_shard(job, _worker["options"], _worker["maker"])
