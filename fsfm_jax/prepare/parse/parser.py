"""Which face parsers there are, by name, and what all of them have in common."""

from typing import Protocol

import numpy as np

from fsfm_jax.prepare.crop import Detection, Square
from fsfm_jax.text import did_you_mean

PARSERS = {
    "embedded": "face mesh, matte and colours, with the models that come along: nothing to install",
    "farl": "FaRL on LaPa, the parser of FSFM's preprocessing: pyfacer, torch and weights that you bring",
    "bisenet": "BiSeNet on CelebAMask-HQ: onnxruntime and an ONNX file that you bring",
    "boxes": "boxes around the eyes, nose and mouth: no parser at all, for comparisons (fsfm analyze parsers)",
}


class Parser(Protocol):
    """Says for every pixel of a face crop which part of the face it belongs to."""

    name: str
    version: str  # what a data card records

    def __call__(self, image: np.ndarray, box: Detection, square: Square, size: int) -> np.ndarray:
        """The parsing map `[size, size] uint8` of the crop `square` of a picture `[H, W, 3] uint8` RGB.

        Output pixel j has its centre at (j + 0.5) * square.size / size - 0.5 in the crop. Labels are
        those of `regions.CLASSES`.

        Raises:
          NoFace: the parser sees no face in the box.
        """


def make_parser(name: str, weights: str = "") -> Parser:
    """The parser of a name, with the file of its weights where it has none of its own.

    Raises:
      ValueError: there is no such name, or weights are given to a parser that has its own.
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
