"""Rotary positions by hand on a tiny grid, and what has to hold of them whatever the numbers."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import drawn

from fsfm_jax.models.bases import BASES
from fsfm_jax.models.rotary import CENTRED, COUNTED, Rotary, rotate, turns, turns_of_tokens
from fsfm_jax.models.style import Style
from fsfm_jax.models.vit import Encoder, Size
from fsfm_jax.weights.encoder_size import shapes_of

COUNT = Rotary(4.0, COUNTED, columns_first=False, neighbours=False, key_bias=False)
CENTRE = dataclasses.replace(COUNT, coordinates=CENTRED)
PUBLISHED = {base: BASES[base].style.rotary for base in ("dinov3", "pe_core")}


def turned(rotary: Rotary, grid: int, x) -> np.ndarray:
    """The features `x [E]` at all places, turned, `[N, E]`."""
    features, table = np.broadcast_to(np.float32(x), (1, 1, grid**2, len(x))), turns(rotary, grid, len(x))
    return np.asarray(rotate(jnp.asarray(features), table[:, None, None], rotary.neighbours))[0, 0]


def test_a_head_of_four_features_by_hand():
    # One angle of each axis: 1 in the first row or column, 2 in the second. The row turns features 0 and 2, the column
    # 1 and 3. Place 1 is the first row's second patch.
    c, s = np.cos([1.0, 2.0]), np.sin([1.0, 2.0])
    found = turned(COUNT, 2, [1, 10, 0, 0])
    np.testing.assert_allclose(found[1], [c[0], 10 * c[1], s[0], 10 * s[1]], rtol=1e-6)
    np.testing.assert_allclose(found[2], [c[1], 10 * c[0], s[1], 10 * s[0]], rtol=1e-6)
    # The second of a pair turns towards minus the first.
    np.testing.assert_allclose(turned(COUNT, 2, [0, 0, 1, 10])[1], [-s[0], -10 * s[1], c[0], 10 * c[1]], rtol=1e-6)
    # Neighbours are pairs, and the column comes first.
    other = dataclasses.replace(COUNT, neighbours=True, columns_first=True)
    np.testing.assert_allclose(turned(other, 2, [1, 0, 10, 0])[1], [c[1], s[1], 10 * c[0], 10 * s[0]], rtol=1e-6)


def test_slower_angles_by_hand():
    # Eight features have two angles an axis, the second slower by 4**(-4 / 8) = 1/2. Place (2, 1) of three rows.
    table = turns(COUNT, 3, 8)[0, 2 * 3 + 1]
    np.testing.assert_allclose(table, np.cos([3, 1.5, 2, 1] * 2), rtol=1e-6)


def test_centred_coordinates_span_the_image_whatever_the_grid():
    # Four rows: 2 pi times -3/4, -1/4, 1/4 and 3/4.
    table = turns(CENTRE, 4, 4)
    np.testing.assert_allclose(table[1, ::4, 2], np.sin(2 * np.pi * np.array([-0.75, -0.25, 0.25, 0.75])), atol=1e-6)
    # The centre of a grid of one is that of the image; each of three times as many rows has one of them in its middle.
    np.testing.assert_allclose(turns(CENTRE, 12, 8).reshape(2, 12, 12, 8)[:, 1::3, 1::3], turns(CENTRE, 4, 8)
                               .reshape(2, 4, 4, 8), atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("rotary", [COUNT, CENTRE, *PUBLISHED.values()])
def test_lengths_stay_and_logits_depend_on_the_displacement_alone(rotary):
    query, key = np.random.default_rng(0).normal(size=(2, 16))
    queries, keys = turned(rotary, 4, query), turned(rotary, 4, key)
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), np.linalg.norm(query), rtol=1e-5)
    logits = (queries @ keys.T).reshape(4, 4, 4, 4)  # query's row and column, key's row and column
    assert logits.std() > 0.1
    np.testing.assert_allclose(logits[1:, 1:, 1:, 1:], logits[:-1, :-1, :-1, :-1], rtol=0, atol=1e-4)
    assert abs(logits[0, 0, 0, 1] - logits[0, 0, 1, 0]) > 1e-3  # rows are no columns


def test_tokens_without_a_place_are_not_turned():
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 3, 5 + 4, 8)), jnp.float32)
    found = rotate(x, turns_of_tokens(CENTRE, 2, 8, 5, None), False)
    np.testing.assert_array_equal(found[:, :, :5], x[:, :, :5])
    assert np.abs(found[:, :, 5:] - x[:, :, 5:]).max() > 1
    # Some of the patches, of each image others.
    places = jnp.asarray([[3, 1], [0, 2]])
    table = np.asarray(turns_of_tokens(CENTRE, 2, 8, 1, places))
    assert table.shape == (2, 2, 1, 3, 8)
    np.testing.assert_array_equal(table[:, 0, 0, 1:], turns(CENTRE, 2, 8)[:, [3, 1]])
    np.testing.assert_array_equal(table[:, 1, 0, 0], np.repeat([[1.0], [0.0]], 8, axis=1))


SIZE, GRID = Size(16, 1, 2, 2), 4
BARE = Style(class_token=False, positions=False, rotary=COUNT)  # nothing but rotation says where a patch is


@functools.cache
def encoded(style: Style):
    """An encoder as a function of patches and places, compiled once for each shape."""
    encoder = Encoder(SIZE, GRID, jnp.float32, "none", style=style)
    params = drawn(shapes_of(encoder, jnp.zeros((1, 1, SIZE.pixels)), jnp.zeros((1, 1), jnp.int32)))
    return jax.jit(functools.partial(encoder.apply, {"params": params}))


def tokens(style: Style, patches, places=None) -> np.ndarray:
    return np.asarray(encoded(style)(patches, places))


@pytest.fixture(scope="module")
def patches() -> np.ndarray:
    return np.random.default_rng(2).normal(size=(1, GRID**2, SIZE.pixels)).astype(np.float32)


@pytest.mark.parametrize("base", ["dinov3", "dinov3_plus", "pe_core"])
def test_permuted_patches_with_their_places_are_permuted_tokens(base, patches):
    style, order = BASES[base].style, np.random.default_rng(3).permutation(GRID**2)
    plain = tokens(style, patches)
    permuted = tokens(style, patches[:, order], jnp.asarray(order[None]))
    np.testing.assert_allclose(permuted[:, : style.prefix], plain[:, : style.prefix], rtol=0, atol=2e-4)
    np.testing.assert_allclose(permuted[:, style.prefix :], plain[:, style.prefix :][:, order], rtol=0, atol=2e-4)
    # Without their places they are another image.
    assert np.abs(tokens(style, patches[:, order])[:, style.prefix :] - plain[:, style.prefix :][:, order]).max() > 0.1


def test_a_part_of_an_image_may_lie_anywhere_without_a_token_that_has_no_place(patches):
    part = np.array([0, 1, 4, 5])  # two by two patches
    corner, shifted = (tokens(BARE, patches[:, part], jnp.asarray((part + shift)[None])) for shift in (0, 2 * 4 + 1))
    np.testing.assert_allclose(shifted, corner, rtol=0, atol=2e-4)
    with_token = dataclasses.replace(BARE, class_token=True)
    corner, shifted = (tokens(with_token, patches[:, part], jnp.asarray((part + s)[None])) for s in (0, 2 * 4 + 1))
    assert np.abs(shifted - corner).max() > 0.01


@pytest.mark.parametrize("base", PUBLISHED)
def test_the_bias_of_keys_is_seen_where_there_is_one(base, patches):
    encoder = Encoder(SIZE, GRID, jnp.float32, "none", learnt_positions=True, style=BASES[base].style)
    params = drawn(shapes_of(encoder, jnp.asarray(patches)))
    gradient = jax.jit(jax.grad(lambda params: jnp.sum(encoder.apply({"params": params}, patches)[:, 0, :3])))(params)
    of_query, of_key, of_value = np.split(np.asarray(gradient["block_00"]["attn"]["qkv"]["bias"]), 3)
    assert np.abs(of_query).max() > 1e-4 and np.abs(of_value).max() > 1e-4
    assert (np.abs(of_key).max() > 1e-4) == BASES[base].style.rotary.key_bias
    if not BASES[base].style.rotary.key_bias:
        assert not of_key.any()


def test_what_cannot_be_rotated_is_refused():
    with pytest.raises(ValueError, match="coordinates: expected one of centred, counted; found 'pixels'"):
        dataclasses.replace(COUNT, coordinates="pixels")
    with pytest.raises(ValueError, match="rotary positions: expected .* features per head .* divisible by 4; found 6"):
        turns(COUNT, 2, 6)


def test_rotation_in_bfloat16_is_rounded_once():
    x = jnp.asarray(np.random.default_rng(4).normal(size=(1, 1, 16, 8)), jnp.bfloat16)
    table = turns(COUNT, 4, 8)[:, None, None]
    exact = np.asarray(rotate(x.astype(jnp.float32), table, True))
    found = rotate(x, table, True)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(jnp.float32), exact, rtol=2**-8, atol=1e-6)
