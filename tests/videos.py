"""Miniature videos for tests: 20 frames of 48 x 64 whose grey level tells their number."""

import struct
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np

import fsfm_jax

CLIP = Path(fsfm_jax.__file__).parent / "data" / "samples" / "pd_nasa_astronaut_pan.mp4"  # 45 frames
FRAMES, HEIGHT, WIDTH = 20, 48, 64


def pixels(index: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Frame `index` as `[H, W, 3] uint8` RGB; the left half is redder, the upper half bluer."""
    frame = np.full((height, width, 3), 20 + 8 * index, np.uint8)
    frame[:, : width // 2, 0] += 40
    frame[: height // 2, :, 2] += 40
    return frame


def write_video(path: Path, codec: str, frames: int = FRAMES, height: int = HEIGHT, width: int = WIDTH) -> bytes:
    """Writes a video, in the container that the suffix tells, and returns its bytes."""
    fourcc = cv2.VideoWriter_fourcc(*codec)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, 25, (width, height))
    assert writer.isOpened(), codec
    for index in range(frames):
        writer.write(pixels(index, height, width)[..., ::-1])
    writer.release()
    return path.read_bytes()


def encode_video(
    path: Path,
    codec: str = "libx264",
    *,
    options: dict[str, str] | None = None,  # of the encoder
    muxer: dict[str, str] | None = None,
    form: str = "yuv420p",
    pictures: Sequence[np.ndarray] | None = None,  # RGB, or RGBA if `form` has alpha
    stamps: Sequence[int] | None = None,  # when each is shown, in units of 1/25 s
    gop: int = 6,
    container: str | None = None,
    conversion: dict | None = None,  # from RGB, as `VideoFrame.reformat` takes it
    **attributes,
) -> bytes:
    """Writes a video with FFmpeg, one thread, and returns its bytes; `attributes` are those of the codec context."""
    pictures = [pixels(index) for index in range(FRAMES)] if pictures is None else pictures
    with av.open(str(path), "w", format=container, options=muxer or {}) as output:
        stream = output.add_stream(codec, rate=25)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.options, stream.codec_context.gop_size = form, options or {}, gop
        stream.codec_context.thread_count = 1
        if codec.startswith("mpeg"):
            stream.bit_rate = 5_000_000  # their own is low
        stream.codec_context.time_base = Fraction(1, 25)
        for name, value in attributes.items():
            setattr(stream.codec_context, name, value)
        for index, picture in enumerate(pictures):
            source = av.VideoFrame.from_ndarray(picture, "rgba" if picture.shape[2] == 4 else "rgb24")
            frame = source.reformat(format=form, threads=1, **(conversion or {}))
            frame.pts, frame.time_base = index if stamps is None else stamps[index], Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path.read_bytes()


@cache
def video_bytes(suffix: str, codec: str) -> bytes:
    """A video of 20 frames."""
    with tempfile.TemporaryDirectory() as folder:
        return write_video(Path(folder) / f"video{suffix}", codec)


def avi() -> bytes:
    """Every frame for itself, lossless but for the rounding of colours."""
    return video_bytes(".avi", "FFV1")


def mp4() -> bytes:
    """Lossy, frames built on one another; the index ("moov") follows the pictures ("mdat")."""
    return video_bytes(".mp4", "mp4v")


def avi_that_tells(count: int) -> bytes:
    """The AVI with another number of frames in its header."""
    data = avi()
    at = data.index(b"strh") + 8 + 32
    assert struct.unpack_from("<I", data, at) == (FRAMES,)
    return data[:at] + struct.pack("<I", count) + data[at + 4 :]


def with_damaged_end(frames: int) -> bytes:
    """The MP4 with zeros in place of its last frames."""
    at = mp4().index(b"stsz")
    sizes = struct.unpack_from(f">{FRAMES}I", mp4(), at + 16)
    end, lost = mp4().index(b"mdat") + 4 + sum(sizes), sum(sizes[-frames:])
    return mp4()[: end - lost] + bytes(lost) + mp4()[end:]


def sequential(path: Path) -> list[np.ndarray]:
    """All frames of a video as OpenCV gives them when read from start to end, RGB."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    frames = []
    while True:
        done, frame = capture.read()
        if not done:
            return frames
        frames.append(frame[..., ::-1])
