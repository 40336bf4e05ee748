"""Decode a pickle program into instructions, codes and arguments, without interpreting them."""

import pickle  # for the codes only
import struct
from collections.abc import Iterator

MAX_INTEGER = 16  # bytes

# Instructions with an argument: one number, or as many bytes as the number in front of them says.
HEADER = {pickle.PROTO: "<B", pickle.FRAME: "<Q"}
PUT = {pickle.BINPUT: "<B", pickle.LONG_BINPUT: "<I"}
GET = {pickle.BINGET: "<B", pickle.LONG_BINGET: "<I"}
VALUE = {pickle.BININT: "<i", pickle.BININT1: "<B", pickle.BININT2: "<H", pickle.BINFLOAT: ">d"}
_NUMBER = HEADER | PUT | GET | VALUE
_TEXT = {pickle.SHORT_BINUNICODE: "<B", pickle.BINUNICODE: "<I", pickle.BINUNICODE8: "<Q"}
_BYTES = {pickle.SHORT_BINBYTES: "<B", pickle.BINBYTES: "<I", pickle.BINBYTES8: "<Q"}
_INTEGER = {pickle.LONG1: "<B", pickle.LONG4: "<I"}
COUNTED = _TEXT | _BYTES | _INTEGER


def decode(program: bytes) -> Iterator[tuple[bytes, object]]:
    """Yield codes with their arguments (or None), up to the end mark; a name is `module.name`.

    Raises:
      ValueError: the program ends too early or too late, has invalid text, or has an integer of too many bytes.
    """
    place = 0

    def take(length: int) -> bytes:
        nonlocal place
        if length > len(program) - place:
            raise ValueError(f"the description ends in the middle, at byte {len(program)}")
        place += length
        return program[place - length : place]

    def line() -> str:
        end = program.find(b"\n", place)
        return _text(take((end if end >= 0 else len(program)) - place + 1)[:-1])

    while (code := take(1)) != pickle.STOP:
        if code in _NUMBER:
            (argument,) = struct.unpack(_NUMBER[code], take(struct.calcsize(_NUMBER[code])))
        elif code in COUNTED:
            (length,) = struct.unpack(COUNTED[code], take(struct.calcsize(COUNTED[code])))
            argument = _count(code, take(length))
        else:
            argument = f"{line()}.{line()}" if code == pickle.GLOBAL else None
        yield code, argument
    if place != len(program):
        raise ValueError(f"the description ends at byte {place} of {len(program)}")


def _count(code: bytes, data: bytes) -> object:
    if code in _BYTES:
        return data
    if code in _TEXT:
        return _text(data)
    if len(data) > MAX_INTEGER:
        raise ValueError(f"an integer has {len(data)} bytes, at most {MAX_INTEGER} are read")
    return int.from_bytes(data, "little", signed=True)


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise ValueError(f"the description has a text that is not UTF-8: {error}") from error
