"""The entry of a demonstration detector in its card: training data and measured AUCs."""

import dataclasses
import math
from typing import Any

FIELD = "demonstration"  # field of a card
MOST_SETS, LONGEST = 32, 500


@dataclasses.dataclass(frozen=True)
class Measured:
    """The AUC on a data set.

    Attributes:
      name: name of the data set.
      auc: AUC over images or frames, 0..1; None if it is undefined.
      real, forged: number of real and forged images.
    """

    name: str
    auc: float | None
    real: int
    forged: int


@dataclasses.dataclass(frozen=True)
class Demonstration:
    """A detector that demonstrates the program and must not be relied on.

    Attributes:
      trained_on: description of the training data.
      licence: SPDX identifier of the weights' licence.
      measured: AUCs by data set; empty if nothing was measured.
    """

    trained_on: str
    licence: str
    measured: tuple[Measured, ...]

    @classmethod
    def from_json(cls, kept: Any) -> "Demonstration":
        """Read the field of an untrusted card.

        Raises:
          ValueError: if an entry is missing or has another type; the message names it.
        """
        if not isinstance(kept, dict):
            raise ValueError(f"expected a table, found {type(kept).__name__}")
        rows = kept.get("measured")
        if not isinstance(rows, list) or len(rows) > MOST_SETS or not all(isinstance(row, dict) for row in rows):
            raise ValueError(f"measured: expected at most {MOST_SETS} tables")
        return cls(_text(kept, "trained_on"), _text(kept, "licence"), tuple(map(_measured, rows)))

    def describe(self) -> str:
        """Describe the detector in one sentence without a full stop."""
        if not self.measured:
            numbers = "how often it is right was not measured"
        else:
            found = ", ".join(f"{row.name} {_percent(row.auc)}" for row in self.measured)
            numbers = f"measured AUC over images (50 % is guessing): {found}"
        return (
            f"this is a small demonstration detector, and its verdicts are no evidence; it was trained on "
            f"{self.trained_on}; {numbers}"
        )


def _percent(auc: float | None) -> str:
    return "undefined" if auc is None else f"{100 * auc:.1f} %"


def _measured(row: dict) -> Measured:
    auc = row.get("auc")
    if auc is not None and not (type(auc) in (int, float) and math.isfinite(auc) and 0 <= auc <= 1):
        raise ValueError("measured.auc: expected a share from 0 to 1 or null")
    counts = [row.get("real"), row.get("forged")]
    if not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError("measured.real, measured.forged: expected numbers of images, integers from 0 up")
    return Measured(_text(row, "name"), auc, *counts)


def _text(table: dict, name: str) -> str:
    text = table.get(name)
    if not isinstance(text, str) or not 0 < len(text) <= LONGEST:
        raise ValueError(f"{name}: expected a text of 1 to {LONGEST} letters")
    return text
