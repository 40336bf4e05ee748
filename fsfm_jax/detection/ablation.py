"""Write the table of an ablation: settings x the papers' averages, as Markdown, and as CSV with one number a row."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fsfm_jax.detection import comparison, facts, published_numbers, tables
from fsfm_jax.detection.comparison import Entry, Row

# Means over the test sets of a task, as in the ablation tables of the supplement (C and E).
AVERAGES = {"dfd": ("frame AUC", "video AUC"), "diff": ("AUC",), "fas": ("HTER", "AUC")}
HEAD = ("setting", "task", "metric", "mean", "deviation", "seeds", "published")
BELOW = "Means over the test sets of a task, in percent; ± is the standard deviation over seeds."

# Published numbers by setting: text by task family and metric.
Published = Mapping[str, Mapping[tuple[str, str], str]]
# Names of these averages in the published ablations.
COLUMNS = {
    ("dfd", "frame AUC"): "dfd frame AUC", ("dfd", "video AUC"): "dfd video AUC", ("diff", "AUC"): "diff frame AUC",
    ("fas", "HTER"): "fas video HTER", ("fas", "AUC"): "fas video AUC",
}  # fmt: skip


def find_published(text: str, settings: Sequence[str]) -> tuple[Published, list[str]]:
    """Return the published numbers of `settings` and the notes on their sources; `text` is PAPER/TABLE/ABLATION or "".

    Raises:
      ValueError: `text` has another form, or names no published ablation; the message lists the published ones.
    """
    if not text:
        return {}, []
    try:
        paper, table, ablation = text.split("/")
    except ValueError as error:
        raise ValueError(f"published: expected PAPER/TABLE/ABLATION, found {text!r}") from error
    try:
        rows = published_numbers.of_ablation(paper, table, ablation)
    except ValueError as error:
        raise ValueError(f"published: {error}") from error
    found = {
        setting: {key: row[column] for key, column in COLUMNS.items() if column in row}
        for setting, row in rows.items()
        if setting in settings
    }
    shown = {setting: {key: str(number) for key, number in row.items()} for setting, row in found.items()}
    return shown, published_numbers.legend(number for row in found.values() for number in row.values())


def averages(entries: Iterable[Entry]) -> dict[tuple[str, str], dict[str, comparison.Spread | None]]:
    """Return the mean of each family's metrics by setting; None where a cell has not finished."""
    found = {}
    for family, rows in comparison.rows(entries).items():
        for metric in AVERAGES[rows[0].entries[0].layout]:
            found[family, metric] = {row.model: row.mean(metric) if _has_ended(row) else None for row in rows}
    return found


def table(settings: Sequence[str], entries: Sequence[Entry], published: Published, notes: Sequence[str]) -> str:
    """Return the table, with published numbers in columns of their own; unfinished cells are left empty."""
    found = averages(entries)
    beside = [key for key in found if any(key in published.get(name, {}) for name in settings)]
    head = ["setting"]
    for family, metric in found:
        head += [f"{family} {metric}", *([f"published {family} {metric}"] if (family, metric) in beside else [])]
    lines = [head, ["---"] * len(head)]
    for name in settings:
        line = [name]
        for key, means in found.items():
            line.append(comparison.show_spread(means[name]) if means.get(name) else "")
            if key in beside:
                line.append(published.get(name, {}).get(key, tables.EMPTY))
        lines.append(line)
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    known = facts.block(comparison.facts_of(entries))
    return "\n\n".join([text, "  \n".join([BELOW, *notes]), known]).rstrip("\n") + "\n"


def write_csv(path: Path, settings: Sequence[str], entries: Sequence[Entry], published: Published) -> None:
    """Write a row for each setting and average that was measured or published, in percent."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEAD)
        seeds = {(entry.family, entry.model): len(entry.found.summaries) for entry in entries if entry.found}
        for (family, metric), means in averages(entries).items():
            for name in settings:
                cell, other = means.get(name), published.get(name, {}).get((family, metric), "")
                if cell is not None or other:
                    numbers = ["" if value is None else repr(value) for value in cell or (None, None)]
                    writer.writerow([name, family, metric, *numbers, seeds.get((family, name), ""), other])


def _has_ended(row: Row) -> bool:
    return all(entry.found is not None for entry in row.entries)
