"""Make the view of a face for a network: unchanged, crop, flip, colour (FSFM supplement, C.2).

The online and the target network each have a view. One draw moves photo and parsing map of a view, so masks stay
aligned with the photo. Every draw is a function of (seed, view, position in the stream).
"""

import dataclasses

import numpy as np

from fsfm_jax import records, regions
from fsfm_jax.data import transforms
from fsfm_jax.data.colour import ColourSpec, apply_colour, draw_colour

ONLINE, TARGET = "", "target "  # prefixes of their random streams


@dataclasses.dataclass(frozen=True)
class ViewSpec:
    """How a view is made.

    Attributes:
      crop: whether to take a random resized crop, a fifth of the face or more.
      flip: whether to mirror with probability 1/2.
      colour: whether to apply jitter, grey and blur, to the photo only.
    """

    crop: bool = False
    flip: bool = False
    colour: bool = False

    @property
    def moves(self) -> bool:
        """Return whether the view moves pixels relative to the stored photo."""
        return self.crop or self.flip


WHOLE = ViewSpec()


def make_view(
    view: ViewSpec, whose: str, image: np.ndarray, example: dict, seed: int, size: int, patch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Make the photo and the class bits of a view, `[size, size, 3] uint8` and `[N] uint16`.

    Args:
      whose: `ONLINE` or `TARGET`; their draws are independent.
      image: the decoded photo of `example`, which has the parsing map, class bits and position.
    """
    position, bits = example[records.POSITION], example[records.REGION_BITS]
    if view.moves:
        drawn = transforms.draw_crop(records.IMAGE_SIZE, position, seed, stream=f"{whose}crop")
        drawn = dataclasses.replace(drawn, flip=drawn.flip and view.flip)
        if view.crop:
            image, parsing_map = transforms.apply_crop(drawn, image, example[records.PARSING_MAP], size)
        else:
            image, parsing_map = transforms.resize_pair(image, example[records.PARSING_MAP], size)
            image, parsing_map = transforms.flip_pair(image, parsing_map) if drawn.flip else (image, parsing_map)
        bits = regions.patch_bits(parsing_map, patch_size)
    elif (size, patch_size) != (records.IMAGE_SIZE, records.BITS_PATCH_SIZE):
        image, parsing_map = transforms.resize_pair(image, example[records.PARSING_MAP], size)
        bits = regions.patch_bits(parsing_map, patch_size)
    if view.colour:
        image = apply_colour(draw_colour(ColourSpec(), position, seed, f"{whose}colour"), image)
    return image, bits
