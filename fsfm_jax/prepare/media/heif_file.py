"""Decode HEIC photos, as phones take them, with libheif and libde265.

libheif applies the rotation, mirroring and cropping of the file; the EXIF orientation does not count in this format.
libde265 does not report damaged data: a broken tile is decoded to arbitrary pixels.
"""

import io
from collections.abc import Callable

import av
import numpy as np
import pi_heif

from fsfm_jax.prepare.media import iso_boxes
from fsfm_jax.prepare.media.picture import Picture
from fsfm_jax.prepare.media.unusable import Unusable
from fsfm_jax.text import plain

MODES = ("RGB", "RGBA", "L", "LA")


def read_heif(data: bytes, check_size: Callable[[int, int], None]) -> Picture:
    """Decode the primary picture of a HEIC file; `check_size` refuses a height and width before that.

    Raises:
      Unusable: "truncated", "damaged", "unsupported_pixels" or what `check_size` raises.
    """
    if not iso_boxes.is_whole(data):
        raise Unusable("truncated", f"the end of the HEIC is missing after {len(data)} bytes")
    frames = iso_boxes.sequence_length(data)
    if frames and not iso_boxes.has_still(data):
        return _first_frame(data, frames, check_size)
    try:
        file = pi_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True)
        opened = file[file.primary_index]
        width, height = opened.size
        check_size(height, width)
        image, info = opened.to_pillow(), opened.info
    except Unusable:
        raise
    except Exception as error:  # pi_heif passes on errors of libheif in several types
        raise Unusable("damaged", f"the HEIC decoder failed: {plain(str(error))[:200]}") from error
    if image.mode not in MODES:
        raise Unusable("unsupported_pixels", f"expected colours or grey of 8 bits, found {image.mode}")
    pixels = np.asarray(image)
    if pixels.shape[:2] != (height, width):
        raise Unusable("damaged", f"the HEIC header tells {height}x{width}, the data {pixels.shape[:2]}")
    grey = image.mode.startswith("L")
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    colour = np.repeat(pixels[..., :1], 3, axis=2) if grey else pixels[..., :3]
    alpha = np.ascontiguousarray(pixels[..., -1]) if image.mode.endswith("A") else None
    notes: tuple[str, ...] = ()
    if frames > 1:
        notes = (f"first of {frames} frames",)
    elif len(file) > 1:
        notes = (f"one of {len(file)} pictures",)
    profile = info.get("icc_profile") or None
    return Picture(np.ascontiguousarray(colour), alpha, profile, iso_boxes.colour_signal(data), notes)


def _first_frame(data: bytes, frames: int, check_size: Callable[[int, int], None]) -> Picture:
    """Decode the first frame of a sequence without a still picture, which libheif does not open, by FFmpeg."""
    try:
        # From memory, and no other format: a file cannot lead FFmpeg to another one.
        with av.open(io.BytesIO(data), format="mov") as container:
            stream = container.streams.video[0]
            check_size(stream.height, stream.width)
            stream.codec_context.options = {"err_detect": "explode"}
            stream.codec_context.thread_count = 1
            frame = next(container.decode(stream))
            check_size(frame.height, frame.width)
            image = frame.to_ndarray(format="rgb24")
    except Unusable:
        raise
    except Exception as error:  # PyAV passes on FFmpeg's errors in several types
        words = plain(str(error))[:200] or type(error).__name__
        raise Unusable("damaged", f"the first frame of the HEIC sequence cannot be decoded: {words}") from error
    notes = (f"first of {frames} frames",) if frames > 1 else ()
    return Picture(image, signal=iso_boxes.colour_signal(data), notes=notes)
