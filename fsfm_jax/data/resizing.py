"""Resize face crops to the network's input size with Pillow, whose filters widen when they shrink an image."""

import numpy as np
from PIL import Image

from fsfm_jax.data.boxes import Box
from fsfm_jax.records import check_image

INTERPOLATIONS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
EVALUATIONS = ("resize", "resize_center")


def resize_box(image: np.ndarray, box: Box, size: int, interpolation: str) -> np.ndarray:
    """Crop `image [H, W, 3] uint8` to `box` and resize it to `[size, size, 3] uint8`; ValueError for another array."""
    check_image(image)
    part = image[box.top : box.top + box.height, box.left : box.left + box.width]
    return _resize(part, size, size, INTERPOLATIONS[interpolation])


def resize_whole(image: np.ndarray, size: int) -> np.ndarray:
    """Resize `image [H, W, 3] uint8` to `[size, size, 3] uint8`, bicubic, ignoring its aspect ratio; ValueError."""
    return resize_to(image, size, size)


def resize_to(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize `image [H, W, 3] uint8` to `[height, width, 3] uint8`, bicubic; raise ValueError for another array."""
    check_image(image)
    return _resize(image, height, width, Image.Resampling.BICUBIC)


def for_evaluation(name: str, image: np.ndarray, size: int) -> np.ndarray:
    """Transform a face crop for validation and tests.

    Args:
      name: `resize` resizes the whole crop. `resize_center` resizes the shorter side to 8/7 of `size` (256 for 224) and
        takes the centre, which loses an eighth of the face. The released code validates with the second and tests
        with either.
      image: `[H, W, 3] uint8`, any size.

    Returns:
      `[size, size, 3] uint8`.

    Raises:
      ValueError: the name is unknown, or the image has another shape or dtype.
    """
    check_image(image)
    if name == "resize":
        return resize_whole(image, size)
    if name != "resize_center":
        raise ValueError(f"transform: expected one of {', '.join(EVALUATIONS)}; found {name!r}")
    height, width = image.shape[:2]
    shorter, room = min(height, width), size * 8 // 7
    height, width = room * height // shorter, room * width // shorter
    # Half rounds to the even row or column, as in the released code.
    top, left = round((height - size) / 2), round((width - size) / 2)
    image = _resize(image, height, width, Image.Resampling.BICUBIC)
    return np.ascontiguousarray(image[top : top + size, left : left + size])


def _resize(image: np.ndarray, height: int, width: int, resample: Image.Resampling) -> np.ndarray:
    # Columns, then rows, as in Pillow up to 12. Pillow 13 takes the cheaper order, which changes the
    # rounding of a quarter of the values. In two steps, the result is the same in all versions.
    across = Image.fromarray(image).resize((width, image.shape[0]), resample)
    return np.array(across.resize((width, height), resample))
