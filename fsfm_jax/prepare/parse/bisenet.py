"""Parse faces with a BiSeNet trained on CelebAMask-HQ: the user's ONNX file, run by `onnxruntime`.

Needs neither torch nor a GPU. The files known to fit are resnet18.onnx and resnet34.onnx of
github.com/yakhyo/face-parsing, the ones that package `uniface` downloads.
"""

import hashlib
from pathlib import Path

import cv2
import numpy as np

from fsfm_jax import records
from fsfm_jax.prepare.crop import Detection, NoFace, Square
from fsfm_jax.regions import CELEBAMASK_CLASSES, CLASS_OF_CELEBAMASK, CLASSES, FLIPPED_CLASS, SKIN

PACKAGE = "onnxruntime==1.32.0"
# Mean and deviation of ImageNet, channels R, G, B.
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
# The model was trained on heads with more around them than the papers' crop has. By the eyes and mouths of portraits,
# the frame of CelebA-HQ is this many crops wide, and its centre this many crops above that of the crop.
FRAME, ABOVE = 1.33, 0.115
RIGHT = [CLASSES.index("right_brow"), CLASSES.index("right_eye")]
LEFT = [CLASSES.index("left_brow"), CLASSES.index("left_eye")]


class BisenetParser:
    """A BiSeNet with one input `[1, 3, N, N] float32` and, as first output, logits `[1, 19, n, n]`.

    Raises:
      FileNotFoundError: the file with the model is missing.
      RuntimeError: package `onnxruntime` is not installed.
      ValueError: the model has another input.
    """

    name = "bisenet"

    def __init__(self, weights: str):
        path = Path(weights)
        if not weights or not path.is_file():
            raise FileNotFoundError(
                "parser bisenet: expected resnet18.onnx or resnet34.onnx (release weights of "
                f"github.com/yakhyo/face-parsing) as --parser_weights=FILE, found no file {weights!r}; "
                "nothing is downloaded"
            )
        try:
            import onnxruntime
        except ImportError as error:
            raise RuntimeError(f"parser bisenet needs {PACKAGE} ({error}): pip install {PACKAGE}") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # one process per core
        options.log_severity_level = 3  # errors
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        entry = self._session.get_inputs()[0]
        shape = list(entry.shape)
        if len(shape) != 4 or shape[1] != 3 or not isinstance(shape[2], int) or shape[2] != shape[3]:
            raise ValueError(f"parser bisenet: expected a model with an input [1, 3, N, N], found {shape} in {weights}")
        self._input, self._side = entry.name, shape[2]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self.version = f"BiSeNet {path.name} sha256 {digest[:16]}, onnxruntime {onnxruntime.__version__}"

    def __call__(self, image: np.ndarray, box: Detection, square: Square, size: int) -> np.ndarray:
        """Return the parsing map `[size, size] uint8` of the crop `square` of a picture `[H, W, 3] uint8`.

        Raises:
          NoFace: the model finds no skin in the crop.
          ValueError: the model has other classes.
        """
        records.check_image(image)
        frame = frame_of(square)
        part = cv2.resize(
            cut_frame(image, frame),
            (self._side, self._side),
            interpolation=cv2.INTER_AREA if frame.size > self._side else cv2.INTER_LINEAR,
        )
        pixels = (part.astype(np.float32) / np.float32(255) - MEAN) / DEVIATION
        logits = self._session.run(None, {self._input: np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])})[0]
        if logits.ndim != 4 or logits.shape[:2] != (1, len(CELEBAMASK_CLASSES)):
            raise ValueError(
                f"parser bisenet: expected logits [1, {len(CELEBAMASK_CLASSES)}, n, n], found {list(logits.shape)}"
            )
        labels = crop_of(logits[0].astype(np.float32), frame, square, size).argmax(0)
        parsing_map = sides_by_place(CLASS_OF_CELEBAMASK[labels])
        if not (parsing_map == SKIN).any():
            raise NoFace(f"parser bisenet: no skin in the crop {square}")
        return parsing_map


def frame_of(square: Square) -> Square:
    """Return the model's input square for a crop; it may reach outside the picture."""
    size = round(square.size * FRAME)
    border = (size - square.size) // 2
    return Square(square.x - border, square.y - border - round(square.size * ABOVE), size)


def cut_frame(image: np.ndarray, frame: Square) -> np.ndarray:
    """Cut the frame `[size, size, 3]` of a picture `[H, W, 3]`; pixels outside repeat the picture's edge."""
    height, width = image.shape[:2]
    rows = np.clip(np.arange(frame.y, frame.y + frame.size), 0, height - 1)
    columns = np.clip(np.arange(frame.x, frame.x + frame.size), 0, width - 1)
    return image[rows[:, None], columns]


def crop_of(logits: np.ndarray, frame: Square, square: Square, size: int) -> np.ndarray:
    """Interpolate logits `[C, n, n]` of a frame at the pixels of the crop, `[C, size, size]`, bilinearly.

    The centre of pixel j of `size` is at (j + 0.5) * square.size / size - 0.5 in the crop.
    """
    scale = logits.shape[1] / frame.size
    centres = (np.arange(size) + 0.5) * (square.size / size)
    x = ((square.x - frame.x + centres) * scale - 0.5).astype(np.float32)
    y = ((square.y - frame.y + centres) * scale - 0.5).astype(np.float32)
    columns, rows = np.meshgrid(x, y)
    return np.stack(
        [cv2.remap(part, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for part in logits]
    )


def sides_by_place(parsing_map: np.ndarray) -> np.ndarray:
    """Exchange right and left in the map if the right brow and eye are to the right of the left ones.

    The right side of a person is on the left of the picture. What CelebAMask-HQ calls left was not to be found out.
    """
    right, left = (np.isin(parsing_map, side).nonzero()[1] for side in (RIGHT, LEFT))
    if len(right) and len(left) and right.mean() > left.mean():
        return FLIPPED_CLASS[parsing_map]
    return parsing_map
