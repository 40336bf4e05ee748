"""Read the metadata of a PNG, JPEG, WebP or GIF besides the pixels: animation, transparency, colours.

This is done before decoding, without a decoder, because OpenCV silently drops it.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from fsfm_jax.data.photo import JPEG_FRAMES, PNG_START, jpeg_markers

MAX_PROFILE = 1 << 22  # bytes of a colour profile
MOST_CHUNKS = 1_000_000
PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
START_OF_SCAN = 0xDA
# Words in a JPEG whose second picture holds the brightness for HDR displays: the first one is the whole photo.
GAIN_MAPS = (b"hdrgm", b"ts:21496", b"HDRGainMap")


@dataclass(frozen=True)
class Extras:
    """The contents of a photo besides the pixels of its first picture.

    Attributes:
      pictures: how many there are; unit: what they are called.
      alpha: whether it may have transparent pixels.
      profile: ICC colour profile.
      signal: colour primaries and transfer characteristics, as in ITU-T H.273.
      progressive: of a JPEG, whose coefficients are all kept in memory.
      whole: of a GIF, whether its end is there.
    """

    pictures: int = 1
    unit: str = "frames"
    alpha: bool = False
    profile: bytes | None = None
    signal: tuple[int, int] | None = None
    progressive: bool = False
    whole: bool = True


def extras_of(data: bytes, encoding: str) -> Extras:
    """Read the extras of a "png", "jpeg", "webp" or "gif"; other formats have none."""
    readers = {"png": _png, "jpeg": _jpeg, "webp": _webp, "gif": _gif}
    return readers[encoding](data) if encoding in readers else Extras()


def _png(data: bytes) -> Extras:
    found = {}
    at = len(PNG_START)
    for _ in range(MOST_CHUNKS):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind in (b"IDAT", b"IEND", b""):
            break
        found.setdefault(kind, data[at + 8 : at + 8 + length])
        at += 12 + length
    signal, profile = found.get(b"cICP", b""), None
    if b"iCCP" in found and b"sRGB" not in found:
        _, _, packed = found[b"iCCP"].partition(b"\0")
        try:
            profile = zlib.decompressobj().decompress(packed[1:], MAX_PROFILE)
        except zlib.error:
            profile = b""
    return Extras(
        pictures=max(int.from_bytes(found.get(b"acTL", b"")[:4], "big"), 1),
        alpha=found.get(b"IHDR", bytes(10))[9:10] in (b"\4", b"\6") or b"tRNS" in found,
        profile=profile,
        signal=(signal[0], signal[1]) if len(signal) == 4 else None,
    )


def _jpeg(data: bytes) -> Extras:
    parts, pictures, progressive = {}, 1, False
    for marker, at in jpeg_markers(data):
        segment = data[at + 2 : at + int.from_bytes(data[at : at + 2], "big")]
        if marker == START_OF_SCAN:
            break
        if marker in JPEG_FRAMES:
            progressive = marker in PROGRESSIVE
        if marker == 0xE2 and segment.startswith(b"ICC_PROFILE\0") and len(segment) > 14:
            parts[segment[12]] = segment[14:]
        if marker == 0xE2 and segment.startswith(b"MPF\0"):
            pictures = 1 if any(word in data for word in GAIN_MAPS) else _multi_pictures(segment[4:])
    profile = b"".join(parts[number] for number in sorted(parts))[:MAX_PROFILE] if parts else None
    return Extras(pictures=pictures, unit="pictures", profile=profile, progressive=progressive)


def _multi_pictures(index: bytes) -> int:
    """Return how many pictures the index of a multi-picture file (CIPA DC-007) names, without previews of the first."""
    order = ">" if index[:2] == b"MM" else "<"
    try:
        (at,) = struct.unpack_from(order + "I", index, 4)
        (entries,) = struct.unpack_from(order + "H", index, at)
        for number in range(entries):
            tag, _, length, value = struct.unpack_from(order + "HHII", index, at + 2 + 12 * number)
            if tag == 0xB002:  # 16 bytes for each picture, of which the first four hold its kind
                kinds = [struct.unpack_from(order + "I", index, value + 16 * n)[0] for n in range(length // 16)]
                return max(sum(kind >> 16 & 0xFF != 1 for kind in kinds), 1)
    except struct.error:
        return 1
    return 1


def _webp(data: bytes) -> Extras:
    frames, profile, alpha = 0, None, False
    for kind, begin, length in _riff_chunks(data):
        content = data[begin : begin + min(length, MAX_PROFILE)]
        frames += kind == b"ANMF"
        if kind == b"VP8X":
            alpha |= bool(content[:1]) and bool(content[0] & 0x10)
        elif kind == b"VP8L":
            alpha |= bool(int.from_bytes(content[1:5], "little") >> 28 & 1)
        elif kind == b"ICCP":
            profile = content
    return Extras(pictures=max(frames, 1), alpha=alpha, profile=profile)


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    at = 12
    for _ in range(MOST_CHUNKS):
        if at + 8 > len(data):
            return
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        yield data[at : at + 4], at + 8, length
        at += 8 + length + length % 2


def _gif(data: bytes) -> Extras:
    """Count the frames whose data are all there."""
    frames, at, table = 0, 13, 10
    try:
        at += _colour_table(data[table])
        for _ in range(MOST_CHUNKS):
            if data[at] == 0x3B:
                return Extras(pictures=frames)
            if data[at] == 0x2C:  # descriptor, colours, size of the first code, then blocks
                at = _behind_blocks(data, at + 11 + _colour_table(data[at + 9]))
                frames += 1
            elif data[at] == 0x21:
                at = _behind_blocks(data, at + 2)
            else:
                break
    except IndexError:
        pass
    return Extras(pictures=frames, whole=False)


def _colour_table(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _behind_blocks(data: bytes, at: int) -> int:
    while data[at]:
        at += 1 + data[at]
    return at + 1
