"""The data sets of an evaluation, by the names that they have in its files and tables."""

from collections.abc import Callable

from fsfm_jax.data.labels import LabelledSource


def open_sets(text: str, field: str, opened: Callable[[str], LabelledSource]) -> dict[str, LabelledSource]:
    """Opens `NAME=SPEC,NAME=SPEC`; names are letters, digits, `-` and `_`, since files are called by them.

    Raises:
      ValueError: an entry of another form, or a name twice.
    """
    sets = {}
    for entry in text.split(","):
        name, equals, spec = entry.strip().partition("=")
        if not equals or not name.replace("-", "").replace("_", "").isalnum() or name in sets:
            raise ValueError(f"{field}: expected NAME=SPEC,NAME=SPEC with each name once; found {entry.strip()!r}")
        sets[name] = opened(spec)
    return sets
