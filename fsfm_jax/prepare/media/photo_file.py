"""Raw photos of any size, decoded to `[H, W, 3] uint8` RGB.

Unlike the stored face crops (`data.photo`) they come from cameras and web pages: a rotation noted in EXIF is applied,
bytes behind the end are ignored, and 16 bits, grey, palettes, alpha (dropped) and CMYK become 8-bit RGB.
The decoder is OpenCV's: it refuses every PNG with a wrong checksum, which Pillow lets through here and there;
of JPEG both give the same pixels, and both fill up a cut one with grey when an end marker follows.
"""

import os
from dataclasses import dataclass

import cv2
import numpy as np

from fsfm_jax.data.photo import Header, encoding_of, is_whole, read_header
from fsfm_jax.prepare.media.decoder_log import silenced
from fsfm_jax.prepare.media.raw_file import all_bytes
from fsfm_jax.prepare.media.unusable import Unusable

PHOTO_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
MAX_PIXELS = 100_000_000  # 300 MB decoded; larger than any camera of the data sets
MAX_BYTES = 1 << 30
# Sizes of the header that follows the 14 bytes of a BMP file, by version; the first has shorter fields.
BITMAP_CORE, BITMAP_HEADERS = 12, (12, 40, 52, 56, 64, 108, 124)
BITMAP_PLAIN = (0, 3)  # kinds of compression that are none


@dataclass(frozen=True)
class Photo:
    """A decoded photo.

    Attributes:
      image: `[H, W, 3] uint8` RGB, upright.
      notes: what a reader of a result must know about how it was decoded, such as "first of 24 frames".
    """

    image: np.ndarray
    notes: tuple[str, ...] = ()


def read_photo(path: str | os.PathLike) -> Photo:
    """Reads a PNG, JPEG, WebP or BMP file; the content decides, not the suffix.

    Raises:
      Unusable: "unreadable", "empty_file", "unknown_format", "truncated", "damaged", "too_large" or "no_pixels".
    """
    data = all_bytes(path, MAX_BYTES)
    header = _header(data)
    check_size(header.height, header.width)
    whole = _bitmap_is_whole(data, header) if header.encoding == "bmp" else is_whole(data, header.encoding)
    if not whole:
        raise Unusable("truncated", f"the end of the {header.encoding.upper()} is missing after {len(data)} bytes")
    return Photo(_decoded(data, header))


def check_size(height: int, width: int) -> None:
    """Refuses a picture of `height` x `width` before it is decoded.

    Raises:
      Unusable: "no_pixels" or "too_large".
    """
    if height < 1 or width < 1:
        raise Unusable("no_pixels", f"expected pixels, found a picture of {height}x{width} (height x width)")
    if height * width > MAX_PIXELS:
        raise Unusable(
            "too_large", f"expected at most {MAX_PIXELS} pixels, found a picture of {height}x{width} (height x width)"
        )


def _decoded(data: bytes, header: Header) -> np.ndarray:
    encoding = header.encoding.upper()
    with silenced():
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        except cv2.error as error:  # also OpenCV's own limits of width and height
            raise Unusable("damaged", f"the {encoding} decoder failed: {error.err}") from error
    if image is None:
        raise Unusable("damaged", f"the {encoding} data cannot be decoded")
    turned = (header.width, header.height, 3)
    if image.shape not in ((header.height, header.width, 3), turned):
        raise Unusable(
            "damaged", f"the {encoding} header tells {header.height}x{header.width}, the data {image.shape[:2]}"
        )
    return image


def _header(data: bytes) -> Header:
    encoding = encoding_of(data)
    if encoding is not None:
        try:
            return read_header(data, "")
        except ValueError as error:
            reason = "damaged" if is_whole(data, encoding) else "truncated"
            raise Unusable(reason, f"the header of the {encoding.upper()} is damaged or cut off") from error
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in BITMAP_HEADERS:
        return _bitmap_header(data)
    raise Unusable("unknown_format", f"expected PNG, JPEG, WebP or BMP, found bytes starting with {data[:12]!r}")


def _bitmap_header(data: bytes) -> Header:
    if len(data) < 26:
        raise Unusable("truncated", "the header of the BMP is cut off")
    if int.from_bytes(data[14:18], "little") == BITMAP_CORE:
        width, height = (int.from_bytes(data[start : start + 2], "little") for start in (18, 20))
    else:
        width, height = (int.from_bytes(data[start : start + 4], "little", signed=True) for start in (18, 22))
    return Header("bmp", abs(height), width, plain=False)  # a negative height: rows from the top


def _bitmap_is_whole(data: bytes, header: Header) -> bool:
    """Whether all pixels of a BMP are there; of a compressed one, which has no end of its own, the decoder tells."""
    core = int.from_bytes(data[14:18], "little") == BITMAP_CORE
    if not core and int.from_bytes(data[30:34], "little") not in BITMAP_PLAIN:
        return True
    bits = int.from_bytes(data[24:26] if core else data[28:30], "little")
    row = (header.width * bits + 31) // 32 * 4
    return len(data) >= int.from_bytes(data[10:14], "little") + row * header.height
