"""Recognise kinds of video files by their first bytes, never by their names."""

from dataclasses import dataclass

from fsfm_jax.prepare.media.photo_format import photo_brand

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".avi", ".mkv", ".webm", ".flv", ".wmv", ".asf"),
    *(".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".m2v", ".vob", ".ogv", ".mxf"),
)
START_LENGTH = 1024  # bytes that `container_of` reads
# First atom of MP4 and of QuickTime, which in old files is not always "ftyp".
ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
RAW_BRAND = b"crx "  # of raw photos of Canon, which have the same atoms
SYNC = b"G"  # first byte of each packet of a transport stream
# Lengths of a packet and where its sync byte stands; cameras (.mts, .m2ts) put four bytes of time before it.
PACKETS = ((188, 0), (192, 4), (204, 0))


@dataclass(frozen=True)
class Container:
    """A kind of video file."""

    name: str  # as people call it
    demuxer: str  # FFmpeg's name of its reader


MP4, QUICKTIME, AVI = Container("MP4", "mov"), Container("QuickTime", "mov"), Container("AVI", "avi")
MATROSKA, WEBM = Container("Matroska", "matroska"), Container("WebM", "matroska")
TRANSPORT, PROGRAM = Container("MPEG-TS", "mpegts"), Container("MPEG-PS", "mpeg")
ELEMENTARY = Container("MPEG video", "mpegvideo")
FLASH, WINDOWS = Container("FLV", "flv"), Container("WMV", "asf")
OGG, MXF = Container("Ogg", "ogg"), Container("MXF", "mxf")
NAMES = "MP4, MOV, AVI, Matroska, WebM, MPEG-TS, MPEG-PS, Ogg, MXF, FLV, WMV"


def container_of(start: bytes) -> Container | None:
    """Return the container by the first `START_LENGTH` bytes of a file; None if unknown, or if it is a photo's."""
    if start[4:8] in ATOMS:
        return None if photo_brand(start) or start[8:12] == RAW_BRAND else _of_atoms(start)
    for magic, container in (
        (b"\x00\x00\x01\xba", PROGRAM),
        (b"\x00\x00\x01\xb3", ELEMENTARY),
        (b"FLV\x01", FLASH),
        (b"OggS", OGG),
        (b"0&\xb2u\x8ef\xcf\x11", WINDOWS),
        (b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01\x02", MXF),
    ):
        if start.startswith(magic):
            return container
    if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
        return AVI
    if start[:4] == b"\x1aE\xdf\xa3":
        return WEBM if b"webm" in start[:64] else MATROSKA
    for length, offset in PACKETS:
        if len(start) > 2 * length and set(start[offset::length]) == set(SYNC):
            return TRANSPORT
    return None


def _of_atoms(start: bytes) -> Container:
    return QUICKTIME if start[4:8] != b"ftyp" or start[8:12] == b"qt  " else MP4
