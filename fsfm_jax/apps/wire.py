"""What a worker process answers, as bytes: a header in JSON, then the pixels of each crop and preview.

Before it, for each frame that is done, a header alone says how far the file is read.

Workers decode untrusted files. Whoever takes one over could send anything, so answers are data and nothing else:
they are not unpickled, and their sizes are checked before memory is taken.
"""

import dataclasses
import json
import math
import struct
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from fsfm_jax import records
from fsfm_jax.apps.reading import LARGEST_PREVIEW, MOST_CROPS, MOST_PREVIEWS, Crop, Miss, Preview, Reading

_LENGTH = struct.Struct("<Q")
MAX_HEADER = 1 << 26
_DONE, _OF = "done", "of"


class BrokenWorker(Exception):
    """A worker ended, or did not answer as agreed; the text says what came."""


def write_message(file: BinaryIO, content: dict, blocks: list[bytes]) -> None:
    """Write `content` as JSON, then `blocks` as they are."""
    header = json.dumps(content).encode()
    file.write(_LENGTH.pack(len(header)) + header)
    for block in blocks:
        file.write(block)
    file.flush()


def read_header(file: BinaryIO) -> dict:
    """Return the JSON of the next message.

    Raises:
      BrokenWorker: the stream has ended, or holds something else.
    """
    (length,) = _LENGTH.unpack(_exactly(file, _LENGTH.size))
    if length > MAX_HEADER:
        raise BrokenWorker(f"a header of {length} bytes")
    try:
        content = json.loads(_exactly(file, length))
    except (ValueError, RecursionError) as error:
        raise BrokenWorker("a header that is not JSON") from error
    if not isinstance(content, dict):
        raise BrokenWorker("a header that is not an object")
    return content


def write_progress(file: BinaryIO, done: int, of: int) -> None:
    """Say how many frames of a file are done, and of how many."""
    write_message(file, {_DONE: done, _OF: of}, [])


def write_reading(file: BinaryIO, reading: Reading) -> None:
    """Write one answer."""
    blocks, crops = [], []
    for crop in reading.crops:
        parsed = crop.parsing_map is not None
        crops.append([crop.frame, crop.face, crop.box, crop.square, crop.sureness, parsed])
        blocks += [crop.pixels.tobytes()] + ([crop.parsing_map.tobytes()] if parsed else [])
    blocks += [preview.pixels.tobytes() for preview in reading.previews]
    content = {
        "previews": [[preview.frame, preview.size, preview.pixels.shape[:2]] for preview in reading.previews],
        "kind": reading.kind, "reason": reading.reason, "detail": reading.detail, "rate": reading.rate,
        "size": reading.size, "misses": [dataclasses.astuple(miss) for miss in reading.misses], "crops": crops,
        "notes": reading.notes, "found": reading.found, "asked": reading.asked,
    }  # fmt: skip
    write_message(file, content, blocks)


def read_reading(file: BinaryIO, path: str, side: int, tell: Callable[[int, int], None] | None = None) -> Reading:
    """Return the answer about the file `path`, with crops of `side` pixels; `tell` is called for each `write_progress`.

    Raises:
      BrokenWorker: the stream has ended, or holds something else.
    """
    content = read_header(file)
    try:
        while _DONE in content:
            done, of = int(content[_DONE]), int(content[_OF])
            if not 0 <= done <= of:
                raise BrokenWorker(f"{done} of {of} frames")
            if tell is not None:
                tell(done, of)
            content = read_header(file)
        if len(content["crops"]) > MOST_CROPS:
            raise BrokenWorker(f"{len(content['crops'])} crops")
        crops = []
        for frame, face, box, square, sureness, parsed in content["crops"]:
            pixels = _array(file, (side, side, 3))
            parsing_map = _array(file, (records.IMAGE_SIZE, records.IMAGE_SIZE)) if parsed else None
            left, top, right, bottom = map(_whole, box)
            x, y, size = map(_whole, square)
            if math.isinf(sureness):  # NaN is that of a ready-made crop
                raise BrokenWorker(f"a sureness of {sureness}")
            edges = (left, top, right, bottom), (x, y, size)
            crops.append(Crop(_whole(frame), _whole(face), *edges, float(sureness), pixels, parsing_map))
        previews = _previews(file, content["previews"])
        misses = tuple(Miss(_whole(frame), str(reason), str(detail)) for frame, reason, detail in content["misses"])
        height, width = map(int, content["size"])
        rate = None if content["rate"] is None else float(content["rate"])
        if rate is not None and not 0 < rate < math.inf:
            raise BrokenWorker(f"a rate of {rate}")
        words = (str(content[name]) for name in ("reason", "detail"))
        notes = tuple(str(note) for note in content["notes"])
        counts = tuple((_whole(frame), _whole(count)) for frame, count in content["found"])
        if any(count < 0 for _, count in counts):
            raise BrokenWorker(f"{min(count for _, count in counts)} faces")
        end = *words, rate, (height, width), notes, counts, _whole(content["asked"]), previews
        return Reading(path, str(content["kind"]), tuple(crops), misses, *end)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BrokenWorker(f"an answer of another form ({type(error).__name__}: {error})") from error


def _previews(file: BinaryIO, listed: list) -> tuple[Preview, ...]:
    if len(listed) > MOST_PREVIEWS:
        raise BrokenWorker(f"{len(listed)} previews")
    found = []
    for frame, size, shape in listed:
        (height, width), (rows, columns) = map(_whole, size), map(_whole, shape)
        if not (0 < rows <= LARGEST_PREVIEW and 0 < columns <= LARGEST_PREVIEW and height > 0 and width > 0):
            raise BrokenWorker(f"a preview of {rows}x{columns} pixels")
        found.append(Preview(_whole(frame), (height, width), _array(file, (rows, columns, 3))))
    return tuple(found)


def _whole(value) -> int:
    number = int(value)
    if not -(1 << 63) <= number < 1 << 63:  # no table has room for it
        raise OverflowError(f"a number of {number.bit_length()} bits")
    return number


def _array(file: BinaryIO, shape: tuple[int, ...]) -> np.ndarray:
    return np.frombuffer(_exactly(file, int(np.prod(shape))), np.uint8).reshape(shape)


def _exactly(file: BinaryIO, length: int) -> bytes:
    data = file.read(length)
    if len(data) != length:
        raise BrokenWorker("it ended")
    return data
