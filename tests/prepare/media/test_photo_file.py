import io
import os
import pickle
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import heics
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from fsfm_jax.prepare.media import colours, photo_file
from fsfm_jax.prepare.media.photo_extras import extras_of
from fsfm_jax.prepare.media.photo_file import MAX_PIXELS, Photo, read_photo
from fsfm_jax.prepare.media.photo_format import photo_brand
from fsfm_jax.prepare.media.unusable import REASONS, Unusable
from fsfm_jax.prepare.media.video_file import container_of

ROOT = Path(__file__).parents[3]
ENCODINGS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "HEIC")
# Grey levels between a picture and what is read of it. GIF has 256 colours, HEIC and AVIF have rounded ones.
LOSS = {"JPEG": 16, "GIF": 48, "AVIF": 16, "HEIC": 4}


def picture(height: int = 48, width: int = 40) -> np.ndarray:
    """A smooth picture, no two corners alike."""
    small = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(image: np.ndarray | Image.Image, encoding: str, **options) -> bytes:
    if encoding == "HEIC":
        return heics.heic(image, **options)
    file = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    options = {
        "JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True},
        "AVIF": {"quality": 100, "subsampling": "4:4:4", "speed": 10},
    }.get(encoding, {}) | options  # fmt: skip
    image.save(file, encoding, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, bits: int, pixels: bytes) -> bytes:
    """A grey PNG from compressed rows."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def opened(tmp_path, data: bytes, name: str = "photo.png") -> Photo:
    path = tmp_path / name
    path.write_bytes(data)
    return read_photo(path)


def read(tmp_path, data: bytes, name: str = "photo.png") -> np.ndarray:
    return opened(tmp_path, data, name).image


def refused(tmp_path, data: bytes, name: str = "photo.png") -> tuple[str, str]:
    with pytest.raises(Unusable) as info:
        read(tmp_path, data, name)
    return info.value.reason, str(info.value)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_photo_is_read_as_rgb_whatever_its_suffix(tmp_path, encoding, capfd):
    for name in ("photo.png", "photo.heic", "clip.mp4", "photo"):
        photo = opened(tmp_path, encoded(picture(), encoding), name)
        assert photo.image.dtype == np.uint8 and photo.notes == ()
        np.testing.assert_allclose(photo.image.astype(int), picture(), atol=LOSS.get(encoding, 0))
    assert capfd.readouterr() == ("", "")


# What a reader has to do, by the orientation that EXIF notes: from the specification, in turns anticlockwise.
TURNED = {
    1: lambda image: image, 2: lambda image: image[:, ::-1], 3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1], 5: lambda image: image.transpose(1, 0, 2), 6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).transpose(1, 0, 2), 8: lambda image: np.rot90(image),
}  # fmt: skip


@pytest.mark.parametrize("encoding", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_rotation_noted_in_the_file_is_applied_once(tmp_path, encoding):
    exif = Image.Exif()
    for orientation, turn in TURNED.items():
        exif[0x112] = orientation
        read_back = read(tmp_path, encoded(picture(), encoding, exif=exif))
        np.testing.assert_allclose(read_back.astype(int), turn(picture()), atol=LOSS.get(encoding, 0))


def test_heic_of_tiles_is_one_picture_and_turned_as_it_says(tmp_path):
    image = picture(128, 192)
    cases = [
        ({"tiles": 2}, image), ({"tiles": 2, "turns": 1}, np.rot90(image)), ({"turns": 3}, np.rot90(image, 3)),
        ({"mirror": 0}, image[::-1]), ({"mirror": 1, "brand": b"mif1"}, image[:, ::-1]),
    ]  # fmt: skip
    for options, expected in cases:
        photo = opened(tmp_path, heics.heic(image, **options))
        assert photo.notes == ()
        np.testing.assert_allclose(photo.image.astype(int), expected, atol=LOSS["HEIC"])


def animations() -> dict[str, bytes]:
    frames = [Image.fromarray(np.roll(picture(64, 64), 8 * index, 1)) for index in range(3)]
    options = {"save_all": True, "append_images": frames[1:]}
    return {
        **{encoding: encoded(frames[0], encoding, **options) for encoding in ("GIF", "WEBP", "PNG", "AVIF")},
        "HEIC": heics.sequence([np.asarray(frame) for frame in frames]),
    }


def test_of_an_animation_the_first_frame_is_read_and_that_is_noted(tmp_path):
    for encoding, data in animations().items():
        photo = opened(tmp_path, data)
        assert photo.notes == ("first of 3 frames",), encoding
        np.testing.assert_allclose(photo.image.astype(int), picture(64, 64), atol=LOSS.get(encoding, 0))


def test_other_kinds_of_pixels_become_rgb_of_8_bits(tmp_path):
    image = picture()
    grey = np.repeat(image[..., :1], 3, axis=2)
    palette = Image.fromarray(image).quantize(16)
    deep = image[..., 0].astype(np.uint16) * 257
    bilevel = Image.fromarray(image).convert("1")
    pages = {"save_all": True, "append_images": [Image.fromarray(255 - image)]}
    cases = [
        (encoded(image[..., 0], "PNG"), grey, ()),
        (encoded(image[..., 0], "BMP"), grey, ()),
        (encoded(image[..., 0], "TIFF"), grey, ()),
        (encoded(palette, "PNG"), np.asarray(palette.convert("RGB")), ()),
        (encoded(palette, "BMP"), np.asarray(palette.convert("RGB")), ()),
        (encoded(bilevel, "BMP"), np.asarray(bilevel.convert("RGB")), ()),
        (cv2.imencode(".png", image[..., ::-1].astype(np.uint16) * 257)[1].tobytes(), image, ()),
        (cv2.imencode(".tiff", image[..., ::-1].astype(np.uint16) * 257)[1].tobytes(), image, ()),
        (cv2.imencode(".png", deep)[1].tobytes(), grey, ()),
        (encoded(Image.fromarray(deep), "TIFF"), grey, ()),
        (encoded(image, "TIFF", compression="tiff_lzw"), image, ()),
        (encoded(image, "TIFF", compression="tiff_adobe_deflate", tiffinfo={322: 16, 323: 16}), image, ()),
        (encoded(Image.fromarray(image), "TIFF", **pages), image, ("first of 2 pages",)),
    ]
    for data, expected, notes in cases:
        photo = opened(tmp_path, data)
        np.testing.assert_array_equal(photo.image, expected)
        assert photo.notes == notes


def test_pixels_that_are_no_photo_are_refused(tmp_path):
    image = picture()
    fax = Image.fromarray(image).convert("1")
    cases = [
        (encoded(Image.fromarray(image[..., 0].astype(np.float32)), "TIFF"), "pixels of the kind F"),
        (encoded(Image.fromarray(image[..., 0].astype(np.int32)), "TIFF"), "pixels of the kind I"),
        (encoded(fax, "TIFF", compression="group4"), "found compression 4"),  # leaves pixels unwritten where damaged
    ]
    for data, found in cases:
        reason, detail = refused(tmp_path, data)
        assert reason == "unsupported_pixels" and found in detail


def test_transparent_parts_are_shown_on_white_and_nothing_below_them_is_seen(tmp_path):
    image = picture(32, 32)
    alpha = np.zeros((32, 32), np.uint8)
    alpha[:, 8:], alpha[:, 16:] = 51, 255  # transparent, a fifth, opaque
    on_white = image.copy()
    on_white[:, :8] = 255
    on_white[:, 8:16] = (image[:, 8:16] * 51.0 + 255 * 204) / 255 + 0.5
    both = np.dstack([image, alpha])
    grey = Image.fromarray(np.dstack([image[..., 0], alpha]))  # mode LA
    for data, expected, atol in [
        (encoded(both, "PNG"), on_white, 0),
        (encoded(both, "WEBP", exact=True), on_white, 0),
        (encoded(both, "TIFF"), on_white, 0),
        (encoded(both, "AVIF"), on_white, LOSS["AVIF"]),
        (heics.heic(image, alpha=alpha), on_white, LOSS["HEIC"]),
        (encoded(grey, "PNG"), on_white[..., :1].repeat(3, 2), 0),
    ]:
        photo = opened(tmp_path, data)
        np.testing.assert_allclose(photo.image.astype(int), expected, atol=atol)
        assert photo.notes == ("transparent parts shown on white",)
        hidden = np.dstack([picture(32, 32)[::-1], alpha * 0])
    palette = Image.fromarray(image).quantize(16)
    shown = opened(tmp_path, encoded(palette, "PNG", transparency=0)).image
    np.testing.assert_array_equal(shown[np.asarray(palette) == 0], 255)
    rotated = Image.Exif()
    rotated[0x112] = 6
    np.testing.assert_array_equal(read(tmp_path, encoded(both, "PNG", exif=rotated)), np.rot90(on_white, -1))
    for encoding in ("PNG", "WEBP", "TIFF", "AVIF"):
        assert refused(tmp_path, encoded(hidden, encoding))[0] == "transparent", encoding
    assert refused(tmp_path, heics.heic(image, alpha=alpha * 0))[0] == "transparent"
    opaque = opened(tmp_path, encoded(np.dstack([image, alpha * 0 + 255]), "PNG"))
    np.testing.assert_array_equal(opaque.image, image)
    assert opaque.notes == ()


def profile(primaries: str) -> bytes:
    """The profile of sRGB, or of Display P3: the same but for three points of colour (in D50, from its definition)."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    points = {
        b"rXYZ": (0.51512, 0.24120, -0.00105), b"gXYZ": (0.29198, 0.69225, 0.04189), b"bXYZ": (0.1571, 0.06657, 0.78407)
    }  # fmt: skip
    for entry in range(132, 132 + 12 * int.from_bytes(data[128:132], "big"), 12):
        name, at = bytes(data[entry : entry + 4]), int.from_bytes(data[entry + 4 : entry + 8], "big")
        if primaries == "P3" and name in points:
            data[at + 8 : at + 20] = struct.pack(">3i", *(round(value * 65536) for value in points[name]))
    return bytes(data)


def test_colours_are_converted_where_the_profile_is_not_srgb(tmp_path):
    image = np.full((16, 16, 3), (200, 90, 90), np.uint8)
    # By the matrices: linear 0.5776, 0.1022, 0.1022 of P3 are 0.6840, 0.0822, 0.0927 of sRGB.
    expected = (215, 81, 86)
    for encoding in ("PNG", "JPEG", "WEBP", "TIFF", "AVIF"):
        plain = opened(tmp_path, encoded(image, encoding))
        same = opened(tmp_path, encoded(image, encoding, icc_profile=profile("sRGB")))
        np.testing.assert_array_equal(same.image, plain.image)
        wide = opened(tmp_path, encoded(image, encoding, icc_profile=profile("P3")))
        assert (plain.notes, same.notes) == ((), ())
        assert len(wide.notes) == 1 and wide.notes[0].endswith("to sRGB")
        np.testing.assert_allclose(wide.image[8, 8].astype(int), expected, atol=3)
    signalled = opened(tmp_path, heics.heic(picture(64, 64) * 0 + 90 + np.uint8([110, 0, 0]), signal=(12, 13)))
    np.testing.assert_allclose(signalled.image[8, 8].astype(int), expected, atol=4)
    assert signalled.notes == ("colours converted from Display P3 to sRGB",)
    broken = opened(tmp_path, encoded(image, "PNG", icc_profile=profile("P3")[:200]))
    np.testing.assert_array_equal(broken.image, image)
    assert broken.notes == ("taken as sRGB: the colour profile is damaged",)


@pytest.mark.parametrize("transfer, code, shade", [
        # The reference white: 203 cd/m2 are the code 0.58 of PQ and 0.75 of HLG. Compressed to 0.6 + 0.4 (1 - 1/e) of
        # the light, which is 0.9320 in sRGB.
        ("PQ", 148, 238),
        ("HLG", 191, 237),
        # A grey card of 26 cd/m2, 0.38 of both by BT.2408, stays: 26/203 of the light is 0.393 in sRGB.
        ("PQ", 97, 100),
        ("HLG", 97, 100),
        ("PQ", 0, 0),
        ("PQ", 255, 255),
    ])  # fmt: skip
def test_hdr_is_tone_mapped_and_noted(transfer, code, shade):
    number = {"PQ": 16, "HLG": 18}[transfer]
    image, note = colours.by_signal(np.full((4, 4, 3), code, np.uint8), (9, number))
    np.testing.assert_allclose(image.astype(int), shade, atol=2)
    assert note == f"HDR ({transfer}) tone-mapped"


def test_hdr_of_a_file_is_tone_mapped(tmp_path):
    image = np.full((64, 64, 3), 148, np.uint8)
    flat = encoded(image, "PNG")
    for data in (heics.heic(image, signal=(9, 16)), flat[:33] + chunk(b"cICP", bytes([9, 16, 0, 1])) + flat[33:]):
        photo = opened(tmp_path, data)
        assert photo.notes == ("HDR (PQ) tone-mapped",) and abs(int(photo.image[9, 9, 0]) - 238) <= 2


def test_more_pictures_of_a_jpeg_are_noted_but_a_gain_map_is_none(tmp_path):
    frames = [Image.fromarray(picture()), Image.fromarray(picture()[::-1])]
    data = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:], quality=95, subsampling=0)
    photo = opened(tmp_path, data)
    assert photo.notes == ("first of 2 pictures",)
    np.testing.assert_allclose(photo.image.astype(int), picture(), atol=LOSS["JPEG"])
    assert opened(tmp_path, data + b"hdrgm:Version").notes == ()


def test_jpeg_of_too_many_pixels_is_read_at_a_part_of_its_size(tmp_path, monkeypatch):
    image = picture(480, 400)
    data = encoded(image, "JPEG")
    for most, parts in ((480 * 400, 1), (480 * 400 - 1, 2), (240 * 200, 2), (240 * 200 - 1, 4), (60 * 50, 8)):
        monkeypatch.setattr(photo_file, "MAX_PIXELS", most)
        photo = opened(tmp_path, data)
        small = cv2.resize(image, (400 // parts, 480 // parts), interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(photo.image.astype(int), small, atol=LOSS["JPEG"])
        note = f"read at 1/{parts} of its 400x480 pixels, which boxes count"
        assert photo.notes == ((note,) if parts > 1 else ())
    monkeypatch.setattr(photo_file, "MAX_PIXELS", 60 * 50 - 1)
    assert refused(tmp_path, data)[0] == "too_large"
    monkeypatch.setattr(photo_file, "MAX_PIXELS", 240 * 200)
    exif = Image.Exif()
    exif[0x112] = 6
    assert read(tmp_path, encoded(image, "JPEG", exif=exif)).shape == (200, 240, 3)
    # The coefficients of a progressive one are kept, so its own limit is lower.
    monkeypatch.setattr(photo_file, "MAX_PROGRESSIVE", 480 * 400 - 1)
    assert read(tmp_path, data).shape == (240, 200, 3)
    assert refused(tmp_path, encoded(image, "JPEG", progressive=True))[0] == "too_large"


@pytest.mark.parametrize("encoding", ["JPEG", "TIFF"])
def test_cmyk_is_read(tmp_path, encoding):
    read_back = read(tmp_path, encoded(Image.fromarray(picture()).convert("CMYK"), encoding))
    # Two roundings more than an RGB JPEG; a forgotten inversion would be off by a hundred.
    assert np.abs(read_back.astype(int) - picture()).mean() < 4


def test_rows_of_a_bitmap_come_from_the_top_or_the_bottom_and_are_filled_up_to_four_bytes(tmp_path):
    data = bytearray(encoded(picture(), "BMP"))
    data[22:26] = struct.pack("<i", -48)
    np.testing.assert_array_equal(read(tmp_path, bytes(data)), picture()[::-1])
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
    assert refused(tmp_path, data[:20])[0] == "truncated"
    if encoding == "GIF":  # all of the picture is there
        assert opened(tmp_path, data[:-1]).notes == ("the end of the GIF is missing",)
    else:
        assert refused(tmp_path, data[:-1])[0] == "truncated"


def test_animation_that_is_cut_off_keeps_its_first_frame(tmp_path):
    data = animations()["GIF"]
    photo = opened(tmp_path, data[:-60])
    assert photo.notes == ("first of 2 frames", "the end of the GIF is missing")
    assert extras_of(data, "gif").pictures == 3


def test_jpeg_cut_off_within_a_segment_with_a_thumbnail_is_refused(tmp_path):
    data, thumbnail = encoded(picture(), "JPEG"), encoded(picture(8, 8), "JPEG")
    longer = data[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(thumbnail)) + thumbnail + data[2:]
    assert read(tmp_path, longer).shape == (48, 40, 3)
    reason, detail = refused(tmp_path, longer[: len(thumbnail) + 30])
    assert (reason, detail) == ("truncated", "the header of the JPEG is damaged or cut off")


def test_damage_that_a_decoder_goes_on_over_is_noted_and_nothing_is_printed(tmp_path, capfd):
    data = encoded(picture(480, 400), "JPEG")
    whole, ended = read(tmp_path, data), opened(tmp_path, data[: len(data) * 6 // 10] + b"\xff\xd9")
    np.testing.assert_array_equal(ended.image[:160], whole[:160])
    assert (ended.image[-16:] != whole[-16:]).any()
    assert ended.notes == ("the JPEG data are damaged (premature end of data segment)",)
    middle = bytearray(data)
    middle[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    assert [note.partition(" (")[0] for note in opened(tmp_path, bytes(middle)).notes] == ["the JPEG data are damaged"]
    packed = bytearray(encoded(picture(), "TIFF", compression="tiff_lzw"))
    packed[200:240] = b"\xff" * 40
    assert refused(tmp_path, bytes(packed))[0] == "damaged"
    goes_on = bytearray(encoded(picture(96, 80), "TIFF", compression="jpeg"))
    at = goes_on.index(b"\xff\xda") + 200
    goes_on[at : at + 2] = b"\xff\x77"
    reason, detail = refused(tmp_path, bytes(goes_on))
    assert reason == "damaged" and detail.startswith("the TIFF decoder complained: JPEGLib: ")
    damaged = bytearray(encoded(picture(), "PNG"))
    damaged[len(damaged) // 2] ^= 0xFF
    assert refused(tmp_path, bytes(damaged))[0] == "damaged"
    rows = zlib.compress(bytes(5 * 4))
    assert read(tmp_path, png(4, 4, 8, rows)).shape == (4, 4, 3)
    assert refused(tmp_path, png(4, 4, 8, zlib.compress(bytes(5 * 2))))[0] == "damaged"  # two of four rows
    assert refused(tmp_path, b"\xff\xd8\xff\xd9") == ("damaged", "the header of the JPEG is damaged or cut off")
    # Within the limit of pixels, but beyond the width that OpenCV takes.
    assert refused(tmp_path, png(1 << 21, 1, 8, zlib.compress(bytes(1 + (1 << 21)))))[0] == "damaged"
    assert capfd.readouterr() == ("", "")
    os.write(2, b"a word of somebody else\n")  # the output is as it was
    assert capfd.readouterr().err == "a word of somebody else\n"


# Reads damaged files, and prints a line of each; run with memory that is filled with one byte, and with another.
DAMAGED = """
import hashlib, sys
from pathlib import Path
from fsfm_jax.prepare.media.photo_file import read_photo
from fsfm_jax.prepare.media.unusable import Unusable
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        photo = read_photo(path)
        print(path.name, hashlib.sha256(photo.image.tobytes()).hexdigest(), photo.notes)
    except Unusable as error:
        print(path.name, error)
"""


def test_no_pixel_that_was_not_written_gets_out(tmp_path):
    files = {encoding: encoded(picture(96, 80), encoding) for encoding in ENCODINGS}
    files |= {f"{encoding} animation": data for encoding, data in animations().items()}
    options = {"tiff_lzw": {}, "tiff_adobe_deflate": {}, "packbits": {}, "jpeg": {}, "group4": {}}
    for compression in options:
        image = Image.fromarray(picture(96, 80)).convert("1" if compression == "group4" else "RGB")
        files[compression] = encoded(image, "TIFF", compression=compression)
    files["grid"] = heics.heic(picture(128, 128), tiles=2)
    rng = np.random.default_rng(0)
    for name, data in files.items():
        for number in range(6):
            damaged = np.frombuffer(data, np.uint8).copy()
            at = int(rng.integers(len(data) // 3, len(data)))
            damaged[at : at + (1, 4, 50)[number % 3]] = rng.integers(0, 256)
            (tmp_path / f"{name} {number}").write_bytes(damaged.tobytes())
    told = []
    for filled in ("85", "170"):  # glibc fills what it hands out and what it takes back
        command = [sys.executable, "-c", DAMAGED, str(tmp_path)]
        environment = os.environ | {"MALLOC_PERTURB_": filled}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        told.append(done.stdout.splitlines())
    assert len(told[0]) == 6 * len(files)
    assert [(one, other) for one, other in zip(*told, strict=True) if one != other] == []


def test_failing_decoder_is_a_damaged_photo(tmp_path, monkeypatch):
    def fail(*_):
        raise cv2.error("the decoder says no")

    monkeypatch.setattr(cv2, "imdecode", fail)
    assert refused(tmp_path, encoded(picture(), "PNG"))[0] == "damaged"


def test_header_that_tells_another_size_than_the_data_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: picture(48, 41))
    reason, detail = refused(tmp_path, encoded(picture(), "PNG"))
    assert (reason, detail) == ("damaged", "the PNG header tells 48x40, the data (48, 41)")


def tiff_of(side: int) -> bytes:
    """A TIFF of a few bytes that tells `side` x `side` pixels of 8 bits."""
    tags = [(256, side), (257, side), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, side), (279, side * side)]
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags]
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + b"".join(entries) + bytes(4)


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
        "TIFF": tiff_of(30_000),
        "GIF": b"GIF89a" + struct.pack("<HH", 30_000, 30_000) + encoded(picture(), "GIF")[10:],
        "HEIC": encoded(picture(), "HEIC").replace(struct.pack(">II", 40, 48), struct.pack(">II", 30_000, 30_000)),
        "AVIF": encoded(picture(), "AVIF").replace(struct.pack(">II", 40, 48), struct.pack(">II", 15_000, 15_000)),
    }


def test_more_pixels_than_allowed_are_refused_before_decoding(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded a bomb"))
    for name, data in bombs().items():
        assert len(data) < 20_000, name
        reason, detail = refused(tmp_path, data)
        assert reason == "too_large", (name, detail)
        assert detail.startswith("expected at most 100000000 pixels, found a picture of") or "too many" in detail, name


def test_limits_of_pixels_and_bytes_are_inclusive(tmp_path, monkeypatch):
    assert MAX_PIXELS == 100_000_000
    data = encoded(picture(), "PNG")
    monkeypatch.setattr(photo_file, "MAX_BYTES", len(data))
    assert refused(tmp_path, data + b"\0") == ("too_large", f"expected a file of at most {len(data)} bytes, found more")
    monkeypatch.setattr(photo_file, "MAX_PIXELS", 48 * 40)
    assert read(tmp_path, encoded(picture(), "PNG")).shape == (48, 40, 3)
    monkeypatch.setattr(photo_file, "MAX_PIXELS", 48 * 40 - 1)
    assert refused(tmp_path, encoded(picture(), "PNG"))[0] == "too_large"


def test_picture_without_pixels_is_refused(tmp_path):
    assert refused(tmp_path, png(0, 4, 8, zlib.compress(bytes(4))))[0] == "no_pixels"
    bitmap = bytearray(encoded(picture(), "BMP"))
    bitmap[22:26] = bytes(4)
    assert refused(tmp_path, bytes(bitmap))[0] == "no_pixels"


EXPECTED = "expected PNG, JPEG, WebP, BMP, HEIC, AVIF, TIFF or GIF, "


@pytest.mark.parametrize("data, found", [
        (b"\n<!DOCTYPE html><p>", "it is an HTML page: download the file itself"),
        (b"<html>404</html>", "it is an HTML page: download the file itself"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer: fetch the file with git lfs pull"),
        (b"PK\3\4" + bytes(9), "it is a ZIP archive or an office document: unpack it"),
        (b"\0", "found bytes starting with b'\\x00'"),
        (b"GIF8 is not a GIF", "found bytes starting with b'GIF8 is not '"),
        (b"BM is not a bitmap" * 9, "found bytes starting with b'BM is not a '"),
    ])  # fmt: skip
def test_what_is_no_picture_is_named(tmp_path, data, found):
    assert refused(tmp_path, data, "photo.jpg") == ("unknown_format", EXPECTED + found)


def raw_of_tags(**tags: int) -> bytes:
    """A TIFF whose first picture is a preview, as a raw file of a camera has it."""
    return encoded(picture(), "TIFF", tiffinfo={int(tag.removeprefix("tag")): value for tag, value in tags.items()})


@pytest.mark.parametrize("data, name", [
        (b"\xff\x0a" + bytes(30), "a JPEG XL picture"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(30), "a JPEG XL picture"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(30), "a JPEG 2000 picture"),
        (encoded(picture(), "JPEG2000"), "a JPEG 2000 picture"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "a Canon raw file (CR3)"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(30), "a Canon raw file (CR2)"),
        (b"FUJIFILMCCD-RAW 0201", "a Fujifilm raw file (RAF)"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"<?xml version='1.0'?>\n<!-- x -->\n<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (raw_of_tags(tag50706=b"\1\4\0\0"), "a camera's raw file"),
        (raw_of_tags(tag254=1, tag330=8), "a camera's raw file"),
    ])  # fmt: skip
def test_formats_that_are_not_read_are_named(tmp_path, data, name):
    reason, detail = refused(tmp_path, data, "photo.jpg")
    assert reason == "unsupported_format"
    assert detail.startswith(f"this is {name}") and ", which is not read; " in detail


@pytest.mark.parametrize("start, brand", [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heic"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1miaf", "heic"),
        (b"\0\0\0\x18ftypmsf1\0\0\0\0hevciso8", "heic"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "avif"),
        (b"\0\0\0\x18ftypavis\0\0\0\0avifmsf1", "avif"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", None),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", None),
        (b"\0\0\0\x18moovheic\0\0\0\0mif1heic", None),
    ])  # fmt: skip
def test_brands_of_photos_are_no_videos(start, brand):
    assert photo_brand(start) == brand
    assert (container_of(start) is None) == (brand is not None)


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
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
    def deny(path, *_):
        raise PermissionError(13, "Permission denied", path)

    (tmp_path / "photo.png").write_bytes(b"x")
    monkeypatch.setattr(os, "open", deny)
    with pytest.raises(Unusable, match="^the file cannot be read: Permission denied$"):
        read_photo(tmp_path / "photo.png")


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
