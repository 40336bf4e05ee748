"""Check encoded photos by header and completeness, decode them, and encode images.

Checks come before decoding: a header of a few bytes can ask for gigabytes, and decoders silently fill a
truncated JPEG with grey. Pixels are RGB. An EXIF rotation is ignored, since the parsing map was made from
the stored pixels.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from fsfm_jax.records import IMAGE_SIZE, check_image

PNG_START, JPEG_START = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
# Any marker except those within compressed data: restarts (D0 .. D7), stuffing (00), fill (FF) and TEM (01).
JPEG_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
JPEG_END = 0xD9
# Start-of-frame markers of JPEG; C4, C8 and CC in that range have other meanings.
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
READ_FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


@dataclass(frozen=True)
class Header:
    """The properties of a photo in its first bytes."""

    encoding: str  # "png", "jpeg" or "webp"
    height: int
    width: int
    plain: bool  # 8 bits in three channels, which any reader decodes to `[H, W, 3] uint8`


def encoding_of(data: bytes) -> str | None:
    """Return the encoding by the first bytes: "png", "jpeg" or "webp"; None for anything else."""
    if data.startswith(PNG_START):
        return "png"
    if data.startswith(JPEG_START):
        return "jpeg"
    return "webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def read_header(data: bytes, name: str) -> Header:
    """Read encoding and size of an encoded photo without decoding it.

    Raises:
      ValueError: the data is not PNG, JPEG or WebP, or its header is truncated; `name` is in the message.
    """
    encoding = encoding_of(data)
    if encoding is None:
        raise ValueError(
            f"photo {name}: expected PNG, JPEG or WebP, found {len(data)} bytes starting with {data[:8]!r}; "
            "convert it to PNG"
        )
    header = {"png": _png_header, "jpeg": _jpeg_header, "webp": _webp_header}[encoding](data)
    if header is None:
        raise ValueError(f"photo {name}: its header is damaged or truncated; copy or make the file again")
    return header


def is_whole(data: bytes, encoding: str) -> bool:
    """Return whether the end of a photo of that encoding is present; extra bytes after it, as cameras append, are fine.

    A truncated JPEG with an appended end marker passes: only decoding could detect it.
    """
    if encoding == "webp":
        return len(data) >= 8 + int.from_bytes(data[4:8], "little")
    if encoding == "png":
        return _png_has_end(data)
    return any(marker == JPEG_END for marker, _ in jpeg_markers(data))


def check_photo(data: bytes, name: str) -> Header:
    """Return the header of a photo that is complete and has the stored size.

    Raises:
      ValueError: the format is unknown, the size is wrong, or the end of the file is missing; `name` is in the message.
    """
    header = read_header(data, name)
    if (header.height, header.width) != (IMAGE_SIZE, IMAGE_SIZE):
        raise ValueError(
            f"photo {name}: expected {IMAGE_SIZE}x{IMAGE_SIZE}, found {header.height}x{header.width} "
            "(height x width); crop and resize it while preparing the faces, before the face is parsed"
        )
    if not is_whole(data, header.encoding):
        raise ValueError(
            f"photo {name}: truncated, the end of the {header.encoding.upper()} file is missing after "
            f"{len(data)} bytes; copy or make the file again"
        )
    return header


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decode a complete photo of the stored size to `[224, 224, 3] uint8`, RGB.

    Raises:
      ValueError: `check_photo` refuses the photo, or it cannot be decoded; `name` is in the message.
    """
    check_photo(data, name)
    return decode_checked(data, name)


def decode_checked(data: bytes, name: str) -> np.ndarray:
    """Decode a photo that `check_photo` has accepted, as `decode_image`, without checking its headers again."""
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), READ_FLAGS)
    except cv2.error as error:
        raise ValueError(f"photo {name}: {read_header(data, name).encoding.upper()} decoder failed: {error}") from error
    if image is None or image.shape != (IMAGE_SIZE, IMAGE_SIZE, 3) or image.dtype != np.uint8:
        raise ValueError(
            f"photo {name}: damaged, its {read_header(data, name).encoding.upper()} data cannot be decoded; copy or "
            "make the file again"
        )
    return image


def encode_png(image: np.ndarray, compression: int, strategy: int = cv2.IMWRITE_PNG_STRATEGY_DEFAULT) -> bytes:
    """Encode `[H, W, 3] uint8` RGB as PNG.

    Args:
      compression: 0 (none) to 9 (slowest).
      strategy: one of OpenCV's `IMWRITE_PNG_STRATEGY_*`.

    Raises:
      ValueError: another kind of array.
    """
    check_image(image)
    return _encode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, compression, cv2.IMWRITE_PNG_STRATEGY, strategy])


def encode_jpeg(image: np.ndarray, quality: int, halve_colour: bool = False) -> bytes:
    """Encode `[H, W, 3] uint8` RGB as JPEG of `quality` 0..100; raise ValueError for another array.

    Colour has the full resolution (4:4:4), or half of it in both directions (4:2:0), as in most programs.
    """
    check_image(image)
    colour = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420 if halve_colour else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, colour]
    return _encode(".jpg", image, options)


def _encode(suffix: str, image: np.ndarray, options: list[int]) -> bytes:
    done, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    assert done, suffix
    return data.tobytes()


def _png_has_end(data: bytes) -> bool:
    at = len(PNG_START)
    while at + 8 <= len(data):
        kind = data[at + 4 : at + 8]
        at += 12 + int.from_bytes(data[at : at + 4], "big")  # length, kind and checksum around the content
        if kind == b"IEND":
            return at <= len(data)
    return False


def jpeg_markers(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the markers of a JPEG, each with the position after it; garbage between segments is skipped."""
    at = 2
    while found := JPEG_MARKER.search(data, at):
        at = found.end()
        yield data[at - 1], at
        # Skip the segment as a whole: it may contain an EXIF thumbnail, which is itself a JPEG.
        at += int.from_bytes(data[at : at + 2], "big")


def _png_header(data: bytes) -> Header | None:
    if len(data) < 26 or data[12:16] != b"IHDR":
        return None
    width, height = (int.from_bytes(data[start : start + 4], "big") for start in (16, 20))
    depth, colour_type = data[24], data[25]
    return Header("png", height, width, plain=(depth, colour_type) == (8, 2))


def _jpeg_header(data: bytes) -> Header | None:
    for marker, at in jpeg_markers(data):
        if marker in JPEG_FRAMES and at + 8 <= len(data):
            height, width = (int.from_bytes(data[start : start + 2], "big") for start in (at + 3, at + 5))
            depth, channels = data[at + 2], data[at + 7]
            return Header("jpeg", height, width, plain=(depth, channels) == (8, 3))
    return None


def _webp_header(data: bytes) -> Header | None:
    if len(data) < 30:
        return None
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = (int.from_bytes(data[start : start + 2], "little") & 0x3FFF for start in (26, 28))
    elif kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8X":
        width, height = (1 + int.from_bytes(data[start : start + 3], "little") for start in (24, 27))
    else:
        return None
    return Header("webp", height, width, plain=False)
