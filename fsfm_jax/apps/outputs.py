"""Verdicts as a table to read, as JSON and as CSV.

File names come from strangers. On a terminal their control characters are shown and not obeyed; in CSV no name starts
like a formula.
"""

import csv
import json
from collections.abc import Sequence
from typing import TextIO

from fsfm_jax.apps.verdict import Rule, Verdict, said
from fsfm_jax.metrics.card import Carded
from fsfm_jax.plain import plain

FORMULA = ("=", "+", "-", "@", "\t", "\r")
COLUMNS = (
    "file", "kind", "frame", "second", "face", "left", "top", "right", "bottom", "score", "calibrated", "file_score",
    "file_calibrated", "verdict", "reason", "detail",
)  # fmt: skip
WIDEST = 60  # of a name in the table


def width_for(paths: Sequence[str]) -> int:
    """Of the column of names."""
    return min(WIDEST, max(len("file"), *(len(plain(path)) for path in paths)))


def row(verdict: Verdict, width: int) -> str:
    """A line of the table; see `header`."""
    name = plain(verdict.path)
    name = name if len(name) <= width else "..." + name[3 - width :]
    if verdict.score is None:
        return f"{name:{width}} {'-':>5} {'-':>7} {'-':>10}  {verdict.reason}: {plain(verdict.detail)}"
    calibrated = "-" if verdict.calibrated is None else f"{verdict.calibrated:.4f}"
    return f"{name:{width}} {len(verdict.faces):5} {verdict.score:7.4f} {calibrated:>10}  {verdict.verdict or '-'}"


def header(width: int) -> str:
    """The first line of the table, whose names have `width` columns."""
    return f"{'file':{width}} {'faces':>5} {'P(real)':>7} {'calibrated':>10}  verdict"


def explanation(carded: Carded, rule: Rule) -> list[str]:
    """How the verdicts were made, a sentence each."""
    lines = []
    for kind, threshold in (("photos", rule.frame), ("videos", rule.video)):
        lines.append(f"{kind}: {said(threshold)}" if threshold else f"{kind}: no threshold, hence no verdict")
    if rule.frame is None:
        lines.append("this detector keeps no threshold: it had no validation split; --threshold=0.5 says one")
    if rule.temperature is None:
        lines.append("calibrated: this detector keeps no temperature")
    else:
        split = carded.card["calibration"]["split"]
        lines.append(f"calibrated: at the temperature {rule.temperature:.3g}, fitted on {split}")
    lines.append("a score is no proof; rates hold for faces like those of the split they were measured on")
    return lines


def write_json(file: TextIO, carded: Carded, rule: Rule, checkpoint: str, verdicts: Sequence[Verdict]) -> None:
    """All verdicts with what gives them their meaning, as one object."""
    content = {
        "detector": checkpoint,
        "class_names": list(carded.class_names),
        "real": carded.real,
        "score": "probability of being real; of a frame its least, of a video the mean over frames",
        "thresholds": {
            level: None if threshold is None else threshold.as_json() | {"meaning": said(threshold)}
            for level, threshold in (("photo", rule.frame), ("video", rule.video))
        },
        "temperature": rule.temperature,
        "files": [verdict.as_json() for verdict in verdicts],
    }
    json.dump(content, file, indent=1, allow_nan=False)
    file.write("\n")


def write_csv(file: TextIO, verdicts: Sequence[Verdict]) -> None:
    """A row for each face; a row without one for each file that has none."""
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for verdict in verdicts:
        # "./=a.jpg" is the same file.
        name = f"./{verdict.path}" if verdict.path.startswith(FORMULA) else verdict.path
        of_file = [verdict.score, verdict.calibrated, verdict.verdict, verdict.reason, verdict.detail]
        for face in verdict.faces:
            crop = face.crop
            place = [crop.frame, face.second, crop.face, *crop.box]
            writer.writerow([name, verdict.kind, *place, face.score, face.calibrated, *of_file])
        if not verdict.faces:
            writer.writerow([name, verdict.kind, *[""] * 9, *of_file])
