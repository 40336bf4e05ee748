"""Untrusted pictures, videos and arrays, as targets of the fuzzer."""

import ctypes
import functools
import hashlib
import io
import tempfile
from pathlib import Path

import av
import cv2
import h5py
import numpy as np
from PIL import Image

from fsfm_jax import records
from fsfm_jax.data.folder import load_parsing_map
from fsfm_jax.data.photo import decode_image
from fsfm_jax.prepare.media.photo_file import read_photo
from fsfm_jax.prepare.media.unusable import Unusable
from fsfm_jax.prepare.media.video import open_video
from reliability.fuzz_judge import Target

CORPUS = Path(__file__).parents[1] / "tests" / "corpus" / "photo"
FRAMES = 3  # read of a video: the first, the next, and the last if there are no more than so many
SIDE = 16
PERTURB = -6  # M_PERTURB of glibc: memory is filled with a byte as it is given out


def placed(data: bytes, folder: Path, name: str) -> Path:
    """Write these bytes to a file in `folder` and return its path."""
    path = folder / name
    path.write_bytes(data)
    return path


def _pixels(side: int = SIDE) -> np.ndarray:
    """Draw a gradient, `[side, side, 3] uint8`."""
    ramp = np.linspace(0, 255, side).astype(np.uint8)
    return np.stack(
        [np.tile(ramp, (side, 1)), np.tile(ramp[:, None], (1, side)), np.full((side, side), 90, np.uint8)], 2
    )


def _encoded(suffix: str, image: np.ndarray, *options: int) -> bytes:
    return cv2.imencode(suffix, image, list(options))[1].tobytes()


def _photos() -> list[bytes]:
    image = _pixels()
    wide = image.astype(np.uint16) * 257
    kinds = [
        (".png", image),
        (".jpg", image),
        (".webp", image),
        (".bmp", image),
        (".png", wide),
        (".jpg", image[..., 0]),
    ]
    progressive = _encoded(".jpg", image, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    transparent = _encoded(".png", np.dstack([image, image[..., :1]]))
    heic = [path.read_bytes() for path in sorted(CORPUS.glob("heic-*"))]  # for which there is no encoder here
    return [_encoded(*kind) for kind in kinds] + [progressive, transparent, *_by_pillow(image), *heic]


def _by_pillow(image: np.ndarray) -> list[bytes]:
    frames = [Image.fromarray(image), Image.fromarray(image[::-1])]
    animation = {"save_all": True, "append_images": frames[1:]}
    kinds = [
        ("GIF", animation), ("WEBP", animation), ("PNG", animation), ("AVIF", {"speed": 10}), ("TIFF", animation),
        ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {"compression": "jpeg"}), ("TIFF", {"compression": "packbits"}),
        ("TIFF", {"compression": "tiff_adobe_deflate", "tiffinfo": {322: 16, 323: 16}}), ("MPO", animation),
    ]  # fmt: skip
    found = []
    for name, options in kinds:
        file = io.BytesIO()
        frames[0].save(file, name, **options)
        found.append(file.getvalue())
    return found


def _crops() -> list[bytes]:
    image = _pixels(records.IMAGE_SIZE)
    return [_encoded(".png", image), _encoded(".jpg", image), _encoded(".jpg", image, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)]


def _read_photo(data: bytes, folder: Path) -> None:
    image = read_photo(placed(data, folder, "photo")).image
    assert image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8


def _read_crop(data: bytes, folder: Path) -> None:
    assert decode_image(data, "photo").shape == (records.IMAGE_SIZE, records.IMAGE_SIZE, 3)


def _seen(path: Path) -> str:
    """Return what a file shows, or why it shows nothing."""
    seen = hashlib.sha256()
    try:
        with open_video(path) as video:
            for index in range(min(video.count, FRAMES)):
                try:
                    seen.update(video.read(index))
                except Unusable as error:
                    seen.update(str(error).encode())
    except Unusable as error:
        seen.update(str(error).encode())
    return seen.hexdigest()


def _shows_nothing_else(path: Path) -> None:
    """Check that the pixels are the same after a bright and after a dark video: none come from another file."""
    libc = ctypes.CDLL(None)
    try:
        found = set()
        for shade, poison in ((250, 0x55), (5, 0xAA)):
            libc.mallopt(PERTURB, poison)
            _seen(placed(_plain(shade), path.parent, "other"))
            found.add(_seen(path))
    finally:
        libc.mallopt(PERTURB, 0)
    assert len(found) == 1, "a video shows what another one, or the memory, left behind"


def _read_video(data: bytes, folder: Path) -> None:
    path = placed(data, folder, "video")
    _shows_nothing_else(path)
    with open_video(path) as video:
        for index in range(min(video.count, FRAMES)):
            frame = video.read(index)
            assert frame.ndim == 3 and frame.shape[2] == 3 and frame.dtype == np.uint8


@functools.cache
def _plain(shade: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "video.mp4")
        with av.open(str(path), "w") as output:
            stream = output.add_stream("mpeg4", rate=25)
            stream.height = stream.width = 32
            for _ in range(2):
                picture = np.full((32, 32, 3), shade, np.uint8)
                output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            output.mux(stream.encode(None))
        return path.read_bytes()


@functools.cache
def _interlaced() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "video.mp4")
        with av.open(str(path), "w") as output:
            stream = output.add_stream("libx264", rate=25)
            stream.height = stream.width = 32
            stream.options = {"flags": "+ilme+ildct"}
            for index in range(4):
                output.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(_pixels(32), index, 1), "rgb24")))
            output.mux(stream.encode(None))
        return path.read_bytes()


@functools.cache
def _video(suffix: str, codec: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"video{suffix}")
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*codec), 25, (32, 32))
        for index in range(4):
            writer.write(np.roll(_pixels(32), index, 1))
        writer.release()
        return path.read_bytes()


def _videos() -> list[bytes]:
    kinds = [(".mp4", "mp4v"), (".avi", "MJPG"), (".mkv", "mp4v"), (".avi", "FFV1"), (".wmv", "WMV2"), (".flv", "FLV1")]
    return [*(_video(*kind) for kind in kinds), _interlaced()]


def _recordings() -> list[bytes]:
    found = []
    for options in ({}, {"chunks": (3, 8, 8), "compression": "gzip"}):
        file = io.BytesIO()
        with h5py.File(file, "w") as recording:
            for index in range(2):
                recording.create_dataset(f"Frame_{index}/array", data=_pixels(8).transpose(2, 0, 1), **options)
        found.append(file.getvalue())
    return found


def _maps() -> list[bytes]:
    def saved(array: np.ndarray) -> bytes:
        file = io.BytesIO()
        np.save(file, array)
        return file.getvalue()

    whole = np.zeros((records.IMAGE_SIZE,) * 2, np.uint8)
    archive = io.BytesIO()
    np.savez(archive, whole[:2])
    # Short ones too: the header is what can be wrong.
    return [saved(whole), saved(whole[None].view(np.int8)), saved(whole[:1, :8]), archive.getvalue()]


def _read_map(data: bytes, folder: Path) -> None:
    assert load_parsing_map(placed(data, folder, "map.npy")).shape == (records.IMAGE_SIZE,) * 2


HEADERS = (b"IHDR", b"IDAT", b"IEND", b"PLTE", b"tRNS", b"\xff\xc0", b"\xff\xc2", b"\xff\xc4", b"\xff\xda", b"\xff\xd9",
           b"acTL", b"fcTL", b"iCCP", b"cICP", b"ICC_PROFILE\0\1\1", b"MPF\0", b"ANMF", b"ICCP", b"ALPH", b"GIF89a",
           b"\x21\xf9\x04", b"II*\0", b"MM\0*", b"ftypheic", b"ftypavif", b"mif1", b"meta", b"iloc", b"iinf", b"infe",
           b"ipco", b"ipma", b"ispe", b"hvcC", b"av1C", b"irot", b"imir", b"clap", b"colrnclx", b"auxC", b"iref",
           b"dimg", b"moov", b"stsz", b"VP8 ", b"VP8L", b"VP8X", b"RIFF", b"BM", b"\xff\xff\xff\xff")  # fmt: skip
NPY_WORDS = (b"\x93NUMPY\x01\x00", b"\x93NUMPY\x02\x00", b"\x93NUMPY\x03\x00", b"PK\x03\x04", b"'descr': ", b"'|u1'",
             b"'|i1'", b"'<i8'", b"'|O'", b"'fortran_order': ", b"'shape': ", b"(224, 224)", b"(1, 224, 224)",
             b"99999999999", b"[('a', '<f8')]", b"1L", b"((((")  # fmt: skip
VIDEO_WORDS = (b"moov", b"mdat", b"stsz", b"stco", b"stts", b"stss", b"elst", b"trun", b"idx1", b"avcC", b"\0\0\1")
TARGETS = (
    Target("photo", _read_photo, (Unusable,), _photos, HEADERS),
    Target("crop", _read_crop, (ValueError,), _crops, HEADERS, 1 << 15),
    Target("video", _read_video, (Unusable,), _videos, VIDEO_WORDS, 1 << 14),
    Target("hdf5", _read_video, (Unusable,), _recordings, (b"OHDR", b"TREE", b"HEAP", b"SNOD", b"Frame_0", b"array"),
           1 << 14),
    Target("map", _read_map, (ValueError,), _maps, NPY_WORDS, 1 << 16),
)  # fmt: skip
