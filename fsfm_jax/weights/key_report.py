"""The account of a weight file: which arrays are loaded, skipped, or filled by a rule."""

import dataclasses
from collections.abc import Mapping

from fsfm_jax.text import join_first

SHOWN = 4


@dataclasses.dataclass(frozen=True)
class KeyReport:
    """The account of one file; each of its names is in exactly one of `loaded` and `skipped`.

    Attributes:
      loaded: names in the file, sorted.
      skipped: name in the file -> why it is not used.
      filled: our path -> by which rule it has values that the file does not hold, or not as they are.
    """

    loaded: tuple[str, ...]
    skipped: Mapping[str, str]
    filled: Mapping[str, str]

    def to_json(self) -> dict:
        """Return the report as lists, dicts and text."""
        return {"loaded": list(self.loaded), "skipped": dict(self.skipped), "filled": dict(self.filled)}

    def summary(self) -> list[str]:
        """Return a line for the loaded arrays, and one for each reason to skip or fill arrays."""
        total = len(self.loaded) + len(self.skipped)
        return [
            f"loaded: {len(self.loaded)} of the {total} entries of the file",
            *_by_reason("not used", self.skipped),
            *_by_reason("by rule", self.filled),
        ]


def _by_reason(what: str, reasons: Mapping[str, str]) -> list[str]:
    groups: dict[str, list[str]] = {}
    for name, reason in sorted(reasons.items()):
        groups.setdefault(reason, []).append(name)
    return [f"{what}: {len(names)}, {reason}: {join_first(names, SHOWN)}" for reason, names in groups.items()]
