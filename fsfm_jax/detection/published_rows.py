"""Find rows of published numbers for a comparison table, on the same test sets and metrics."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from fsfm_jax.detection.published_numbers import MARKS, PAPER, QUOTED, THIRD_PARTY, Number, find_rows

# Text in the column `tuning`.
KINDS = {PAPER: "published", QUOTED: f"quoted{MARKS[QUOTED]}", THIRD_PARTY: f"by others{MARKS[THIRD_PARTY]}"}


class PublishedRow(NamedTuple):
    """A published model: its name with its pretraining, the kind of its numbers, and the numbers by set and title."""

    name: str
    kind: str
    numbers: Mapping[tuple[str, str], Number]

    def show(self, name: str, title: str) -> str:
        """Return the cell of a test set, with its mark; "" where nothing is published."""
        return str(self.numbers.get((name, title), ""))

    def mean(self, names: Sequence[str], title: str) -> str:
        """Return the mean over these test sets, computed here, with its mark; "" unless all are published."""
        every = [self.numbers[name, title] for name in names if (name, title) in self.numbers]
        if len(every) < len(names):
            return ""
        return f"{math.fsum(number.value for number in every) / len(every):.2f}{MARKS[every[0].trust]}"


def find(task: str, measures: Mapping[str, str], names: Iterable[str]) -> list[PublishedRow]:
    """Find the rows with a published number on at least one of the test sets `names`, in the order of the file.

    Blocks of one table for the same model (such as frames and videos) become one row.

    Args:
      measures: "LEVEL METRIC" of published tables, by its column title here.
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
