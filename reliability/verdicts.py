"""Judge the result of reading one weight file: plain data, a refusal with the readers' own message, or a finding."""

import ast
import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from fsfm_jax.weights import numpy_pickle, pickle_instructions, safetensors_file, torch_file, torch_pickle

READ, REFUSED = "read", "refused"
READERS = (torch_file, torch_pickle, pickle_instructions, numpy_pickle, safetensors_file)
DEPTH = 32
LONGEST = 1000  # letters of a refusal


class Wrong(Exception):
    """A file was read as something that the readers do not promise."""


def read_torch(path: str) -> None:
    """Read all of a .pth; raises Wrong if it is not what `torch_file.read` promises."""
    _check_plain(torch_file.read(path))


def _check_plain(value: object, depth: int = 0) -> None:
    if depth > DEPTH:
        raise Wrong(f"values are deeper than {DEPTH}")
    if type(value) is torch_file.Tensor:
        array = value.read()
        if array.shape != value.shape or array.dtype != value.dtype or not array.flags.c_contiguous:
            raise Wrong(f"a tensor {value.shape} of {value.dtype} became {array.shape} of {array.dtype}")
        array.tobytes()
    elif type(value) in (dict, list, tuple, set):
        if type(value) in (dict, set) and not {*map(type, value)} <= {str, int}:
            raise Wrong("a key is neither text nor a whole number")
        for item in value.values() if type(value) is dict else value:
            _check_plain(item, depth + 1)
    elif type(value) not in (str, bytes, int, float, bool, type(None)):
        raise Wrong(f"a {type(value).__name__} is no plain value")


def read_safetensors(path: str) -> None:
    """Read all of a .safetensors; raises Wrong if it is not what `safetensors_file.read` promises."""
    tensors, metadata = safetensors_file.read(path)
    if not {*map(type, [*tensors, *metadata, *metadata.values()])} <= {str}:
        raise Wrong("a name or the metadata are no text")
    for name, array in tensors.items():
        if type(array) is not np.ndarray or array.dtype not in safetensors_file.DTYPES.values():
            raise Wrong(f"{name!r} is a {type(array).__name__}")
        if array.flags.writeable or len(array.tobytes()) != array.nbytes:
            raise Wrong(f"{name!r} can be written to")
    if sum(array.nbytes for array in tensors.values()) > os.path.getsize(path):
        raise Wrong("the tensors have more bytes than the file")


@functools.cache
def refusals() -> dict[str, list[tuple[int, int]]]:
    """Return first and last lines of the statements of the readers that refuse a file, by the path of the module."""
    found = {}
    for module in READERS:
        body = ast.parse(Path(module.__file__).read_text()).body
        nodes = [node for part in body if getattr(part, "name", "") != "write" for node in ast.walk(part)]
        found[module.__file__] = sorted(
            (node.lineno, node.end_lineno)
            for node in nodes
            # Those that only put the path in front of another one say nothing of their own.
            if isinstance(node, ast.Raise) and not ast.unparse(node).startswith("raise ValueError(f'{path}: {error}')")
        )
    return found


def judge(path: str, read: Callable[[str], None], canary: str) -> tuple[str, str]:
    """Return the outcome of reading a file, and the place of the refusal (file and line, or nothing).

    The outcome is READ, REFUSED or a sentence about what should not be: another exception, words that are Python's
    own, an action besides reading `path`, or a file `canary`.
    """
    failure, where = None, ""
    with _watched(path) as actions:
        try:
            read(path)
        except Exception as error:  # of whatever type: it is told
            failure = error
    if failure is None:
        outcome = READ
    elif isinstance(failure, ValueError):
        outcome, where = _refusal(path, failure)
    else:
        outcome = f"{type(failure).__name__}: {str(failure)[:300]}"
    if actions:
        outcome = f"it did more than read the file: {'; '.join(actions[:5])}"
    if os.path.exists(canary):
        os.remove(canary)
        outcome = "it executed a command"
    return outcome, where


def _refusal(path: str, error: ValueError) -> tuple[str, str]:
    """Return whether a ValueError is a sentence of the readers, and where they say it."""
    text = str(error)
    words = text.removeprefix(f"{path}: ")
    cause = error.__cause__ if text == f"{path}: {error.__cause__}" else error
    trace = cause.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    file, line = trace.tb_frame.f_code.co_filename, trace.tb_lineno
    said = any(first <= line <= last for first, last in refusals().get(file, []))
    if type(cause) is not ValueError or not said:
        return f"{type(cause).__name__} in the words of Python: {text[:300]}", ""
    if words == text or len(words.split()) < 3 or len(words) > LONGEST or not words.isprintable():
        return f"no sentence to show to a user: {text[:300]!r}", ""
    return REFUSED, f"{Path(file).name}:{next(first for first, last in refusals()[file] if first <= line <= last)}"


_actions: list[str] | None = None  # what the process did while it was watched
_allowed = ""


@contextlib.contextmanager
def _watched(path: str) -> Iterator[list[str]]:
    """Collect every audited action but reading `path`: imports, processes, sockets, other files.

    An audit hook stays for as long as its process lives; outside of the block it does nothing.
    """
    global _actions, _allowed
    _install()
    _allowed, found = path, []
    _actions = found
    try:
        yield found
    finally:
        _actions = None


@functools.cache
def _install() -> None:
    def hook(event: str, arguments: tuple) -> None:
        if _actions is None or event == "mmap.__new__":
            return
        if event == "open" and arguments[0] == _allowed and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        _actions.append(f"{event} {str(arguments)[:100]}")

    sys.addaudithook(hook)
