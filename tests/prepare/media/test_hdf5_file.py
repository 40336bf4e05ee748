from pathlib import Path

import h5py
import numpy as np
import pytest

from fsfm_jax.prepare.media.unusable import Unusable
from fsfm_jax.prepare.media.video import VIDEO_SUFFIXES, open_video


def pixels(index: int) -> np.ndarray:
    """`[4, 6, 3] uint8`, every value another."""
    return (np.arange(72).reshape(4, 6, 3) + index).astype(np.uint8)


def write(path: Path, frames: dict[str, np.ndarray], **options) -> Path:
    with h5py.File(path, "w") as file:
        for name, frame in frames.items():
            file.create_dataset(f"{name}/array", data=frame, **options)
    return path


def reason_of(path: Path) -> tuple[str, str]:
    """Why the first frame of a file cannot be read."""
    with pytest.raises(Unusable) as info, open_video(path) as video:
        video.read(0)
    return info.value.reason, str(info.value)


@pytest.mark.parametrize("channel_first", [True, False])
def test_frames_are_rgb_in_the_order_of_their_numbers(tmp_path, channel_first):
    def stored(index):
        return pixels(index).transpose(2, 0, 1) if channel_first else pixels(index)

    # As text, 10 comes before 2; other entries are no frames.
    frames = {f"Frame_{index}": stored(index) for index in (0, 10, 2, 1)} | {
        "Frame_": stored(90),
        "Depth_3": stored(91),
    }
    path = write(tmp_path / "a.hdf5", frames)
    with h5py.File(path, "a") as file:
        file["FrameIndexes"] = np.arange(4)
        file["Frame_0/FrameQuality"] = 1.0
    with open_video(path) as video:
        assert (video.count, video.notes) == (4, ())
        for place, index in enumerate((0, 1, 2, 10)):
            frame = video.read(place)
            assert frame.dtype == np.uint8 and frame.flags.c_contiguous
            np.testing.assert_array_equal(frame, pixels(index))
    assert {".hdf5", ".h5"} <= set(VIDEO_SUFFIXES)


def test_links_to_and_data_in_other_files_are_refused(tmp_path):
    target = write(tmp_path / "target.h5", {"Frame_0": pixels(0)})
    links = {
        "group": ("Frame_0", h5py.ExternalLink(str(target), "Frame_0")),
        "array": ("Frame_0/array", h5py.ExternalLink(str(target), "Frame_0/array")),
        "soft": ("Frame_0", h5py.SoftLink("/other")),
    }
    for name, (place, link) in links.items():
        path = tmp_path / f"{name}.h5"
        with h5py.File(path, "w") as file:
            file["other/array"] = pixels(1)
            file[place] = link
            assert file["Frame_0/array"].shape == (4, 6, 3), "HDF5 alone follows the link, or this test shows nothing"
        reason, detail = reason_of(path)
        assert reason == "other_files" and "to be stored here, found a link" in detail, name
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(range(72)))
    raw = tmp_path / "raw.h5"
    with h5py.File(raw, "w") as file:
        file.create_dataset("Frame_0/array", (4, 6, 3), np.uint8, external=[(str(secret), 0, 72)])
        assert file["Frame_0/array"][0, 0, 1] == 1
    target = write(tmp_path / "target.h5", {"Frame_0": pixels(0)})
    virtual = tmp_path / "virtual.h5"
    with h5py.File(virtual, "w") as file:
        layout = h5py.VirtualLayout((4, 6, 3), np.uint8)
        layout[:] = h5py.VirtualSource(str(target), "Frame_0/array", (4, 6, 3))
        file.create_virtual_dataset("Frame_0/array", layout)
    for path in (raw, virtual):
        assert reason_of(path) == (
            "other_files",
            "expected Frame_0/array to be stored in this file, found it spread over others",
        )


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((3, 4, 6), np.uint16), np.zeros((3, 4, 6), np.int8), np.zeros((4, 128, 128), np.uint8),
        np.zeros((4, 6), np.uint8), np.zeros((2, 3, 4, 6), np.uint8), np.uint8(3), "text", h5py.Empty(np.uint8),
    ],
    ids=lambda frame: f"{getattr(frame, 'dtype', 'text')}{getattr(frame, 'shape', '')}",
)  # fmt: skip
def test_frames_that_are_no_colour_pictures_are_refused(tmp_path, frame):
    path = write(tmp_path / "a.h5", {"Frame_0": frame})
    reason, detail = reason_of(path)
    assert reason == "unsupported_frame"
    assert detail.startswith("expected Frame_0/array to be [3, H, W] or [H, W, 3] uint8, found [")


@pytest.mark.parametrize("reason, make", [
        ("unsupported_frame", lambda file: file.create_dataset("Frame_0/picture", data=pixels(0))),
        ("unsupported_frame", lambda file: file.create_group("Frame_0/array")),
        ("unsupported_frame", lambda file: file.create_dataset("Frame_0", data=pixels(0))),
        ("no_frames", lambda file: file.create_dataset("Frame_01/array", data=pixels(0))),
        ("no_pixels", lambda file: file.create_dataset("Frame_0/array", data=np.zeros((3, 0, 6), np.uint8))),
    ])  # fmt: skip
def test_other_layouts_are_refused(tmp_path, reason, make):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        make(file)
    assert reason_of(tmp_path / "a.h5")[0] == reason


def test_giant_frames_and_chunks_are_refused_before_they_are_read(tmp_path):
    sides = {"giant": (3, 10_001, 10_000), "giant, channels last": (10_000, 10_001, 3)}
    for name, shape in sides.items():
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file.create_dataset("Frame_0/array", shape, np.uint8, chunks=True, compression="gzip")
        assert (tmp_path / f"{name}.h5").stat().st_size < 10_000
        assert reason_of(tmp_path / f"{name}.h5")[0] == "too_large", name
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("Frame_0/array", (3, 4, 6), np.uint8, chunks=(3, 10_000, 10_001), maxshape=(3, None, None))
    reason, detail = reason_of(path)
    assert (reason, detail) == ("too_large", "expected chunks of at most 300000000 bytes, found [3, 10000, 10001]")


def test_cut_or_damaged_file_is_refused(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (3, 40, 60), np.uint8)
    whole = write(tmp_path / "a.h5", {"Frame_0": noise}, compression="gzip").read_bytes()
    path = tmp_path / "damaged.h5"
    for tenth in range(1, 10):
        path.write_bytes(whole[: len(whole) * tenth // 10])
        assert reason_of(path)[0] == "damaged", tenth
    at = whole.index(b"\x78\x5e") if b"\x78\x5e" in whole else whole.index(b"\x78\x01")  # the start of zlib data
    path.write_bytes(whole[:at] + bytes(100) + whole[at + 100 :])
    assert reason_of(path)[0] == "damaged"


def test_flipped_bytes_raise_nothing_but_unusable(tmp_path):
    whole = write(tmp_path / "a.h5", {f"Frame_{index}": pixels(index) for index in range(3)}).read_bytes()
    path = tmp_path / "damaged.h5"
    outcomes = set()
    for at in range(0, 2400, 16):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            with open_video(path) as video:
                outcomes.add(video.read(0).shape[2])
        except Unusable as error:
            outcomes.add(error.reason)
    assert {3, "damaged", "unknown_format"} <= outcomes
