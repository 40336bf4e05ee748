"""NumPy's single numbers in pickle programs, read as Python's without NumPy.

NumPy pickles `float64(0.1)` as two calls: `numpy.dtype("f8", False, True)` (align, copy), which is then given a state,
and `scalar(dtype, bytes)`. The state of a plain number is always `_state`: the version 3, the byte order, neither a
subarray nor names nor fields, size and alignment of the kind itself (-1), no flags. Arrays are not read.
"""

import dataclasses
import struct

# As NumPy writes the kind of a number -> as `struct` does.
_KINDS = {
    "f2": "<e", "f4": "<f", "f8": "<d",
    "i1": "<b", "i2": "<h", "i4": "<i", "i8": "<q",
    "u1": "<B", "u2": "<H", "u4": "<I", "u8": "<Q",
    "b1": "<?",
}  # fmt: skip


@dataclasses.dataclass
class NumpyDtype:
    """A stand-in for numpy.dtype: one of the kinds above; `complete` once its state is known to be plain."""

    kind: str
    complete: bool = False

    @property
    def size(self) -> int:
        """Return the size of a number in bytes."""
        return struct.calcsize(_KINDS[self.kind])

    def fill(self, state: object) -> None:
        """Check and accept the state that follows in the program.

        Raises:
          ValueError: the state is not that of a plain little-endian number.
        """
        expected = (3, "|" if self.size == 1 else "<", None, None, None, -1, -1, 0)
        # Types first: a dtype in the file's state would compare equal to None or to text, or fail to compare.
        if type(state) is not tuple or [*map(type, state)] != [*map(type, expected)] or state != expected:
            order = state[1] if type(state) is tuple and len(state) > 1 else None
            found = f"; its byte order is {order[:10]!r}" if type(order) is str else ""
            raise ValueError(f"numpy.dtype({self.kind!r}) has another state than a plain number, {expected}{found}")
        self.complete = True


def dtype(*arguments: object) -> NumpyDtype:
    """Return a dtype from the name of a kind, False and True; older versions of NumPy write 0 and 1.

    Raises:
      ValueError: any other kind, such as dates, text, objects and records, or other arguments.
    """
    kind = arguments[0] if arguments else None
    if type(kind) is not str or kind not in _KINDS:
        shown = repr(kind[:200]) if type(kind) is str else f"a {type(kind).__name__}"
        raise ValueError(f"it asks for numpy.dtype({shown}); of NumPy only numbers of {', '.join(_KINDS)} are read")
    if [type(part) for part in arguments[1:]] not in ([bool, bool], [int, int]) or arguments[1:] != (False, True):
        raise ValueError(f"numpy.dtype({kind!r}) has other arguments than False and True after it")
    return NumpyDtype(kind)


def scalar(*arguments: object) -> float | int | bool:
    """Return the number with a dtype and bytes; a float may be infinite or NaN.

    Raises:
      ValueError: other arguments, a dtype without a state, another count of bytes, or a truth value besides 0 and 1.
    """
    if [type(part) for part in arguments] != [NumpyDtype, bytes]:
        raise ValueError("a NumPy number has other arguments than a dtype and bytes")
    kind, data = arguments
    if not kind.complete:
        raise ValueError(f"a NumPy number of {kind.kind} has a dtype that was not given its state")
    if len(data) != kind.size:
        raise ValueError(f"a NumPy number of {kind.kind} has {len(data)} bytes, expected {kind.size}")
    if kind.kind == "b1" and data not in (b"\0", b"\1"):
        raise ValueError(f"a truth value of NumPy is the byte {data[0]}, expected 0 or 1")
    return struct.unpack(_KINDS[kind.kind], data)[0]


MAKERS = {
    "numpy.dtype": dtype,
    "numpy.core.multiarray.scalar": scalar,
    "numpy._core.multiarray.scalar": scalar,  # NumPy 2
}
