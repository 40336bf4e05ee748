"""Attention by hand: weights of a block with set queries and keys, distances in pixels, divergences in nats."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import drawn

from fsfm_jax.figures import attention
from fsfm_jax.models.attention import attend
from fsfm_jax.models.bases import BASES
from fsfm_jax.models.vit import Encoder, Size
from fsfm_jax.weights.encoder_size import shapes_of

SIZE = Size(width=8, depth=2, heads=2, patch_size=4)
GRID = 2


def encoder(**fields) -> Encoder:
    return Encoder(SIZE, GRID, jnp.float32, "none", **fields)


@pytest.fixture(scope="module")
def params() -> dict:
    return drawn(shapes_of(encoder(), jnp.zeros((1, GRID**2, 48))))


@pytest.fixture(scope="module")
def weights(params) -> np.ndarray:
    patches = np.random.default_rng(0).normal(size=(3, GRID**2, 48)).astype(np.float32)
    return np.asarray(jax.jit(attention.attention_weights, static_argnums=0)(encoder(), params, patches))


@pytest.mark.parametrize("base", ["fsfm", "dinov3_plus", "beitv2", "pe_core"])
def test_weights_are_those_that_the_network_uses(base, monkeypatch):
    """Each block's mixture of values, computed from the weights, is what the network mixes itself."""
    patches = np.random.default_rng(1).normal(size=(2, GRID**2, 48)).astype(np.float32)
    mixed, network = [], encoder(style=BASES[base].style)
    params = drawn(shapes_of(network, patches))

    def spy(query, key, value, bias):
        out = attend(query, key, value, bias)
        mixed.append((value, out))
        return out

    monkeypatch.setattr("fsfm_jax.models.layers.attend", spy)
    @jax.jit
    def look(params):
        found = attention.attention_weights(network, params, patches)
        return found, mixed

    for weights, (value, out) in zip(*look(params), strict=True):
        np.testing.assert_allclose(jnp.einsum("bhqk,bhke->bhqe", weights, value), out, rtol=1e-5, atol=1e-6)


def test_distances_between_centres_in_pixels_and_their_mean_by_hand():
    root = np.sqrt(2)
    want = 16 * np.array([[0, 1, 1, root], [1, 0, root, 1], [1, root, 0, 1], [root, 1, 1, 0]])
    np.testing.assert_allclose(attention.patch_distances(2, 16), want, rtol=1e-6)
    # The class token takes half of every row; patches look at themselves, right, down, and across.
    rows = [[1.0, 0, 0, 0, 0]] + [[0.5, 0.5, 0, 0, 0]] * 4
    found = attention.mean_distances(jnp.array([[rows]]), 2, 16)
    np.testing.assert_allclose(found, [[16 * (0 + 1 + 1 + np.sqrt(2)) / 4]], rtol=1e-6)
    uniform = jnp.full((1, 1, 5, 5), 0.2)
    np.testing.assert_allclose(attention.mean_distances(uniform, 2, 16), [[16 * (2 + np.sqrt(2)) / 4]], rtol=1e-6)
    # An encoder without a class token has the patches alone.
    without = jnp.full((1, 1, 4, 4), 0.25)
    np.testing.assert_allclose(attention.mean_distances(without, 2, 16), [[16 * (2 + np.sqrt(2)) / 4]], rtol=1e-6)


def test_divergence_by_hand():
    a, b, c = [0.5, 0.5], [0.25, 0.75], [0.5, 0.5]
    weights = jnp.asarray(np.array([[a, a], [b, b], [c, c]], np.float32)[None])
    of_a = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    of_b = 0.25 * np.log(0.25 / 0.5) + 0.75 * np.log(0.75 / 0.5)
    found = attention.head_divergences(weights)
    np.testing.assert_allclose(found, [[of_a / 2, of_b, of_a / 2]], rtol=1e-5)
    np.testing.assert_allclose(attention.head_divergences(weights[:, :1]), [[0.0]], atol=1e-7)
    weights = jnp.asarray(np.array([[[1.0, 0.0]], [[0.0, 1.0]]], np.float32)[None])
    found = np.asarray(attention.head_divergences(weights))
    np.testing.assert_allclose(found, [[-np.log(attention.LEAST)] * 2], rtol=1e-6)


def test_the_class_tokens_row_as_a_picture(weights):
    found = attention.class_token_maps(jnp.asarray(weights[-1]), GRID)
    assert found.shape == (3, 2, 2, 2)
    np.testing.assert_array_equal(found[1, 0].ravel(), weights[-1][1, 0, 0, 1:])
    with pytest.raises(ValueError, match="expected a class token before 4 patches, found 4 tokens"):
        attention.class_token_maps(jnp.zeros((1, 1, 4, 4)), GRID)
