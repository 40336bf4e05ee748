"""Small HEIC files for tests: pictures encoded without loss, put into boxes by hand (ISO 23008-12)."""

import io
import struct

import av
import numpy as np


def box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I", 8 + len(content)) + kind + content


def full(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def coded(pictures: list[np.ndarray]) -> tuple[bytes, list[bytes], bytes]:
    """The configuration `hvcC`, the data of each picture (RGB, or grey of two axes), and an MP4 of them as frames."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        height, width = pictures[0].shape[:2]
        stored, given = ("yuv444p", "rgb24") if pictures[0].ndim == 3 else ("gray", "gray")
        stream = container.add_stream("libx265", rate=10, width=width, height=height, pix_fmt=stored)
        stream.codec_tag = "hvc1"
        stream.options = {"x265-params": "lossless=1:keyint=1:log-level=none:pools=none:frame-threads=1:info=0"}
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format=given)))
        container.mux(stream.encode())
    data = file.getvalue()
    at = data.index(b"hvcC") - 4
    configuration = data[at : at + int.from_bytes(data[at : at + 4], "big")]
    sizes_at = data.index(b"stsz") + 12
    sizes = struct.unpack_from(f">{len(pictures)}I", data, sizes_at + 4)
    if one := int.from_bytes(data[sizes_at - 4 : sizes_at], "big"):
        sizes = (one,) * len(pictures)
    start, samples = data.index(b"mdat") + 4, []
    for size in sizes:
        samples.append(data[start : start + size])
        start += size
    return configuration, samples, data


def heic(
    image: np.ndarray,
    tiles: int = 1,
    turns: int = 0,
    mirror: int | None = None,
    signal: tuple[int, int] | None = None,
    alpha: np.ndarray | None = None,
    brand: bytes = b"heic",
) -> bytes:
    """A HEIC of `[H, W, 3] uint8`.

    Args:
      tiles: along each side; more than one make a grid, as phones write it.
      turns: quarter turns anticlockwise that a reader has to apply (`irot`).
      mirror: how a reader has to mirror it (`imir`): 0 = upside down, 1 = left to right.
      signal: colour primaries and transfer characteristics (`colr`).
      alpha: `[H, W] uint8`, an auxiliary picture.
    """
    height, width = image.shape[:2]
    down, across = height // tiles, width // tiles
    pieces = [
        image[row * down : (row + 1) * down, column * across : (column + 1) * across]
        for row in range(tiles) for column in range(tiles)
    ]  # fmt: skip
    configuration, samples, _ = coded(pieces)
    shown = struct.pack(">BBBBHH", 0, 0, tiles - 1, tiles - 1, width, height)
    properties = [configuration, full(b"ispe", 0, 0, struct.pack(">II", across, down))]
    whole = [full(b"ispe", 0, 0, struct.pack(">II", width, height))]
    if signal:
        whole.append(box(b"colr", b"nclx", struct.pack(">HHHB", *signal, 6, 0)))
    if turns:
        whole.append(box(b"irot", bytes([turns])))
    if mirror is not None:
        whole.append(box(b"imir", bytes([mirror])))
    ids = list(range(1, len(samples) + 1))
    first_whole = len(properties) + 1
    properties += whole
    of_whole = list(range(first_whole, first_whole + len(whole)))
    types = {number: b"hvc1" for number in ids}
    of = {number: [1, 2] for number in ids}
    references, primary = b"", 1
    if tiles > 1:
        primary = len(ids) + 1
        types[primary], of[primary] = b"grid", of_whole
        references += box(b"dimg", struct.pack(f">HH{len(ids)}H", primary, len(ids), *ids))
    else:
        of[1] = [1, *of_whole]
    if alpha is not None:
        grey_configuration, (grey,), _ = coded([alpha])
        number = max(types) + 1
        types[number] = b"hvc1"
        properties += [grey_configuration, full(b"auxC", 0, 0, b"urn:mpeg:hevc:2015:auxid:1\0")]
        of[number] = [len(properties) - 1, first_whole, len(properties)]
        references += box(b"auxl", struct.pack(">HHH", number, 1, primary))
        samples, ids = [*samples, grey], [*ids, number]

    def meta(offset: int) -> bytes:
        places, at = [], offset
        for number, sample in zip(ids, samples, strict=True):
            places.append(struct.pack(">HHHHII", number, 0, 0, 1, at, len(sample)))
            at += len(sample)
        if tiles > 1:
            places.append(struct.pack(">HHHHII", primary, 1, 0, 1, 0, len(shown)))
        hidden = {number: int(number != primary) for number in types}
        infos = [
            full(b"infe", 2, hidden[number], struct.pack(">HH", number, 0), kind, b"\0")
            for number, kind in types.items()
        ]
        links = [struct.pack(">HB", number, len(found)) + bytes(found) for number, found in of.items()]
        return full(
            b"meta", 0, 0,
            full(b"hdlr", 0, 0, bytes(4), b"pict", bytes(13)),
            full(b"pitm", 0, 0, struct.pack(">H", primary)),
            full(b"iloc", 1, 0, b"\x44\0", struct.pack(">H", len(places)), *places),
            full(b"iinf", 0, 0, struct.pack(">H", len(infos)), *infos),
            full(b"iref", 0, 0, references) if references else b"",
            box(b"iprp", box(b"ipco", *properties), full(b"ipma", 0, 0, struct.pack(">I", len(links)), *links)),
            box(b"idat", shown) if tiles > 1 else b"",
        )  # fmt: skip

    start = box(b"ftyp", brand, bytes(4), b"mif1", brand)
    return start + meta(len(start) + len(meta(0)) + 8) + box(b"mdat", *samples)


def sequence(pictures: list[np.ndarray]) -> bytes:
    """An image sequence without a still picture beside it (brand `hevc`)."""
    data = coded(pictures)[2]
    length = int.from_bytes(data[:4], "big")
    data = data[length:].replace(b"vide", b"pict", 1)
    return box(b"ftyp", b"hevc", bytes(4), b"msf1", b"hevc", bytes(length - 24)) + data
