"""Resizing of position tables to another grid, as the library that trained the network does it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from fsfm_jax.models.relative import EXTRA, table_grid

BICUBIC, BILINEAR = "bicubic", "bilinear"
KERNELS = (BICUBIC, BILINEAR)
# Slope of the cubic kernel in PyTorch's bicubic resizing; with antialiasing PyTorch has that of Pillow and jax.image.
CUBIC, SMOOTH_CUBIC = -0.75, -0.5


@dataclasses.dataclass(frozen=True)
class Resizing:
    """How a table `[G * G, D]` is resized to `g * g` rows; the defaults follow the released code of FSFM.

    Attributes:
      kernel: one of `KERNELS`, both as in PyTorch with cell centres at halves.
      antialias: whether the kernel widens when the grid shrinks.
      offset: added to g when the scale is computed. DINOv2 uses 0.1, which moves the centres towards the first row and
        column; its networks were evaluated with this offset.
    """

    kernel: str = BICUBIC
    antialias: bool = False
    offset: float = 0.0

    def __post_init__(self):
        if self.kernel not in KERNELS:
            raise ValueError(f"kernel: expected one of {', '.join(KERNELS)}; found {self.kernel!r}")


RELEASED = Resizing()


@functools.lru_cache
def _weights(old: int, new: int, resizing: Resizing) -> np.ndarray:
    """Return weights `[new, old]` of old cells for the centre of each new cell.

    Without antialiasing the border is repeated.
    """
    step = old / (new + resizing.offset)
    centre = (np.arange(new) + 0.5) * step - 0.5
    if resizing.antialias:
        weights = _kernel((np.arange(old)[None] - centre[:, None]) / max(step, 1.0), resizing.kernel, SMOOTH_CUBIC)
        return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    first = np.floor(centre).astype(int)
    weights = np.zeros((new, old))
    for tap in range(-1, 3):
        taken = np.clip(first + tap, 0, old - 1)
        np.add.at(weights, (np.arange(new), taken), _kernel(centre - first - tap, resizing.kernel, CUBIC))
    return weights.astype(np.float32)


def _kernel(x: np.ndarray, kernel: str, slope: float) -> np.ndarray:
    """Return the weight at a distance of `x` cells; 0 from distance 2 (bicubic) or 1 (bilinear)."""
    x = np.abs(x)
    if kernel == BILINEAR:
        return np.maximum(1 - x, 0)
    near = (slope + 2) * x**3 - (slope + 3) * x**2 + 1
    far = slope * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def resize_positions(
    table: jax.Array | np.ndarray, grid: int, class_token: bool = True, resizing: Resizing = RELEASED
) -> jax.Array | np.ndarray:
    """Resize positions to another grid, `[1, 1 + G**2, D] -> [1, 1 + grid**2, D]`; return `table` if it is the same.

    The class token's row is copied. Without a class token the tables have no row for it.

    Raises:
      ValueError: if `table` does not have the rows of a square grid and, with a class token, one more.
    """
    first = int(class_token)
    old = round((table.shape[1] - first) ** 0.5)
    if table.ndim != 3 or old * old != table.shape[1] - first:
        shape = f"[1, {'1 + ' * first}G * G, D]"
        raise ValueError(f"positions: expected {shape} for a grid of G by G patches; found {table.shape}")
    if old == grid:
        return table
    resized = _resize(table[0, first:], _weights(old, grid, resizing))
    return jnp.concatenate([table[:, :first], resized[None]], axis=1)


def resize_relative(table: jax.Array | np.ndarray, grid: int) -> jax.Array | np.ndarray:
    """Resize relative positions as timm does, `[(2 G - 1)**2 + 3, H] -> [(2 grid - 1)**2 + 3, H]`.

    Displacements are stretched by a geometric progression, small ones less than large ones, so that the largest
    displacements of both grids coincide (BEiT). Values between them are interpolated linearly, as in timm; BEiT's code
    uses a cubic spline. The three rows of the class token are copied.

    Raises:
      ValueError: if `table` does not have `(2 G - 1)**2 + 3` rows for some G.
    """
    old = table_grid(table.shape[0])
    if table.ndim != 2 or (2 * old - 1) ** 2 + EXTRA != table.shape[0]:
        raise ValueError(
            f"relative positions: expected [(2 G - 1)**2 + {EXTRA}, H] for a grid of G by G patches; "
            f"found {table.shape}"
        )
    if old == grid:
        return table
    resized = _resize(table[:-EXTRA], _stretched_weights(old, grid))
    return jnp.concatenate([resized, table[-EXTRA:]])


@functools.lru_cache
def _stretched_weights(old: int, new: int) -> np.ndarray:
    """Return weights `[2 new - 1, 2 old - 1]` that interpolate new displacements between stretched old ones."""
    low, high = 1.01, 1.5  # the bounds of BEiT's search for the ratio
    while high - low > 1e-6:
        ratio = (low + high) / 2
        too_long = (1 - ratio ** (old - 1)) / (1 - ratio) > new - 1
        low, high = (low, ratio) if too_long else (ratio, high)
    right = np.cumsum(ratio ** np.arange(old - 1))
    stretched = np.concatenate([-right[::-1], [0.0], right])
    # Beyond the largest displacement its value is repeated.
    wanted = np.arange(1 - new, new, dtype=float)
    return np.stack([np.interp(wanted, stretched, row) for row in np.eye(2 * old - 1)], axis=1).astype(np.float32)


def _resize(rows: jax.Array | np.ndarray, weights: np.ndarray) -> jax.Array:
    """Apply `weights [g, G]` to rows and columns, `[G * G, D] -> [g * g, D]`."""
    new, old = weights.shape
    square = rows.reshape(old, old, -1)
    resized = jnp.einsum("ir,jc,rcd->ijd", weights, weights, square, precision=jax.lax.Precision.HIGHEST)
    return resized.reshape(new * new, -1)
