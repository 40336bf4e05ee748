"""Judge files: what is read is scored with full batches, and each verdict goes to every output of the command."""

import dataclasses
import hashlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, TextIO

from fsfm_jax import command
from fsfm_jax.apps import explanation, outputs
from fsfm_jax.apps.certainty import Limits
from fsfm_jax.apps.file_stamp import stamp
from fsfm_jax.apps.picture_folder import PictureFolder
from fsfm_jax.apps.readers import Readers
from fsfm_jax.apps.reading import EVERY, Reading, Settings
from fsfm_jax.apps.redaction import Redaction
from fsfm_jax.apps.result_parts import ResultParts
from fsfm_jax.apps.scoring import score_readings
from fsfm_jax.apps.verdict import DecisionRule, Verdict
from fsfm_jax.apps.watch import Arrivals, Stop, Stopped
from fsfm_jax.detection.predictor import Predictor
from fsfm_jax.run.progress import Progress
from fsfm_jax.text import plain


class Recorder:
    """Everything that verdicts go to.

    Attributes:
      count: verdicts so far. without: those without a score. unjudged: faces that were found and not judged.
    """

    def __init__(
        self,
        predictor: Predictor,
        results: Sequence[Any],
        folder: PictureFolder | None,
        table: TextIO,
        width: int,
        redaction: Redaction | None = None,
    ):
        """Write to `results` by `add(verdict)`; `width` is that of the names in the table; None keeps names."""
        self._predictor, self._results, self._folder, self._table = predictor, results, folder, table
        self._width, self._redaction = width, redaction
        self.count = self.without = self.unjudged = 0

    def say(self, line: str) -> None:
        """Write a line to the table; OSError."""
        command.say(line, self._table)

    def say_header(self) -> None:
        """Write the first line of the table; OSError."""
        self.say(outputs.header(self._width))

    def add(self, reading: Reading, verdict: Verdict, with_row: bool = True) -> None:
        """Give a verdict to all outputs; OSError."""
        if self._redaction is not None:
            verdict = self._redaction.redact(verdict)
        if with_row:
            self.say(outputs.row(verdict, self._width))
            for line in outputs.person_rows(verdict, self._width):
                self.say(line)
        for result in self._results:
            result.add(verdict)
        if self._folder is not None:
            self._folder.add(verdict.path, explanation.explain(self.count, self._predictor, reading, verdict))
        self.count, self.without = self.count + 1, self.without + (verdict.score is None)
        self.unjudged += verdict.found - len(verdict.faces)


@dataclasses.dataclass(frozen=True)
class Judge:
    """Judges many files in one of three ways.

    Attributes:
      open_readers: makes readers for at most so many files at a time.
      faces: which faces of a picture are judged.
    """

    predictor: Predictor
    rule: DecisionRule
    recorder: Recorder
    open_readers: Callable[[int], Readers]
    faces: str

    def judge(self, refused: Mapping[str, str]) -> None:
        """Judge files in their order, each with a row of the table.

        Args:
          refused: by path why it cannot be read, "" for all others.

        Raises:
          ValueError, OSError, RuntimeError: as readers, predictor and outputs; with a note on how many were judged.
        """
        recorder, total = self.recorder, len(refused)
        recorder.say_header()
        with self._noted(total), self.open_readers(total) as readers:
            found = readers.read_all([path for path, why in refused.items() if not why])
            readings = (_unread(path, why) if why else next(found) for path, why in refused.items())
            for reading, verdict in score_readings(self.predictor, self.rule, readings):
                recorder.add(reading, verdict)
        recorder.say(f"{total - recorder.without} of {total} files have a score")
        self._say_unjudged()

    def resume(self, parts: ResultParts, refused: Mapping[str, str]) -> None:
        """Judge the files that have no result in `parts`, as they are read; raises as `judge`."""
        recorder = self.recorder
        todo = {path: why for path, why in refused.items() if parts.expect(stamp(path))}
        if len(todo) < len(refused):
            recorder.say(f"{len(refused) - len(todo):,} of {len(refused):,} files have a result already")
        progress = Progress(len(todo), "files")
        progress.about = "judged"
        with closing(progress), self._noted(len(todo)), self.open_readers(len(todo)) as readers:
            unread = (_unread(path, why) for path, why in todo.items() if why)
            read = readers.read_as_done(path for path, why in todo.items() if not why)
            for reading, verdict in score_readings(self.predictor, self.rule, itertools.chain(unread, read)):
                recorder.add(reading, verdict, with_row=False)
                progress.add()
        total = parts.earlier + recorder.count
        recorder.say(f"{total - parts.without - recorder.without:,} of {total:,} files have a score")
        self._say_unjudged()

    def watch(self, parts: ResultParts | None, folders: Sequence[str], seconds: float) -> None:
        """Judge what appears in folders, with a look every `seconds`, until Ctrl-C or SIGTERM; raises as `judge`."""
        recorder = self.recorder
        arrivals = Arrivals(folders, lambda found: parts is None or parts.expect(found))

        def readings(readers: Readers) -> Iterator[Reading | None]:
            for reading in readers.read_as_done(arrivals.keep_looking(seconds)):
                if reading is None and parts is not None:
                    with stop.held():
                        parts.save_due()
                yield reading

        with Stop() as stop:
            try:
                with self.open_readers(sys.maxsize) as readers:
                    recorder.say(f"watching {', '.join(map(plain, folders))}; Ctrl-C stops")
                    recorder.say_header()
                    for reading, verdict in score_readings(self.predictor, self.rule, readings(readers)):
                        with stop.held():
                            recorder.add(reading, verdict)
                            arrivals.finish(reading.path)
            except Stopped:
                pass
        recorder.say(f"stopped; {recorder.count - recorder.without} of {recorder.count} files have a score")
        self._say_unjudged()

    def _say_unjudged(self) -> None:
        found = self.recorder.unjudged
        if found and self.faces != EVERY:
            self.recorder.say(f"{found} faces were found and not judged; --faces=all judges every face of a picture")

    @contextmanager
    def _noted(self, total: int) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            if self.recorder.count and not isinstance(error, BrokenPipeError):
                error.add_note(f"{self.recorder.count} of {total} files were judged")
            raise


def describe_job(
    checkpoint: str, card: Mapping[str, Any], settings: Settings, threshold: str, limits: Limits, dtype: str,
    runtime: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Return what the results of a job depend on, as JSON; a job resumes only with the same."""
    said = json.dumps(card, sort_keys=True, default=str).encode()
    return {
        "checkpoint": checkpoint,
        "bytes of the checkpoint": os.path.getsize(checkpoint) if os.path.isfile(checkpoint) else None,
        "SHA-256 of the detector's card": hashlib.sha256(said).hexdigest(),
        "threshold": threshold,
        "dtype": dtype,
        "least_frames": limits.frames,
        "least_confidence": str(limits.confidence),
        **({"runtime": runtime} if runtime else {}),  # jobs from before runtimes resume
        **dataclasses.asdict(settings),
    }


def _unread(path: str, why: str) -> Reading:
    return Reading(path, "", reason="unreadable", detail=why)
