import os
import struct
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from videos import CLIP, FRAMES, HEIGHT, WIDTH, avi, avi_that_tells, mp4, pixels, sequential, video_bytes, write_video

from fsfm_jax.prepare.media.photo_file import PHOTO_SUFFIXES
from fsfm_jax.prepare.media.unusable import Unusable
from fsfm_jax.prepare.media.video import VIDEO_SUFFIXES, open_video

COUNTED = f"the container tells no number of frames, found {FRAMES}"


def test_frames_of_the_clip_are_those_of_reading_it_from_start_to_end():
    expected = sequential(CLIP)
    assert len(expected) == 45 and not np.array_equal(expected[20], expected[21])
    for indices in (range(45), [0], [44], [3, 4, 20, 43], range(1, 45, 7)):
        with open_video(CLIP) as video:
            assert (video.count, video.notes) == (45, ())
            for index in indices:
                np.testing.assert_array_equal(video.read(index), expected[index])


@pytest.mark.parametrize(
    ("name", "codec", "note"),
    [
        ("a.avi", "MJPG", ""),
        ("a.avi", "XVID", ""),
        ("a.mp4", "mp4v", ""),
        ("a.mov", "mp4v", ""),
        ("a.mkv", "mp4v", COUNTED),
        ("a.webm", "VP80", COUNTED),
        ("a.ts", "mpg2", COUNTED),
        ("a.flv", "FLV1", COUNTED),
        ("a.wmv", "WMV2", COUNTED),
    ],
)
def test_containers(tmp_path, name, codec, note):
    write_video(tmp_path / name, codec)
    (tmp_path / name).rename(tmp_path / "video.dat")  # the content decides, not the suffix
    with open_video(tmp_path / "video.dat") as video:
        assert (video.count, video.notes) == (FRAMES, (note,) if note else ())
        for index in (0, 7, 19):
            frame = video.read(index)
            assert frame.shape == (HEIGHT, WIDTH, 3) and frame.dtype == np.uint8
            # Grey levels of neighbouring frames are 8 apart; lossy coding is off by less than half of that on average.
            assert np.abs(frame.astype(int) - pixels(index)).mean() < 4
    assert Path(name).suffix in VIDEO_SUFFIXES


def test_lossless_video_is_rgb_exactly(tmp_path):
    (tmp_path / "a.avi").write_bytes(avi())
    with open_video(tmp_path / "a.avi") as video:
        np.testing.assert_array_equal(video.read(0), sequential(tmp_path / "a.avi")[0])
        # FFV1 is lossless in luminance and halved colour, so all but the seams come back within rounding.
        corner = video.read(5)[: HEIGHT // 2 - 4, : WIDTH // 2 - 4].astype(int)
        assert np.abs(corner - pixels(5)[0, 0]).max() <= 3


def test_frames_are_read_forward_only(tmp_path):
    (tmp_path / "a.avi").write_bytes(avi())
    with open_video(tmp_path / "a.avi") as video:
        video.read(3)
        for index in (3, 0):
            with pytest.raises(ValueError, match=f"frame {index}: expected 4 or later") as info:
                video.read(index)
            assert not isinstance(info.value, Unusable)
        assert video.read(4).shape == (HEIGHT, WIDTH, 3)


def test_stored_rotation_is_applied(tmp_path):
    upright, turned = tmp_path / "a.mp4", tmp_path / "turned.mp4"
    upright.write_bytes(mp4())
    data = bytearray(mp4())
    at = data.index(b"tkhd") + 44
    assert struct.unpack_from(">9i", data, at) == (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", data, at, 0, 65536, 0, -65536, 0, 0, HEIGHT << 16, 0, 1 << 30)
    turned.write_bytes(data)
    with open_video(upright) as first, open_video(turned) as second:
        np.testing.assert_array_equal(second.read(2), np.rot90(first.read(2), -1))


@pytest.mark.parametrize("told", [0, 1_000_001, 4_000_000_000])
def test_frames_are_counted_where_the_container_tells_nothing_believable(tmp_path, told):
    (tmp_path / "a.avi").write_bytes(avi_that_tells(told))
    with open_video(tmp_path / "a.avi") as video:
        assert video.count == FRAMES
        assert video.notes == (f"the container tells {told} frames, found {FRAMES}",)
        np.testing.assert_array_equal(video.read(19), sequential(tmp_path / "a.avi")[19])


def test_frames_that_change_their_size_are_scaled_to_the_first(tmp_path):
    small = write_video(tmp_path / "a.ts", "mpg2")
    large = write_video(tmp_path / "b.ts", "mpg2", height=2 * HEIGHT, width=2 * WIDTH)
    (tmp_path / "both.ts").write_bytes(small + large)
    with open_video(tmp_path / "both.ts") as video:
        assert video.count > FRAMES + 10
        frame = video.read(video.count - 1)
    closest = min(range(FRAMES), key=lambda index: np.abs(frame.astype(int) - pixels(index)).mean())
    assert frame.shape == (HEIGHT, WIDTH, 3) and closest > 15


def test_name_of_a_file_is_no_instruction(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ("concat:a|b.avi", "http:x.avi", "a%03d.avi", "-i.avi", "größe 1.avi")
    for name in names:
        Path(name).write_bytes(avi())
        with open_video(name) as video:
            assert video.count == FRAMES, name
            assert video.read(0).shape == (HEIGHT, WIDTH, 3), name


def test_broken_videos_are_silent_and_one_thread_decodes(tmp_path):
    """In a process of its own: FFmpeg's log level is set when it is used for the first time."""
    broken, torn = tmp_path / "broken.mp4", tmp_path / "torn.mp4"
    broken.write_bytes(mp4()[: mp4().index(b"moov")])
    torn.write_bytes(bytes(b ^ (0x55 * (i % 50 == 49 and 60 < i < mp4().index(b"moov"))) for i, b in enumerate(mp4())))
    program = f"""
import os
from fsfm_jax.prepare.media.unusable import Unusable
from fsfm_jax.prepare.media.video import open_video
before = dict(os.environ)
threads = len(os.listdir("/proc/self/task"))
for path in ({str(broken)!r}, {str(torn)!r}, {str(CLIP)!r}):
    try:
        with open_video(path) as video:
            for index in range(5):
                video.read(index)
            assert len(os.listdir("/proc/self/task")) == threads
            print("read")
    except Unusable as error:
        print(error.reason)
assert dict(os.environ) == before
"""
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        env=dict(os.environ),
    )
    assert result.stdout.split()[0] == "not_opened" and result.stdout.split()[-1] == "read", result
    assert (result.returncode, result.stderr) == (0, "")


def test_files_are_closed_behind_their_use(tmp_path):
    recording = tmp_path / "a.h5"
    with h5py.File(recording, "w") as file:
        file["Frame_0/array"] = pixels(0)
    (tmp_path / "a.mkv").write_bytes(video_bytes(".mkv", "mp4v"))  # opened twice, to count its frames
    before = len(os.listdir("/proc/self/fd"))
    kept = []
    for path in (CLIP, tmp_path / "a.mkv", recording):
        with pytest.raises(KeyError), open_video(path) as video:
            kept.append(video)
            assert len(os.listdir("/proc/self/fd")) == before + 1
            raise KeyError
        assert len(os.listdir("/proc/self/fd")) == before


def test_suffixes_of_photos_and_videos_do_not_overlap():
    assert not set(PHOTO_SUFFIXES) & set(VIDEO_SUFFIXES)
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in PHOTO_SUFFIXES + VIDEO_SUFFIXES)
