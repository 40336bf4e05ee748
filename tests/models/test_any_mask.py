"""One program for masks of any size, against the network that drops hidden patches."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import drawn

from fsfm_jax.models.any_mask import predict_pixels
from fsfm_jax.models.fsfm import ModelSpec, OnlineNetwork
from fsfm_jax.models.vit import SIZES

SPEC = ModelSpec(
    size=SIZES["tiny16"], image_size=64, seen=4, pixel_width=16, pixel_depth=1, pixel_heads=2, rep_depth=1,
    rep_heads=4, projection_hidden=16, projection_features=8, instance_discrimination=False, target_view="full",
    rep_decoded="both", rep_positions="zeros", dtype=jnp.float32, remat="none",
)  # fmt: skip
# Two blocks and one of a decoder in float32 in another order of summation, on values of about 1.
TOLERANCE = 1e-5


def test_any_number_of_hidden_patches_has_one_program():
    random = np.random.default_rng(0)
    patches = random.normal(size=(1, 16, 768)).astype(np.float32)
    hidden = np.arange(16)[None] >= SPEC.seen
    shapes = jax.eval_shape(OnlineNetwork(SPEC).init, jax.random.key(0), patches, hidden)["params"]
    params = jax.tree.map(lambda leaf: leaf * leaf.shape[0] ** -0.5 if leaf.ndim == 2 else leaf, drawn(shapes))
    program = jax.jit(lambda patches, mask: predict_pixels(SPEC, params, patches, mask))
    for seen in (1, 7, 15):
        mask = random.permutation(16)[None] >= seen
        spec = dataclasses.replace(SPEC, seen=seen)
        wanted = np.asarray(jax.jit(OnlineNetwork(spec).apply)({"params": params}, patches, mask).pixels)
        assert np.std(wanted) > 0.1
        np.testing.assert_allclose(program(patches, mask), wanted, rtol=0, atol=TOLERANCE * np.abs(wanted).max())
    assert program._cache_size() == 1
    with pytest.raises(ValueError, match="expected one image"):
        predict_pixels(SPEC, params, np.concatenate([patches, patches]), mask)
