"""What is done to a photo and its parsing map together: another size, and the optional random crop and flip.

The released code has the same augmentation for the photo only, which would pull masks and faces apart.
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
    """A box in pixels and whether it is mirrored afterwards."""

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
    """Random resized crop of a `size` x `size` image: share of the area uniform in `area`, aspect log-uniform in
    `ratio`, ten tries, else the whole image; mirrored with probability 1/2. A function of (seed, stream, position)."""
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
    """Resizes a photo, `[S, S, 3] uint8`, bicubic, and its map, `[S, S] uint8`, nearest, to `size`.

    Both sample at the centres of pixels, so that masks stay on what they are of.
    """
    if image.shape[0] == size:
        return image, parsing_map
    nearest = Image.fromarray(parsing_map).resize((size, size), Image.Resampling.NEAREST)
    return resize_whole(image, size), np.array(nearest)


def apply_crop(
    crop: Crop, image: np.ndarray, parsing_map: np.ndarray, size: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Crops both, `[S, S, 3] uint8` bicubic and `[S, S] uint8` nearest, to `size`, by default the size they had.

    Raises:
      ValueError: an image or a map of another kind, or of another size than the other.
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
    """Mirrors a photo, `[H, W, 3] uint8`, and its map, `[H, W] uint8`, whose left and right classes change places."""
    return np.ascontiguousarray(image[:, ::-1]), regions.flip_map(parsing_map)
