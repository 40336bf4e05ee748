"""Results of a large job as a folder of Parquet files: each is whole or absent, and the same command resumes.

A row is a file with all of its faces. Parts are written as results come and get their names when they are on the disk,
so a kill costs what was scored since the last part, which is scored again. A file is done if a row has its path, its
size and its time of modification; what has changed since is scored again and gets another row.
"""

import contextlib
import dataclasses
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow
import pyarrow.parquet

from fsfm_jax.apps.file_stamp import FileStamp
from fsfm_jax.apps.verdict import Verdict
from fsfm_jax.command import KEPT, with_name
from fsfm_jax.run.whole_file import whole_file
from fsfm_jax.text import join_first, plain, utf8

PART = "part-{:06d}.parquet"
PART_NAME = re.compile(r"part-(\d{6,})\.parquet")
LEFT = re.compile(r"\.part-\d{6,}\.parquet\.[0-9a-f]+\.tmp")  # of a command that was killed; hidden from readers
ABOUT = b"fsfm"  # key of the metadata of each part: JSON with `JOB` and what explains the results
JOB = "job"
PART_FILES, PART_SECONDS = 1000, 60.0  # a part is written when it has so many files or is so old
DONE = ("file", "file_bytes", "bytes", "modified_ns", "score")

_BOX = pyarrow.list_(pyarrow.int64())
_MISS = pyarrow.struct({"frame": pyarrow.int64(), "reason": pyarrow.string(), "detail": pyarrow.string()})
_PLACE = pyarrow.struct({"frame": pyarrow.int64(), "face": pyarrow.int64(), "box": _BOX})


@dataclasses.dataclass(frozen=True)
class _Part:
    """What is not on the disk yet: the number that it will have, its rows, and since when the first may wait."""

    number: int
    rows: list[dict]
    since: float


class ResultParts:
    """A folder of parts; a context manager, which saves what there is when its block ends, however that is.

    Attributes:
      earlier: rows that were there when it was opened. without: those of them that have no score.
    """

    def __init__(self, flag: str, folder: str):
        """Look at the folder without changing anything.

        Raises:
          ValueError: it holds other files, is no folder, or cannot be made or written to.
        """
        self._flag, self._folder = flag, folder
        self._stack = contextlib.ExitStack()
        self._part = _Part(0, [], time.monotonic())
        self._expected: dict[str, FileStamp] = {}
        self._failed = False
        self.earlier = self.without = 0
        self._done: set[FileStamp] = set()
        self._check()

    def open(self, job: Mapping[str, Any], about: Mapping[str, Any], class_names: Sequence[str]) -> None:
        """Lock the folder, making it if it is not there, and read which files are done.

        Args:
          job: what the results depend on, as JSON has it; has to be that of the parts that are there.
          about: what explains the results, kept with each part as `job` is.

        Raises:
          ValueError: another command is at work there, the parts were made otherwise, or one is damaged.
        """
        from fsfm_jax.run import lock  # which takes as long as JAX to import; the folder is looked at before

        self._stack.enter_context(lock.hold(self._folder, f"{self._flag}=FOLDER"))
        self._job = json.loads(json.dumps(job))
        self._schema = _schema(class_names).with_metadata({ABOUT: json.dumps({JOB: self._job, **about})})
        first = 0
        for name in self._names():
            path = os.path.join(self._folder, name)
            if LEFT.fullmatch(name):
                os.unlink(path)
            elif found := PART_NAME.fullmatch(name):
                self._read(path)
                first = max(first, int(found[1]) + 1)
        self._part = _Part(first, [], time.monotonic())

    def expect(self, stamp: FileStamp) -> bool:
        """Return whether a file has no result yet; the next verdict on its path is taken for this content of it."""
        if stamp in self._done:
            return False
        self._expected[stamp.path] = stamp
        return True

    def add(self, verdict: Verdict) -> None:
        """Take a verdict, and write a part if it is time; OSError."""
        if not self._part.rows:
            self._part = dataclasses.replace(self._part, since=time.monotonic())
        self._part.rows.append(_row(verdict, self._expected.pop(verdict.path)))
        self.save_due()

    def save_due(self) -> None:
        """Write a part if there are enough results or the oldest waits for `PART_SECONDS`; OSError."""
        part = self._part
        if len(part.rows) >= PART_FILES or time.monotonic() - part.since >= PART_SECONDS:
            self._save()

    def end(self) -> None:
        """Write what is left; OSError."""
        self._save()

    def __enter__(self) -> "ResultParts":
        return self

    def __exit__(self, kind, error: BaseException | None, _) -> None:
        with self._stack:
            if not self._failed:  # what could not be written is not tried again
                self._save()
            if error is not None and self._part.number:
                error.add_note(f"{KEPT}{self._folder}")

    def _save(self) -> None:
        part = self._part
        if not part.rows:
            return
        path = os.path.join(self._folder, PART.format(part.number))
        table = pyarrow.Table.from_pylist(part.rows, schema=self._schema)
        try:
            with whole_file(path, hidden=True) as file:
                pyarrow.parquet.write_table(table, file, compression="zstd")
        except OSError as error:
            self._failed = True
            raise with_name(error, path) from error
        # One assignment: an interrupt before it writes the same part again, and not the same rows as another one.
        self._part = _Part(part.number + 1, [], time.monotonic())

    def _read(self, path: str) -> None:
        table = _read_part(path, DONE)
        job, rows = json.loads(table.schema.metadata[ABOUT])[JOB], table.to_pydict()
        if job != self._job:
            differing = join_first(list(_differences(job, self._job)), between="; ")
            raise ValueError(
                f"{self._flag}={self._folder}: expected the options that its results were made with; found "
                f"{plain(differing)}. Give the same options, or name another folder"
            )
        for name, raw, size, modified, score in zip(*(rows[column] for column in DONE), strict=True):
            self._done.add(FileStamp(name if raw is None else os.fsdecode(raw), size, modified))
            self.earlier, self.without = self.earlier + 1, self.without + (score is None)

    def _check(self) -> None:
        wrong = ""
        if "://" in self._folder:
            wrong = "expected a folder of a file system, found an address"
        elif os.path.isdir(self._folder):
            foreign = [name for name in self._names() if name[0] != "." and not PART_NAME.fullmatch(name)]
            wrong = f"it holds other things, such as {plain(foreign[0])}; name a new folder" if foreign else ""
        elif os.path.lexists(self._folder):
            wrong = "expected a folder, found a file"
        else:
            parent = os.path.dirname(os.path.abspath(self._folder))
            wrong = "" if os.path.isdir(parent) else f"there is no folder {parent} to make it in"
        existing = self._folder if os.path.isdir(self._folder) else os.path.dirname(os.path.abspath(self._folder))
        if not wrong and not os.access(existing, os.W_OK | os.X_OK):
            wrong = f"cannot write to the folder {existing}: Permission denied"
        if wrong:
            raise ValueError(f"{self._flag}={self._folder}: {wrong}")

    def _names(self) -> list[str]:
        return sorted(os.listdir(self._folder))


def read_parts(folder: str, columns: Sequence[str] | None = None) -> pyarrow.Table:
    """Return the rows of all parts in their order, or some of their columns.

    Raises:
      ValueError: there is no part, or one is damaged.
      OSError: one cannot be read.
    """
    paths = [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if PART_NAME.fullmatch(name)]
    if not paths:
        raise ValueError(f"{folder}: expected Parquet files of fsfm predict --parquet, found none")
    return pyarrow.concat_tables([_read_part(path, columns) for path in paths])


def _read_part(path: str, columns: Sequence[str] | None) -> pyarrow.Table:
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            table = file.read(columns=columns)
        json.loads((table.schema.metadata or {})[ABOUT])
    except (KeyError, ValueError, OSError, pyarrow.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:  # those of a damaged file have no number
            raise
        raise ValueError(
            f"{path}: expected a part of fsfm predict --parquet; found {plain(str(error)[:200])}. Delete it, and its "
            "files are scored again"
        ) from error
    return table


def _schema(class_names: Sequence[str]) -> pyarrow.Schema:
    """Return the columns, with the names of `Verdict.as_json`; `threshold` is its value alone."""
    text, whole, real = pyarrow.string(), pyarrow.int64(), pyarrow.float64()
    classes = pyarrow.struct([(name, real) for name in class_names])
    face = {
        "frame": whole, "second": real, "face": whole, "person": whole, "box": _BOX, "square": _BOX,
        "detector_confidence": real, "score": real, "calibrated": real, "classes": classes,
    }  # fmt: skip
    person = {
        "person": whole, "frames_with_face": whole, "score": real, "calibrated": real, "verdict": text,
        "reason": text, "detail": text, "deciding_face": _PLACE,
    }  # fmt: skip
    return pyarrow.schema({
        "file": text, "file_bytes": pyarrow.binary(), "bytes": whole, "modified_ns": whole, "kind": text,
        "score": real, "calibrated": real, "verdict": text, "threshold": real, "reason": text, "detail": text,
        "notes": pyarrow.list_(text), "faces_found": whole, "faces_judged": whole, "frames_asked": whole,
        "frames_with_face": whole, "deciding_face": _PLACE, "faces": pyarrow.list_(pyarrow.struct(face)),
        "persons": pyarrow.list_(pyarrow.struct(person)), "misses": pyarrow.list_(_MISS),
    })  # fmt: skip


def _row(verdict: Verdict, stamp: FileStamp) -> dict:
    said = _in_utf8(verdict.as_json())
    return said | {
        "file_bytes": None if said["file"] == verdict.path else os.fsencode(verdict.path),
        "bytes": stamp.size, "modified_ns": stamp.modified,
        "threshold": None if verdict.threshold is None else verdict.threshold.value,
    }  # fmt: skip


def _in_utf8(value: Any) -> Any:
    """Return the same, with text as Parquet has it: file names, and what is said of files, need not be UTF-8."""
    if isinstance(value, dict):
        return {key: _in_utf8(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_in_utf8(one) for one in value]
    return utf8(value) if isinstance(value, str) else value


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    absent = "nothing"
    for name in sorted({*then, *now}):
        before, after = then.get(name, absent), now.get(name, absent)
        if before != after:
            yield f"{name}: then {before}, now {after}"
