"""Names in messages: untrusted ones as they can be shown, the first of many, and the closest to a misspelt one."""

import difflib
from collections.abc import Iterable, Sequence

NAMED = 10  # of many names in one sentence; all are counted
LONGEST = 200  # letters of such a name


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The end of a sentence on a name that is none of `names`: the closest one, or nothing."""
    close = difflib.get_close_matches(name, list(names), 1, 0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def join_first(names: Sequence[str], most: int = NAMED, between: str = ", ") -> str:
    """The first `most` names in one text, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(name[:LONGEST] for name in names[:most]) + more


def utf8(text: str) -> str:
    """`text` as UTF-8 has it: bytes of a file name that `os.fsdecode` keeps apart are written out (\\xe9)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape" if _is_escaped(text) else "backslashreplace").decode(
            "utf-8", "backslashreplace"
        )
    return text


def _is_escaped(text: str) -> bool:
    """Whether all surrogates of `text` stand for bytes of a file name."""
    return all(not 0xD800 <= ord(c) < 0xE000 or 0xDC80 <= ord(c) < 0xDD00 for c in text)


def plain(text: str) -> str:
    """`text` for a terminal: what is not printable, such as control characters, is written out and not obeyed."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)
