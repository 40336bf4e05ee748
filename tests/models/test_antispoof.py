"""The anti-spoofing network against the official one, its two normalisations, and training with unit columns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from flax.errors import InvalidRngError
from networks import count_by_depth

from fsfm_jax import losses
from fsfm_jax.models.antispoof import AntiSpoof, AntiSpoofSpec, unit_columns, with_unit_classifier
from fsfm_jax.models.classifier import initialise
from fsfm_jax.models.vit import SIZES, Size
from fsfm_jax.optim.optimizer import OptimizerSpec, make_optimizer
from fsfm_jax.weights.encoder_size import shapes_of
from fsfm_jax.weights.names import ANTISPOOF, finetuned_from_official, finetuned_to_official

TINY = Size(48, 2, 4, 8)


def spec(norm_over="tokens", **changes) -> AntiSpoofSpec:
    fields = dict(
        size=TINY, image_size=32, norm_over=norm_over, drop_path=0.0, dropout=0.5, dtype=jnp.float32, remat="none"
    )  # fmt: skip
    return AntiSpoofSpec(**{**fields, **changes})


def loss(params, images, labels, norm_over="tokens"):
    out = AntiSpoof(spec(norm_over)).apply({"params": params}, images, train=False)
    return losses.cross_entropy(out.logits, labels).mean(), out


GRADIENT = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnames="norm_over")


@pytest.fixture(scope="module")
def official(golden):
    """Arrays, parameters, images and labels of the golden network."""
    arrays = golden("fas_tiny")
    params = finetuned_from_official(reference.state_dict(arrays, "fas_plain/state_before/"), ANTISPOOF)
    images = reference.images(arrays["in/images"])
    return reference.state_dict(arrays, "fas_plain/"), params, images, arrays["in/labels"]


@pytest.fixture(scope="module")
def passed(official):
    return GRADIENT(*official[1:])


def test_features_logits_and_loss_equal_the_official_ones(official, passed):
    arrays, params, *_ = official
    (value, out), _ = passed
    np.testing.assert_allclose(out.features, arrays["feature"], rtol=0, atol=2e-5)
    np.testing.assert_allclose(out.logits, arrays["logits"][:, 0], rtol=0, atol=2e-5)
    np.testing.assert_allclose(value, arrays["loss_eval_mode"], rtol=1e-5)
    # The official network classifies the patches' tokens, too; nothing uses that.
    unit = np.asarray(unit_columns(params["classifier"]["kernel"]))
    every = np.asarray(out.features) @ unit + params["classifier"]["bias"]
    np.testing.assert_allclose(every, arrays["logits"], rtol=0, atol=1e-4)


def test_gradient_of_every_parameter_equals_the_official_one(official, passed):
    arrays, (_, gradients) = official[0], passed
    ours = finetuned_to_official(jax.tree.map(np.asarray, gradients), ANTISPOOF, TINY.patch_size)
    expected = reference.state_dict(arrays, "grad_eval_mode/")
    assert len(expected) == 34 and expected.keys() <= ours.keys()
    for name, gradient in expected.items():
        assert np.linalg.norm(ours[name] - gradient) < 1e-4 * np.linalg.norm(gradient), name


def test_the_unit_classifier_is_what_the_official_forward_pass_leaves_behind(official):
    arrays, params, images, labels = official
    unit = with_unit_classifier(params)
    np.testing.assert_allclose(unit["classifier"]["kernel"].T, arrays["classifier_weight_after"], rtol=0, atol=1e-6)
    assert np.abs(params["classifier"]["kernel"].T - arrays["classifier_weight_after"]).max() > 0.5
    assert unit["embedder"] is params["embedder"] and unit["classifier"]["bias"] is params["classifier"]["bias"]
    np.testing.assert_allclose(GRADIENT(unit, images, labels)[0][0], arrays["loss_eval_mode"], rtol=1e-5)


def released_step(optimizer):
    """A step as the released code does it: write the unit columns, then differentiate with respect to them."""

    @jax.jit
    def step(params, moments, images, labels):
        length = jnp.linalg.norm(params["classifier"]["kernel"], axis=1, keepdims=True)
        params = params | {"classifier": params["classifier"] | {"kernel": params["classifier"]["kernel"] / length}}

        def loss(params):
            out = AntiSpoof(spec()).apply({"params": params}, images, train=False)
            logits = out.features[:, 0] @ params["classifier"]["kernel"] + params["classifier"]["bias"][None]
            return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1))

        value, gradients = jax.value_and_grad(loss)(params)
        updates, moments = optimizer.update(gradients, moments, params)
        return jax.tree.map(lambda p, u: p - 1e-2 * u, params, updates), moments, value

    return step


def test_training_with_a_unit_classifier_is_the_released_training(official):
    _, params, images, labels = official
    # A strong penalty, so that decaying another weight than the unit one would show.
    optimizer = make_optimizer(OptimizerSpec(0.9, 0.999, 1e-8, ((".*", 0.1),), None, "coupled"))
    theirs, released = (params, optimizer.init(params)), released_step(optimizer)

    @jax.jit
    def step(params, moments):
        (value, _), gradients = jax.value_and_grad(loss, has_aux=True)(params, images, labels)
        updates, moments = optimizer.update(gradients, moments, params)
        return jax.tree.map(lambda p, u: p - 1e-2 * u, params, updates), moments, value

    ours = with_unit_classifier(params), optimizer.init(params)
    loose, values = ours, []
    for _ in range(4):
        *theirs, official_value = released(*theirs, images, labels)
        *ours, value = step(*ours)
        ours[0] = with_unit_classifier(ours[0])
        *loose, without = step(*loose)
        values.append((official_value, value, without))
    values = np.array(values)
    np.testing.assert_allclose(values[:, 1], values[:, 0], rtol=1e-5)
    last = with_unit_classifier(theirs[0])["classifier"]["kernel"]
    np.testing.assert_allclose(ours[0]["classifier"]["kernel"], last, rtol=0, atol=1e-4)
    # Without writing it back, the third step already sees another weight.
    assert np.abs(loose[0]["classifier"]["kernel"] - theirs[0]["classifier"]["kernel"]).max() > 1e-3
    lengths = np.linalg.norm(loose[0]["classifier"]["kernel"], axis=1)
    assert np.abs(lengths - 1).max() > 0.01


def test_over_features_only_the_pooled_token_counts(official):
    _, params, images, labels = official
    (_, out), _ = GRADIENT(params, images, labels, norm_over="features")
    assert out.features.shape == (6, 1, 512)
    # The pooled token's bottleneck features by hand, from the golden ones: those are scaled over the tokens.
    x = np.asarray(out.features[:, 0], np.float64)
    length = np.linalg.norm(x, axis=1)
    tokens = np.asarray(GRADIENT(params, images, labels)[0][1].features, np.float64)
    by_token = np.linalg.norm(tokens, axis=1)  # sqrt(|h| / 2) of each feature: h is recovered from it
    hidden = tokens[:, 0] * 2 * by_token
    expected = hidden / np.sqrt(2 * np.linalg.norm(hidden, axis=1, keepdims=True))
    np.testing.assert_allclose(x, expected, rtol=0, atol=2e-5)
    np.testing.assert_allclose(length, np.sqrt(np.linalg.norm(hidden, axis=1) / 2), rtol=1e-5)
    logits = x @ np.asarray(unit_columns(params["classifier"]["kernel"])) + params["classifier"]["bias"]
    np.testing.assert_allclose(out.logits, logits, rtol=0, atol=1e-4)


@pytest.mark.parametrize("norm_over", ["tokens", "features"])
def test_a_bottleneck_that_is_closed_gives_zero_features_and_finite_gradients(official, norm_over):
    _, params, images, labels = official
    closed = params | {"embedder": jax.tree.map(lambda x: np.full_like(x, -1e-3), params["embedder"])}
    closed["embedder"]["bias"] = np.full(512, -100, np.float32)
    (value, out), gradients = GRADIENT(closed, images, labels, norm_over=norm_over)
    assert not out.features.any() and np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_dropout_closes_half_and_only_in_training(official):
    _, params, images, labels = official
    network = AntiSpoof(spec("features"))
    train = jax.jit(lambda key: network.apply({"params": params}, images, train=True, rngs={"dropout": key}).features)
    first, again, other = (np.asarray(train(jax.random.key(seed))) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    quiet = np.asarray(GRADIENT(params, images, labels, norm_over="features")[0][1].features)
    open_before = quiet > 0
    share = (first > 0)[open_before].mean()
    # About 1500 open features: standard error 0.013.
    assert open_before.sum() > 1000 and abs(share - 0.5) < 0.06
    assert (first != other).any() and not (first > 0)[~open_before].any()
    with pytest.raises(InvalidRngError, match="dropout"):
        jax.eval_shape(lambda: network.apply({"params": params}, images, train=True))


@pytest.mark.parametrize(
    ("size", "count"), [("vit_s16", 21_863_810), ("vit_b16", 86_193_410), ("vit_l16", 303_827_458)]
)
def test_parameter_counts_are_the_published_ones(size, count):
    def counts(size):
        shapes = shapes_of(AntiSpoof(spec(size=size, image_size=224)), jnp.zeros((1, 224, 224, 3)), False)
        return [sum(leaf.size for leaf in jax.tree.leaves(shapes))]

    assert count_by_depth(SIZES[size], counts) == [count]


def test_a_fresh_network_has_the_official_start(golden):
    start = jax.jit(lambda: AntiSpoof(spec()).init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False))()
    params = start["params"]
    # 24,576 draws: the deviation is known to half a percent.
    assert abs(np.std(params["embedder"]["kernel"]) / 0.005 - 1) < 0.02
    np.testing.assert_allclose(params["embedder"]["bias"], 0.1)
    np.testing.assert_allclose(np.linalg.norm(params["classifier"]["kernel"], axis=1), 1, rtol=1e-6)
    assert not params["classifier"]["bias"].any()
    loaded, report = initialise(reference.parameters(golden("pretrain_tiny"), "online/"), params, grid=4)
    assert report.new == tuple(f"{part}/{leaf}" for part, leaf in [
        ("classifier", "bias"), ("classifier", "kernel"), ("embedder", "bias"), ("embedder", "kernel"),
        ("fc_norm", "bias"), ("fc_norm", "scale"),
    ])  # fmt: skip
    assert len(report.loaded) == 28 and loaded["embedder"]["kernel"] is params["embedder"]["kernel"]


def test_an_unknown_axis_is_refused():
    of = spec("channels")
    with pytest.raises(ValueError, match="model.norm_over: expected one of tokens, features; found 'channels'"):
        jax.eval_shape(lambda: AntiSpoof(of).init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False))
