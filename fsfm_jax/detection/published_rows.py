"""Rows of published numbers for the table of a comparison: of the same test sets and metrics as ours."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from fsfm_jax.detection.published_numbers import MARKS, PAPER, QUOTED, THIRD_PARTY, Number, find_rows

# What stands in place of a tuning.
KINDS = {PAPER: "published", QUOTED: f"quoted{MARKS[QUOTED]}", THIRD_PARTY: f"by others{MARKS[THIRD_PARTY]}"}


class PublishedRow(NamedTuple):
    """A published model: its name with its pretraining, what kind of number it has, and these by test set and title."""

    name: str
    kind: str
    numbers: Mapping[tuple[str, str], Number]

    def show(self, name: str, title: str) -> str:
        """The cell of a test set, with its mark; "" where nothing is published."""
        return str(self.numbers.get((name, title), ""))

    def mean(self, names: Sequence[str], title: str) -> str:
        """The mean over these test sets, computed here, with the mark of its numbers; "" unless all are published."""
        every = [self.numbers[name, title] for name in names if (name, title) in self.numbers]
        if len(every) < len(names):
            return ""
        return f"{math.fsum(number.value for number in every) / len(every):.2f}{MARKS[every[0].trust]}"


def find(task: str, measures: Mapping[str, str], names: Iterable[str]) -> list[PublishedRow]:
    """The rows that have a published number on one of the test sets `names`, in the order of the file.

    What one table prints of a model in several blocks, frames in one and videos in another, is one row.

    Args:
      measures: "LEVEL METRIC" of published tables, by the title that it has in ours.
    """
    columns = {(name, title): f"{name} {measure}" for title, measure in measures.items() for name in names}
    found: dict[tuple, PublishedRow] = {}
    for row in find_rows(task=task):
        numbers = {key: row.numbers[column] for key, column in columns.items() if column in row.numbers}
        if numbers:
            name = f"{row.model}, {row.setting}" if row.setting else row.model
            kind = KINDS[row.trust] + (", oracle" if row.oracle else "")
            own = row.paper, row.table, row.source, name, kind
            before = found[own].numbers if own in found else {}
            found[own] = PublishedRow(name, kind, {**before, **numbers})
    return [*found.values()]
