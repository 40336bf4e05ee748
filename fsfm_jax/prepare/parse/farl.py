"""Parse faces with FaRL, the parser of FSFM's preprocessing: package `pyfacer`, with the user's weight file.

The classes of its LaPa model are ours, in our order. As in FSFM's preprocessing it sees the crop at the
size of the map, and nothing around it; the five points that it aligns the face by are BlazeFace's here.
"""

import hashlib
from pathlib import Path

import numpy as np

from fsfm_jax import records
from fsfm_jax.prepare.crop import Detection, NoFace, Square, cut
from fsfm_jax.prepare.detect.blazeface import BlazeFace, edges_of

MODEL = "farl/lapa/448"
PACKAGE = "pyfacer==0.0.5"
WEIGHTS = "face_parsing.farl.lapa.main_ema_136500_jit191.pt"
# What the model calls our 11 classes.
LABELS = ["background", "face", "rb", "lb", "re", "le", "nose", "ulip", "imouth", "llip", "hair"]
# From the middle of the mouth to its corners, in distances of the eyes: as in the face that the model aligns to.
HALF_MOUTH = 0.3


class FarlParser:
    """FaRL's LaPa model from a local file; on a GPU if torch sees one.

    Raises:
      FileNotFoundError: the file with the weights is missing.
      RuntimeError: package `pyfacer`, or one that it needs, is not installed.
      ValueError: the model has other classes.
    """

    name = "farl"

    def __init__(self, weights: str):
        path = Path(weights)
        if not weights or not path.is_file():
            raise FileNotFoundError(
                f"parser farl: expected the weights {WEIGHTS} (release models-v1 of github.com/FacePerceiver/facer) as "
                f"--parser_weights=FILE, found no file {weights!r}; nothing is downloaded"
            )
        try:
            import facer
            import torch
        except ImportError as error:
            # Its opencv-python would overwrite the cv2 of opencv-python-headless.
            raise RuntimeError(
                f"parser farl needs {PACKAGE} ({error}): pip install --no-deps {PACKAGE}, then "
                "pip install torch torchvision timm validators matplotlib scikit-image ipywidgets"
            ) from error
        self._torch = torch
        torch.set_num_threads(1)  # one process per core
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._parser = facer.face_parser(MODEL, device=device, model_path=str(path))
        self._network = BlazeFace()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self.version = f"FaRL {MODEL} ({PACKAGE}, torch {torch.__version__}, {device}), sha256 {digest[:16]}"

    def __call__(self, image: np.ndarray, box: Detection, square: Square, size: int) -> np.ndarray:
        """Return the parsing map `[size, size] uint8` of the crop `square` of a picture `[H, W, 3] uint8`.

        Raises:
          NoFace: BlazeFace finds no points in the box, or the model no skin.
        """
        records.check_image(image)
        face = self._network.inside(image, edges_of(box))
        if face is None:
            raise NoFace(f"parser farl: BlazeFace sees no face in {box}, so there are no points to align it by")
        # In both, a pixel j reaches from j to j + 1.
        points = (five_points(face.points) - (square.x, square.y)) * (size / square.size)
        logits = self._logits(cut(image, square, size), points)
        parsing_map = logits.argmax(0).astype(np.uint8)
        if not (parsing_map == LABELS.index("face")).any():
            raise NoFace(f"parser farl: no skin in the crop {square}")
        return parsing_map

    def _logits(self, crop: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Compute `[11, size, size]` from a crop `[size, size, 3] uint8` and five points in it."""
        torch, size = self._torch, crop.shape[0]
        # Not as uint8: such a picture is refused when it is black.
        pixels = np.ascontiguousarray(crop.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255))
        device = self._parser.device
        faces = {
            "rects": torch.tensor([[0.0, 0.0, float(size), float(size)]]).to(device),
            "points": torch.from_numpy(points[None].astype(np.float32)).to(device),
            "scores": torch.tensor([1.0]).to(device),
            "image_ids": torch.tensor([0]).to(device),
        }
        segmentation = self._parser(torch.from_numpy(pixels).to(device), faces)["seg"]
        if list(segmentation["label_names"]) != LABELS:
            raise ValueError(f"parser farl: expected the classes {LABELS}, found {segmentation['label_names']}")
        return segmentation["logits"][0].cpu().numpy()


def five_points(points: np.ndarray) -> np.ndarray:
    """Return the eyes, the nose and the corners of the mouth, `[5, 2]`, from BlazeFace's points `[6, 2]`.

    Each pair starts with the person's right. BlazeFace knows only the middle of the mouth; its corners are
    put on a line parallel to that of the eyes.
    """
    right_eye, left_eye, nose, mouth = points[:4]
    half = HALF_MOUTH * (left_eye - right_eye)
    return np.stack([right_eye, left_eye, nose, mouth - half, mouth + half])
