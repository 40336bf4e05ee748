import struct

import cv2
import numpy as np
import pytest

from fsfm_jax.data import photo


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (28, 28, 3), np.uint8)
    return cv2.resize(small, (224, 224), interpolation=cv2.INTER_CUBIC)


def webp(image: np.ndarray, quality: int) -> bytes:
    return cv2.imencode(".webp", image[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()


ENCODERS = [lambda x: photo.encode_png(x, 6), lambda x: photo.encode_jpeg(x, 95), lambda x: webp(x, 101)]


def as_png(array: np.ndarray) -> bytes:
    return cv2.imencode(".png", array)[1].tobytes()


def test_png_round_trip_is_exact_and_rgb(image):
    red = np.zeros((224, 224, 3), np.uint8)
    red[..., 0] = 255
    for pixels in (image, red):
        for compression in (1, 6):
            np.testing.assert_array_equal(photo.decode_image(photo.encode_png(pixels, compression), "a"), pixels)


def test_jpeg_is_rgb_and_keeps_colour_at_full_resolution():
    stripes = np.full((224, 224, 3), 128, np.uint8)
    stripes[:, ::2] = (200, 60, 60)
    stripes[:, 1::2] = (60, 60, 200)
    decoded = photo.decode_image(photo.encode_jpeg(stripes, 95), "a").astype(int)
    # With halved colour both kinds of columns would come out the same.
    assert (decoded[:, ::2, 0] - decoded[:, 1::2, 0]).min() > 100
    assert np.abs(decoded - stripes).mean() < 3


@pytest.mark.parametrize("encoding", ["png", "jpeg", "VP8 ", "VP8L"])
def test_header_tells_encoding_and_size(encoding):
    image = np.zeros((40, 300, 3), np.uint8)
    data = {
        "png": lambda: photo.encode_png(image, 6), "jpeg": lambda: photo.encode_jpeg(image, 95),
        "VP8 ": lambda: webp(image, 80), "VP8L": lambda: webp(image, 101),
    }[encoding]()  # fmt: skip
    header = photo.read_header(data, "a")
    kind = encoding if encoding in ("png", "jpeg") else "webp"
    assert header == photo.Header(kind, height=40, width=300, plain=kind != "webp")
    if kind == "webp":
        assert data[12:16].decode() == encoding


def test_extended_webp_header_is_read():
    rgba = np.zeros((224, 224, 4), np.uint8)
    rgba[..., 3] = np.arange(224)
    data = cv2.imencode(".webp", rgba, [cv2.IMWRITE_WEBP_QUALITY, 80])[1].tobytes()
    assert data[12:16] == b"VP8X"
    assert photo.read_header(data, "a") == photo.Header("webp", 224, 224, plain=False)
    assert photo.decode_image(data, "a").shape == (224, 224, 3)


def test_jpeg_header_is_found_behind_fill_bytes_and_other_segments(image):
    data = photo.encode_jpeg(image, 95)
    thumbnail = photo.encode_jpeg(image[:16, :16], 90)  # as in EXIF: a whole JPEG inside a segment
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(thumbnail)) + thumbnail
    longer = data[:2] + segment + b"\xff" + data[2:]
    assert photo.read_header(longer, "a") == photo.Header("jpeg", 224, 224, plain=True)
    np.testing.assert_array_equal(photo.decode_image(longer, "a"), photo.decode_image(data, "a"))
    with pytest.raises(ValueError, match="truncated"):
        photo.decode_image(longer[: len(longer) // 2], "a")


def test_rotation_noted_in_exif_is_ignored(image):
    data = photo.encode_jpeg(image, 95)
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x112, 3, 1, 6, 0) + b"\0\0\0\0"
    turned = data[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif + data[2:]
    assert not np.array_equal(  # the decoder alone would turn it
        cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR_RGB), photo.decode_image(data, "a")
    )
    np.testing.assert_array_equal(photo.decode_image(turned, "a"), photo.decode_image(data, "a"))


def test_only_eight_bits_in_three_channels_are_plain(image):
    kinds = {
        "grey": image[..., 0], "alpha": np.dstack([image, image[..., :1]]), "deep": image.astype(np.uint16) * 257,
    }  # fmt: skip
    for array in kinds.values():
        assert not photo.read_header(as_png(array), "a").plain
    grey_jpeg = cv2.imencode(".jpg", image[..., 0])[1].tobytes()
    assert not photo.read_header(grey_jpeg, "a").plain
    assert photo.read_header(as_png(image), "a").plain


@pytest.mark.parametrize("encode", ENCODERS)
@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_cut_off_photo_is_refused(image, encode, kept):
    data = encode(image)
    with pytest.raises(ValueError, match="photo face7: truncated, .* copy or make the file again"):
        photo.decode_image(data[: int(len(data) * kept)], "face7")
    with pytest.raises(ValueError, match="photo face7: truncated"):
        photo.decode_image(data[:-1], "face7")


@pytest.mark.parametrize("encode", ENCODERS)
def test_header_that_breaks_off_is_refused(image, encode):
    with pytest.raises(ValueError, match="photo face7: its header is damaged or truncated"):
        photo.decode_image(encode(image)[:20], "face7")


def test_damaged_png_data_is_refused(image):
    data = bytearray(photo.encode_png(image, 6))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(ValueError, match="photo face7: (damaged|PNG decoder failed)"):
        photo.decode_image(bytes(data), "face7")


def test_wrong_size_is_refused_and_before_anything_is_decoded(image, monkeypatch):
    with pytest.raises(ValueError, match="photo face7: expected 224x224, found 100x224 .* crop and resize"):
        photo.decode_image(photo.encode_png(image[:100], 6), "face7")
    data = bytearray(photo.encode_png(image, 6))
    data[16:24] = struct.pack(">II", 60000, 60000)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded a photo of 60000x60000"))
    with pytest.raises(ValueError, match="found 60000x60000"):
        photo.decode_image(bytes(data), "face7")


@pytest.mark.parametrize("data", [b"", b"GIF89a" + bytes(100), b"not a photo"])
def test_other_files_are_refused(data):
    with pytest.raises(ValueError, match="photo face7: expected PNG, JPEG or WebP, found"):
        photo.decode_image(data, "face7")
