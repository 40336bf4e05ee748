"""Decode photos of any size and format to `[H, W, 3] uint8` RGB in sRGB.

Unlike the stored face crops (`data.photo`) they come from cameras and web pages: a rotation noted in the file is
applied, bytes behind the end are ignored, and 16 bits, grey, palettes and CMYK become 8-bit RGB. Transparent parts
are shown on white, colours other than sRGB are converted, and the first frame of an animation is taken; `Photo.notes`
say so. The decoder of PNG, JPEG, WebP and BMP is OpenCV's: it refuses every PNG with a wrong checksum, which Pillow
lets through here and there; of JPEG both give the same pixels, and both fill up a cut one with grey when an end marker
follows.
"""

import io
import warnings
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageOps

from fsfm_jax.data.photo import Header, is_whole, read_header
from fsfm_jax.prepare.media.bitmap import bitmap_header, bitmap_is_whole
from fsfm_jax.prepare.media.complaints import heard
from fsfm_jax.prepare.media.photo_extras import Extras, extras_of
from fsfm_jax.prepare.media.photo_format import PHOTO_FORMATS, format_of, no_picture, other_format
from fsfm_jax.prepare.media.picture import Picture
from fsfm_jax.prepare.media.pillow_file import read_pillow
from fsfm_jax.prepare.media.raw_file import File, all_bytes
from fsfm_jax.prepare.media.unusable import Unusable
from fsfm_jax.text import plain

PHOTO_SUFFIXES = (
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".bmp", ".dib", ".heic", ".heif", ".heics",
    ".heifs", ".hif", ".avif", ".avifs", ".tif", ".tiff", ".gif",
)  # fmt: skip
MAX_PIXELS = 100_000_000  # 300 MB decoded; JPEG of more, as phones take them, is read at a part of its size
MAX_BYTES = 1 << 30
# Decoders of JPEG scale while they decode, which needs neither the memory nor the time of the whole.
REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
MAX_REDUCED = 1_000_000_000  # pixels before the reduction: ten seconds of decoding
MAX_PROGRESSIVE = 250_000_000  # of a progressive JPEG, whose coefficients are kept: up to 1.5 GB
PIXELS_PER_BYTE = 512  # at most, of a JPEG: a bit for each block of 64 pixels
# The warning of libjpeg about padding between the segments of a header, which is no damage.
HARMLESS = "extraneous bytes before marker 0x"
IN_DATA = tuple(f"{HARMLESS}d{digit}" for digit in "0123456789")


@dataclass(frozen=True)
class Photo:
    """A decoded photo.

    Attributes:
      image: `[H, W, 3] uint8` RGB, upright.
      notes: remarks for the report on how it was decoded, such as "first of 24 frames".
    """

    image: np.ndarray
    notes: tuple[str, ...] = ()


def read_photo(file: File) -> Photo:
    """Read a PNG, JPEG, WebP, BMP, HEIC, AVIF, TIFF or GIF file; the content decides, not the suffix.

    A JPEG of more than `MAX_PIXELS` is read at 1/2, 1/4 or 1/8 of its size, and boxes in it count the pixels read.

    Raises:
      Unusable: "unreadable", "empty_file", "unknown_format", "unsupported_format", "unsupported_pixels", "truncated",
        "damaged", "transparent", "too_large" or "no_pixels".
    """
    data = all_bytes(file, MAX_BYTES)
    encoding = format_of(data)
    if encoding is None:
        raise _refuse_unknown(data)
    if encoding == "heic":
        # Its libraries are the most of what a process for photos would load, and most photos need none of them.
        from fsfm_jax.prepare.media.heif_file import read_heif

        picture = read_heif(data, check_size)
    elif encoding in ("avif", "tiff", "gif"):
        picture = read_pillow(data, encoding, check_size)
    else:
        picture = _by_opencv(data, encoding)
    picture = picture.in_srgb().opaque()
    return Photo(picture.image, picture.notes)


def check_size(height: int, width: int) -> None:
    """Refuse a picture of `height` x `width` before it is decoded.

    Raises:
      Unusable: "no_pixels" or "too_large".
    """
    if height < 1 or width < 1:
        raise Unusable("no_pixels", f"expected pixels, found a picture of {height}x{width} (height x width)")
    if height * width > MAX_PIXELS:
        raise Unusable(
            "too_large", f"expected at most {MAX_PIXELS} pixels, found a picture of {height}x{width} (height x width)"
        )


def _refuse_unknown(data: bytes) -> Unusable:
    if sentence := other_format(data):
        return Unusable("unsupported_format", sentence)
    found = no_picture(data) or f"found bytes starting with {data[:12]!r}"
    return Unusable("unknown_format", f"expected {PHOTO_FORMATS}, {found}")


def _by_opencv(data: bytes, encoding: str) -> Picture:
    header = bitmap_header(data) if encoding == "bmp" else _header(data, encoding)
    extras = extras_of(data, encoding)
    parts = _reduction(data, header, extras)
    if parts == 1:
        check_size(header.height, header.width)
    whole = bitmap_is_whole(data, header) if encoding == "bmp" else is_whole(data, encoding)
    if not whole:
        raise Unusable("truncated", f"the end of the {encoding.upper()} is missing after {len(data)} bytes")
    image, notes = _decode(data, header, parts)
    if extras.pictures > 1:
        notes = (f"first of {extras.pictures} {extras.unit}", *notes)
    alpha = _alpha(data, encoding, image.shape[:2]) if extras.alpha else None
    return Picture(image, alpha, extras.profile, extras.signal, notes)


def _reduction(data: bytes, header: Header, extras: Extras) -> int:
    """Return the divisor of the size at which a JPEG is read: the least of 1, 2, 4, 8 for at most `MAX_PIXELS`."""
    pixels = header.height * header.width
    most = min(MAX_PROGRESSIVE if extras.progressive else MAX_REDUCED, PIXELS_PER_BYTE * len(data))
    if header.encoding != "jpeg" or pixels <= MAX_PIXELS or pixels > most:
        return 1
    return next((parts for parts in REDUCED if _sides(header, parts)[0] * _sides(header, parts)[1] <= MAX_PIXELS), 1)


def _sides(header: Header, parts: int) -> tuple[int, int]:
    return -(-header.height // parts), -(-header.width // parts)


def _decode(data: bytes, header: Header, parts: int) -> tuple[np.ndarray, tuple[str, ...]]:
    encoding, notes = header.encoding.upper(), ()
    flags = cv2.IMREAD_COLOR_RGB if parts == 1 else REDUCED[parts]
    with heard() as complaints:
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        except cv2.error as error:  # also OpenCV's own limits of width and height
            raise Unusable("damaged", f"the {encoding} decoder failed: {error.err}") from error
    if image is None:
        raise Unusable("damaged", f"the {encoding} data cannot be decoded")
    sides = _sides(header, parts)
    if image.shape not in ((*sides, 3), (*sides[::-1], 3)):
        raise Unusable(
            "damaged", f"the {encoding} header tells {header.height}x{header.width}, the data {image.shape[:2]}"
        )
    if parts > 1:
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB, image)
        notes = (f"read at 1/{parts} of its {header.width}x{header.height} pixels, which boxes count",)
    if header.encoding == "jpeg":
        told = [words for words in complaints if HARMLESS not in words or words.endswith(IN_DATA)]
        if told:
            notes = (*notes, f"the JPEG data are damaged ({plain(told[0].split(': ')[-1])[:80]})")
    return image, notes


def _alpha(data: bytes, encoding: str, size: tuple[int, int]) -> np.ndarray:
    """Return the alpha of the first picture, `[H, W] uint8`, which OpenCV drops."""
    try:
        with warnings.catch_warnings():  # about sizes, which are checked already
            warnings.simplefilter("ignore")
            image = ImageOps.exif_transpose(Image.open(io.BytesIO(data), formats=(encoding.upper(),)))
            alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    except Exception as error:  # Pillow does not check what it parses: damaged files raise anything
        raise Unusable(
            "damaged", f"the alpha of the {encoding.upper()} cannot be decoded: {plain(str(error))[:200]}"
        ) from error
    if alpha.shape != size:
        raise Unusable("damaged", f"expected alpha of {size[0]}x{size[1]}, found {alpha.shape[0]}x{alpha.shape[1]}")
    return alpha


def _header(data: bytes, encoding: str) -> Header:
    try:
        return read_header(data, "")
    except ValueError as error:
        reason = "damaged" if is_whole(data, encoding) else "truncated"
        raise Unusable(reason, f"the header of the {encoding.upper()} is damaged or cut off") from error
