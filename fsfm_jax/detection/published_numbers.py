"""Read published numbers from `published_numbers.toml`, each with a level of trust.

A number is the paper's own, the authors' number printed elsewhere, or a third party's measurement. The last two carry
a mark wherever they are shown, and a sentence below the table that names the source.
"""

import functools
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from fsfm_jax.config.fields import one_of

FILE = Path(__file__).with_suffix(".toml")
PAPER, QUOTED, THIRD_PARTY = "paper", "quoted", "third-party"
MARKS = {PAPER: "", QUOTED: "ᵃ", THIRD_PARTY: "ᵗ"}
MEANINGS = {
    PAPER: "Published",
    QUOTED: f"{MARKS[QUOTED]} The authors' number, as somebody else prints it",
    THIRD_PARTY: f"{MARKS[THIRD_PARTY]} Measured by others, or printed without saying by whom",
}
PAPERS = ("fsfm", "fsfm-supp", "fs-vfm", "others")
LEVELS = ("frame", "video")
MEAN = "mean"  # in place of a test set
_FIELDS = {"paper", "table", "trust", "source", "task", "about", "columns", "rows"}
_OPTIONAL = {"oracle": False, "ablation": ""}


class Number(NamedTuple):
    """A published number.

    Attributes:
      value: the number, in percent unless the table says otherwise; printed: the same with all digits of the source.
      trust: a key of `MARKS`; source: the publication, as tables name it.
    """

    value: float
    printed: str
    trust: str
    source: str

    def __str__(self) -> str:
        return self.printed + MARKS[self.trust]


@dataclass(frozen=True)
class Row:
    """A row of a published table.

    Attributes:
      paper: one of `PAPERS`; table: number of the table, or a name of the source.
      trust, source: trust and source of all its numbers.
      task: the layout that shows it, or "".
      oracle: whether step and threshold were chosen on the test set.
      ablation: the varied setting, or "".
      about: how the numbers were obtained.
      model, setting: the measured model, and its pretraining or ablated value.
      numbers: numbers by column, "SET LEVEL METRIC".
    """

    paper: str
    table: str
    trust: str
    source: str
    task: str
    oracle: bool
    ablation: str
    about: str
    model: str
    setting: str
    numbers: Mapping[str, Number]


@functools.cache
def read_rows() -> tuple[Row, ...]:
    """Read every row of the file, in order."""
    with open(FILE, "rb") as file:
        # Decimals keep trailing zeros: 97.30 is more precise than 97.3.
        return parse_rows(tomllib.load(file, parse_float=Decimal))


def parse_rows(content: Mapping[str, Any]) -> tuple[Row, ...]:
    """Parse the rows of a file's content.

    Raises:
      ValueError: a block has a field or value that the file's header does not describe, or a number occurs twice.
    """
    found: list[Row] = []
    seen: dict[tuple[str, ...], Number] = {}
    for block in content["table"]:
        where = f"{FILE.name}: {block.get('paper')}, {block.get('table')}"
        missing, unknown = _FIELDS - block.keys(), block.keys() - _FIELDS - _OPTIONAL.keys()
        if missing or unknown:
            raise ValueError(f"{where}: missing fields {sorted(missing)}, unknown fields {sorted(unknown)}")
        one_of(f"{where}: paper", block["paper"], PAPERS)
        one_of(f"{where}: trust", block["trust"], MARKS)
        for column in block["columns"]:
            if len(column.split()) != 3 or column.split()[1] not in LEVELS:
                raise ValueError(f"{where}: expected columns 'SET LEVEL METRIC', found {column!r}")
        for row in block["rows"]:
            numbers = _numbers(f"{where}: {row[:2]}", block, row)
            for column, number in numbers.items():
                key = block["paper"], block["table"], *row[:2], column
                if key in seen:
                    raise ValueError(f"{where}: {row[:2]}: {column} twice: {seen[key].printed}, {number.printed}")
                seen[key] = number
            said = _OPTIONAL | {name: value for name, value in block.items() if name not in ("columns", "rows")}
            found.append(Row(**said, model=row[0], setting=row[1], numbers=numbers))
    return tuple(found)


def _numbers(where: str, block: Mapping[str, Any], row: Sequence[str | Decimal]) -> dict[str, Number]:
    if len(row) != 2 + len(block["columns"]):
        raise ValueError(f"{where}: expected {len(block['columns'])} numbers, found {len(row) - 2}")
    numbers = {}
    for column, cell in zip(block["columns"], row[2:], strict=True):
        if cell == "":  # the source prints no number
            continue
        if not isinstance(cell, Decimal) or not cell.is_finite():
            raise ValueError(f"{where}: {column}: expected a number with a point or an empty text, found {cell!r}")
        numbers[column] = Number(float(cell), str(cell), block["trust"], block["source"])
    return numbers


def find_rows(**fields: str) -> list[Row]:
    """Return the rows with these field values, such as `paper="fsfm-supp", table="4"`."""
    return [row for row in read_rows() if all(getattr(row, name) == value for name, value in fields.items())]


def of_ablation(paper: str, table: str, ablation: str) -> dict[str, dict[str, Number]]:
    """Return an ablation's numbers by setting, then by column, such as "0.75" and "dfd video AUC" for a mask ratio.

    Raises:
      ValueError: the ablation is not published; the message lists those that are.
    """
    found = {row.setting: dict(row.numbers) for row in find_rows(paper=paper, table=table, ablation=ablation)}
    if not found or not ablation:
        there = {f"{row.paper}/{row.table}/{row.ablation}": None for row in read_rows() if row.ablation}
        asked = f"{paper}/{table}/{ablation}"
        raise ValueError(f"expected a published ablation, one of {', '.join(there)}; found {asked}")
    return found


def of_set(model: str, name: str, level: str, metric: str) -> tuple[Number, ...]:
    """Return all published numbers of a model on a test set, in the order of the file; sources may disagree."""
    found = (row.numbers.get(f"{name} {level} {metric}") for row in find_rows(model=model))
    return tuple(number for number in found if number is not None)


def show(numbers: Iterable[Number]) -> str:
    """Format numbers for a table cell, each with its mark; "" if there is none."""
    return ", ".join(map(str, numbers))


def undisputed(numbers: Sequence[Number]) -> float | None:
    """Return the value if there is a single number and it is the paper's own; None otherwise."""
    return numbers[0].value if len(numbers) == 1 and numbers[0].trust == PAPER else None


def mean(cells: Sequence[Sequence[Number]]) -> float | None:
    """Return the mean over test sets, None unless each has a single number that is the paper's own."""
    values = [undisputed(numbers) for numbers in cells]
    return None if not values or None in values else math.fsum(values) / len(values)


def legend(numbers: Iterable[Number]) -> list[str]:
    """Return a sentence for each level of trust among `numbers`, with the sources."""
    sources: dict[str, dict[str, None]] = {}
    for number in numbers:
        sources.setdefault(number.trust, {})[number.source] = None
    return [f"{MEANINGS[trust]}: {'; '.join(sources[trust])}." for trust in MARKS if trust in sources]
