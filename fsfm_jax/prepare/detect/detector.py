"""Make face detectors by name, with a common interface.

`dlib` is the detector of FSFM's preprocessing. It misses turned or low-quality faces, and sometimes detects a round
badge as a face. `dlib+blazeface` draws the same kind of box without these faults.
"""

import math
from typing import Protocol

import cv2
import numpy as np

from fsfm_jax.prepare.crop import Detection
from fsfm_jax.prepare.detect.blazeface import AGREED, LEVELS, OVERLAP, BlazeFace, edges_of, overlap
from fsfm_jax.prepare.detect.dlib_hog import DlibHog
from fsfm_jax.prepare.detect.yunet import YuNet
from fsfm_jax.text import did_you_mean

# Longer side in pixels. A larger picture is searched at this size, which bounds time and memory (200 MB for dlib).
LONGEST = 2048
SMALLEST_SEARCH, LARGEST_SEARCH = 64, 16_384  # allowed range of that size

YUNET = "yunet:FILE"
DETECTORS = {
    "dlib": "dlib HOG, upsampled once: the detector of FSFM's preprocessing",
    "blazeface": "BlazeFace in overlapping windows: fastest, also finds turned, blurred and small faces",
    "dlib+blazeface": "dlib, checked and completed by BlazeFace: misses least, drops what only dlib takes for a face",
    YUNET: "YuNet of OpenCV, with your ONNX file",
}


class Detector(Protocol):
    """A detector of the faces in a picture."""

    name: str
    version: str  # recorded in the data card

    def __call__(self, image: np.ndarray) -> list[Detection]:
        """Return the faces of a picture `[H, W, 3] uint8` RGB, best first; empty if there is none."""


def make_detector(name: str, size: int | None = None) -> Detector:
    """Make the detector of a name.

    Args:
      size: longer side in pixels at which pictures are searched; larger ones are shrunk to it. None: `LONGEST`.
        Above it, twice the size also halves the smallest windows of BlazeFace: a face of 20 pixels in 12 megapixels
        is found at 8192.

    Raises:
      ValueError: the name is unknown, the file of `yunet:FILE` is not a model, or the size is not allowed.
      FileNotFoundError: the file of `yunet:FILE` is missing.
    """
    longest = LONGEST if size is None else size
    if not SMALLEST_SEARCH <= longest <= LARGEST_SEARCH:
        raise ValueError(
            f"detector_size: expected {SMALLEST_SEARCH} to {LARGEST_SEARCH} pixels of the longer side; found {size}"
        )
    kind, _, file = name.partition(":")
    if kind == "yunet" and file:
        return Bounded(YuNet(file), longest)
    levels = LEVELS if longest <= LONGEST else LEVELS + 1 + round(math.log2(longest / LONGEST))
    makers = {
        "dlib": DlibHog,
        "blazeface": lambda: BlazeFaceDetector(levels),
        "dlib+blazeface": lambda: DlibAndBlazeFace(levels),
    }
    if name in makers:
        return Bounded(makers[name](), longest)
    hint = did_you_mean(name, [YUNET] if kind == "yunet" else DETECTORS)
    raise ValueError(f"detector {name!r}: expected one of {', '.join(DETECTORS)}{hint}")


class Bounded:
    """A detector that shrinks pictures above `longest`; boxes are in pixels of the original picture.

    Smaller pictures go to the detector unchanged. Larger pictures are shrunk by area averaging.
    """

    def __init__(self, detector: Detector, longest: int = LONGEST):
        self._detector, self.longest = detector, longest
        self.name = detector.name
        self.version = f"{detector.version}; pictures above {longest} pixels shrunk to it"

    def __call__(self, image: np.ndarray) -> list[Detection]:
        """Return the faces of a picture `[H, W, 3] uint8` RGB, best first.

        Raises:
          ValueError: the picture has another shape or type, or no pixel.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ValueError(f"expected a picture [H, W, 3] uint8, found {list(image.shape)} {image.dtype}")
        height, width = image.shape[:2]
        rows, columns = searched_size(height, width, self.longest)
        if (rows, columns) == (height, width):
            return self._detector(image)
        small = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
        return [_enlarge(box, width / columns, height / rows) for box in self._detector(small)]


def searched_size(height: int, width: int, longest: int | None = None) -> tuple[int, int]:
    """Return height and width at which a picture is searched: its own up to `longest` (None: `LONGEST`) pixels."""
    scale = (LONGEST if longest is None else longest) / max(height, width)
    return (height, width) if scale >= 1 else (max(round(height * scale), 1), max(round(width * scale), 1))


def _enlarge(box: Detection, across: float, down: float) -> Detection:
    """Scale a box to a picture that is `across` times as wide and `down` times as high; edges are inclusive."""
    return Detection(
        round(box.left * across),
        round(box.top * down),
        round((box.right + 1) * across) - 1,
        round((box.bottom + 1) * down) - 1,
        box.score,
    )


class BlazeFaceDetector:
    """BlazeFace, with boxes converted approximately to dlib's."""

    name = "blazeface"
    version = "BlazeFace short range (MediaPipe 0.10.21), in windows"

    def __init__(self, levels: int = LEVELS):
        self._network = BlazeFace(levels)

    def __call__(self, image: np.ndarray) -> list[Detection]:
        """Return the faces of a picture `[H, W, 3] uint8`, best first; scores are between 0 and 1."""
        return [face.detection() for face in self._network.faces(image)]


class DlibAndBlazeFace:
    """dlib's faces that BlazeFace confirms, then those that only BlazeFace finds.

    dlib searches the picture at its size, and upsampled once (four times as slow) only if no face of the first search
    is confirmed.
    Scores: one plus dlib's, or BlazeFace's, which is below one.
    """

    name = "dlib+blazeface"

    def __init__(self, levels: int = LEVELS):
        self._looks = (DlibHog(upsampled=False), DlibHog(upsampled=True))
        self._network = BlazeFace(levels)
        self.version = f"{self._looks[0].version}, or upsampled once; {BlazeFaceDetector.version}"

    def __call__(self, image: np.ndarray) -> list[Detection]:
        """Return the faces of a picture `[H, W, 3] uint8`, best first."""
        seen = [face.detection() for face in self._network.faces(image)]
        sure: list[Detection] = []
        for look in self._looks:
            sure = [box for box in look(image) if _among(box, seen) or self._confirm(image, box)]
            if sure:
                break
        boxes = [Detection(box.left, box.top, box.right, box.bottom, 1 + box.score) for box in sure]
        return boxes + [box for box in seen if not _among(box, sure)]

    def _confirm(self, image: np.ndarray, box: Detection) -> bool:
        return self._network.confirm(image, edges_of(box), AGREED) is not None


def _among(box: Detection, boxes: list[Detection]) -> bool:
    """Return whether a box matches one of the faces."""
    return bool(boxes) and bool(overlap(edges_of(box), np.stack([edges_of(other) for other in boxes])).max() > OVERLAP)
