"""The latent regressor: by hand, against its formulas in NumPy, its gradient, and what its output depends on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import check_gradient, drawn
from jax import enable_x64
from networks import scaled, zeros
from scipy.special import erf

from fsfm_jax.models.decoders import view_of
from fsfm_jax.models.layers import sincos_positions
from fsfm_jax.models.regressor import CrossAttention, LatentRegressor
from fsfm_jax.weights.encoder_size import shapes_of

WIDTH, GRID, HEADS, DEPTH = 8, 3, 2, 2
# Six of nine patches are hidden, in another order for each image.
HIDDEN = np.array([[1, 1, 0, 1, 0, 1, 1, 0, 1], [0, 1, 1, 1, 1, 0, 1, 1, 0]], bool)


def regressor(remat="none", dtype=jnp.float64):
    return LatentRegressor(DEPTH, HEADS, GRID, dtype, remat)


@pytest.fixture(scope="module")
def case():
    """Drawn parameters, encoder tokens `[2, 1 + 3, D]` and a mask token, in float64."""
    with enable_x64(True):
        tokens, mask_token, view = drawn(2, 4, WIDTH, seed=1), drawn(WIDTH, seed=2), view_of(jnp.asarray(HIDDEN), 3)
        params = scaled(shapes_of(regressor(), tokens, mask_token, view))
        yield jax.tree.map(np.float64, params), tokens, mask_token


def test_attention_to_other_tokens_by_hand():
    # One number a token, keys and values as they are: a query of 1 has the logits 0 and log 3, weights 1/4 and 3/4; one
    # of 0 has the mean.
    network = CrossAttention(1, jnp.float32, "none")
    queries, others = np.float32([[[1.0], [0.0]]]), np.float32([[[0.0], [np.log(3)]]])
    params = zeros(network, queries, others)
    assert "bias" not in params["key"]
    for name in ("query", "key", "value", "proj"):
        params[name]["kernel"] = np.ones((1, 1), np.float32)
    mixed = jax.jit(network.apply)({"params": params}, queries, others)[0, :, 0]
    np.testing.assert_allclose(mixed, [0.75 * np.log(3), 0.5 * np.log(3)], rtol=1e-6)


def norm(p, x):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-6) * p["scale"] + p["bias"]


def linear(p, x):
    return x @ p["kernel"] + p.get("bias", 0)


def by_formula(params, tokens, mask_token, hidden):
    """What the docstring says, image by image and head by head."""
    p, found = jax.tree.map(np.asarray, params), []
    table = sincos_positions(WIDTH, GRID).astype(np.float64)
    for image, mask in zip(np.asarray(tokens), hidden, strict=True):
        shown = linear(p["embed"], image) + np.concatenate([table[:1], table[1:][~mask]])
        x = np.asarray(mask_token) + table[1:][mask]
        for number in range(DEPTH):
            block = p[f"block_{number:02d}"]
            everything, asked = norm(block["norm_all"], np.concatenate([shown, x])), norm(block["norm1"], x)
            query, key = linear(block["attn"]["query"], asked), linear(block["attn"]["key"], everything)
            value, mixed = linear(block["attn"]["value"], everything), np.empty_like(x)
            for head in np.split(np.arange(WIDTH), HEADS):
                weights = np.exp(query[:, head] @ key[:, head].T / np.sqrt(WIDTH // HEADS))
                mixed[:, head] = weights @ value[:, head] / weights.sum(1, keepdims=True)
            x = x + linear(block["attn"]["proj"], mixed)
            inner = linear(block["mlp"]["fc1"], norm(block["norm2"], x))
            x = x + linear(block["mlp"]["fc2"], inner * 0.5 * (1 + erf(inner / np.sqrt(2))))
        found.append(linear(p["pred"], norm(p["norm"], x).mean(0)))
    return np.stack(found)


def test_it_is_what_its_formulas_say(case):
    params, tokens, mask_token = case
    with enable_x64(True):
        view = view_of(jnp.asarray(HIDDEN), 3)
        np.testing.assert_array_equal(view.hidden, [np.flatnonzero(mask) for mask in HIDDEN])
        found = jax.jit(regressor().apply)({"params": params}, tokens, mask_token, view)
    np.testing.assert_allclose(found, by_formula(params, tokens, mask_token, HIDDEN), rtol=1e-11)


@pytest.mark.parametrize("remat", ["none", "attention", "full"])
def test_its_gradient_is_that_of_its_values(case, remat):
    with enable_x64(True):
        view = view_of(jnp.asarray(HIDDEN), 3)

        def run(params, tokens, mask_token):
            return regressor(remat).apply({"params": params}, tokens, mask_token, view)

        check_gradient(run, *case, tolerance=1e-7)


def test_hidden_patches_are_asked_for_by_their_places(case):
    # The same tokens of the encoder, seen elsewhere: with equal queries nothing but the visible places would count.
    params, tokens, mask_token = case
    with enable_x64(True):
        run = jax.jit(lambda mask: regressor().apply({"params": params}, tokens, mask_token, view_of(mask, 3)))
        one, other = run(jnp.asarray(HIDDEN)), run(jnp.asarray(HIDDEN[::-1]))
    assert np.abs(one - other).max() > 1e-2
