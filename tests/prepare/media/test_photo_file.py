import io
import os
import pickle
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fsfm_jax.prepare.media import photo_file
from fsfm_jax.prepare.media.photo_file import MAX_PIXELS, PHOTO_SUFFIXES, read_photo
from fsfm_jax.prepare.media.unusable import REASONS, Unusable

ENCODINGS = ("PNG", "JPEG", "WEBP", "BMP")


def picture(height: int = 48, width: int = 40) -> np.ndarray:
    """A smooth picture, no two corners alike."""
    small = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(image: np.ndarray | Image.Image, encoding: str, **options) -> bytes:
    file = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(encoding, {}) | options
    image.save(file, encoding, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, bits: int, pixels: bytes) -> bytes:
    """A grey PNG from compressed rows."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def read(tmp_path, data: bytes, name: str = "photo.png") -> np.ndarray:
    path = tmp_path / name
    path.write_bytes(data)
    return read_photo(path).image


def refused(tmp_path, data: bytes, name: str = "photo.png") -> tuple[str, str]:
    with pytest.raises(Unusable) as info:
        read(tmp_path, data, name)
    return info.value.reason, str(info.value)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("suffix", PHOTO_SUFFIXES)
def test_photo_is_read_as_rgb_whatever_its_suffix(tmp_path, encoding, suffix):
    read_back = read(tmp_path, encoded(picture(), encoding), f"photo{suffix}")
    assert read_back.dtype == np.uint8
    # JPEG of quality 95 is off by a few grey levels in places.
    np.testing.assert_allclose(read_back.astype(int), picture(), atol=16 if encoding == "JPEG" else 0)


@pytest.mark.parametrize("encoding", ["PNG", "JPEG", "WEBP"])
def test_rotation_noted_in_exif_is_applied(tmp_path, encoding):
    exif = Image.Exif()
    exif[0x112] = 6  # shown after a quarter turn clockwise
    turned = read(tmp_path, encoded(picture(), encoding, exif=exif))
    np.testing.assert_allclose(turned.astype(int), np.rot90(picture(), -1), atol=16 if encoding == "JPEG" else 0)


def test_other_kinds_of_pixels_become_rgb_of_8_bits(tmp_path):
    image = picture()
    grey = np.repeat(image[..., :1], 3, axis=2)
    palette = Image.fromarray(image).quantize(16)
    alpha = np.dstack([image, image[..., 0]])
    deep = cv2.imencode(".png", image[..., ::-1].astype(np.uint16) * 257)[1].tobytes()
    deep_grey = cv2.imencode(".png", image[..., 0].astype(np.uint16) * 257)[1].tobytes()
    bilevel = Image.fromarray(image).convert("1")
    cases = [
        (encoded(image[..., 0], "PNG"), grey),
        (encoded(image[..., 0], "BMP"), grey),
        (encoded(palette, "PNG"), np.asarray(palette.convert("RGB"))),
        (encoded(palette, "PNG", transparency=0), np.asarray(palette.convert("RGB"))),
        (encoded(palette, "BMP"), np.asarray(palette.convert("RGB"))),
        (encoded(bilevel, "BMP"), np.asarray(bilevel.convert("RGB"))),
        (encoded(alpha, "PNG"), image),
        (deep, image),
        (deep_grey, grey),
    ]
    for data, expected in cases:
        np.testing.assert_array_equal(read(tmp_path, data), expected)


def test_cmyk_jpeg_is_read(tmp_path):
    read_back = read(tmp_path, encoded(Image.fromarray(picture()).convert("CMYK"), "JPEG"))
    # Two roundings more than an RGB JPEG; a forgotten inversion would be off by a hundred.
    assert np.abs(read_back.astype(int) - picture()).mean() < 4


def test_bitmap_with_rows_from_the_top(tmp_path):
    data = bytearray(encoded(picture(), "BMP"))
    data[22:26] = struct.pack("<i", -48)
    np.testing.assert_array_equal(read(tmp_path, bytes(data)), picture()[::-1])


def test_rows_of_a_bitmap_are_filled_up_to_four_bytes(tmp_path):
    image = picture(48, 37)  # rows of 111 and of 112 bytes
    data = encoded(image, "BMP")
    np.testing.assert_array_equal(read(tmp_path, data), image)
    assert refused(tmp_path, data[:-48]) == ("truncated", f"the end of the BMP is missing after {len(data) - 48} bytes")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_bytes_behind_the_end_do_no_harm(tmp_path, encoding):
    data = encoded(picture(), encoding)
    np.testing.assert_array_equal(read(tmp_path, data + b"\0trailer\xff"), read(tmp_path, data))


def test_garbage_between_the_segments_of_a_jpeg_is_passed_over(tmp_path):
    data = encoded(picture(), "JPEG")
    assert data[2:6] == b"\xff\xe0\0\x10"  # a segment of 16 bytes
    np.testing.assert_array_equal(read(tmp_path, data[:20] + b"\x12\x34" + data[20:]), read(tmp_path, data))


@pytest.mark.parametrize("encoding", [*ENCODINGS, "progressive"])
def test_photo_cut_off_anywhere_is_refused(tmp_path, encoding):
    data = encoded(picture(), "JPEG", progressive=True) if encoding == "progressive" else encoded(picture(), encoding)
    for tenth in range(1, 10):
        assert refused(tmp_path, data[: len(data) * tenth // 10])[0] == "truncated", tenth
    assert refused(tmp_path, data[:-1])[0] == "truncated"
    assert refused(tmp_path, data[:20])[0] == "truncated"


def test_jpeg_cut_off_within_a_segment_with_a_thumbnail_is_refused(tmp_path):
    data, thumbnail = encoded(picture(), "JPEG"), encoded(picture(8, 8), "JPEG")
    longer = data[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(thumbnail)) + thumbnail + data[2:]
    assert read(tmp_path, longer).shape == (48, 40, 3)
    reason, detail = refused(tmp_path, longer[: len(thumbnail) + 30])
    assert (reason, detail) == ("truncated", "the header of the JPEG is damaged or cut off")


def test_cut_jpeg_with_an_end_marker_is_read_as_far_as_it_goes(tmp_path):
    data = encoded(picture(480, 400), "JPEG")
    whole, cut = read(tmp_path, data), read(tmp_path, data[: len(data) * 6 // 10] + b"\xff\xd9")
    np.testing.assert_array_equal(cut[:160], whole[:160])
    assert (cut[-16:] != whole[-16:]).any()


def test_damaged_data_is_refused(tmp_path):
    data = bytearray(encoded(picture(), "PNG"))
    data[len(data) // 2] ^= 0xFF
    assert refused(tmp_path, bytes(data))[0] == "damaged"
    rows = zlib.compress(bytes(5 * 4))
    assert read(tmp_path, png(4, 4, 8, rows)).shape == (4, 4, 3)
    assert refused(tmp_path, png(4, 4, 8, zlib.compress(bytes(5 * 2))))[0] == "damaged"  # two of four rows
    assert refused(tmp_path, b"\xff\xd8\xff\xd9") == ("damaged", "the header of the JPEG is damaged or cut off")
    # Within the limit of pixels, but beyond the width that OpenCV takes.
    assert refused(tmp_path, png(1 << 21, 1, 8, zlib.compress(bytes(1 + (1 << 21)))))[0] == "damaged"


def test_failing_decoder_is_a_damaged_photo(tmp_path, monkeypatch):
    def fail(*_):
        raise cv2.error("the decoder says no")

    monkeypatch.setattr(cv2, "imdecode", fail)
    assert refused(tmp_path, encoded(picture(), "PNG"))[0] == "damaged"


def test_header_that_tells_another_size_than_the_data_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: picture(48, 41))
    reason, detail = refused(tmp_path, encoded(picture(), "PNG"))
    assert (reason, detail) == ("damaged", "the PNG header tells 48x40, the data (48, 41)")


def bombs() -> dict[str, bytes]:
    jpeg = bytearray(encoded(picture(), "JPEG"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 30_000, 30_000)
    webp = bytearray(encoded(picture(), "WEBP"))
    assert webp[12:16] == b"VP8L"
    webp[21:25] = struct.pack("<I", 16_383 | 16_383 << 14)
    bitmap = bytearray(encoded(picture(), "BMP"))
    bitmap[18:26] = struct.pack("<ii", 30_000, -30_000)
    rows = zlib.compress(bytes(12_000 * (1 + 12_000 // 8)), 9)
    return {
        "lying PNG": png(30_000, 30_000, 8, zlib.compress(b"")),
        "honest PNG": png(12_000, 12_000, 1, rows),
        "JPEG": bytes(jpeg),
        "WebP": bytes(webp),
        "BMP": bytes(bitmap),
    }


def test_more_pixels_than_allowed_are_refused_before_decoding(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded a bomb"))
    for name, data in bombs().items():
        assert len(data) < 20_000, name
        reason, detail = refused(tmp_path, data)
        assert reason == "too_large", name
        assert detail.startswith("expected at most 100000000 pixels, found a picture of"), name


def test_limit_of_pixels_is_inclusive(tmp_path, monkeypatch):
    assert MAX_PIXELS == 100_000_000
    monkeypatch.setattr(photo_file, "MAX_PIXELS", 48 * 40)
    assert read(tmp_path, encoded(picture(), "PNG")).shape == (48, 40, 3)
    monkeypatch.setattr(photo_file, "MAX_PIXELS", 48 * 40 - 1)
    assert refused(tmp_path, encoded(picture(), "PNG"))[0] == "too_large"


def test_file_with_too_many_bytes_is_not_read_in(tmp_path, monkeypatch):
    data = encoded(picture(), "PNG")
    monkeypatch.setattr(photo_file, "MAX_BYTES", len(data))
    assert read(tmp_path, data).shape == (48, 40, 3)
    assert refused(tmp_path, data + b"\0") == ("too_large", f"expected a file of at most {len(data)} bytes, found more")


def test_picture_without_pixels_is_refused(tmp_path):
    assert refused(tmp_path, png(0, 4, 8, zlib.compress(bytes(4))))[0] == "no_pixels"
    bitmap = bytearray(encoded(picture(), "BMP"))
    bitmap[22:26] = bytes(4)
    assert refused(tmp_path, bytes(bitmap))[0] == "no_pixels"


@pytest.mark.parametrize(
    "data", [b"\0", b"GIF89a" + bytes(100), b"II*\0" + bytes(100), b"<html>404</html>", b"BM is not a bitmap" * 9]
)
def test_other_formats_are_refused(tmp_path, data):
    reason, detail = refused(tmp_path, data, "photo.jpg")
    assert reason == "unknown_format"
    assert detail == f"expected PNG, JPEG, WebP or BMP, found bytes starting with {data[:12]!r}"


def test_files_that_cannot_be_read(tmp_path):
    assert refused(tmp_path, b"") == ("empty_file", "the file has no bytes; download it again")
    os.mkfifo(tmp_path / "pipe.png")
    cases = {
        tmp_path: "expected a regular file, found a folder",
        tmp_path / "pipe.png": "expected a regular file, found a pipe, a device or a socket",
        tmp_path / "gone.png": "the file cannot be read: No such file or directory",
        tmp_path / "photo.png" / "below.png": "the file cannot be read: Not a directory",
    }
    for path, detail in cases.items():
        with pytest.raises(Unusable) as info:
            read_photo(path)
        assert (info.value.reason, str(info.value)) == ("unreadable", detail)


def test_file_without_permission_is_refused(tmp_path, monkeypatch):
    def deny(path, *_):
        raise PermissionError(13, "Permission denied", path)

    (tmp_path / "photo.png").write_bytes(encoded(picture(), "PNG"))
    monkeypatch.setattr("builtins.open", deny)
    with pytest.raises(Unusable, match="^the file cannot be read: Permission denied$") as info:
        read_photo(tmp_path / "photo.png")
    assert info.value.reason == "unreadable"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_no_damage_raises_anything_but_unusable(tmp_path, encoding):
    whole = encoded(picture(), encoding)

    @settings(max_examples=60, derandomize=True, deadline=None, database=None)
    @given(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), min_size=1, max_size=8))
    def damage(changes):
        data = bytearray(whole)
        for at, value in changes:
            data[at] = value
        try:
            image = read(tmp_path, bytes(data))
        except Unusable as error:
            assert error.reason in REASONS and str(error)
        else:
            assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3

    damage()


def test_unusable_survives_the_way_between_processes():
    error = pickle.loads(pickle.dumps(Unusable("damaged", "one sentence")))
    assert (error.reason, str(error)) == ("damaged", "one sentence")
    with pytest.raises(KeyError, match="broken"):
        Unusable("broken", "no such reason")


def test_log_level_of_opencv_is_put_back(tmp_path):
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_FATAL)
    try:
        refused(tmp_path, png(4, 4, 8, zlib.compress(b"")))
        assert cv2.utils.logging.getLogLevel() == cv2.utils.logging.LOG_LEVEL_FATAL
    finally:
        cv2.utils.logging.setLogLevel(before)
