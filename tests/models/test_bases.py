"""Every wiring of a base model in a fine-tuned network: what is trained, adapters, features, several devices."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from networks import WIRINGS, classifier, scaled

from fsfm_jax import losses, partition
from fsfm_jax.models.bases import BASES
from fsfm_jax.models.classifier import Classifier, ClassifierSpec, PooledEncoder, initialise
from fsfm_jax.models.positions import resize_positions
from fsfm_jax.models.vit import SIZES, Size
from fsfm_jax.optim import tuning

TINY = ClassifierSpec(Size(16, 1, 2, 4), 12, 3, "mean_patches", 0.1, jnp.float32, "none")
KEYS = {"drop_path": jax.random.key(2)}


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(8, 12, 12, 3)).astype(np.float32)


def loss(params: dict, images, network: Classifier) -> jax.Array:
    """Mean cross-entropy while training."""
    out = network.apply({"params": params}, images, train=True, rngs=KEYS)
    return jnp.mean(losses.cross_entropy(out.logits, jnp.arange(len(images)) % 3))


@pytest.mark.parametrize("base", WIRINGS)
def test_training_reaches_every_parameter(base, images):
    style = BASES[base].style
    remat = ("none", "attention", "dots", "full")[WIRINGS.index(base) % 4]
    spec = dataclasses.replace(TINY, style=style, remat=remat, pooling="cls" if style.class_token else "mean_patches")
    params = classifier(spec, scaled)
    value, gradient = jax.jit(jax.value_and_grad(loss), static_argnums=2)(params, images, Classifier(spec))
    assert np.isfinite(value)
    for path, leaf in flatten_dict(gradient, sep="/").items():
        parts = np.split(np.asarray(leaf), 3) if path.endswith("qkv/bias") else [np.asarray(leaf)]
        seen = [True, style.rotary is not None and style.rotary.key_bias, True][: len(parts)]
        assert [bool(np.abs(part).max() > 1e-9) for part in parts] == seen, path


@pytest.mark.parametrize("base", WIRINGS)
def test_an_adapter_sees_the_pooled_features_and_leaves_the_encoder_alone(base, images):
    spec = dataclasses.replace(TINY, style=BASES[base].style, reduction=4, drop_path=0.0)
    params = classifier(spec, scaled)
    encoder = {name: params[name] for name in ("encoder", "fc_norm")}

    @jax.jit
    def run(params):
        features = PooledEncoder(spec).apply({"params": encoder}, images, False)
        out = Classifier(spec).apply({"params": params}, images, False)
        return features, out, Classifier(spec).apply({"params": params}, None, False, features)

    features, whole, behind = run(params)
    assert features.shape == (8, 16) and features.std(axis=0).min() > 1e-3
    np.testing.assert_allclose(features, whole.features, rtol=0, atol=1e-5)
    np.testing.assert_allclose(behind.logits, whole.logits, rtol=0, atol=1e-5)
    trained, frozen = tuning.split(params, tuning.TUNINGS[tuning.ADAPTER])
    assert set(trained) == {"adapter", "projector", "head"} and set(frozen) == {"encoder", "fc_norm"}


# All that one wiring may have; and relative positions, which go with no registers.
@pytest.mark.parametrize("base", ["dinov3_plus", "beitv2"])
def test_sharded_parameters_give_the_gradient_of_one_device(base, images):
    network = Classifier(dataclasses.replace(TINY, style=BASES[base].style, drop_path=0.0))
    params = classifier(network.spec, scaled)
    single = jax.jit(jax.grad(loss), static_argnums=2)(params, images, network)
    mesh = partition.make_mesh(jax.devices()[:4])
    shardings = partition.state_shardings(params, mesh, True, 16)
    placed = jax.device_put(params, shardings), jax.device_put(images, partition.batch_sharding(mesh))
    step = jax.jit(lambda params, images: jax.grad(loss)(partition.gather(params, mesh, True), images, network))
    several = step(*placed)
    assert sum(not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(placed[0])) > 10
    for one, other in zip(jax.tree.leaves(single), jax.tree.leaves(several), strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-5 * max(np.abs(one).max(), 1e-3))


@pytest.mark.parametrize("base", WIRINGS)
def test_a_pretrained_encoder_starts_images_of_another_size(base, images):
    """Whatever has a grid is fitted to it, as `Base` says; the same encoder sees larger images."""
    style, larger = BASES[base].style, dataclasses.replace(TINY, image_size=20, drop_path=0.0)
    source = classifier(dataclasses.replace(TINY, style=style), scaled)
    start = classifier(dataclasses.replace(larger, style=style), scaled)
    params, account = initialise({"encoder": source["encoder"]}, start, 3, BASES[base].resizing)
    tables = {"encoder/block_00/attn/relative_positions/table"}
    expected = tables if style.relative else {"encoder/pos_embed"} if style.positions else set()
    assert set(account.resized) == expected
    if style.positions:
        fitted = resize_positions(source["encoder"]["pos_embed"], 5, style.class_token, BASES[base].resizing)
        np.testing.assert_array_equal(params["encoder"]["pos_embed"], fitted)
    network = Classifier(dataclasses.replace(larger, style=style))
    images = np.random.default_rng(2).normal(size=(2, 20, 20, 3)).astype(np.float32)
    assert np.isfinite(jax.jit(network.apply, static_argnums=2)({"params": params}, images, False).logits).all()


def test_patches_of_fourteen_pixels_are_256_at_224():
    for base in ("dinov2", "dinov2_reg"):
        assert {SIZES[size].grid(224) ** 2 for size in BASES[base].sizes} == {256}
    assert {SIZES[size].grid(224) ** 2 for size in BASES["dinov3"].sizes} == {196}
