"""A video transformer on a still picture: the encoder of MARLIN, where a clip is one tubelet of equal frames.

Its patch embedding is a convolution over `[t, p, p]` whose stride is its own size, so for equal frames the kernel is
summed over time. Its positions number the tokens of a clip from the first tubelet on, so a clip of one tubelet uses the
first rows. Both are exact for a clip of `t` equal frames. The published networks were trained on 16 frames.
"""

import math

import numpy as np

TUBELETS = 8  # 16 frames, two of them in each
IMAGE_SIZE = 224
# The published tables are computed in float32: angles of up to 8 * 196 with a relative error of 2**-24, several times.
TOLERANCE = 1e-3


def sinusoid(rows: int, width: int) -> np.ndarray:
    """Return sinusoidal positions of the row index, `[rows, width] float32` (Vaswani et al., 2017).

    Row p holds `sin(p w)` at even and `cos(p w)` at odd places, `w = 10000**(-2 (place // 2) / width)`.
    """
    places = np.arange(width)
    angles = np.arange(rows)[:, None] * 10000.0 ** (-2 * (places // 2) / width)
    return np.where(places % 2 == 0, np.sin(angles), np.cos(angles)).astype(np.float32)


def still_kernel(where: str, name: str, kernel: np.ndarray) -> np.ndarray:
    """Return the kernel for a still picture, the sum over time, `[D, 3, t, p, p] -> [D, 3, p, p]`.

    Raises:
      ValueError: another shape.
    """
    if kernel.ndim != 5 or kernel.shape[1] != 3 or kernel.shape[3] != kernel.shape[4]:
        raise ValueError(
            f"{where}: {name}: expected a convolution over time, rows and columns [D, 3, t, p, p]; "
            f"found {list(kernel.shape)}"
        )
    return kernel.sum(axis=2, dtype=np.float64).astype(np.float32)


def still_positions(where: str, name: str, table: np.ndarray) -> np.ndarray:
    """Return the positions of the first of 8 tubelets, `[1, 8 N, D] -> [1, N, D]`.

    Raises:
      ValueError: the table is not eight squares of patches, or its rows are not sinusoids of the row index, so that
        the rows for a still picture are unknown.
    """
    rows = table.shape[1] // TUBELETS if table.ndim == 3 and table.shape[0] == 1 else 0
    if rows == 0 or table.shape[1] % TUBELETS or math.isqrt(rows) ** 2 != rows:
        raise ValueError(
            f"{where}: {name}: expected the positions of {TUBELETS} tubelets of G by G patches, "
            f"[1, {TUBELETS} G G, D]; found {list(table.shape)}"
        )
    first = table[:, :rows]
    off = np.abs(first[0] - sinusoid(rows, table.shape[2])).max()
    if off > TOLERANCE:
        raise ValueError(
            f"{where}: {name}: expected the sinusoids of a running number, by which the rows of a still picture are "
            f"known; the table differs from them by {off:.3g}"
        )
    return first


def compute_positions(patch_size: int, width: int) -> np.ndarray:
    """Compute the positions of one tubelet of pictures of 224 pixels, `[1, N, D]`, for a file without them."""
    return sinusoid((IMAGE_SIZE // patch_size) ** 2, width)[None]
