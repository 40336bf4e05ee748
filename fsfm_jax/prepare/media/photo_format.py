"""Recognise photo formats by the first bytes of a file: supported ones, and ones that are known by name only."""

import re

from fsfm_jax.data.photo import encoding_of

PHOTO_FORMATS = "PNG, JPEG, WebP, BMP, HEIC, AVIF, TIFF or GIF"
START_LENGTH = 1024  # bytes that `format_of` and the sentences use

# Sizes of the header that follows the 14 bytes of a BMP file, by version; the first has shorter fields.
BITMAP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
GIF_STARTS = (b"GIF87a", b"GIF89a")
# Brands of ISO 23008-12 (HEIF) and of AVIF, for single pictures and for sequences.
AVIF_BRANDS = (b"avif", b"avis")
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
HEIF_BRANDS = (b"mif1", b"mif2", b"msf1", b"heif", *HEIC_BRANDS, *AVIF_BRANDS)

# Formats that are not read, by how they start, and what to do with them.
_CAMERA = "export a JPEG or TIFF from the camera's software"
_CONVERT = "convert it to PNG or JPEG"
OTHERS = (
    (rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture", _CONVERT),
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "a JPEG 2000 picture", _CONVERT),
    (rb"II\xbc\x01", "a JPEG XR picture", _CONVERT),
    (rb"....ftypcrx ", "a Canon raw file (CR3)", _CAMERA),
    (rb"II\*\0....CR", "a Canon raw file (CR2)", _CAMERA),
    (rb"FUJIFILMCCD-RAW", "a Fujifilm raw file (RAF)", _CAMERA),
    (rb"IIR[OS]|MMOR", "an Olympus raw file (ORF)", _CAMERA),
    (rb"IIU\0", "a Panasonic raw file (RW2)", _CAMERA),
    (rb"FOVb", "a Sigma raw file (X3F)", _CAMERA),
    (rb"\0MRM", "a Minolta raw file (MRW)", _CAMERA),
    (rb"....(ftyp|moov|mdat)|RIFF....AVI |\x1aE\xdf\xa3", "a video or a sound", "give its name the suffix of a video"),
    (rb"8BPS", "a Photoshop document (PSD)", _CONVERT),
    (rb"\x76\x2f\x31\x01", "an OpenEXR picture", _CONVERT),
    (rb"#\?RADIANCE", "a Radiance HDR picture", _CONVERT),
    (rb"qoif", "a QOI picture", _CONVERT),
    (rb"\0\0\x01\0[^\0]\0", "an icon (ICO)", _CONVERT),
    (rb"P[1-7][\s#]", "a Netpbm picture", _CONVERT),
    (rb"(\xef\xbb\xbf)?\s*(<\?xml.*)?(<!--.*-->\s*)?(<!DOCTYPE svg.*)?<svg[\s>]", "an SVG drawing", _CONVERT),
    (rb"%PDF-", "a PDF document", "save its pictures as PNG or JPEG"),
    (rb"%!PS", "a PostScript document", "save its pictures as PNG or JPEG"),
)  # fmt: skip
# Contents of a file in place of a photo after a failed download.
NO_PICTURES = (
    (rb"PK\x03\x04", "a ZIP archive or an office document", "unpack it"),
    (rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html)[\s>]", "an HTML page", "download the file itself"),
    (rb"version https://git-lfs", "a Git LFS pointer", "fetch the file with git lfs pull"),
)


def format_of(start: bytes) -> str | None:
    """Return the format by the first bytes: "png", "jpeg", "webp", "bmp", "heic", "avif", "tiff" or "gif"; or None."""
    if encoding := encoding_of(start):
        return encoding
    if brand := photo_brand(start):
        return brand
    if start[:2] == b"BM" and int.from_bytes(start[14:18], "little") in BITMAP_HEADERS:
        return "bmp"
    if start.startswith(GIF_STARTS):
        return "gif"
    return "tiff" if start.startswith(TIFF_STARTS) and start[8:10] != b"CR" else None


def other_format(start: bytes) -> str:
    """Return a sentence about an unsupported picture or document, and what to do; "" for anything else."""
    return _sentence(start, OTHERS, "this is {}, which is not read; {}")


def no_picture(start: bytes) -> str:
    """Return a phrase about a file that is no picture, and what to do; "" for anything else."""
    return _sentence(start, NO_PICTURES, "it is {}: {}")


def _sentence(start: bytes, kinds: tuple[tuple[bytes, str, str], ...], sentence: str) -> str:
    for begin, name, remedy in kinds:
        if re.match(begin, start[:START_LENGTH], re.DOTALL | re.IGNORECASE):
            return sentence.format(name, remedy)
    return ""


def photo_brand(start: bytes) -> str | None:
    """Return the photo format of an ISO media file: "heic" or "avif"; None for a video or anything else.

    The major brand decides. Where that is a general one, the first compatible brand of a photo does.
    """
    if start[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(start[:4], "big"), len(start))
    compatible = [start[at : at + 4] for at in range(16, end - 3, 4)]
    brands = [start[8:12], *compatible]
    if brands[0] not in HEIF_BRANDS and not {*compatible} & {b"heic", b"heix", b"mif1", *AVIF_BRANDS}:
        return None
    return "avif" if {*brands} & {*AVIF_BRANDS} and brands[0] not in HEIC_BRANDS else "heic"
