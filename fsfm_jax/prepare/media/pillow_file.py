"""Decode AVIF, TIFF and GIF photos with Pillow: libavif, libtiff and its own GIF reader.

Pillow's decoders fail on damaged data, except libtiff's, which continue. So every file with a warning of libtiff is
refused, and so are fax compressions, which leave pixels unwritten.
"""

import contextlib
import io
import re
import warnings
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fsfm_jax.prepare.media import iso_boxes
from fsfm_jax.prepare.media.complaints import ANY, heard
from fsfm_jax.prepare.media.photo_extras import extras_of
from fsfm_jax.prepare.media.picture import Picture
from fsfm_jax.prepare.media.unusable import Unusable
from fsfm_jax.text import plain

MOST_PAGES = 100  # counted
# Tags of TIFF and of raw files made of it.
SUBFILE, COMPRESSION, PHOTOMETRIC, SUBFOLDERS, DNG_VERSION = 254, 259, 262, 330, 50706
COMPRESSIONS = {1, 5, 7, 8, 32773, 32946, 50000}  # none, LZW, JPEG, Deflate (twice), PackBits, Zstandard
DEEP = ("I;16", "I;16L", "I;16B", "I;16N")
READ_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "La", "CMYK", "YCbCr", *DEEP)


def read_pillow(data: bytes, encoding: str, check_size: Callable[[int, int], None]) -> Picture:
    """Decode the first picture of an "avif", "tiff" or "gif"; `check_size` refuses a height and width before that.

    Raises:
      Unusable: "truncated", "damaged", "unsupported_format", "unsupported_pixels" or what `check_size` raises.
    """
    name, extras = encoding.upper(), extras_of(data, encoding)
    if (encoding == "avif" and not iso_boxes.is_whole(data)) or (encoding == "gif" and not extras.pictures):
        raise Unusable("truncated", f"the end of the {name} is missing after {len(data)} bytes")
    if encoding == "tiff" and _directory_end(data) > len(data):
        raise Unusable("truncated", f"the directory of the TIFF is missing after {len(data)} bytes")
    with _words_of_pillow(name), heard(ANY):
        image = Image.open(io.BytesIO(data), formats=(name,))
    check_size(image.height, image.width)
    notes = ()
    if encoding == "tiff":
        with _words_of_pillow(name):
            tags = image.tag_v2
            kind = {tag: tags.get(tag) for tag in (SUBFILE, COMPRESSION, PHOTOMETRIC, SUBFOLDERS, DNG_VERSION)}
        _check_tiff(image.mode, kind)
        with _words_of_pillow(name), heard(ANY):
            notes = _pages(image)
    elif encoding == "gif":
        notes = _frames(extras.pictures) + (() if extras.whole else ("the end of the GIF is missing",))
    else:
        notes = _frames(getattr(image, "n_frames", 1))
    with _words_of_pillow(name), heard(ANY) as complaints:
        image.load()
        # After Pillow turned it, the note is gone: nothing is turned twice.
        image = ImageOps.exif_transpose(image)
    if complaints:
        raise Unusable("damaged", f"the {name} decoder complained: {plain(complaints[0])[:200]}")
    with _words_of_pillow(name):
        profile = image.info.get("icc_profile") or None
        colour, alpha = _pixels(image, encoding == "tiff" and kind[PHOTOMETRIC] == 0)
    if image.mode == "CMYK":
        notes, profile = (*notes, "CMYK converted without a colour profile"), None
    signal = iso_boxes.colour_signal(data) if encoding == "avif" else None
    return Picture(colour, alpha, profile, signal, notes)


@contextlib.contextmanager
def _words_of_pillow(name: str) -> Iterator[None]:
    """Convert all exceptions of Pillow to `Unusable`; its warnings are about sizes, which are checked here."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Unusable:
        raise
    except UnidentifiedImageError as error:  # its own words have an address of the memory in them
        raise Unusable("damaged", f"the header of the {name} is damaged or cut off") from error
    except Image.DecompressionBombError as error:
        found = re.search(r"\d+ pixels", str(error))
        raise Unusable("too_large", f"too many pixels in the {name}: found {found[0] if found else 'more'}") from error
    except Exception as error:  # Pillow does not check what it parses: damaged files raise anything
        cut = "truncated" in str(error)
        what = f"the end of the {name} is missing" if cut else f"the {name} decoder failed"
        raise Unusable("truncated" if cut else "damaged", f"{what}: {plain(str(error))[:200]}") from error


def _directory_end(data: bytes) -> int:
    """Return where the directory of the first picture of a TIFF or BigTIFF ends."""
    order = "little" if data.startswith(b"II") else "big"
    wide = b"+" in data[2:4]
    start = int.from_bytes(data[8:16] if wide else data[4:8], order)
    size, entry = (8, 20) if wide else (2, 12)
    return start + size + entry * int.from_bytes(data[start : start + size], order)


def _check_tiff(mode: str, kind: dict) -> None:
    """Refuse raw files of cameras, of which a TIFF reader sees a preview, and pixels that are no photo."""
    if kind[DNG_VERSION] is not None or (kind[SUBFOLDERS] is not None and int(kind[SUBFILE] or 0) & 1):
        raise Unusable(
            "unsupported_format",
            "this is a camera's raw file (DNG, NEF, ARW or similar), which is not read; export a JPEG or TIFF from the "
            "camera's software",
        )
    if (kind[COMPRESSION] or 1) not in COMPRESSIONS:
        raise Unusable(
            "unsupported_pixels",
            f"expected TIFF without compression or with LZW, JPEG, Deflate, PackBits or Zstandard, found compression "
            f"{kind[COMPRESSION]}; convert it to PNG",
        )
    if mode not in READ_MODES:
        raise Unusable(
            "unsupported_pixels",
            f"expected TIFF of 8 or 16 bits (grey, palette, RGB or CMYK), found pixels of the kind {mode}; convert it",
        )


def _pages(image: Image.Image) -> tuple[str, ...]:
    """Return a note about further pages; smaller copies of a page do not count."""
    pages = 1
    try:
        for index in range(1, MOST_PAGES + 1):
            image.seek(index)
            pages += not int(image.tag_v2.get(SUBFILE, 0)) & 1
    except EOFError:
        image.seek(0)
        return (f"first of {pages} pages",) if pages > 1 else ()
    image.seek(0)
    return (f"first of at least {pages} pages",)


def _frames(frames: int) -> tuple[str, ...]:
    return (f"first of {frames} frames",) if frames > 1 else ()


def _pixels(image: Image.Image, white_is_zero: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the picture as `[H, W, 3] uint8`, and its alpha `[H, W] uint8` if it has one."""
    if image.mode in DEEP:
        deep = np.asarray(image).astype(np.uint32)
        grey = ((65535 - deep if white_is_zero else deep) + 128) // 257
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2), None
    if image.has_transparency_data:
        pixels = np.asarray(image.convert("RGBA"))
        return np.ascontiguousarray(pixels[..., :3]), np.ascontiguousarray(pixels[..., 3])
    return np.asarray(image.convert("RGB")).copy(), None
