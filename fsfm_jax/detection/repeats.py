"""Tabulate runs that differ only in their seed, with their mean and standard deviation."""

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence

from fsfm_jax.detection import tables
from fsfm_jax.detection.facts import Facts, block
from fsfm_jax.run.workdir import write_text

CSV, TABLE = "repeats.csv", "repeats.md"


def write_repeats(workdir: str, results: Mapping[int, Mapping[str, dict]], layout: str, known: Facts) -> None:
    """Write `repeats.csv` and `repeats.md`: a row for each data set and seed, then mean and deviation, in percent.

    The deviation is the population standard deviation over the seeds, as in the released code. A value that is
    undefined for a seed is left empty, and so are mean and deviation of that column.

    Args:
      results: summaries by seed, then by name of the data set.
      known: the facts of all seeds, printed below the table.
    """
    head, rows = repeats(results, layout)
    text = io.StringIO(newline="")
    csv.writer(text).writerows([head, *[[*row[:2], *("" if v is None else repr(v) for v in row[2:])] for row in rows]])
    write_text(os.path.join(workdir, CSV), text.getvalue())
    shown = [[row[0], str(row[1]), *("" if v is None else f"{v:.2f}" for v in row[2:])] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *shown]]
    write_text(os.path.join(workdir, TABLE), "\n".join([*lines, "", block(known)]))


def repeats(results: Mapping[int, Mapping[str, dict]], layout: str) -> tuple[list[str], list[list]]:
    """Return header and rows: data set, seed or "mean" or "std", and the layout's numbers in percent or None."""
    first = next(iter(results.values()))
    columns = [column for column in tables.columns(layout, first) if not column.published]
    rows = []
    for name in first:
        numbers = [
            [None if (v := column.value(name, found[name])) is None else 100 * v for column in columns]
            for found in results.values()
        ]
        rows += [[name, seed, *row] for seed, row in zip(results, numbers, strict=True)]
        each = list(zip(*numbers, strict=True))
        spreads = [(None, None) if None in values else spread(values) for values in each]
        rows.append([name, "mean", *(mean for mean, _ in spreads)])
        rows.append([name, "std", *(deviation for _, deviation in spreads)])
    return ["data set", "seed", *(column.title for column in columns)], rows


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and population standard deviation of `values`."""
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
