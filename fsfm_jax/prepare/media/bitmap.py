"""Read the header of BMP files, and check whether they are complete."""

from fsfm_jax.data.photo import Header
from fsfm_jax.prepare.media.unusable import Unusable

CORE = 12  # size of the oldest header, whose fields are shorter
PLAIN = (0, 3)  # values of the compression field for uncompressed pixels


def bitmap_header(data: bytes) -> Header:
    """Read the size of a BMP; raises `Unusable` "truncated" if it ends within the header."""
    if len(data) < 26:
        raise Unusable("truncated", "the header of the BMP is cut off")
    if int.from_bytes(data[14:18], "little") == CORE:
        width, height = (int.from_bytes(data[start : start + 2], "little") for start in (18, 20))
    else:
        width, height = (int.from_bytes(data[start : start + 4], "little", signed=True) for start in (18, 22))
    return Header("bmp", abs(height), width, plain=False)  # a negative height: rows from the top


def bitmap_is_whole(data: bytes, header: Header) -> bool:
    """Return whether all pixels of a BMP are there; True for a compressed one, which only the decoder can check."""
    core = int.from_bytes(data[14:18], "little") == CORE
    if not core and int.from_bytes(data[30:34], "little") not in PLAIN:
        return True
    bits = int.from_bytes(data[24:26] if core else data[28:30], "little")
    row = (header.width * bits + 31) // 32 * 4
    return len(data) >= int.from_bytes(data[10:14], "little") + row * header.height
