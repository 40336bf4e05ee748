"""Convert a decoded frame to `[H, W, 3] uint8` RGB as it is displayed: fields, colours, pixel shape, rotation.

Colours are converted with the matrix and the range that the frame names. Without them, FFmpeg's defaults apply (BT.601,
limited range), as in every player that uses it.
"""

import struct
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from fsfm_jax.prepare.media import hdr
from fsfm_jax.prepare.media.libav import FAILURES
from fsfm_jax.prepare.media.photo_file import check_size
from fsfm_jax.prepare.media.unusable import Unusable

# Shapes of a pixel, width over height. Closer to a square it is a rounding of some encoder, and further off an error.
SQUARE, STRANGE = Fraction(1, 50), 4
BT2020, BT2020_MATRICES = 9, (9, 10)  # of ITU-T H.273
PAPER = 255  # what is seen through transparent parts


@dataclass(frozen=True)
class Shape:
    """The common shape of all pictures of a video: height and width before rotation."""

    height: int
    width: int


def shape_of(frame: av.VideoFrame, pixel: Fraction | None) -> Shape:
    """Return the shape of the first frame, stretched so that pixels of the aspect `pixel` become square.

    Raises:
      Unusable: "too_large" or "no_pixels".
    """
    height, width = frame.height, frame.width
    if pixel and pixel > 0 and abs(pixel - 1) >= SQUARE and Fraction(1, STRANGE) <= pixel <= STRANGE:
        height, width = (height, round(width * pixel)) if pixel > 1 else (round(height / pixel), width)
    check_size(height, width)
    return Shape(height, width)


class Pictures:
    """A converter of the frames of one video to pictures.

    Attributes:
      notes: remarks for the report on how the pictures so far were made, each phrase once.
    """

    def __init__(self, shape: Shape):
        self._shape = shape
        self.notes: tuple[str, ...] = ()
        self._reformatter = VideoReformatter()
        self._graph, self._graph_of = None, None

    def picture(self, frame: av.VideoFrame) -> np.ndarray:
        """Convert a frame to `[H, W, 3] uint8` RGB.

        Raises:
          Unusable: "damaged", "too_large" or "no_pixels".
        """
        check_size(frame.height, frame.width)
        orientation = orientation_of(frame)
        if orientation is None:
            self._note("rotation by an odd angle ignored")
        try:
            if frame.interlaced_frame:
                self._note("deinterlaced")
                frame = self._field(frame)
            image = self._colours(frame)
        except FAILURES as error:
            raise Unusable("damaged", f"the colours ({frame.format.name}) cannot be converted: {error}") from error
        return np.ascontiguousarray(_upright(image, orientation))

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes += (note,)

    def _field(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Return the upper field, of half the height, which is then scaled to the height of the frame.

        Better deinterlacing uses the neighbouring frames, and would depend on how the frame was reached.
        """
        if (kind := (frame.width, frame.height, frame.format.name)) != self._graph_of:
            graph = av.filter.Graph()
            graph.threads = 1
            source = graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25)
            )
            graph.link_nodes(source, graph.add("field", "type=top"), graph.add("buffersink")).configure()
            self._graph, self._graph_of = graph, kind
        self._graph.push(frame)
        return self._graph.pull()

    def _colours(self, frame: av.VideoFrame) -> np.ndarray:
        if frame.color_trc in (hdr.HLG, hdr.PQ):
            # Both are defined with the colours of BT.2020; some files name the curve alone.
            matrix = None if frame.colorspace in BT2020_MATRICES or _is_rgb(frame) else Colorspace.BT2020
            self._note("HDR tone-mapped")
            return hdr.tone_mapped(self._convert(frame, "rgb48le", matrix), frame.color_trc)
        if frame.colorspace in BT2020_MATRICES or frame.color_primaries == BT2020:
            self._note("colours of BT.2020 taken as those of ordinary video")
        if _has_alpha(frame):
            image = self._convert(frame, "rgba")
            alpha = image[..., 3:].astype(np.uint16)
            if alpha.min() == 255:
                return image[..., :3]
            self._note("transparent parts shown white")
            return ((image[..., :3] * alpha + PAPER * (255 - alpha) + 127) // 255).astype(np.uint8)
        return self._convert(frame, "rgb24")

    def _convert(self, frame: av.VideoFrame, form: str, matrix: Colorspace | None = None) -> np.ndarray:
        """Convert to `[H, W, C]` in a packed format; PyAV raises the converter's errors, so every pixel is written."""
        made = self._reformatter.reformat(
            frame,
            self._shape.width,
            self._shape.height,
            form,
            src_colorspace=matrix,
            interpolation=Interpolation.BICUBIC,
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )
        return made.to_ndarray()


def orientation_of(frame: av.VideoFrame) -> tuple[int, int, int, int] | None:
    """Return the display matrix of a frame: `(a, b, c, d)` of `x' = a x + c y, y' = b x + d y` in -1, 0 and 1.

    None if it is no combination of quarter turns and mirrors.
    """
    side = frame.side_data.get(Type.DISPLAYMATRIX)
    if side is None or len(data := bytes(side)) < 36:
        return (1, 0, 0, 1)
    a, b, _, c, d = (value / 65536 for value in struct.unpack_from("=5i", data))
    largest = max(map(abs, (a, b, c, d)))
    if not largest:
        return (1, 0, 0, 1)
    signs = tuple(round(value / largest) for value in (a, b, c, d))
    return signs if [abs(sign) for sign in signs] in ([1, 0, 0, 1], [0, 1, 1, 0]) else None


def _upright(image: np.ndarray, orientation: tuple[int, int, int, int] | None) -> np.ndarray:
    a, b, c, d = orientation or (1, 0, 0, 1)
    if a == 0:  # columns become rows
        image = image.transpose(1, 0, 2)
        across, down = c, b
    else:
        across, down = a, d
    return image[::down, ::across]


def _has_alpha(frame: av.VideoFrame) -> bool:
    # The palette of "pal8" may have alpha; of a video it has none that means anything.
    return any(part.is_alpha for part in frame.format.components) and frame.format.name != "pal8"


def _is_rgb(frame: av.VideoFrame) -> bool:
    return frame.format.is_rgb
