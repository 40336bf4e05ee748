"""Read boxes of ISO media files that hold a photo (HEIC, AVIF): whether it is complete, and its colours.

The decoders do not report this: libheif fills missing tiles with green, and Pillow drops the colour signal of AVIF.
"""

from collections.abc import Iterator

MOST_BOXES = 10_000  # of a level, and extents of all items
TOP_LEVEL = (b"ftyp", b"meta", b"mdat", b"moov", b"free", b"skip", b"uuid", b"idat", b"moof", b"mfra")
NO_METHOD = 0  # extents are counted from the start of the file


def children(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of the content of each box between two positions; the end may exceed the file."""
    for _ in range(MOST_BOXES):
        if start + 8 > end:
            return
        size, kind, begin = _number(data, start, 4), data[start + 4 : start + 8], start + 8
        if size == 1:
            size, begin = _number(data, begin, 8), begin + 8
        stop = end if size == 0 else start + size
        if stop < begin:
            return
        yield kind, begin, stop
        start = stop


def find(data: bytes, path: tuple[bytes, ...], start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """Yield start and end of the content of all boxes of a path, such as `(b"meta", b"iprp")`."""
    for kind, begin, stop in children(data, start, len(data) if end is None else end):
        if kind == path[0]:
            if len(path) == 1:
                yield begin, stop
            else:  # `meta` has a version and flags before its boxes
                yield from find(data, path[1:], begin + 4 * (kind == b"meta"), min(stop, len(data)))


def is_whole(data: bytes) -> bool:
    """Return whether all top-level boxes and stored pictures lie within the file; further bytes are allowed."""
    for kind, _, stop in children(data, 0, len(data)):
        if kind not in TOP_LEVEL:
            break
        if stop > len(data):
            return False
    tables = find(data, (b"meta", b"iloc"))
    return all(stop <= len(data) for begin, end in tables for stop in _extents(data, begin, end))


def colour_signal(data: bytes) -> tuple[int, int] | None:
    """Return colour primaries and transfer characteristics (numbers of ITU-T H.273) of a photo; None without them."""
    for begin, end in find(data, (b"meta", b"iprp", b"ipco", b"colr")):
        if data[begin : begin + 4] == b"nclx" and begin + 8 <= end:
            return _number(data, begin + 4, 2), _number(data, begin + 6, 2)
    return None


def has_still(data: bytes) -> bool:
    """Return whether there is a picture outside of any track."""
    return next(find(data, (b"meta", b"pitm")), None) is not None


def sequence_length(data: bytes) -> int:
    """Return the number of pictures in the longest track of a sequence; 0 without one."""
    path = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsz")
    return max((_number(data, begin + 8, 4) for begin, _ in find(data, path)), default=0)


def _extents(data: bytes, at: int, end: int) -> Iterator[int]:
    """Yield where each part of the stored pictures ends, by the box `iloc` between two positions."""
    version, sizes = data[at] if at < len(data) else 0, _number(data, at + 4, 2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    wide = 2 if version < 2 else 4
    items, at = _number(data, at + 6, wide), at + 6 + wide
    parts = 0
    for _ in range(min(items, MOST_BOXES)):
        at += wide
        method = NO_METHOD if version == 0 else _number(data, at, 2) & 15
        at += 2 * (version > 0) + 2  # the method and the number of the file that holds the data
        base, at = _number(data, at, base_size), at + base_size
        extents, at = _number(data, at, 2), at + 2
        for _ in range(extents):
            parts += 1
            if at >= end or parts > MOST_BOXES:
                return
            at += index_size * (version > 0)
            offset, length = _number(data, at, offset_size), _number(data, at + offset_size, length_size)
            at += offset_size + length_size
            if method == NO_METHOD:
                yield base + offset + length


def _number(data: bytes, at: int, length: int) -> int:
    return int.from_bytes(data[at : at + length], "big")
