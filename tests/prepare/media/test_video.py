import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from videos import CLIP, FRAMES, HEIGHT, WIDTH, avi, avi_that_tells, mp4, sequential, write_video

from fsfm_jax.prepare.media import container, photo_file, video_file
from fsfm_jax.prepare.media.unusable import REASONS, Unusable
from fsfm_jax.prepare.media.video import open_video


def refused(path: Path, data: bytes) -> tuple[str, str]:
    path.write_bytes(data)
    with pytest.raises(Unusable) as info, open_video(path):
        pass
    return info.value.reason, str(info.value)


@pytest.mark.parametrize("told", [FRAMES + 1, 30, 999_999])
def test_container_that_promises_more_frames_than_there_are(tmp_path, told):
    (tmp_path / "a.avi").write_bytes(avi_that_tells(told))
    with open_video(tmp_path / "a.avi") as video:
        assert (video.count, video.notes) == (told, ())
        assert video.read(FRAMES - 1).shape == (HEIGHT, WIDTH, 3)
        for index in (FRAMES, told - 1):
            with pytest.raises(Unusable) as info:
                video.read(index)
            assert info.value.reason == "frame_missing"
            detail = f"expected frame {index} of {told}, found that the video ends after {FRAMES} frames"
            assert str(info.value) == detail


def test_cut_avi_gives_its_frames_up_to_the_cut(tmp_path):
    (tmp_path / "whole.avi").write_bytes(avi())
    (tmp_path / "cut.avi").write_bytes(avi()[: len(avi()) * 9 // 10])
    with open_video(tmp_path / "cut.avi") as video:
        np.testing.assert_array_equal(video.read(1), sequential(tmp_path / "whole.avi")[1])
        with pytest.raises(Unusable) as info:
            video.read(FRAMES - 1)
    assert info.value.reason == "frame_missing"


def test_damaged_frames_have_no_number(tmp_path):
    at = mp4().index(b"stsz")
    sizes = struct.unpack_from(f">{FRAMES}I", mp4(), at + 16)
    end = mp4().index(b"mdat") + 4 + sum(sizes)
    data = bytearray(mp4())
    data[end - sum(sizes[-5:]) : end] = bytes(sum(sizes[-5:]))
    (tmp_path / "a.mp4").write_bytes(data)
    with open_video(tmp_path / "a.mp4") as video:
        assert video.count == FRAMES and video.read(14).shape == (HEIGHT, WIDTH, 3)
        with pytest.raises(Unusable, match="expected frame 15 of 20, found that the video ends after 15 frames"):
            video.read(15)


def test_frame_that_cannot_be_retrieved_is_damaged(tmp_path):
    class Capture:
        def __init__(self, result):
            self.result = result

        def grab(self):
            return True

        def retrieve(self):
            if self.result is None:
                raise cv2.error("the decoder says no")
            return self.result

        def release(self):
            pass

    (tmp_path / "a.avi").write_bytes(avi())
    for result in (None, (False, None)):
        with open_video(tmp_path / "a.avi") as video:
            video.close()
            video._capture = Capture(result)
            with pytest.raises(Unusable, match="frame 2") as info:
                video.read(2)
            assert info.value.reason == "damaged"


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
    assert mp4().index(b"moov") > mp4().index(b"mdat")
    assert refused(path, mp4()[: mp4().index(b"moov")])[0] == "not_opened"
    assert refused(path, mp4()[:20])[0] == "not_opened"
    assert refused(path, mp4()[:8] + bytes(2000))[0] == "not_opened"
    for path in (tmp_path, tmp_path / "gone.mp4"):
        with pytest.raises(Unusable) as info, open_video(path):
            pass
        assert info.value.reason == "unreadable"


def test_video_without_frames_is_refused(tmp_path):
    header = avi_that_tells(0)[: avi().index(b"movi") + 4]
    assert refused(tmp_path / "a.avi", header) == ("no_frames", "no frame can be decoded")
    start, end = mp4().index(b"mdat") + 4, mp4().index(b"moov") - 4
    reason, detail = refused(tmp_path / "a.mp4", mp4()[:start] + bytes(end - start) + mp4()[end:])
    assert (reason, detail) == ("not_opened", "the size of the pictures in this mov file cannot be found")


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
