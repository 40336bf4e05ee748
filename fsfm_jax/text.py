"""Words of strangers, as they can be shown: names in files and archives, and what other libraries say of them."""


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
