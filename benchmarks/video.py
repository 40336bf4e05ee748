"""Measure the cost of frames of a long video: a few, read from key frames, compared with decoding everything.

    python -m benchmarks.video [--minutes=120] [--frames=32]

The video is generated: a minute of a panned photo, encoded once and repeated, in MP4 and Matroska. Seconds are
processor time. The results go to benchmarks/results/video.json.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks.masks import write_results
from fsfm_jax.data.sources import SAMPLES
from fsfm_jax.prepare.media.video import open_video

RATE, GROUP, PART = 25, 250, 1500  # frames per second, between key frames, per minute
HEIGHT, WIDTH = 360, 640


def film(path: Path, minutes: int) -> None:
    """Write a video of `minutes` minutes."""
    part = path.with_suffix(".part.mp4")
    photo = cv2.imread(str(SAMPLES.parent / "pd_nasa_astronaut.jpg"))[..., ::-1]
    wide = cv2.resize(photo, (WIDTH + 400, HEIGHT))
    with av.open(str(part), "w") as output:
        stream = output.add_stream("libx264", rate=RATE)
        stream.height, stream.width, stream.pix_fmt, stream.codec_context.gop_size = HEIGHT, WIDTH, "yuv420p", GROUP
        stream.options = {"preset": "veryfast"}
        for index in range(PART):
            left = 200 + int(180 * np.sin(index / 40))
            picture = np.ascontiguousarray(wide[:, left : left + WIDTH])
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        output.mux(stream.encode(None))
    with av.open(str(part)) as source, av.open(str(path), "w") as output:
        stream = source.streams.video[0]
        copy = output.add_stream_from_template(stream)
        packets = [(bytes(one), one.pts, one.dts, one.is_keyframe) for one in source.demux(stream) if one.size]
        length = round(PART / RATE / stream.time_base)
        for minute in range(minutes):
            for data, shown, decoded, key in packets:
                packet = av.Packet(data)
                packet.stream, packet.time_base, packet.is_keyframe = copy, stream.time_base, key
                packet.pts, packet.dts = shown + minute * length, decoded + minute * length
                packet.duration = length // PART
                output.mux(packet)
    part.unlink()


def cost(path: Path, frames: int) -> tuple[float, float]:
    """Return processor seconds and peak memory in MB for `frames` evenly spaced frames; 0: all frames."""
    start = time.process_time()
    with open_video(path) as video:
        for index in np.linspace(0, video.count - 1, frames or video.count, dtype=int):
            video.read(int(index))
    return time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=120)
    parser.add_argument("--frames", type=int, default=32)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for minutes in sorted({1, options.minutes}):
            for suffix in (".mp4", ".mkv"):
                path = Path(folder, f"film{suffix}")
                film(path, minutes)
                for frames in (options.frames, 0):
                    # A separate process, so that its peak memory is due to this video alone.
                    with multiprocessing.get_context("spawn").Pool(1) as pool:
                        seconds, memory = pool.apply(cost, (path, frames))
                    rows.append({
                        "file": suffix[1:], "minutes": minutes, "frames": frames or "all",
                        "seconds of processor": round(seconds, 2), "peak MB": round(memory),
                    })  # fmt: skip
                    print(rows[-1], flush=True)
    size = {"height": HEIGHT, "width": WIDTH, "frames a second": RATE, "frames between key frames": GROUP}
    write_results("video", {"codec": "H.264", **size}, rows)


if __name__ == "__main__":
    main()
