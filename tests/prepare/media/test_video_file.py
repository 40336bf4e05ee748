import os
import re
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import h5py
import numpy as np
import pytest
from av.stream import Disposition
from av.video.reformatter import Colorspace
from videos import (
    CLIP,
    FRAMES,
    HEIGHT,
    WIDTH,
    avi,
    avi_that_tells,
    encode_video,
    mp4,
    pixels,
    sequential,
    video_bytes,
    write_video,
)

from fsfm_jax.prepare.media import hdr
from fsfm_jax.prepare.media.decoding import Decoding
from fsfm_jax.prepare.media.photo_file import PHOTO_SUFFIXES
from fsfm_jax.prepare.media.unusable import Unusable
from fsfm_jax.prepare.media.video import VIDEO_SUFFIXES, open_video


def test_frames_of_the_clip_are_those_of_reading_it_from_start_to_end():
    expected = sequential(CLIP)
    assert len(expected) == 45 and not np.array_equal(expected[20], expected[21])
    for indices in (range(45), [0], [44], [3, 4, 20, 43], range(1, 45, 7)):
        with open_video(CLIP) as video:
            assert (video.count, video.notes) == (45, ())
            for index in indices:
                np.testing.assert_array_equal(video.read(index), expected[index])


OPEN_GOPS = {"x264-params": "open-gop=1:bframes=3:b-pyramid=normal"}
HEVC = {"x265-params": "log-level=none:open-gop=1:keyint=6:bframes=3:pools=none:frame-threads=1"}
REAL_TIME = {"deadline": "realtime", "cpu-used": "8"}
TIMES = [index + index // 3 * 2 for index in range(FRAMES)]  # of variable rate: 0, 1, 2, 5, 6, 7, 10


@pytest.mark.parametrize(("name", "codec", "how", "jumps"), [
        ("a.mp4", "libx264", {}, 1),
        ("a.mp4", "libx264", {"stamps": TIMES}, 1),
        ("a.mp4", "libx264", {"muxer": {"movflags": "frag_keyframe+empty_moov"}}, 1),
        ("a.mp4", "libx265", {"options": HEVC}, 1),
        ("a.mp4", "libsvtav1", {"options": {"preset": "12", "svtav1-params": "lp=1"}}, 1),
        ("a.mov", "libx264", {"options": OPEN_GOPS}, 1),
        ("a.mov", "prores_ks", {"form": "yuv422p10le"}, 1),
        ("a.3gp", "mpeg4", {}, 1),
        ("a.mkv", "libx264", {"stamps": TIMES, "form": "yuv444p10le"}, 1),
        ("a.webm", "libvpx-vp9", {"options": REAL_TIME}, 1),
        ("a.ts", "libx264", {"options": OPEN_GOPS}, 1),
        ("a.m2ts", "libx264", {"muxer": {"mpegts_m2ts_mode": "1"}}, 1),
        ("a.mpg", "mpeg2video", {"max_b_frames": 2}, 1),
        ("a.vob", "mpeg2video", {"max_b_frames": 2}, 1),
        ("a.mxf", "mpeg2video", {"max_b_frames": 2}, 1),
        ("a.avi", "mjpeg", {"form": "yuvj420p"}, 1),
        ("a.wmv", "wmv2", {}, 1),
        ("a.flv", "libx264", {}, 1),
        ("a.ogv", "libvpx", {"options": REAL_TIME}, 1),
        # No time stamps that say which frame is shown when: everything is decoded.
        ("a.avi", "mpeg4", {"max_b_frames": 2}, 0),
        ("a.m2v", "mpeg2video", {"max_b_frames": 2, "container": "mpeg2video"}, 0),
        # Frames that the file calls key frames and the decoder does not; decoding starts at the first after all.
        ("a.mp4", "libx264", {"options": {"x264-params": "intra-refresh=1"}}, 1),
    ])  # fmt: skip
def test_frames_are_the_same_however_they_are_reached(tmp_path, monkeypatch, name, codec, how, jumps):
    encode_video(tmp_path / name, codec, **how)
    (tmp_path / name).rename(tmp_path / "video.dat")  # the content decides, not the suffix
    with open_video(tmp_path / "video.dat") as video:
        assert (video.count, video.notes) == (FRAMES, ())
        assert video.rate == pytest.approx(25, rel=0.01) or "stamps" in how and 15 < video.rate < 20
        every = [video.read(index) for index in range(FRAMES)]
    for index, frame in enumerate(every):
        assert frame.shape == (HEIGHT, WIDTH, 3) and frame.dtype == np.uint8
        # Grey levels of neighbouring frames are 8 apart; lossy coding is off by less than half of that on average.
        assert np.abs(frame.astype(int) - pixels(index)).mean() < 4
    jumped = []
    jump = Decoding.jump
    monkeypatch.setattr(Decoding, "jump", lambda self, key: jumped.append(key) or jump(self, key))
    for indices in ([19], [13], [7, 8, 17], [11, 12, 18], [5, 6]):
        with open_video(tmp_path / "video.dat") as video:
            for index in indices:
                np.testing.assert_array_equal(video.read(index), every[index])
    assert bool(jumped) == bool(jumps)
    assert Path(name).suffix in VIDEO_SUFFIXES


def test_a_key_frame_that_is_none_is_not_decoded_from(tmp_path):
    """Without a list of key frames a MOV says that every frame is one; from any but the first most is left out."""
    still = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    pictures = [np.where(np.arange(HEIGHT)[:, None, None] == index, 0, still) for index in range(FRAMES)]
    data = bytearray(encode_video(tmp_path / "a.mov", "qtrle", form="rgb24", pictures=pictures, gop=100))
    at = data.index(b"stss")
    data[at : at + 4] = b"free"
    (tmp_path / "a.mov").write_bytes(data)
    for index in (3, 10, 19):
        with open_video(tmp_path / "a.mov") as video:
            np.testing.assert_array_equal(video.read(index), pictures[index])


def test_frames_outside_of_the_edit_list_are_not_shown(tmp_path):
    data = bytearray(encode_video(tmp_path / "a.mp4"))
    every = sequential(tmp_path / "a.mp4")
    at = data.index(b"elst") + 12
    duration, start = struct.unpack_from(">ii", data, at)
    struct.pack_into(">ii", data, at, duration // 2, start + 5 * 512)  # 25 frames a second in units of 1/12800
    (tmp_path / "a.mp4").write_bytes(data)
    with open_video(tmp_path / "a.mp4") as video:
        assert (video.count, video.notes) == (FRAMES // 2, ())
        assert video._timeline is not None  # numbered without decoding them
        for index in (0, 4, 9):
            np.testing.assert_array_equal(video.read(index), every[5 + index])


def test_the_default_stream_is_read_then_the_largest(tmp_path):
    for default, shape in ((None, (96, 128, 3)), (0, (48, 64, 3))):
        with av.open(str(tmp_path / "a.mkv"), "w") as output:
            streams = [output.add_stream("mpeg4", rate=25) for _ in range(3)]
            for index, (stream, side) in enumerate(zip(streams, (48, 96, 48), strict=True)):
                stream.height, stream.width, stream.pix_fmt = side, side * 4 // 3, "yuv420p"
                stream.disposition = Disposition.default if default in (None, index) else Disposition.dub
            for stream in streams:
                picture = av.VideoFrame.from_ndarray(pixels(1, stream.height, stream.width), "rgb24")
                output.mux(stream.encode(picture))
                output.mux(stream.encode(None))
        with open_video(tmp_path / "a.mkv") as video:
            assert video.read(0).shape == shape
            assert video.notes == (f"1 of 3 video streams read, of {shape[1]}x{shape[0]}",)


@pytest.mark.parametrize(("matrix", "tag", "wide"), [
        (Colorspace.ITU601, 2, False), (Colorspace.ITU601, 6, False), (Colorspace.ITU709, 1, False),
        (Colorspace.ITU601, 6, True), (Colorspace.ITU709, 1, True),
    ])  # fmt: skip
def test_colours_are_those_of_the_matrix_and_range_that_the_file_names(tmp_path, matrix, tag, wide):
    red = np.full((HEIGHT, WIDTH, 3), (200, 40, 60), np.uint8)
    encode_video(
        tmp_path / "a.mkv", "ffv1", form="yuv444p", pictures=[red] * 2, colorspace=tag, color_range=1 + wide,
        conversion={"dst_colorspace": matrix, "dst_color_range": 1 + wide},
    )  # fmt: skip
    with open_video(tmp_path / "a.mkv") as video:
        # The matrices differ by 30 grey levels in green here, the ranges by 9 in red.
        assert np.abs(video.read(0).astype(int) - red).max() <= 2


@pytest.mark.parametrize(("transfer", "signal", "expected"), [
        # BT.2100: HLG of 0.75 and PQ of 0.5806 are 203 cd/m2 on a display of 1000, which becomes 0.8, in sRGB 231.
        (hdr.HLG, 0.75, 231), (hdr.PQ, 0.5806, 231), (hdr.HLG, 1, 255), (hdr.PQ, 0.7518, 255), (hdr.PQ, 1, 255),
        # 100 cd/m2: 0.8 * 100 / 203 = 0.394, in sRGB 169. Half of HLG is E = 1/12: 1000 E ** 1.2 = 50.7, 124.
        (hdr.PQ, 0.5081, 169), (hdr.HLG, 0.5, 124), (hdr.PQ, 0, 0), (hdr.HLG, 0, 0),
    ])  # fmt: skip
def test_tone_mapping_of_greys(transfer, signal, expected):
    grey = np.full((2, 3, 3), round(signal * 65535), np.uint16)
    found = hdr.tone_mapped(grey, transfer)
    assert found.dtype == np.uint8 and np.abs(found.astype(int) - expected).max() <= 1


def test_hdr_is_tone_mapped_and_noted(tmp_path):
    grey = [np.full((HEIGHT, WIDTH, 3), round(0.75 * 255), np.uint8)] * 2
    for tags, level, note in (
        ({"color_trc": hdr.HLG, "colorspace": 9, "color_primaries": 9}, 231, "HDR tone-mapped"),
        ({"color_trc": hdr.HLG}, 231, "HDR tone-mapped"),
        ({"colorspace": 9}, 191, "colours of BT.2020 taken as those of ordinary video"),
    ):
        encode_video(tmp_path / "a.mkv", "ffv1", form="yuv420p10le", pictures=grey, **tags)
        with open_video(tmp_path / "a.mkv") as video:
            assert np.abs(video.read(1).astype(int) - level).max() <= 2
            assert video.notes == (note,)


def test_interlaced_frames_are_made_from_their_upper_field(tmp_path):
    """The fields of a camera that pans: lines of two pictures. What is shown has those of the first alone."""
    frames = [np.full((HEIGHT, WIDTH, 3), 200, np.uint8) for _ in range(3)]
    for frame in frames:
        frame[1::2] = 40
    encode_video(tmp_path / "a.mp4", options={"qp": "0", "flags": "+ilme+ildct"}, form="yuv444p", pictures=frames)
    with open_video(tmp_path / "a.mp4") as video:
        assert np.abs(video.read(1).astype(int) - 200).max() <= 3
        assert video.notes == ("deinterlaced",)


def test_transparent_parts_are_shown_white(tmp_path):
    for alpha, expected, notes in ((0, 255, ("transparent parts shown white",)), (255, 90, ())):
        picture = np.full((HEIGHT, WIDTH, 4), 90, np.uint8)
        picture[..., 3] = alpha
        encode_video(tmp_path / "a.mov", "qtrle", form="argb", pictures=[picture] * 2)
        with open_video(tmp_path / "a.mov") as video:
            assert (video.read(0) == expected).all() and video.notes == notes


@pytest.mark.parametrize(("pixel", "shape"), [
        ("1/2", (96, 64, 3)), ("4/3", (48, 85, 3)), ("64/63", (48, 64, 3)), ("1/100", (48, 64, 3)),
    ])  # fmt: skip
def test_pixels_are_made_square(tmp_path, pixel, shape):
    encode_video(tmp_path / "a.mp4", sample_aspect_ratio=Fraction(pixel))
    with open_video(tmp_path / "a.mp4") as video:
        assert video.read(2).shape == shape


def test_frames_are_read_forward_only(tmp_path):
    (tmp_path / "a.avi").write_bytes(avi())
    with open_video(tmp_path / "a.avi") as video:
        video.read(3)
        for index in (3, 0):
            with pytest.raises(ValueError, match=f"frame {index}: expected 4 or later") as info:
                video.read(index)
            assert not isinstance(info.value, Unusable)
        assert video.read(4).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(("matrix", "shown"), [
        ((1, 0, 0, 1), lambda image: image),
        ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
        ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
        ((0, -1, 1, 0), lambda image: np.rot90(image, 1)),
        ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
        ((1, 0, 0, -1), lambda image: image[::-1]),
        ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2)),
        ((0, -1, -1, 0), lambda image: np.rot90(image, 2).transpose(1, 0, 2)),
    ])  # fmt: skip
def test_stored_rotation_and_mirroring_are_applied(tmp_path, matrix, shown):
    upright, turned = tmp_path / "a.mp4", tmp_path / "turned.mp4"
    upright.write_bytes(mp4())
    data = bytearray(mp4())
    at = data.index(b"tkhd") + 44
    assert struct.unpack_from(">9i", data, at) == (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    a, b, c, d = (value << 16 for value in matrix)
    struct.pack_into(">9i", data, at, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    turned.write_bytes(data)
    with open_video(upright) as first, open_video(turned) as second:
        np.testing.assert_array_equal(second.read(2), shown(first.read(2)))
        assert second.notes == ()


@pytest.mark.parametrize("told", [0, 19, 30, 4_000_000_000])
def test_frames_are_counted_and_what_the_container_tells_is_noted(tmp_path, told):
    (tmp_path / "a.avi").write_bytes(avi_that_tells(told))
    with open_video(tmp_path / "a.avi") as video:
        assert video.count == FRAMES
        assert video.notes == ((f"the container tells {told} frames, found {FRAMES}",) if told else ())
        np.testing.assert_array_equal(video.read(19), sequential(tmp_path / "a.avi")[19])


def test_frames_that_the_container_counts_otherwise_are_those_that_are_there(tmp_path):
    encode_video(tmp_path / "a.avi", "mjpeg", form="yuvj420p", stamps=range(0, 5 * FRAMES, 5))
    with open_video(tmp_path / "a.avi") as video:
        assert video.count == FRAMES and video.rate == pytest.approx(5)
        assert re.fullmatch(r"the container tells \d+ frames, found 20", *video.notes)
        assert np.abs(video.read(19).astype(int) - pixels(19)).mean() < 4


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
    encode_video(tmp_path / "h264.mp4")
    encode_video(tmp_path / "av1.mp4", "libsvtav1", options={"preset": "12", "svtav1-params": "lp=1"})
    whole = [str(tmp_path / name) for name in ("h264.mp4", "av1.mp4")]
    torn.write_bytes(bytes(b ^ (0x55 * (i % 50 == 49 and 60 < i < mp4().index(b"moov"))) for i, b in enumerate(mp4())))
    program = f"""
import os
from fsfm_jax.prepare.media.unusable import Unusable
from fsfm_jax.prepare.media.video import open_video
before = dict(os.environ)
threads = len(os.listdir("/proc/self/task"))
for path in ({str(broken)!r}, {str(torn)!r}, *{whole!r}, {str(CLIP)!r}):
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
    command, root = [sys.executable, "-c", program], Path(__file__).parents[3]
    result = subprocess.run(command, capture_output=True, text=True, cwd=root)
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
