"""Read scores of other detectors from a CSV file, for our metrics and tables.

The file is UTF-8 with commas, a header line, and one row for each frame or video:

    dataset,video,frame,label,fake
    CDFv2,Celeb-synthesis/id0_id1_0000,12,fake,0.973

`dataset` is the name of the test set in our tables; `video` and `frame` are the ids in our records. Without the column
`frame` a row is a whole video. `label` is `real` (also for bona fide faces) or `fake` (also for attacks).
The last column is named `fake` or `real` and holds the probability of that class, from 0 to 1.
"""

import csv
import hashlib
import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fsfm_jax.data.regular_file import read_regular
from fsfm_jax.text import did_you_mean, join_first, plain

KEYS, FRAME, LABELS = ("dataset", "video", "label"), "frame", ("fake", "real")
NAMES = (*KEYS, FRAME, *LABELS)
MOST = 1 << 30  # largest file in bytes
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
WHOLE = re.compile(r"-?\d{1,18}")


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of one data set, each column `[N]` in the order of the file.

    Attributes:
      videos: video ids, text; frames: int64 frame numbers, or None where a row is a whole video.
      real: bool, the labels; scores: float64, the probabilities of being real.
    """

    videos: np.ndarray
    frames: np.ndarray | None
    real: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True, eq=False)
class ScoreFile:
    """A score file: its path, the SHA-256 of its bytes in hexadecimal, and the scores by data set name."""

    path: str
    sha256: str
    sets: dict[str, Scores]


def read_scores(path: str) -> ScoreFile:
    """Read a score file.

    Raises:
      FileNotFoundError: the file does not exist.
      ValueError: the format differs, a value is invalid, or a row is repeated; the message names the line.
    """
    data = read_regular(Path(path), MOST)
    try:
        return ScoreFile(path, hashlib.sha256(data).hexdigest(), _sets(data.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8, found another byte at {error.start}; save it as UTF-8") from error
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}: {plain(str(error)[:1000])}") from error


def _sets(text: str) -> dict[str, Scores]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    head = next(reader, [])
    _check_head(head)
    found: dict[str, list[tuple[str, int | None, bool, float]]] = {}
    seen: dict[tuple[str, str, int | None], int] = {}
    for line, name, row in _rows(reader, head):
        key = name, row[0], row[1]
        if key in seen:
            what = f"video {row[0]!r}" + ("" if row[1] is None else f", frame {row[1]}")
            raise ValueError(f"line {line}: {name}, {what} repeats line {seen[key]}; keep one row for each")
        seen[key] = line
        found.setdefault(name, []).append(row)
    if not found:
        raise ValueError("expected a row of scores below the header line, found none")
    return {name: _columns(rows, FRAME in head) for name, rows in found.items()}


def _check_head(head: Sequence[str]) -> None:
    unknown = [name for name in head if name not in NAMES]
    if unknown:
        raise ValueError(
            f"line 1: expected columns among {', '.join(NAMES)}; found {unknown[0]!r}{did_you_mean(unknown[0], NAMES)}"
        )
    missing = [name for name in KEYS if name not in head]
    pointing = [name for name in LABELS if name in head]
    if missing or len(pointing) != 1 or len(set(head)) < len(head):
        raise ValueError(
            f"line 1: expected the columns {', '.join(KEYS)}, optionally {FRAME}, and either fake or real, each once; "
            f"found {', '.join(head) or 'nothing'}"
        )


def _rows(reader: Iterator[list[str]], head: Sequence[str]) -> Iterator[tuple[int, str, tuple]]:
    """Return an iterator over rows: line number, data set, and (video, frame, label, score)."""
    pointing = next(name for name in LABELS if name in head)
    for row in reader:
        line = reader.line_num
        if len(row) != len(head):
            raise ValueError(f"line {line}: expected {len(head)} values ({', '.join(head)}), found {len(row)}")
        value = dict(zip(head, row, strict=True))
        empty = [name for name in head if not value[name]]
        if empty:
            raise ValueError(f"line {line}: expected a value in the column {', '.join(empty)}, found nothing")
        if "\0" in "".join(row):
            raise ValueError(f"line {line}: expected text without NUL characters, found one")
        if value["label"] not in LABELS:
            raise ValueError(f"line {line}: label: expected real or fake, found {value['label']!r}")
        if FRAME in head and not WHOLE.fullmatch(value[FRAME]):
            raise ValueError(f"line {line}: {FRAME}: expected a whole number, found {value[FRAME]!r}")
        text = value[pointing]
        score = float(text) if NUMBER.fullmatch(text) else math.nan
        if not 0 <= score <= 1:
            raise ValueError(
                f"line {line}: {pointing}: expected a probability from 0 to 1, found {text!r}; convert logits with the "
                "logistic function"
            )
        frame = int(value[FRAME]) if FRAME in head else None
        # Two probabilities of fake below 1e-16 become one score, as they do where our networks say them.
        real = score if pointing == "real" else 1 - score
        yield line, value["dataset"], (value["video"], frame, value["label"] == "real", real)


def _columns(rows: Sequence[tuple], framed: bool) -> Scores:
    videos, frames, real, scores = zip(*rows, strict=True)
    _check_labels(videos, real)
    numbers = np.array(frames, np.int64) if framed else None
    return Scores(np.array(videos), numbers, np.array(real), np.array(scores, np.float64))


def _check_labels(videos: Sequence[str], real: Sequence[bool]) -> None:
    labels: dict[str, bool] = {}
    mixed = {video for video, label in zip(videos, real, strict=True) if labels.setdefault(video, label) != label}
    if mixed:
        raise ValueError(f"expected one label a video, found both real and fake: {join_first(sorted(mixed))}")
