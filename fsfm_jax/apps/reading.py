"""From a photo or video of a stranger to face crops as a network sees them; what cannot be used says why.

The crops are those of the preparation of training data: the same decoders, detectors, square and resizing. This runs in
a process of its own (`read_worker`), because decoders are written in C and the files come from anybody.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np

from fsfm_jax import records
from fsfm_jax.apps.found_faces import PHOTO, VIDEO, Crop, Miss, Preview, Reading, make_preview
from fsfm_jax.data.resizing import EVALUATIONS, for_evaluation, resize_whole
from fsfm_jax.prepare.crop import SCALE, Detection, NoFace, Square, cut, square_of
from fsfm_jax.prepare.detect.detector import (
    LARGEST_SEARCH,
    LONGEST,
    SMALLEST_SEARCH,
    Detector,
    make_detector,
    searched_size,
)
from fsfm_jax.prepare.media.apart import HERE, Decoders
from fsfm_jax.prepare.media.container import START_LENGTH, container_of
from fsfm_jax.prepare.media.photo_format import PHOTO_FORMATS, no_picture
from fsfm_jax.prepare.media.raw_file import first_bytes
from fsfm_jax.prepare.media.unusable import Unusable
from fsfm_jax.prepare.options import NONE
from fsfm_jax.prepare.parse.parser import Parser, make_parser
from fsfm_jax.prepare.sampling import chains, describe_spacing

LARGEST, SUREST, EVERY = "largest", "surest", "all"
FACES = (LARGEST, SUREST, EVERY)
# Of a picture with more faces the largest or surest of these many are taken; a crowd must not fill the memory.
MOST_FACES = 64
MOST_FRAMES = 1024  # of a video
MOST_CROPS = 4096  # of a file, 600 MB for 224 pixels
MOST_PREVIEWS = 32  # of a video, spread over its frames
LARGEST_PREVIEW = 2048  # pixels of the longer side
# Words that are given here and in `readers`, beside those of `unusable.REASONS`.
REASONS = {
    "no_face": "the detector found no face",
    "not_parsed": "the parser saw no face in the detector's box",
    "failed": "detector, parser or resizing failed",
    "too_many": "the file has more faces than are taken",
    "died": "the process that decoded the file ended, such as for lack of memory",
    "stuck": "the file took too long",
}
# What the libraries raise for a picture they cannot cope with; anything else is a bug of fsfm_jax and ends the process.
FAILURES = (ValueError, RuntimeError, ArithmeticError, IndexError, MemoryError, OSError, cv2.error)


@dataclasses.dataclass(frozen=True)
class Settings:
    """How files are read; in types that JSON has.

    Attributes:
      side: of the network's images in pixels.
      transform: of a crop, as in evaluation: "resize" or "resize_center".
      detector: name of a face detector, or "none": files are face crops already.
      faces: of a picture, "largest", "surest" (which the preparation keeps), or "all".
      frames: of a video, equally spaced.
      scale: side of the crop over that of the detector's box.
      crop_size: side to which crops are resized before `transform`, as in data sets that store them so; None: native.
      parser: name of a face parser, or "none"; with one, `side` is 224 and `transform` "resize".
      parser_weights: file of its weights, where it has none of its own.
      detector_size: longer side in pixels at which pictures are searched, larger ones shrunk to it; None: the
        detector's own. A larger one finds smaller faces and takes more time and memory.
      frame_faces: how many faces of one frame of a video are taken at most, with `faces` "all".
      preview: longer side in pixels of a small picture of a photo, half of it for frames of a video; 0: none is made.

    Raises:
      ValueError: a setting that is not one of those allowed.
    """

    side: int
    transform: str = "resize_center"
    detector: str = "dlib+blazeface"
    faces: str = LARGEST
    frames: int = 32
    scale: float = SCALE
    crop_size: int | None = None
    parser: str = NONE
    parser_weights: str = ""
    detector_size: int | None = None
    frame_faces: int = MOST_FACES
    preview: int = 0

    def __post_init__(self):
        for name, allowed in (("transform", EVALUATIONS), ("faces", FACES)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}: expected one of {', '.join(allowed)}; found {getattr(self, name)!r}")
        if not 1 <= self.frames <= MOST_FRAMES:
            raise ValueError(f"frames: expected 1 to {MOST_FRAMES} of each video; found {self.frames}")
        if not 0.5 <= self.scale <= 5:
            raise ValueError(f"scale: expected 0.5 to 5 times the detector's box; found {self.scale}")
        if self.crop_size is not None and self.crop_size < 1:
            raise ValueError(f"crop_size: expected at least 1 pixel; found {self.crop_size}")
        if self.detector_size is not None and not SMALLEST_SEARCH <= self.detector_size <= LARGEST_SEARCH:
            raise ValueError(
                f"detector_size: expected {SMALLEST_SEARCH} to {LARGEST_SEARCH} pixels; found {self.detector_size}"
            )
        if not 1 <= self.frame_faces <= MOST_FACES:
            raise ValueError(f"frame_faces: expected 1 to {MOST_FACES} of each frame; found {self.frame_faces}")
        if not 0 <= self.preview <= LARGEST_PREVIEW:
            raise ValueError(f"preview: expected 0 to {LARGEST_PREVIEW} pixels; found {self.preview}")
        if self.parser != NONE and (self.side, self.transform) != (records.IMAGE_SIZE, "resize"):
            raise ValueError(
                f"parser: maps are of the whole crop at {records.IMAGE_SIZE} pixels, expected resize to that; found "
                f"{self.transform} to {self.side}"
            )


def _ignore(done: int, of: int) -> None:
    pass


class FaceReader:
    """Reads files; holds the detector and the parser, which take a second to load."""

    def __init__(self, settings: Settings, decoders: Decoders = HERE):
        """Raise ValueError, FileNotFoundError or RuntimeError as `make_detector` and `make_parser`."""
        self._settings, self._decoders = settings, decoders
        self._found: list[tuple[int, int]] = []
        self._previews: list[Preview] = []
        self._asked, self._most = 0, MOST_FACES
        self._detector: Detector | None = (
            None if settings.detector == NONE else make_detector(settings.detector, settings.detector_size)
        )
        self._parser: Parser | None = (
            None if settings.parser == NONE else make_parser(settings.parser, settings.parser_weights)
        )
        cv2.setNumThreads(1)

    def read(
        self, path: str, faces: str | None = None, frames: int | None = None, tell: Callable[[int, int], None] = _ignore
    ) -> Reading:
        """Return the faces of a photo or video; never raises for what is wrong with the file.

        Args:
          faces, frames: for this file, in the place of the settings' own.
          tell: is called with the number of frames of a video that are done, and how many there will be.

        Raises:
          ValueError: `faces` or `frames` that `Settings` refuses.
        """
        usual = self._settings
        self._settings = dataclasses.replace(usual, faces=faces or usual.faces, frames=frames or usual.frames)
        try:
            return self._read(path, tell)
        finally:
            self._settings = usual

    def _read(self, path: str, tell: Callable[[int, int], None]) -> Reading:
        kind, start = "", b""
        self._found, self._previews, self._asked = [], [], 0
        try:
            start = first_bytes(path, START_LENGTH)
            moving = container_of(start) is not None
            kind = VIDEO if moving else PHOTO
            self._most = self._settings.frame_faces if moving else MOST_FACES
            reading = self._of_video(path, tell) if moving else self._of_photo(path)
            return dataclasses.replace(
                reading, found=tuple(self._found), asked=self._asked, previews=tuple(self._previews)
            )
        except Unusable as error:
            unknown = error.reason == "unknown_format"
            detail = str(error)
            if unknown:
                detail = f"neither a photo ({PHOTO_FORMATS}) nor a video"
                detail += f"; {phrase}" if (phrase := no_picture(start)) else ""
            neither = unknown or error.reason == "unsupported_format"
            return Reading(path, "" if neither else kind, reason=error.reason, detail=detail)

    def _of_photo(self, path: str) -> Reading:
        photo = self._decoders.read_photo(path)
        if self._settings.preview:
            self._previews.append(make_preview(photo.image, 0, self._settings.preview))
        found = list(self._faces(photo.image, 0))
        return _reading(path, PHOTO, found, None, photo.image.shape[:2], photo.notes)

    def _of_video(self, path: str, tell: Callable[[int, int], None]) -> Reading:
        found: list[Crop | Miss] = []
        size = (0, 0)
        with self._decoders.open_video(path) as video:
            asked, unread = chains(describe_spacing(self._settings.frames), video.count), 0
            self._asked = len(asked)
            shown = -(-len(asked) // MOST_PREVIEWS)  # every frame, every second and so on
            for number, chain in enumerate(asked):
                tell(number, len(asked))
                if len(found) > MOST_CROPS - MOST_FACES:
                    found.append(Miss(chain.start, "too_many", f"no more than {MOST_CROPS} faces of a file are taken"))
                    break
                try:
                    image = video.read(chain.start)
                except Unusable as error:
                    found.append(Miss(chain.start, error.reason, str(error)))
                    unread += 1
                    if error.reason in ("frame_missing", "crashed"):
                        unread += len(asked) - number - 1
                        break  # nor are those behind it
                    continue
                size = image.shape[:2]
                if self._settings.preview > 1 and number % shown == 0:
                    self._previews.append(make_preview(image, chain.start, self._settings.preview // 2))
                found += self._faces(image, chain.start)
            notes = video.notes
            if 0 < unread < len(asked):
                notes += (f"only {len(asked) - unread} of {len(asked)} frames could be read",)
            return _reading(path, VIDEO, found, video.rate, size, notes)

    def _faces(self, image: np.ndarray, frame: int) -> Iterator[Crop | Miss]:
        if self._detector is None:
            self._found.append((frame, 1))
            yield from self._attempts(frame, [lambda: self._ready_made(image, frame)])
            return
        try:
            boxes = self._boxes(image)
            self._found.append((frame, len(boxes)))
        except FAILURES as error:
            yield Miss(frame, "failed", f"the detector failed: {type(error).__name__}: {error}")
            return
        if not boxes:
            yield Miss(frame, "no_face", "the detector found no face" + self._describe_search(*image.shape[:2]))
        taken = boxes[: self._most if self._settings.faces == EVERY else 1]
        attempts = [functools.partial(self._cut_out, image, frame, number, box) for number, box in enumerate(taken)]
        yield from self._attempts(frame, attempts)

    def _describe_search(self, height: int, width: int) -> str:
        """Say at which size a larger picture was searched, and what to do about it."""
        if max(height, width) <= LONGEST:
            return ""
        size = self._settings.detector_size or LONGEST
        rows, columns = searched_size(height, width, size)
        return (
            f"; {width}x{height} pixels were searched at {columns}x{rows} (--detector_size={size}): raise it for small "
            "faces"
        )

    def _attempts(self, frame: int, attempts: Iterable[Callable[[], Crop]]) -> Iterator[Crop | Miss]:
        for attempt in attempts:
            try:
                yield attempt()
            except NoFace as error:
                yield Miss(frame, "not_parsed", str(error))
            except FAILURES as error:
                yield Miss(frame, "failed", f"{type(error).__name__}: {error}")

    def _boxes(self, image: np.ndarray) -> list[Detection]:
        """Return all faces, those to take first in front; boxes outside of the picture are left out."""
        height, width = image.shape[:2]
        found = [
            box for box in self._detector(image)
            if box.right > 0 and box.bottom > 0 and box.left < width - 1 and box.top < height - 1
        ]  # fmt: skip
        if self._settings.faces != SUREST:
            found.sort(key=lambda box: (box.right - box.left) * (box.bottom - box.top), reverse=True)
        return found

    def _cut_out(self, image: np.ndarray, frame: int, number: int, box: Detection) -> Crop:
        square = square_of(box, *image.shape[:2], self._settings.scale)
        parsing_map = None if self._parser is None else self._parser(image, box, square, records.IMAGE_SIZE)
        pixels = self._transform(cut(image, square, self._settings.crop_size))
        edges = (box.left, box.top, box.right, box.bottom)
        return Crop(frame, number, edges, (square.x, square.y, square.size), float(box.score), pixels, parsing_map)

    def _ready_made(self, image: np.ndarray, frame: int) -> Crop:
        height, width = image.shape[:2]
        whole, parsing_map = (0, 0, width - 1, height - 1), None
        if self._parser is not None:
            side = records.IMAGE_SIZE
            box = Detection(0, 0, side - 1, side - 1, math.nan)
            parsing_map = self._parser(resize_whole(image, side), box, Square(0, 0, side), side)
        pixels = self._transform(image)
        return Crop(frame, 0, whole, (0, 0, min(height, width)), math.nan, pixels, parsing_map)

    def _transform(self, crop: np.ndarray) -> np.ndarray:
        return for_evaluation(self._settings.transform, crop, self._settings.side)


def _reading(
    path: str, kind: str, found: list[Crop | Miss], rate: float | None, size: tuple[int, int], notes: tuple[str, ...]
) -> Reading:
    crops = tuple(one for one in found if isinstance(one, Crop))
    misses = tuple(one for one in found if isinstance(one, Miss))
    reason = detail = ""
    if not crops:
        # What most frames lack is what the file lacks.
        reasons = [miss.reason for miss in misses]
        reason = max(reasons, key=reasons.count) if reasons else "no_frames"
        detail = next((miss.detail for miss in misses if miss.reason == reason), "the video has no frames")
        if kind == VIDEO and len(misses) > 1:
            detail += f" (of {len(misses)} frames)"
    return Reading(path, kind, crops, misses, reason, detail, rate, size, notes)

