"""Transform a photo and its parsing map together: resize, and optionally random crop and flip.

The released code augments only the photo, which would misalign masks and faces.
"""

import dataclasses
import math

import cv2
import numpy as np
from PIL import Image

from fsfm_jax import records, regions
from fsfm_jax.data import counter_random
from fsfm_jax.data.resizing import resize_whole


@dataclasses.dataclass(frozen=True)
class Crop:
    """A box in pixels, and whether it is mirrored afterwards."""

    top: int
    left: int
    height: int
    width: int
    flip: bool


def draw_crop(
    size: int,
    position: int,
    seed: int,
    area: tuple[float, float] = (0.2, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    stream: str = "crop",
) -> Crop:
    """Draw a random resized crop of a `size` x `size` image, a function of (seed, stream, position).

    The share of the area is uniform in `area`, the aspect log-uniform in `ratio`; after ten tries it is the whole
    image. It is mirrored with probability 1/2.
    """
    words = counter_random.words(seed, stream, position, 41)
    uniform = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    flip = bool(uniform[40] < 0.5)
    for share, aspect, row, column in uniform[:40].reshape(10, 4):
        target = size * size * (area[0] + share * (area[1] - area[0]))
        root = math.sqrt(math.exp(math.log(ratio[0]) + aspect * math.log(ratio[1] / ratio[0])))
        height, width = round(math.sqrt(target) / root), round(math.sqrt(target) * root)
        if 0 < height <= size and 0 < width <= size:
            top, left = int(row * (size - height + 1)), int(column * (size - width + 1))
            return Crop(top, left, height, width, flip)
    return Crop(0, 0, size, size, flip)


def resize_pair(image: np.ndarray, parsing_map: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Resize a photo, `[S, S, 3] uint8`, bicubic, and its map, `[S, S] uint8`, nearest, to `size`.

    Both sample at pixel centres, so that photo and map stay aligned.
    """
    if image.shape[0] == size:
        return image, parsing_map
    nearest = Image.fromarray(parsing_map).resize((size, size), Image.Resampling.NEAREST)
    return resize_whole(image, size), np.array(nearest)


def apply_crop(
    crop: Crop, image: np.ndarray, parsing_map: np.ndarray, size: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Crop photo `[S, S, 3] uint8` (bicubic) and map `[S, S] uint8` (nearest) and resize to `size`, by default S.

    Raises:
      ValueError: the image or map has another shape or dtype, or their sizes differ.
    """
    records.check_image(image)
    regions.check_labels(parsing_map)
    if image.shape[:2] != parsing_map.shape or image.shape[0] != image.shape[1]:
        raise ValueError(f"crop: expected a square image and its map; found {image.shape[:2]} and {parsing_map.shape}")
    size = image.shape[0] if size is None else size
    rows, columns = slice(crop.top, crop.top + crop.height), slice(crop.left, crop.left + crop.width)
    image = cv2.resize(image[rows, columns], (size, size), interpolation=cv2.INTER_CUBIC)
    parsing_map = cv2.resize(parsing_map[rows, columns], (size, size), interpolation=cv2.INTER_NEAREST)
    return flip_pair(image, parsing_map) if crop.flip else (image, parsing_map)


def flip_pair(image: np.ndarray, parsing_map: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mirror a photo, `[H, W, 3] uint8`, and its map, `[H, W] uint8`, and swap the map's left and right classes."""
    return np.ascontiguousarray(image[:, ::-1]), regions.flip_map(parsing_map)
