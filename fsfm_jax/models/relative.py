"""Relative positions: a bias of each attention logit by the displacement between query and key (BEiT, BEiT v2)."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

TABLE = "table"
TABLES = rf"encoder/block_\d+/attn/relative_positions/{TABLE}"  # paths of all tables
EXTRA = 3  # rows after the displacements: class token to patch, patch to class token, class token to itself


@functools.lru_cache
def displacement_rows(grid: int) -> np.ndarray:
    """Return the row of the table for each query and key, `[1 + N, 1 + N] int32`; token 0 is the class token.

    With side = 2 G - 1, two patches have row `side (i - k + G - 1) + (j - l + G - 1)`: the query is at row i, column j
    of the grid and the key at row k, column l.
    """
    row, column = np.divmod(np.arange(grid * grid), grid)
    side = 2 * grid - 1
    rows = np.empty((1 + grid * grid,) * 2, np.int32)
    rows[1:, 1:] = side * (row[:, None] - row[None] + grid - 1) + column[:, None] - column[None] + grid - 1
    rows[0], rows[1:, 0], rows[0, 0] = side**2, side**2 + 1, side**2 + 2
    rows.setflags(write=False)
    return rows


def table_shape(grid: int, heads: int) -> tuple[int, int]:
    """Return the shape of the table for a grid of G by G patches, `[(2 G - 1)**2 + 3, H]`."""
    return (2 * grid - 1) ** 2 + EXTRA, heads


def table_grid(rows: int) -> int:
    """Return the side of the grid whose table has `rows` rows, rounded down and at least 1."""
    return max((math.isqrt(max(rows - EXTRA, 0)) + 1) // 2, 1)


class RelativePositions(nn.Module):
    """The bias of every head, query and key, `[H, T, T]` for T tokens: a class token and a square of patches."""

    heads: int

    @nn.compact
    def __call__(self, tokens: int) -> jax.Array:
        grid = math.isqrt(tokens - 1)
        assert grid * grid == tokens - 1, f"expected a class token and a square of patches; found {tokens} tokens"
        table = self.param(TABLE, nn.initializers.zeros_init(), table_shape(grid, self.heads))
        # No index is out of range, so `take` needs no fill value.
        return jnp.take(table, displacement_rows(grid), axis=0, mode="clip").transpose(2, 0, 1)
