"""Words of strangers, as they can be shown: names in files and archives, and what other libraries say of them."""


def plain(text: str) -> str:
    """`text` for a terminal: what is not printable, such as control characters, is written out and not obeyed."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)
