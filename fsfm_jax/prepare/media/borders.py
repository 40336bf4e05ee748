"""Black borders around a picture, as in the photos of the WCS anti-spoofing data (WMCA, CeFA, SURF)."""

import numpy as np

from fsfm_jax import records
from fsfm_jax.prepare.media.unusable import Unusable


def without_black_borders(image: np.ndarray) -> np.ndarray:
    """Return the smallest rectangle of `[H, W, 3] uint8` with all non-black pixels, as a view `[h, w, 3]`.

    The released preprocessing of FSFM leaves out the last row and the last column of it; here they are kept.

    Raises:
      Unusable: "all_black".
      ValueError: another kind of picture.
    """
    records.check_image(image)
    bright = image.any(axis=2)
    rows, columns = (np.flatnonzero(bright.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        raise Unusable("all_black", f"every pixel of {image.shape[0]}x{image.shape[1]} (height x width) is black")
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
