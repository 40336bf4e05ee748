"""Rotary positions: queries and keys are rotated by angles that depend on the row and column of their patch.

The position term in the logit of two patches then depends only on their displacement (Su et al., 2021). Tokens without
a position, such as the class token and registers, are not rotated.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from fsfm_jax.models.ops import at_least_float32

CENTRED, COUNTED = "centred", "counted"
COORDINATES = (CENTRED, COUNTED)


@dataclasses.dataclass(frozen=True)
class Rotary:
    """The rotation of a head with E features: each axis has E / 4 angles, and each angle rotates a pair of features.

    Angle k of an axis is `c base**(-4 k / E)`, where c is the patch's coordinate on this axis.

    Attributes:
      base: base of the frequencies: 100 in DINOv3, 10000 in the Perception Encoder.
      coordinates: one of `COORDINATES`. `centred`: centres of patches, 2 pi times -1 to 1 across the image for every
        grid (DINOv3). `counted`: 1, 2, 3 and so on, also for grids other than that of pretraining (Perception Encoder;
        timm scales them to the grid of pretraining).
      columns_first: whether the first half of the angles belongs to the column; otherwise to the row.
      neighbours: whether features 2 k and 2 k + 1 form a pair; otherwise k and k + E / 2.
      key_bias: whether keys have a bias. After rotation it differs between keys, so it changes the softmax.
    """

    base: float
    coordinates: str
    columns_first: bool
    neighbours: bool
    key_bias: bool

    def __post_init__(self):
        if self.coordinates not in COORDINATES:
            raise ValueError(f"coordinates: expected one of {', '.join(COORDINATES)}; found {self.coordinates!r}")


@functools.lru_cache
def turns(rotary: Rotary, grid: int, features: int) -> np.ndarray:
    """Return cosines and signed sines of all patches for `rotate`, `[2, N, E] float32`; E is `features`.

    Raises:
      ValueError: if `features` is not divisible by 4.
    """
    if features % 4:
        raise ValueError(
            f"rotary positions: expected a number of features per head that is divisible by 4; found {features}"
        )
    places = np.arange(grid)
    axis = 2 * np.pi * ((2 * places + 1) / grid - 1) if rotary.coordinates == CENTRED else places + 1.0
    angles = axis[:, None] * rotary.base ** (-4 * np.arange(features // 4) / features)
    rows, columns = (each.reshape(grid * grid, -1) for each in (np.repeat(angles, grid, 0), np.tile(angles, (grid, 1))))
    angle = np.concatenate([columns, rows] if rotary.columns_first else [rows, columns], axis=1)
    # A pair (x, y) becomes (x cos - y sin, y cos + x sin).
    cosines, sines = np.stack([np.cos(angle)] * 2), np.stack([-np.sin(angle), np.sin(angle)])
    pairs = np.stack([cosines, sines])  # [2, pair, N, E / 2]
    order = (0, 2, 3, 1) if rotary.neighbours else (0, 2, 1, 3)
    table = pairs.transpose(order).reshape(2, grid * grid, features).astype(np.float32)
    table.setflags(write=False)
    return table


def turns_of_tokens(
    rotary: Rotary, grid: int, features: int, prefix: int, places: jax.Array | None
) -> jax.Array | np.ndarray:
    """Return `turns` for all tokens, `[2, 1, 1, T, E]`, or for the patches at `places [B, K]`, `[2, B, 1, T, E]`.

    The first `prefix` tokens have no position: their cosines are 1 and their sines 0.
    """
    table = turns(rotary, grid, features)
    if places is None:
        still = np.zeros((2, prefix, features), np.float32)
        still[0] = 1
        return np.concatenate([still, table], axis=1)[:, None, None]
    still = jnp.zeros((2, places.shape[0], prefix, features)).at[0].set(1)
    return jnp.concatenate([still, jnp.take(table, places, axis=1)], axis=2)[:, :, None]


def rotate(x: jax.Array, turns: jax.Array | np.ndarray, neighbours: bool) -> jax.Array:
    """Rotate queries or keys in float32 or higher, `[B, H, T, E], [2, B or 1, 1, T, E] -> [B, H, T, E]`."""
    wide, cosines, sines = at_least_float32(x), *turns
    shape, axis = ((-1, 2), -1) if neighbours else ((2, -1), -2)
    first, second = jnp.split(wide.reshape(*x.shape[:-1], *shape), 2, axis=axis)
    partners = jnp.concatenate([second, first], axis=axis).reshape(x.shape)
    return (wide * cosines + partners * sines).astype(x.dtype)
