"""Verdicts as a table to read, as JSON and as CSV, each written as the verdicts come.

File names are untrusted. Their control characters are shown and not obeyed: in the table and in CSV as visible escapes,
in JSON as JSON escapes them; only there a name is exact. In CSV no name starts like a formula.
"""

import csv
import io
import json
from collections.abc import Sequence

from fsfm_jax.apps.caution import NO_PROOF, NOT_COVERED, warnings_of
from fsfm_jax.apps.reading import VIDEO
from fsfm_jax.apps.result_file import ResultFile, ResultStream
from fsfm_jax.apps.verdict import DecisionRule, Verdict, describe_threshold
from fsfm_jax.metrics.card import INT8, Carded
from fsfm_jax.text import plain

FORMULA = ("=", "+", "-", "@", "\t", "\r")
COLUMNS = (
    "file", "kind", "frame", "second", "face", "left", "top", "right", "bottom", "score", "calibrated", "file_score",
    "file_calibrated", "verdict", "reason", "detail", "detector_confidence", "decides", "faces_found", "faces_judged",
    "frames_asked", "frames_with_face", "notes",
)  # fmt: skip
OF_PERSONS = ("person", "person_score", "person_verdict")  # more columns, where people are followed
WIDEST = 60  # of a name in the table
SCORE = "probability of being real; of a frame its least, of a video the mean over frames"
SCORE_OF_PERSONS = (
    "probability of being real; of a photo its least, of a person in a video the mean over the person's frames, of a "
    "video that of the person who decides: the least of those with a verdict"
)
HEADER = f"{'faces':>9} {'frames':>12} {'P(real)':>7} {'calibrated':>10}  verdict"


def width_for(paths: Sequence[str]) -> int:
    """Return the width of the column of names."""
    return min(WIDEST, max(len("file"), *(len(plain(path)) for path in paths)))


def row(verdict: Verdict, width: int) -> str:
    """Return a line of the table; see `header`."""
    name = plain(verdict.path)
    name = name if len(name) <= width else "..." + name[3 - width :]
    notes = f" [{plain('; '.join(verdict.notes))}]" if verdict.notes else ""
    if verdict.score is None:
        cells = f"{'-':>9} {'-':>12} {'-':>7} {'-':>10}"
        return f"{name:{width}} {cells}  {verdict.reason}: {plain(verdict.detail)}{notes}"
    calibrated = "-" if verdict.calibrated is None else f"{verdict.calibrated:.4f}"
    faces = _of(len(verdict.faces), verdict.found)
    frames = f"{verdict.frames_with_face} of {verdict.frames}" if verdict.kind == VIDEO else "-"
    why = f"no verdict, {verdict.reason}: {plain(verdict.detail)}" if verdict.reason else verdict.verdict or "-"
    return f"{name:{width}} {faces:>9} {frames:>12} {verdict.score:7.4f} {calibrated:>10}  {why}{notes}"


def person_rows(verdict: Verdict, width: int) -> list[str]:
    """Return a line for each person of a video in which people are followed, under that of the video."""
    lines = []
    for person in verdict.persons or ():
        calibrated = "-" if person.calibrated is None else f"{person.calibrated:.4f}"
        seen = f"{len(person.faces)} of {verdict.frames}"
        why = f"no verdict, {person.reason}: {person.detail}" if person.reason else person.verdict or "-"
        name = f"  person {person.number}"
        lines.append(f"{name:{width}} {len(person.faces):>9} {seen:>12} {person.score:7.4f} {calibrated:>10}  {why}")
    return lines


def header(width: int) -> str:
    """Return the first line of the table, whose names have `width` columns."""
    return f"{'file':{width}} {HEADER}"


def explanation(carded: Carded, rule: DecisionRule) -> list[str]:
    """Return how the verdicts were made and what they are worth, one sentence each; warnings come first."""
    lines = [f"WARNING: {text}" for text in warnings(carded, rule)]
    for kind, threshold in _thresholds(rule).items():
        rule_text = describe_threshold(threshold) if threshold else "no threshold, hence no verdict"
        lines.append(f"{kind}: {rule_text}")
    if rule.frame is None:
        lines.append("this detector keeps no threshold: it had no validation split; --threshold=0.5 says one")
    if carded.quantised:
        split = carded.card["artifact"]["quantised"]["split"]
        lines.append(f"int8: the network's products are in int8, and thresholds were fitted to its scores on {split}")
    if rule.temperature is None:
        lines.append("calibrated: this detector keeps no temperature")
    else:
        split = carded.card["calibration"]["split"]
        lines.append(f"calibrated: at the temperature {rule.temperature:.3g}, fitted on {split}")
    return [plain(line) for line in (*lines, NOT_COVERED, NO_PROOF)]


def warnings(carded: Carded, rule: DecisionRule) -> list[str]:
    """Return the sentences of `caution.warnings_of`."""
    return warnings_of(carded, _thresholds(rule))


def meaning(carded: Carded, rule: DecisionRule, checkpoint: str) -> dict:
    """Return what gives verdicts their meaning, as JSON."""
    return {
        "detector": checkpoint,
        "class_names": list(carded.class_names),
        "real": carded.real,
        "quantised": INT8 if carded.quantised else None,
        "score": SCORE_OF_PERSONS if rule.persons else SCORE,
        "thresholds": {
            level: None if threshold is None else threshold.as_json() | {"meaning": describe_threshold(threshold)}
            for level, threshold in (("photo", rule.frame), ("video", rule.video))
        },
        "temperature": rule.temperature,
        "least_frames": rule.limits.frames,
        "least_confidence": rule.limits.confidence if abs(rule.limits.confidence) < float("inf") else None,
        "warnings": warnings(carded, rule),
        "not_covered": NOT_COVERED,
    }


class JsonResults:
    """All verdicts with what gives them their meaning, as one object; not valid before `end`."""

    def __init__(self, file: ResultFile | ResultStream, carded: Carded, rule: DecisionRule, checkpoint: str):
        """Write everything but the verdicts; OSError."""
        self._file, self._first = file, True
        file.write(_text(meaning(carded, rule, checkpoint)).removesuffix("\n}") + ',\n "files": [', 0)
        file.closing = _end(False)

    def add(self, verdict: Verdict) -> None:
        """Write a verdict; OSError."""
        text = _text(verdict.as_json()).replace("\n", "\n  ")
        self._file.write(f"{'' if self._first else ','}\n  {text}")
        self._first = False

    def end(self) -> None:
        """Write the end; OSError."""
        self._file.write(_end(True), 0)
        self._file.closing = ""


class CsvResults:
    """A row for each face; a row without one for each file that has none."""

    def __init__(self, file: ResultFile | ResultStream, persons: bool = False):
        """Write the names of the columns, with those of `OF_PERSONS` where people are followed; OSError."""
        self._file, self._persons = file, persons
        file.write(_line([*COLUMNS, *OF_PERSONS] if persons else COLUMNS), 0)

    def add(self, verdict: Verdict) -> None:
        """Write the rows of a verdict; OSError."""
        name = plain(verdict.path)
        # "./=a.jpg" is the same file.
        name = f"./{name}" if verdict.path.startswith(FORMULA) else name
        whole = [verdict.score, verdict.calibrated, verdict.verdict, verdict.reason, plain(verdict.detail)]
        counts = [verdict.found, len(verdict.faces), verdict.frames, verdict.frames_with_face]
        end = [*counts, plain("; ".join(verdict.notes))]
        rows = []
        for index, face in enumerate(verdict.faces):
            crop = face.crop
            place = [crop.frame, face.second, crop.face, *crop.box]
            sure = "" if crop.sureness != crop.sureness else crop.sureness
            decides = "yes" if index == verdict.deciding else ""
            person = self._person(verdict, face.person)
            rows.append([name, verdict.kind, *place, face.score, face.calibrated, *whole, sure, decides, *end, *person])
        if not verdict.faces:
            rows.append([name, verdict.kind, *[""] * 9, *whole, "", "", *end, *self._person(verdict, None)])
        self._file.write("".join(map(_line, rows)))

    def _person(self, verdict: Verdict, number: int | None) -> list:
        if not self._persons:
            return []
        found = [[one.number, one.score, one.verdict] for one in verdict.persons or () if one.number == number]
        return found[0] if found else [""] * len(OF_PERSONS)

    def end(self) -> None:
        """Do nothing: CSV has no end."""


def _thresholds(rule: DecisionRule) -> dict:
    if rule.frame == rule.video:
        return {"photos and videos": rule.frame}
    return {"photos": rule.frame, "videos": rule.video}


def _of(part: int, whole: int) -> str:
    return str(whole) if part == whole else f"{part} of {whole}"


def _text(content: dict) -> str:
    return json.dumps(content, indent=1, allow_nan=False)


def _end(complete: bool) -> str:
    return f'\n ],\n "complete": {json.dumps(complete)}\n}}\n'


def _line(cells: Sequence) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()
