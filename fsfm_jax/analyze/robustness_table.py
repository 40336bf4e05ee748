"""The tables and plots of a robustness report, made from its `results.json`."""

import csv
import io
import os
from collections.abc import Mapping, Sequence

from fsfm_jax.data.corruption import DEEPERFORENSICS
from fsfm_jax.detection import facts
from fsfm_jax.detection.tables import UNDEFINED
from fsfm_jax.figures.robustness import Line, Panel
from fsfm_jax.run.workdir import write_text

TABLE, NUMBERS = "table.md", "table.csv"
NONE = "none"  # corruption and strength of clean images
LEVELS = ("frame", "video")
HEAD = (
    "data set", "corruption", "strength", "value", "frames", "videos", "frame AUC", "frame AUC low", "frame AUC high",
    "video AUC", "video AUC low", "video AUC high", "false alarm rate", "miss rate", "values of",
)  # fmt: skip


def write_tables(folder: str, content: Mapping, warnings: Sequence[str]) -> None:
    """Write `table.md` in percent, and `table.csv` with fractions and empty fields for undefined numbers."""
    write_text(os.path.join(folder, TABLE), to_markdown(content, warnings))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEAD)
    writer.writerows(list_rows(content))
    write_text(os.path.join(folder, NUMBERS), text.getvalue())


def list_rows(content: Mapping) -> list[list]:
    """List the rows of `table.csv` with the columns of `HEAD`; undefined numbers are None."""
    rows = []
    for name, found in content["data"].items():
        for row in found["rows"]:
            areas = [
                number
                for level in LEVELS
                for number in (row[level]["metrics"]["auc"], *(row[level]["interval"][end] for end in ("low", "high")))
            ]
            rates = row["decisions"]["metrics"]
            counts = [row[level]["examples"] for level in LEVELS]
            said = content["corruptions"][row["corruption"]] if row["corruption"] else None
            rows.append([
                name, row["corruption"] or NONE, row["strength"] or NONE, _value(content, row), *counts, *areas,
                rates["false_alarm_rate"], rates["miss_rate"], said["values_of"] if said else "",
            ])  # fmt: skip
    return rows


def to_markdown(content: Mapping, warnings: Sequence[str]) -> str:
    """Return the tables of all sets as Markdown, in percent, with notes on the measurement below."""
    lines, reasons = [], []
    for name, found in content["data"].items():
        frames, videos = (found["rows"][0][level] for level in LEVELS)
        lines += [
            f"## {name}: {frames['examples']:,} images, {videos['examples']:,} videos ({videos['positives']:,} real, "
            f"{videos['negatives']:,} forged)", "",
            "| corruption | strength | | AUC, % | false alarms, % | missed, % |", "|---|---|---|---|---|---|",
        ]  # fmt: skip
        for row in found["rows"]:
            rates = row["decisions"]["metrics"]
            cells = [row["corruption"] or NONE, row["strength"] or "", _value(content, row), _area(row["video"])]
            cells += [_percent(rates[rate]) for rate in ("false_alarm_rate", "miss_rate")]
            lines.append(f"| {' | '.join(cells)} |")
        undefined = found["rows"][0]["video"]["undefined"] | found["rows"][0]["decisions"]["undefined"]
        reasons += [f"{name}: {metric} is undefined, {why}" for metric, why in undefined.items()]
        lines.append("")
    notes = "  \n".join([*_notes(content), *(f"Warning: {w}." for w in warnings), *reasons])
    known = content[facts.KEY]
    found = facts.Facts([(known["detector"]["name"], known["detector"])], [*known["sets"].items()])
    return "\n".join([*lines, notes, "", facts.block(found)])


def _notes(content: Mapping) -> list[str]:
    detector, kept = content["detector"], content["detector"]["threshold"]
    theirs = [name for name, row in content["corruptions"].items() if row["values_of"] == DEEPERFORENSICS]
    chosen = f"{kept['rule']}, chosen on {kept['split']}" if kept["split"] else f"{kept['rule']}, chosen on no data"
    notes = [
        f"Corruptions are applied to the network's input, {detector['image_size']} pixels wide; lengths are in pixels "
        "of a 224-pixel image. Faces are not detected again.",
        f"AUC of videos (a photo counts as one), with {100 * content['bootstrap']['level']:g} % intervals from "
        f"{content['bootstrap']['resamples']:,} resamples of videos; 50 % is chance.",
        "False alarms are real videos classified as forged; misses are forged ones classified as real, at "
        f"{kept['value']:.6g} ({chosen}).",
    ]
    if theirs:
        notes.append(f"Strengths of {', '.join(theirs)} are from {DEEPERFORENSICS}; the others are from fsfm_jax.")
    return notes


def panels_of(content: Mapping) -> list[Panel]:
    """Make a panel for each corruption, starting with the clean images; AUC of videos in percent."""
    panels = []
    for name, said in content["corruptions"].items():
        ticks = [NONE, *(f"{strength['value'][0]:.3g}" for strength in said["strengths"].values())]
        lines = {}
        for dataset, found in content["data"].items():
            rows = [row["video"] for row in found["rows"] if row["corruption"] in (None, name)]
            values = [row["metrics"]["auc"] for row in rows]
            low, high = ([row["interval"][end] for row in rows] for end in ("low", "high"))
            lines[dataset] = Line(*(_in_percent(numbers) for numbers in (values, low, high)))
        panels.append(Panel(said["title"], ticks, lines))
    return panels


def _in_percent(numbers: Sequence[float | None]) -> list[float]:
    return [float("nan") if number is None else 100 * number for number in numbers]


def _value(content: Mapping, row: Mapping) -> str:
    if row["corruption"] is None:
        return ""
    return content["corruptions"][row["corruption"]]["strengths"][row["strength"]]["text"]


def _area(level: Mapping) -> str:
    bounds = level["interval"]
    behind = "" if bounds["low"] is None else f" ({100 * bounds['low']:.2f}–{100 * bounds['high']:.2f})"
    return _percent(level["metrics"]["auc"]) + behind


def _percent(value: float | None) -> str:
    return UNDEFINED if value is None else f"{100 * value:.2f}"
