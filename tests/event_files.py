"""Event files of TensorBoard, read back as TensorBoard reads them."""

import io
import struct
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboardX.proto import event_pb2
from tensorboardX.record_writer import masked_crc32c


def events(path: Path) -> list[event_pb2.Event]:
    """All records of a file, their checksums compared; a process that was killed leaves a part of the last one."""
    data, place, found = path.read_bytes(), 0, []
    while place + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, place)
        if place + 16 + length > len(data):
            break
        record = data[place + 12 : place + 12 + length]
        sums = struct.unpack_from("<I", data, place + 8) + struct.unpack_from("<I", data, place + 12 + length)
        assert sums == (masked_crc32c(data[place : place + 8]), masked_crc32c(record))
        found.append(event_pb2.Event.FromString(record))
        place += 16 + length
    return found


def read_events(folder: Path) -> tuple[dict, dict]:
    """Scalars `{name: [(step, value)]}` and pictures `{name: [(step, [H, W, 3] uint8)]}` of all files of a folder.

    A START says that what was written before of its step and later ones is lost.
    """
    scalars, pictures = defaultdict(list), defaultdict(list)
    for path in sorted(folder.iterdir()):
        found = events(path)
        assert found[0].file_version == "brain.Event:2"
        for event in found:
            if event.HasField("session_log") and event.session_log.status == event_pb2.SessionLog.START:
                for series in (*scalars.values(), *pictures.values()):
                    series[:] = [(step, value) for step, value in series if step < event.step]
            for value in event.summary.value:
                if value.HasField("image"):
                    picture = np.asarray(Image.open(io.BytesIO(value.image.encoded_image_string)))
                    pictures[value.tag].append((event.step, picture))
                else:
                    scalars[value.tag].append((event.step, value.simple_value))
    return dict(scalars), dict(pictures)
