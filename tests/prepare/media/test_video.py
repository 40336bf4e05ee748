import re
import struct
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from hypothesis import given, settings
from hypothesis import strategies as st
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
    write_video,
)

from fsfm_jax.prepare.media import container, photo_file, video_file
from fsfm_jax.prepare.media.unusable import REASONS, Unusable
from fsfm_jax.prepare.media.video import open_video


def refused(path: Path, data: bytes) -> tuple[str, str]:
    path.write_bytes(data)
    with pytest.raises(Unusable) as info, open_video(path):
        pass
    return info.value.reason, str(info.value)


def frames_of(path: Path) -> tuple[list[np.ndarray | str], tuple[str, ...]]:
    """All frames, or why there are none, and the notes."""
    found = []
    with open_video(path) as video:
        for index in range(video.count):
            try:
                found.append(video.read(index))
            except Unusable as error:
                found.append(f"{error.reason}: {error}")
        with pytest.raises(Unusable, match=f"expected a frame below {video.count}, found {video.count}") as info:
            video.read(video.count)
        assert info.value.reason == "frame_missing"
        return found, video.notes


@pytest.mark.parametrize(("suffix", "codec", "kept", "note"), [
        (".avi", "ffv1", 0.9, r"the file is cut: \d+ of 20 frames are there"),
        (".mp4", "libx264", 0.7, r"the file is cut: \d+ of 20 frames are there"),
        (".mkv", "libx264", 0.7, r"the file is cut: only its first \d+ frames are there"),
    ])  # fmt: skip
def test_a_cut_file_gives_its_frames_up_to_the_cut(tmp_path, suffix, codec, kept, note):
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    index_first = {"movflags": "faststart"} if suffix in (".mp4", ".mov") else {}
    # Noise in every frame, so that the cut falls among them.
    noise = list(np.random.default_rng(0).integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), np.uint8))
    data = encode_video(whole, codec, muxer=index_first, pictures=noise, max_b_frames=0)
    cut.write_bytes(data[: int(len(data) * kept)])
    (expected, none), (found, notes) = frames_of(whole), frames_of(cut)
    assert not none and re.fullmatch(note, *notes) and len(expected) == FRAMES and 8 < len(found) < FRAMES
    assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=False))
    assert str(len(found)) in notes[0]


def test_damaged_frames_keep_their_numbers(tmp_path):
    """Zeros for frame 9 of groups of six: 9 to 11 cannot be decoded, or build on what is missing."""
    data = bytearray(encode_video(tmp_path / "a.mp4", max_b_frames=0))
    sizes = struct.unpack_from(f">{FRAMES}I", data, data.index(b"stsz") + 16)
    start = data.index(b"mdat") + 4 + sum(sizes[:9])
    expected, _ = frames_of(tmp_path / "a.mp4")
    data[start : start + sizes[9]] = bytes(sizes[9])
    (tmp_path / "a.mp4").write_bytes(data)
    found, notes = frames_of(tmp_path / "a.mp4")
    damaged = [index for index, frame in enumerate(found) if isinstance(frame, str)]
    assert damaged == [9, 10, 11] and not notes
    assert found[9] == "damaged: frame 9 of 20 is damaged, or builds on one that is"
    assert all(np.array_equal(found[index], expected[index]) for index in {*range(FRAMES)} - {*damaged})


def test_frames_are_numbered_as_they_are_decoded_where_the_first_are_damaged(tmp_path):
    data = bytearray(encode_video(tmp_path / "a.mp4", max_b_frames=0))
    sizes = struct.unpack_from(f">{FRAMES}I", data, data.index(b"stsz") + 16)
    expected, _ = frames_of(tmp_path / "a.mp4")
    start = data.index(b"mdat") + 4
    data[start : start + sum(sizes[:6])] = bytes(sum(sizes[:6]))
    (tmp_path / "a.mp4").write_bytes(data)
    found, notes = frames_of(tmp_path / "a.mp4")
    assert notes == ("only 14 of 20 frames can be decoded",)
    assert all(np.array_equal(*pair) for pair in zip(found, expected[6:], strict=True))


def test_a_frame_whose_colours_cannot_be_converted_is_damaged(tmp_path):
    class Converter:
        def reformat(self, *_, **__):
            raise av.error.InvalidDataError(1, "the converter says no")

    (tmp_path / "a.avi").write_bytes(avi())
    with open_video(tmp_path / "a.avi") as video:
        video._pictures._reformatter = Converter()
        with pytest.raises(Unusable, match="cannot be converted: .*the converter says no") as info:
            video.read(2)
        assert info.value.reason == "damaged"


# What a decoder or a converter does not write shows what malloc put there, or what lay there before.
POISONED = """
import ctypes, hashlib, sys
from fsfm_jax.prepare.media.unusable import Unusable
from fsfm_jax.prepare.media.video import open_video

def digest(path):
    with open_video(path) as video:
        digest = hashlib.sha256(repr((video.count, video.rate)).encode())
        for index in range(video.count):
            try:
                digest.update(video.read(index))
            except Unusable as error:
                digest.update(str(error).encode())
        return digest.hexdigest()

bright, *paths = sys.argv[1:]
for path in paths:
    found = set()
    for poison in (0x55, 0xAA):
        ctypes.CDLL(None).mallopt(-6, poison)  # M_PERTURB: every allocation is filled
        digest(bright)
        found.add(digest(path))
    print(len(found), path)
"""


def test_no_pixel_is_handed_out_that_was_not_written(tmp_path):
    """Interlaced, damaged, cut, of changing size and other formats: the same pixels whatever memory held before."""
    interlaced = {"options": {"flags": "+ilme+ildct"}}
    bright = [np.full((HEIGHT, WIDTH, 3), 250, np.uint8)] * 8
    encode_video(tmp_path / "bright.mp4", pictures=bright)
    paths = {name: tmp_path / name for name in (
        "interlaced.mp4", "interlaced.ts", "odd.mkv", "alpha.mov", "deep.mkv", "grey.avi", "sizes.ts", "torn.mp4",
        "cut.avi", "damaged.ts",
    )}  # fmt: skip
    encode_video(paths["interlaced.mp4"], **interlaced)
    encode_video(paths["interlaced.ts"], "mpeg2video", **interlaced)
    odd = [pixels(index, HEIGHT - 1, WIDTH - 3) for index in range(8)]
    encode_video(paths["odd.mkv"], "ffv1", form="yuv444p", pictures=odd)
    encode_video(paths["alpha.mov"], "qtrle", form="argb")
    encode_video(paths["deep.mkv"], form="yuv422p10le")
    encode_video(paths["grey.avi"], "ffv1", form="gray")
    small, large = (encode_video(tmp_path / "a.ts", "mpeg2video", pictures=[pixels(index, side, side)
                                 for index in range(8)]) for side in (48, 64))  # fmt: skip
    paths["sizes.ts"].write_bytes(small + large)
    torn = bytearray(encode_video(tmp_path / "a.mp4"))
    start, end = torn.index(b"mdat") + 4, torn.index(b"moov") - 4
    torn[start + 700 : end : 60] = bytes(len(torn[start + 700 : end : 60]))
    paths["torn.mp4"].write_bytes(torn)
    paths["cut.avi"].write_bytes(avi()[: len(avi()) * 2 // 3])
    paths["damaged.ts"].write_bytes(bytes(b ^ (0x41 * (i % 701 == 700)) for i, b in enumerate(small)))
    command = [sys.executable, "-c", POISONED, str(tmp_path / "bright.mp4"), *map(str, paths.values())]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3], check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"1 {path}" for path in paths.values()]


def test_video_of_too_many_pixels_is_refused_when_opened(tmp_path, monkeypatch):
    # A bare picture stream: its size is in the container alone.
    data = bytearray(write_video(tmp_path / "a.avi", "I420", frames=2))
    at = data.index(b"strf") + 12
    assert struct.unpack_from("<ii", data, at) == (WIDTH, HEIGHT)
    struct.pack_into("<ii", data, at, 12_000, 10_000)
    reason, detail = refused(tmp_path / "a.avi", data)
    assert reason == "too_large"
    assert detail.startswith("expected at most 100000000 pixels, found a picture of 10000x12000")
    monkeypatch.setattr(photo_file, "MAX_PIXELS", 256 * 256 - 1)
    assert refused(tmp_path / "a.mp4", CLIP.read_bytes())[0] == "too_large"
    monkeypatch.setattr(photo_file, "MAX_PIXELS", 256 * 256)
    with open_video(CLIP) as video:
        assert video.count == 45


def lists(target: Path) -> dict[str, str]:
    """Files that make FFmpeg open another file or an address of the network."""
    return {
        "concat": f"ffconcat version 1.0\nfile '{target.name}'\n",
        "m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target.name}\n#EXT-X-ENDLIST\n",
        "m3u8 of the network": "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        "dash": f"<?xml version='1.0'?><MPD><BaseURL>{target.name}</BaseURL></MPD>",
    }


def test_list_of_other_files_is_refused(tmp_path):
    target = tmp_path / "target.avi"
    target.write_bytes(avi())
    evil = tmp_path / "evil.mp4"
    evil.write_text(lists(target)["concat"])
    assert sequential(evil), "FFmpeg alone follows the list, or this test shows nothing"
    for name, text in lists(target).items():
        assert refused(evil, text.encode())[0] == "unknown_format", name


@pytest.mark.parametrize("kind", [container.MP4, container.AVI, container.TRANSPORT])
def test_only_the_reader_of_the_container_is_allowed(tmp_path, kind):
    target, evil = tmp_path / "target.avi", tmp_path / "evil.mp4"
    target.write_bytes(avi())
    evil.write_text(lists(target)["concat"])
    with pytest.raises(Unusable) as info:  # as if the first bytes had been taken for a container
        video_file.VideoFile(evil, kind)
    assert info.value.reason == "not_opened"


def test_files_that_are_no_videos(tmp_path):
    path = tmp_path / "a.mp4"
    assert refused(path, b"")[0] == "empty_file"
    assert refused(path, b"no video at all\n" * 100)[0] == "unknown_format"
    assert refused(path, b"\0")[0] == "unknown_format"
    assert refused(path, CLIP.with_name("pd_nasa_astronaut.jpg").read_bytes())[0] == "unknown_format"
    assert refused(path, mp4()[:20])[0] == "not_opened"
    assert refused(path, mp4()[:8] + bytes(2000))[0] == "not_opened"
    for path in (tmp_path, tmp_path / "gone.mp4"):
        with pytest.raises(Unusable) as info, open_video(path):
            pass
        assert info.value.reason == "unreadable"


def test_a_file_without_a_video_that_can_be_read_says_what_it_has(tmp_path):
    path = tmp_path / "a.m4a"
    silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
    silence.sample_rate = 8000
    for cover in (False, True):
        with av.open(str(path), "w", format="mp4") as output:
            sound = output.add_stream("aac", rate=8000, layout="mono")
            if cover:
                picture = output.add_stream("mjpeg", rate=25)
                picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
                picture.disposition = Disposition.attached_pic
                output.mux(picture.encode(av.VideoFrame.from_ndarray(pixels(3), "rgb24")))
            output.mux(sound.encode(silence))
            output.mux(sound.encode(None))
        said = "only sound and a cover picture" if cover else "only sound"
        assert refused(path, path.read_bytes()) == ("not_opened", f"no video in this MP4 file, {said}")
    unknown = encode_video(path, container="mp4").replace(b"avc1", b"xyz1")
    detail = "the codec of the video in this MP4 file, 'xyz1 / 0x317A7978', is unknown"
    assert refused(path, unknown) == ("not_opened", detail)
    whole = mp4()
    cut = "this MP4 file is cut: its index (moov) is missing; copy or download it again"
    assert refused(path, whole[: whole.index(b"moov")]) == ("not_opened", cut)
    header = avi_that_tells(0)[: avi().index(b"movi") + 4]
    assert refused(tmp_path / "a.avi", header) == ("no_frames", "no frame can be decoded")
    start, end = mp4().index(b"mdat") + 4, mp4().index(b"moov") - 4
    reason, detail = refused(tmp_path / "a.mp4", mp4()[:start] + bytes(end - start) + mp4()[end:])
    assert (reason, detail) == ("not_opened", "the size of the pictures in this MP4 file cannot be found")
    data = encode_video(tmp_path / "a.mp4", muxer={"movflags": "faststart"})
    start = data.index(b"mdat") + 40
    assert refused(tmp_path / "a.mp4", data[:start]) == ("no_frames", "the file is cut: none of its 20 frames is whole")


@pytest.mark.parametrize("kind", ["avi", "mp4"])
def test_no_damage_raises_anything_but_unusable(tmp_path, kind):
    whole = {"avi": avi(), "mp4": mp4()}[kind]
    path = tmp_path / "damaged"

    @settings(max_examples=40, derandomize=True, deadline=None, database=None)
    @given(
        st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=8),
        st.integers(len(whole) // 2, len(whole)),
    )
    def damage(changes, length):
        data = bytearray(whole)
        for at, value in changes:
            data[at] = value
        path.write_bytes(data[:length])
        try:
            with open_video(path) as video:
                assert video.count >= 1
                assert video.read(min(video.count, FRAMES) - 1).ndim == 3
        except Unusable as error:
            assert error.reason in REASONS and str(error)

    damage()
