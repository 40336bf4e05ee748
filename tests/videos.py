"""Miniature videos for tests: 20 frames of 48 x 64 whose grey level tells their number."""

import struct
import tempfile
from functools import cache
from pathlib import Path

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


def sequential(path: Path) -> list[np.ndarray]:
    """All frames of a video as OpenCV gives them when read from start to end, RGB."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    frames = []
    while True:
        done, frame = capture.read()
        if not done:
            return frames
        frames.append(frame[..., ::-1])
