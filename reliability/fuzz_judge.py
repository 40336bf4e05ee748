"""Judge the result of a reader for one input: it reads it, refuses it with its own message, or fails."""

import ast
import functools
import os
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import fsfm_jax

READ, REFUSED = "read", "refused"
OURS = os.path.dirname(os.path.abspath(fsfm_jax.__file__)) + os.sep
COUNTS = struct.Struct("<5Q")  # inputs, read, refused, findings, peak memory in kilobytes
LONGEST = 10_000  # letters of a refusal; those of downloads show the folders that were expected


class Told(Exception):
    """What a command of ours printed before it ended with the exit code of a wrong command line."""


@dataclass(frozen=True)
class Target:
    """A reader of untrusted bytes.

    Attributes:
      name: of the target and of its corpus.
      read: takes an input and an empty folder for files; reads all that there is to read.
      refusals: the exceptions that the reader documents.
      seeds: makes honest inputs.
      words: what the format is made of, for a fuzzer to put together.
      longest: bytes of an input.
      fewest: words of a refusal.
    """

    name: str
    read: Callable[[bytes, Path], None]
    refusals: tuple[type[Exception], ...]
    seeds: Callable[[], list[bytes]]
    words: tuple[bytes, ...] = ()
    longest: int = 4096
    fewest: int = 3


def judge(target: Target, data: bytes, folder: Path) -> tuple[str, str]:
    """Return the outcome of an input, and the place that refused it or that went wrong ("file:line").

    The outcome is READ, REFUSED, or a sentence about what should not be: an exception that is not documented or that
    somebody else worded, a warning, or words that are not fit to be shown.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            target.read(data, folder)
    except Exception as error:  # of whatever type: it is told
        place, ours = _raised(error)
        text = str(error)
        if not isinstance(error, target.refusals) or not (ours or isinstance(error, Told)):
            return f"{type(error).__name__} in the words of others: {text[:300]!r}", place
        lines = text.split("\n")
        if len(text.split()) < target.fewest or len(text) > LONGEST or not all(map(str.isprintable, lines)):
            return f"no sentence to show to a user: {text[:300]!r}", place
        return REFUSED, place
    return READ, ""


def _raised(error: Exception) -> tuple[str, bool]:
    """Return the innermost place of an exception, and whether that is a statement of ours that refuses."""
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    file, line = trace.tb_frame.f_code.co_filename, trace.tb_lineno
    ours = file.startswith(OURS) and any(first <= line <= last for first, last in _raises(file))
    return f"{Path(file).name}:{line}", ours


@functools.cache
def _raises(file: str) -> list[tuple[int, int]]:
    """Return first and last lines of the statements of a file that raise."""
    tree = ast.parse(Path(file).read_text())
    return [(node.lineno, node.end_lineno) for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc]
