"""Make faces from a photo or video: decode, detect, crop, parse, encode.

Nothing is dropped silently: for every photo, frame or video without a face, an `Incident` gives the reason. Broken
files raise no errors here, apart from a crash of the decoder itself.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from fsfm_jax import records
from fsfm_jax.data.folder import load_parsing_map
from fsfm_jax.data.photo import READ_FLAGS, encode_jpeg, encode_png, encoding_of, read_header
from fsfm_jax.prepare.crop import Detection, NoFace, Square, cut, square_of
from fsfm_jax.prepare.detect.detector import Detector, make_detector, searched_size
from fsfm_jax.prepare.example import Face
from fsfm_jax.prepare.manifests.manifest import Item
from fsfm_jax.prepare.media.apart import HERE, Decoders
from fsfm_jax.prepare.media.borders import without_black_borders
from fsfm_jax.prepare.media.photo_format import START_LENGTH, format_of
from fsfm_jax.prepare.media.raw_file import first_bytes
from fsfm_jax.prepare.media.unusable import Unusable
from fsfm_jax.prepare.options import GIVEN, NONE, Options
from fsfm_jax.prepare.parse.parser import Parser, make_parser
from fsfm_jax.prepare.sampling import PHOTO, chains

JPEG_QUALITY = 95
PNG_COMPRESSION = 6
# Filtered pixels of photographs have no long repetitions: looking for none is four times as fast, at 3 % more bytes.
PNG_STRATEGY = cv2.IMWRITE_PNG_STRATEGY_RLE
# Errors of the libraries for pictures that they cannot process; any other error is a bug and ends the run.
FAILURES = (ValueError, RuntimeError, ArithmeticError, IndexError, MemoryError, OSError, cv2.error)

DROPPED, NOTED = "dropped", "noted"
# Reasons of this file; those of unusable files are in `unusable.REASONS`.
REASONS = {
    "no_face": "the detector found no face",
    "several_faces": "the detector found several faces; the one with the highest score was kept",
    "not_parsed": "the parser saw no face in the detector's box",
    "outside": "the detector's box lies outside of the picture",
    "frame_count": "the container does not say how many frames there are; they were counted",  # in older records
    "reservation": "what was decoded with a reservation, such as HDR that was tone-mapped or a file that is cut",
    "bad_map": "the ready-made parsing map is damaged or not one",
    "next_frame": "no face in the frame that was asked for; a later one was kept",
    "failed": "detector, parser or encoder failed",
    "died": "the process died at this file, twice",
}


@dataclass(frozen=True)
class Incident:
    """A record of something that was dropped, or kept with a note."""

    path: str
    frame: int
    outcome: str  # DROPPED or NOTED
    reason: str
    detail: str = ""


class FaceMaker:
    """A maker of faces from items; it holds the detector and the parser, which take a second to load."""

    def __init__(self, options: Options, decoders: Decoders = HERE):
        self._options, self._decoders = options, decoders
        self._detector: Detector | None = make_detector(options.detector) if options.detector != NONE else None
        self._parser: Parser | None = (
            make_parser(options.parser, options.parser_weights) if options.parser not in (NONE, GIVEN) else None
        )
        # With one process per core, OpenCV threads gain nothing, and sums may depend on their number.
        cv2.setNumThreads(1)

    def __call__(self, root: Path, item: Item) -> Iterator[Face | Incident]:
        """Yield the faces of one item below `root`, and an incident for each failure or note."""
        try:
            if item.sampling == PHOTO or _is_photo(root / item.path):
                yield from self._of_photo(root, item)
            else:
                yield from self._of_video(root, item)
        except Unusable as error:
            yield Incident(item.path, item.frame, DROPPED, error.reason, str(error))

    def _of_photo(self, root: Path, item: Item) -> Iterator[Face | Incident]:
        photo = self._decoders.read_photo(root / item.path)
        for note in photo.notes:
            yield Incident(item.path, item.frame, NOTED, "reservation", note)
        image = photo.image
        if self._detector is None:
            yield from self._of_crop(image, item, item.frame, root)
        else:
            yield from self._of_picture(image, item, item.frame)

    def _of_video(self, root: Path, item: Item) -> Iterator[Face | Incident]:
        with self._decoders.open_video(root / item.path) as video:
            for chain in chains(item.sampling, video.count):
                yield from self._of_chain(video, item, chain)
            for note in video.notes:  # known when the frames have been decoded
                yield Incident(item.path, item.frame, NOTED, "reservation", note)

    def _of_chain(self, video, item: Item, chain: range) -> Iterator[Face | Incident]:
        """Yield the first frame of a chain that has a face; if none has, the incidents of the last frame tried."""
        outcome: list[Face | Incident] = []
        for frame in chain:
            try:
                image = video.read(frame)
                of = self._of_crop if self._detector is None else self._of_picture
                outcome = list(of(image, item, frame))
            except Unusable as error:
                outcome = [Incident(item.path, frame, DROPPED, error.reason, str(error))]
            if any(isinstance(part, Face) for part in outcome):
                if frame != chain.start:
                    yield Incident(item.path, chain.start, NOTED, "next_frame", f"frame {frame} was kept")
                break
        yield from outcome

    def _of_picture(self, image: np.ndarray, item: Item, frame: int) -> Iterator[Face | Incident]:
        def dropped(reason: str, detail: str = "") -> Incident:
            return Incident(item.path, frame, DROPPED, reason, detail)

        try:
            found = self._detector(image)
            if not found:
                yield dropped("no_face", _describe_search(*image.shape[:2]))
                return
            try:
                square = square_of(found[0], *image.shape[:2], self._options.scale)
            except ValueError as error:
                yield dropped("outside", str(error))
                return
            face = self._face(image, found[0], square, item, frame)
        except NoFace as error:
            yield dropped("not_parsed", str(error))
            return
        except FAILURES as error:
            yield dropped("failed", f"{type(error).__name__}: {error}")
            return
        if len(found) > 1:
            yield Incident(item.path, frame, NOTED, "several_faces", f"{len(found)} faces")
        yield face

    def _face(self, image: np.ndarray, box: Detection, square: Square, item: Item, frame: int) -> Face:
        crop = cut(image, square, self._options.image_size)
        parsing_map = self._parser(image, box, square, records.IMAGE_SIZE) if self._parser is not None else None
        return Face(
            image=self._encode(crop),
            parsing_map=parsing_map,
            source=item.path,
            video=item.video,
            frame=frame,
            label=item.label,
            method=item.method,
            box=(box.left, box.top, box.right, box.bottom),
            crop=(square.x, square.y, square.size),
            score=box.score,
        )

    def _of_crop(
        self, image: np.ndarray, item: Item, frame: int, root: Path | None = None
    ) -> Iterator[Face | Incident]:
        """Yield a picture that already is a face crop; the bytes of a file below `root` are kept where possible."""

        def dropped(reason: str, error: Exception) -> Incident:
            return Incident(item.path, frame, DROPPED, reason, f"{type(error).__name__}: {error}")

        if self._options.black_borders:
            image = without_black_borders(image)
        try:
            parsing_map = load_parsing_map(root / item.parsing_map) if self._options.parser == GIVEN else None
        except FAILURES as error:
            yield dropped("bad_map", error)
            return
        try:
            crop = _resize(image, self._options.image_size)
            if self._parser is not None:
                parsing_map = self._parser(crop, _whole(crop), Square(0, 0, crop.shape[0]), records.IMAGE_SIZE)
            data = self._encode(crop) if root is None else self._keep_file(root / item.path, crop)
        except NoFace as error:
            yield dropped("not_parsed", error)
            return
        except FAILURES as error:
            yield dropped("failed", error)
            return
        yield Face(data, parsing_map, item.path, item.video, frame, item.label, item.method)

    def _keep_file(self, path: Path, crop: np.ndarray) -> bytes:
        """Return the file if it has the requested encoding and every reader decodes it to `crop`; else encode it."""
        data = path.read_bytes()
        kept = ("jpeg",) if self._options.image_encoding == "jpeg" else ("png", "jpeg")
        # Readers of records ignore an EXIF rotation, so such a photo is encoded again.
        fits = encoding_of(data) in kept and read_header(data, path.name).plain
        if fits and np.array_equal(stored_pixels(data), crop):
            return data
        return self._encode(crop)

    def _encode(self, crop: np.ndarray) -> bytes:
        if self._options.image_encoding == "jpeg":
            return encode_jpeg(crop, JPEG_QUALITY)
        return encode_png(crop, PNG_COMPRESSION, PNG_STRATEGY)


def _is_photo(path: Path) -> bool:
    """Return whether a file named as a video is a photo, by its content."""
    try:
        return format_of(first_bytes(path, START_LENGTH)) is not None
    except Unusable:
        return False  # the video reader gives the reason


def _describe_search(height: int, width: int) -> str:
    rows, columns = searched_size(height, width)
    return "" if (rows, columns) == (height, width) else f"{width}x{height} pixels were searched at {columns}x{rows}"


def stored_pixels(data: bytes) -> np.ndarray | None:
    """Decode `data` as a reader of records does, `[H, W, 3] uint8`; None if it cannot."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), READ_FLAGS)


def _whole(image: np.ndarray) -> Detection:
    """Return a box around the whole picture, for a face crop."""
    height, width = image.shape[:2]
    return Detection(0, 0, width - 1, height - 1, math.nan)


def _resize(image: np.ndarray, size: int | None) -> np.ndarray:
    if size is None or image.shape[:2] == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))
