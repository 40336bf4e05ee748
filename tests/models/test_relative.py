"""Relative positions by hand on a grid of two by two patches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import drawn, zeros

from fsfm_jax.models.layers import Attention
from fsfm_jax.models.relative import RelativePositions, displacement_rows, table_grid, table_shape
from fsfm_jax.models.style import Style
from fsfm_jax.models.vit import Encoder, Size
from fsfm_jax.weights.encoder_size import shapes_of

RELATIVE = Style(positions=False, relative=True)


def test_rows_by_hand():
    # Nine displacements, row of the query less that of the key first: 4 is none, 3 is a key to the right, 1 one below.
    np.testing.assert_array_equal(displacement_rows(2), [
        [11, 9, 9, 9, 9],
        [10, 4, 3, 1, 0],
        [10, 5, 4, 2, 1],
        [10, 7, 6, 4, 3],
        [10, 8, 7, 5, 4],
    ])  # fmt: skip
    assert table_shape(14, 12) == (732, 12)  # of BEiT v2 at 224 pixels


def test_tables_tell_their_grid():
    assert [table_grid(table_shape(grid, 1)[0]) for grid in (1, 2, 14, 24)] == [1, 2, 14, 24]
    assert table_grid(0) == table_grid(3) == 1


def test_a_bias_by_hand():
    table = jnp.arange(24.0).reshape(12, 2)
    bias = RelativePositions(2).apply({"params": {"table": table}}, 5)
    assert bias.shape == (2, 5, 5)
    assert bias[0, 1, 2] == 6 and bias[1, 1, 2] == 7 and bias[1, 0, 3] == 19 and bias[0, 3, 0] == 20


def test_attention_weights_by_hand():
    """With queries of zero the bias alone decides: each token takes what its row of the table says."""
    module, x = Attention(1, jnp.float32, style=RELATIVE), np.eye(5, 4, dtype=np.float32)[None]
    params = zeros(module, x)
    params["qkv"]["kernel"][:, 8:] = params["proj"]["kernel"][:] = np.eye(4)  # values are the tokens
    # Keys to the right count e**3-fold, the class token as key e**2-fold.
    params["relative_positions"]["table"][[3, 10]] = [[3.0], [2.0]]
    found = np.asarray(jax.jit(module.apply)({"params": params}, x))[0]
    right, first = np.exp(3), np.exp(2)
    total = first + right + 3
    np.testing.assert_allclose(found[1], np.array([first, 1, right, 1]) / total, rtol=1e-5)
    np.testing.assert_allclose(found[2], np.array([first, 1, 1, 1]) / (first + 4), rtol=1e-5)  # nothing to its right
    np.testing.assert_allclose(found[0], np.full(4, 1 / 5), rtol=1e-5)


def test_a_table_of_zeros_is_no_table_and_every_row_is_trained():
    size, random = Size(16, 2, 2, 2), np.random.default_rng(0)
    patches = random.normal(size=(2, 9, size.pixels)).astype(np.float32)
    encoder = Encoder(size, 3, jnp.float32, "none", style=RELATIVE)
    params = drawn(shapes_of(encoder, jnp.asarray(patches)))
    for block in ("block_00", "block_01"):
        params[block]["attn"]["relative_positions"]["table"] *= 0
    plain = {block: {**params[block], "attn": {k: v for k, v in params[block]["attn"].items() if "relative" not in k}}
             for block in ("block_00", "block_01")}  # fmt: skip
    without = Encoder(size, 3, jnp.float32, "none", style=Style(positions=False))
    expected = jax.jit(without.apply)({"params": params | plain}, patches)
    np.testing.assert_allclose(jax.jit(encoder.apply)({"params": params}, patches), expected, rtol=0, atol=1e-5)
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(encoder.apply({"params": p}, patches)[:, 0, :3])))(params)
    of_table = np.asarray(gradient["block_00"]["attn"]["relative_positions"]["table"])
    assert of_table.shape == (28, 2) and (np.abs(of_table).max(axis=1) > 0).all()


def test_hidden_patches_and_registers_are_refused():
    encoder = Encoder(Size(16, 1, 2, 2), 2, jnp.float32, "none", style=RELATIVE)
    with pytest.raises(ValueError, match="places: expected None, since an encoder with relative positions sees"):
        encoder.init(jax.random.key(0), jnp.zeros((1, 2, 12)), jnp.zeros((1, 2), jnp.int32))
    with pytest.raises(ValueError, match="relative: expected a class token and no registers.*found 3 tokens"):
        Style(relative=True, registers=2)
