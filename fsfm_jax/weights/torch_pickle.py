"""Read pickle programs as data: they give plain values, and nothing is ever imported or called.

A pickle program pushes values on a stack; it may also name any function of any module and have it called. Python's
own unpickler cannot be made safe for untrusted files. It calls these functions. It also hashes every key before the
key can be checked, so two megabytes of nested tuples as a key overflow the C stack and crash the process.
The small machine here knows the instructions that `torch.save` writes and a short list of names. All other names are
refused by their full name.
"""

import dataclasses
import pickle  # for the codes of the instructions only
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from fsfm_jax.weights import numpy_pickle, pickle_instructions

MAX_PROGRAM = 16 << 20  # bytes; a ViT-L with its optimizer needs 0.2 MB
MAX_INSTRUCTIONS = 1_000_000  # of which that ViT-L needs 50 000
MAX_VALUES = 1_000_000  # of the result; a list in two places counts twice
MAX_ARGUMENTS = 4 << 20  # letters and members passed to all makers together; a member may take 64 bytes
MAX_DEPTH = 32  # containers inside one another
MAX_KEY = 1 << 31  # larger numbers could be chosen so that their hashes collide

_EMPTY = {pickle.EMPTY_DICT: dict, pickle.EMPTY_LIST: list, pickle.EMPTY_TUPLE: tuple, pickle.EMPTY_SET: set}
_CONSTANT = {pickle.NONE: None, pickle.NEWTRUE: True, pickle.NEWFALSE: False}
_TUPLE = {pickle.TUPLE1: 1, pickle.TUPLE2: 2, pickle.TUPLE3: 3}


class _OrderedDict(dict):
    """A stand-in for collections.OrderedDict."""


class _Namespace(dict):
    """A stand-in for argparse.Namespace."""


@dataclasses.dataclass(frozen=True)
class _Maker:
    """A name that may be followed by arguments, and our function of them."""

    name: str
    make: Callable[..., object]


def load(
    program: bytes, makers: Mapping[str, Callable], constants: Mapping, reference: Callable, leaves: tuple[type, ...]
) -> object:
    """Return the value that a program describes: dict, list, tuple, set, str, bytes, numbers, None, and `leaves`.

    All containers are new and belong to one place each. OrderedDict and argparse.Namespace become dict, and
    pathlib.PosixPath becomes str. A single number of NumPy becomes a float, an int or a bool; its arrays are refused.
    Keys of dicts and members of sets are str or int. `_metadata`, an attribute that PyTorch sets on a state dict, is
    left out, as are attributes of an OrderedDict that have the names of its items.

    Args:
      program: protocol 2 or later.
      makers: full name -> function of any arguments (`*arguments`); raises ValueError if they are not the right ones.
      constants: full name -> value.
      reference: identity of an object outside the program -> the object.
      leaves: types made by `makers` that may be part of the result.

    Raises:
      ValueError: a name or instruction is unknown, the program is malformed, or it exceeds a bound above.
    """
    if len(program) > MAX_PROGRAM:
        raise ValueError(f"the description has {len(program)} bytes, at most {MAX_PROGRAM} are read")
    machine = _Machine(_MAKERS | makers, constants, reference)
    for count, (code, argument) in enumerate(pickle_instructions.decode(program)):
        if count == MAX_INSTRUCTIONS:
            raise ValueError(f"the description has more than {MAX_INSTRUCTIONS} instructions")
        machine.step(code, argument)
    return _Copy(leaves).plain(machine.result())


class _Machine:
    """The stack, the marks on it, and the memory of earlier values."""

    def __init__(self, makers, constants, reference):
        self._makers, self._constants, self._reference = makers, constants, reference
        self._stack: list = []
        self._marks: list[int] = []
        self._memory: dict[int, object] = {}
        self._charged = 0

    def result(self) -> object:
        """Return the value that is left at the end."""
        if len(self._stack) != 1 or self._marks:
            raise ValueError(f"the description leaves {len(self._stack)} values instead of one")
        return self._stack[0]

    def step(self, code: bytes, argument: object) -> None:
        """Execute one instruction."""
        if code in pickle_instructions.PUT or code == pickle.MEMOIZE:
            self._memory[len(self._memory) if argument is None else argument] = self._top()
        elif code == pickle.MARK:
            self._marks.append(len(self._stack))
        elif code in (pickle.APPEND, pickle.APPENDS):
            self._extend(list, self._pop_marked() if code == pickle.APPENDS else self._pop(1))
        elif code in (pickle.SETITEM, pickle.SETITEMS):
            self._set_items(self._pop_marked() if code == pickle.SETITEMS else self._pop(2))
        elif code == pickle.ADDITEMS:
            self._extend(set, self._pop_marked())
        elif code == pickle.BUILD:
            self._fill(*self._pop(1))
        elif code not in pickle_instructions.HEADER:
            self._stack.append(self._value(code, argument))

    def _value(self, code: bytes, argument: object) -> object:
        if code in pickle_instructions.COUNTED or code in pickle_instructions.VALUE:
            return argument
        if code in _CONSTANT:
            return _CONSTANT[code]
        if code in _EMPTY:
            return _EMPTY[code]()
        if code in _TUPLE or code == pickle.TUPLE:
            return tuple(self._pop(_TUPLE[code]) if code in _TUPLE else self._pop_marked())
        if code in pickle_instructions.GET:
            if argument not in self._memory:
                raise ValueError(f"the description refers to a value {argument} that it never gave")
            return self._memory[argument]
        if code == pickle.GLOBAL:
            return self._find_constant(argument)
        if code == pickle.STACK_GLOBAL:
            module, name = self._pop(2)
            if type(module) is not str or type(name) is not str:
                raise ValueError("the description looks up a name that is not text")
            return self._find_constant(f"{module}.{name}")
        if code in (pickle.REDUCE, pickle.NEWOBJ):
            maker, arguments = self._pop(2)
            if type(maker) is not _Maker or type(arguments) is not tuple:
                raise ValueError(f"the description calls a {type(maker).__name__} with a {type(arguments).__name__}")
            self._charge(arguments, *arguments)
            return maker.make(*arguments)
        if code == pickle.BINPERSID:
            (identity,) = self._pop(1)
            self._charge(identity, *(identity if type(identity) is tuple else ()))
            return self._reference(identity)
        raise ValueError(f"the description has the pickle instruction 0x{code.hex()}, which torch.save does not write")

    def _find_constant(self, name: str) -> object:
        if name in self._constants:
            return self._constants[name]
        if name not in self._makers:
            raise ValueError(f"it asks for {name[:200]!r}, which is no tensor and no plain value; nothing was executed")
        return _Maker(name, self._makers[name])

    def _charge(self, *values: object) -> None:
        """Limit the work on values that the memo can repeat many times."""
        self._charged += sum(len(value) for value in values if type(value) in (str, bytes, tuple, list, dict, set))
        if self._charged > MAX_ARGUMENTS:
            raise ValueError(f"the description gives more than {MAX_ARGUMENTS} letters and members as arguments")

    def _top(self) -> object:
        (value,) = self._pop(1)
        self._stack.append(value)
        return value

    def _pop(self, count: int) -> list:
        start = len(self._stack) - count
        if start < (self._marks[-1] if self._marks else 0):
            raise ValueError("the description takes a value from an empty stack")
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def _pop_marked(self) -> list:
        if not self._marks:
            raise ValueError("the description goes back to a mark that it never set")
        values = self._pop(len(self._stack) - self._marks[-1])
        self._marks.pop()
        return values

    def _extend(self, container: type, values: list) -> None:
        target = self._top()
        if type(target) is not container:
            raise ValueError(f"the description adds members to a {type(target).__name__}")
        if container is set:
            target.update(map(_key, values))
        else:
            target.extend(values)

    def _set_items(self, values: list) -> None:
        target = self._top()
        if not isinstance(target, dict) or len(values) % 2:
            raise ValueError(f"the description sets {len(values)} keys and values of a {type(target).__name__}")
        target.update(zip(map(_key, values[::2]), values[1::2], strict=True))

    def _fill(self, state: object) -> None:
        """Set attributes of an object: options of a namespace, versions of a state dict, a dtype of NumPy."""
        target = self._top()
        self._charge(state)
        if type(target) is numpy_pickle.NumpyDtype:
            target.fill(state)
        elif type(target) is _Namespace and type(state) is dict:
            target.update(state)
        elif (
            type(target) is not _OrderedDict
            or type(state) is not dict
            # Attributes with the names of its items repeat these, as in the files of `torch_writer`.
            or (state.keys() != {"_metadata"} and state.keys() != target.keys())
        ):
            raise ValueError(f"the description gives a {type(target).__name__} attributes")


def _key(value: object) -> str | int:
    if type(value) is str or (type(value) is int and abs(value) < MAX_KEY):
        return value
    raise ValueError(f"a {type(value).__name__} as a key, expected text or a small integer")


class _Copy:
    """A copy of a value as a tree: nothing is shared, and nothing contains itself."""

    def __init__(self, leaves: tuple[type, ...]):
        self._leaves, self._count = (type(None), bool, int, float, str, bytes, *leaves), 0

    def plain(self, value: object, depth: int = 0) -> object:
        self._count += 1
        if depth > MAX_DEPTH or self._count > MAX_VALUES:
            raise ValueError(f"its values are more than {MAX_VALUES}, deeper than {MAX_DEPTH}, or contain themselves")
        if isinstance(value, dict):
            return {key: self.plain(item, depth + 1) for key, item in value.items()}
        if type(value) in (list, tuple):
            return type(value)(self.plain(item, depth + 1) for item in value)
        if type(value) is set:
            return {self.plain(item, depth + 1) for item in value}
        if type(value) not in self._leaves:
            name = value.name if type(value) is _Maker else type(value).__name__
            raise ValueError(f"{name} stands where a value is expected")
        return value


def _empty(kind: type, arguments: tuple) -> dict:
    if arguments:
        raise ValueError(f"{kind.__name__[1:]} has arguments; torch.save writes none")
    return kind()


def _path(*arguments: object) -> str:
    if not all(type(part) is str for part in arguments):
        raise ValueError("pathlib.PosixPath has parts that are not text")
    return str(PurePosixPath(*arguments))


def _set(*arguments: object) -> set:
    if len(arguments) != 1 or type(arguments[0]) is not list:
        raise ValueError("a set has other arguments than one list")
    return set(map(_key, arguments[0]))


def _bytes(*arguments: object) -> bytes:
    if len(arguments) != 2 or type(arguments[0]) is not str or arguments[1] != "latin1":
        raise ValueError("_codecs.encode has other arguments than a text and latin1")
    try:
        return arguments[0].encode("latin1")
    except UnicodeEncodeError as error:
        raise ValueError(f"_codecs.encode has a text with other letters than those of latin1: {error}") from error


_MAKERS = {
    "argparse.Namespace": lambda *arguments: _empty(_Namespace, arguments),
    "collections.OrderedDict": lambda *arguments: _empty(_OrderedDict, arguments),
    "pathlib.PosixPath": _path,
    "pathlib._local.PosixPath": _path,  # Python 3.13
    "__builtin__.set": _set,  # sets and bytes in protocol 2
    "_codecs.encode": _bytes,
} | numpy_pickle.MAKERS
