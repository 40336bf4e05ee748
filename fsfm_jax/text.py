"""Names in messages: escape untrusted names, list the first of many, and suggest a close match for a misspelt one."""

import difflib
from collections.abc import Iterable, Sequence

NAMED = 10  # maximum number of names listed in one sentence
LONGEST = 200  # maximum length of a listed name in characters


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return a suffix for an error about an unknown name: the closest of `names`, or an empty text."""
    close = difflib.get_close_matches(name, list(names), 1, 0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def join_first(names: Sequence[str], most: int = NAMED, between: str = ", ") -> str:
    """Join the first `most` names and add the number of remaining ones."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(name[:LONGEST] for name in names[:most]) + more


def utf8(text: str) -> str:
    """Return `text` in a form that UTF-8 can encode: undecodable bytes of a file name are escaped (\\xe9)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape" if _is_escaped(text) else "backslashreplace").decode(
            "utf-8", "backslashreplace"
        )
    return text


def _is_escaped(text: str) -> bool:
    """Return whether all surrogates of `text` stand for bytes of a file name."""
    return all(not 0xD800 <= ord(c) < 0xE000 or 0xDC80 <= ord(c) < 0xDD00 for c in text)


def plain(text: str) -> str:
    """Escape all unprintable characters of `text`, such as control characters, for a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)
