"""Make face parsers by name, with a common interface."""

from typing import Protocol

import numpy as np

from fsfm_jax.prepare.crop import Detection, Square
from fsfm_jax.text import did_you_mean

PARSERS = {
    "embedded": "face mesh, matte and colours, with bundled models: nothing to install",
    "farl": "FaRL on LaPa, the parser of FSFM's preprocessing: pyfacer, torch and your weight file",
    "bisenet": "BiSeNet on CelebAMask-HQ: onnxruntime and your ONNX file",
    "boxes": "boxes around the eyes, nose and mouth: no parser at all, for comparisons (fsfm analyze parsers)",
}


class Parser(Protocol):
    """A parser that labels every pixel of a face crop with its part of the face."""

    name: str
    version: str  # recorded in the data card

    def __call__(self, image: np.ndarray, box: Detection, square: Square, size: int) -> np.ndarray:
        """Return the parsing map `[size, size] uint8` of the crop `square` of a picture `[H, W, 3] uint8` RGB.

        Output pixel j has its centre at (j + 0.5) * square.size / size - 0.5 in the crop. Labels are
        those of `regions.CLASSES`.

        Raises:
          NoFace: the parser sees no face in the box.
        """


def make_parser(name: str, weights: str = "") -> Parser:
    """Make the parser of a name; `weights` is its weight file if it has no bundled one.

    Raises:
      ValueError: the name is unknown, or weights are given to a parser with bundled ones.
      FileNotFoundError: the file with the weights is missing.
      RuntimeError: a package that the parser needs is not installed.
    """
    if name == "embedded":
        if weights:
            raise ValueError(f"parser embedded: has its own models, found weights {weights!r}; leave them out")
        from fsfm_jax.prepare.parse.embedded import EmbeddedParser

        return EmbeddedParser()
    if name == "boxes":
        if weights:
            raise ValueError(f"parser boxes: has no weights of its own, found weights {weights!r}; leave them out")
        from fsfm_jax.prepare.parse.boxes import BoxParser

        return BoxParser()
    if name == "farl":
        from fsfm_jax.prepare.parse.farl import FarlParser

        return FarlParser(weights)
    if name == "bisenet":
        from fsfm_jax.prepare.parse.bisenet import BisenetParser

        return BisenetParser(weights)
    raise ValueError(f"parser {name!r}: expected one of {', '.join(PARSERS)}{did_you_mean(name, PARSERS)}")
