"""Losses against the official values and gradients, and against hand-made cases."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import check_gradient, drawn
from jax import enable_x64

from fsfm_jax import losses

OFFICIAL = {
    "SimSiam": losses.instance_discrimination("ncs", 0.1, 0.5, True),
    "BYOL": losses.instance_discrimination("byol", 0.1, 0.5, True),
    "InfoNCE": losses.instance_discrimination("infonce", 0.1, 0.5, True),
    "InfoNCE_positive": losses.instance_discrimination("infonce", 0.1, 0.5, False),
    "MOCOv3": losses.instance_discrimination("mocov3", 0.1, 0.5, True),
    "SimCLR_main": losses.instance_discrimination("simclr", 0.1, 0.5, True),
    "SimCLR_main_positive": losses.instance_discrimination("simclr", 0.1, 0.5, False),
}
# Compiled once for each shape; op by op each would be compiled alone.
CONTRASTS = {name: jax.jit(loss) for name, loss in losses.CONTRASTS.items()}


@pytest.mark.parametrize("kind", OFFICIAL)
def test_instance_losses_equal_the_official_ones(golden, kind):
    arrays = golden("pretrain_tiny")
    cases = [("out/features_online", "out/features_target", f"out/loss_cl/{kind}")]
    cases += [
        (f"cl_only/n{n}/features_online", f"cl_only/n{n}/features_target", f"cl_only/n{n}/loss/{kind}")
        for n in (1, 4, 8)
    ]
    loss = jax.jit(OFFICIAL[kind])
    for online, target, name in cases:
        value = loss(arrays[online], arrays[target])
        # The absolute part is for the losses of a single image that are exactly zero.
        np.testing.assert_allclose(value, arrays[name], rtol=1e-5, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("kind", OFFICIAL)
def test_instance_gradients_equal_the_official_ones(golden, kind):
    arrays = golden("pretrain_tiny")
    gradient = jax.jit(jax.grad(OFFICIAL[kind]))(arrays["out/features_online"], arrays["out/features_target"])
    official = arrays[f"out/grad_cl_wrt_features_online/{kind}"]
    # The features of this file are nearly parallel, so the gradients are small differences.
    assert np.linalg.norm(gradient - official) < 1e-4 * np.linalg.norm(official)


def test_losses_without_negatives_ignore_the_other_images():
    online = target = np.eye(3, dtype=np.float32)
    loss = jax.jit(functools.partial(losses.infonce, temperature=0.1, negatives=False))
    np.testing.assert_allclose(loss(online, target), loss(online, target + target[::-1] * 0.5 * (1 - target)))


def test_normalised_pixels_use_the_unbiased_variance():
    patch = np.array([[[1.0, 2.0, 3.0, 6.0]]], np.float32)  # mean 3, sum of squares 14, divided by 3
    expected = (np.array([1, 2, 3, 6]) - 3) / np.sqrt(14 / 3 + 1e-6)
    np.testing.assert_allclose(jax.jit(losses.normalise_pixels)(patch)[0, 0], expected, rtol=1e-6)


def test_masked_reconstruction_counts_only_masked_patches():
    pixels, goal = np.float32([[[1.0, 3.0], [9.0, 9.0]], [[0.0, 2.0], [1.0, 1.0]]]), np.zeros((2, 2, 2), np.float32)
    mask = np.array([[True, False], [True, True]])
    ratio = jax.jit(losses.masked_reconstruction)(pixels, goal, mask)
    np.testing.assert_allclose(ratio.total, 5 + 2 + 1)  # means of the squares of three patches
    np.testing.assert_allclose(ratio.denominator, 3)


def test_negative_cosine_is_scale_free_and_signed():
    x, loss = np.float32([[1.0, 0.0], [0.0, 2.0]]), jax.jit(losses.negative_cosine)
    np.testing.assert_allclose(loss(x, 5 * x, 1.0), -1.0, rtol=1e-6)
    np.testing.assert_allclose(loss(x, -x, 0.5), 0.5, rtol=1e-6)


def test_unknown_kind_is_refused_by_name():
    with pytest.raises(ValueError, match="loss.kind.*ncs.*found 'simsiam'"):
        losses.instance_discrimination("simsiam", 0.1, 1.0, True)


# Real anchors.

PATTERNS = (
    "no_real", "one_real", "two_real", "half", "all_real", "half_real_is_1", "all_but_one_real", "single_real",
    "single_fake", "real_fake_pair", "real_real_pair",
)  # fmt: skip


@jax.jit
def mean_real_anchor(*arguments):
    """The mean, and its gradient in the features."""
    return jax.value_and_grad(lambda *four: losses.real_anchor(*four).mean())(*arguments)


@pytest.mark.parametrize("temperature", [0.07, 0.1])
def test_the_real_anchor_loss_equals_the_official_one_for_every_pattern(golden, temperature):
    arrays = golden("finetune_tiny")
    found = {name.split("/")[2] for name in arrays if name.startswith(f"real_anchor/t{temperature}/")}
    assert found == set(PATTERNS)

    for pattern in PATTERNS:
        case = f"real_anchor/t{temperature}/{pattern}"
        labels, real = arrays[f"{case}/labels"], int(arrays[f"{case}/pos_class_index"])
        value, gradient = mean_real_anchor(arrays["real_anchor/features"][: len(labels)], labels, real, temperature)
        np.testing.assert_allclose(value, arrays[f"{case}/loss"], rtol=1e-5, atol=1e-9, err_msg=pattern)
        official = arrays[f"{case}/grad"]
        if np.any(official):
            assert np.linalg.norm(gradient - official) < 1e-4 * np.linalg.norm(official), pattern
        else:
            assert not np.any(gradient), pattern


def test_the_ablations_of_the_real_anchor_loss_by_hand():
    # Three real faces, the first and the last opposite to each other, and two forged ones; T = 1.
    half = np.sqrt(0.5)
    z = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [half, half], [0.0, -1.0]], np.float32)
    labels = np.array([1, 1, 1, 0, 0])
    e = np.exp
    outer, middle = -1.5 - np.log(e(-1) + e(-2) + 1e-6), -1 - np.log(2 * e(-1) + 1e-6)
    expected = [-outer / 0.07, -middle / 0.07, -outer / 0.07, 0, 0]
    np.testing.assert_allclose(CONTRASTS["real_real"](z, labels, 1, 1.0), expected, rtol=1e-5)
    # Similarities of real and forged faces: their softplus, five times a third of a half in each row.
    similarities = np.array([[half, 0], [half, -1], [-half, 0]])
    for temperature in (1.0, 0.5):
        pairs = np.log1p(e(similarities / temperature))
        found = CONTRASTS["real_fake"](z, labels, 1, temperature)
        np.testing.assert_allclose(found, [*(5 * pairs.sum(1) / 6), 0, 0], rtol=1e-6)
        np.testing.assert_allclose(np.mean(found), pairs.mean(), rtol=1e-6)


def test_what_forged_faces_do_not_change_and_what_they_do():
    z, labels = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32), np.array([1, 0, 1, 1, 0, 0])
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    moved, (anchor, real_real, _) = np.where(labels[:, None] == 0, -z, z), CONTRASTS.values()
    before, after = (real_real(x, labels, 1, 0.07) for x in (z, moved))
    np.testing.assert_array_equal(before, after)
    assert np.abs(np.subtract(*(anchor(x, labels, 1, 0.07) for x in (z, moved)))).max() > 1e-3
    # With real faces alone the first two are one loss, and the third has no pairs.
    real, fake = np.ones(6, int), np.zeros(6, int)
    np.testing.assert_array_equal(real_real(z, real, 1, 0.07), anchor(z, real, 1, 0.07))
    for kind, labels, alone in (("real_real", fake, 1e-6), ("real_fake", fake, 0), ("real_fake", real, 0)):
        mean = jax.jit(jax.value_and_grad(lambda x, of, kind=kind: losses.CONTRASTS[kind](x, of, 1, 0.07).mean()))
        value, gradient = mean(z, labels)
        np.testing.assert_allclose(value, alone, rtol=1e-6)
        assert not np.any(gradient)
    # A single real face has none to be drawn to.
    assert not np.any(real_real(z, np.array([1, 0, 0, 0, 0, 0]), 1, 0.07))


@pytest.mark.parametrize("kind", losses.CONTRASTS)
def test_gradients_of_the_contrasts_are_those_of_their_values(kind):
    with enable_x64(True):
        z, labels = drawn(5, 3), np.array([1, 0, 1, 1, 0])

        def mean(z):
            # Unit rows: off the sphere the row's maximum, through which no gradient goes, is not the row's own product.
            return losses.CONTRASTS[kind](z / jnp.linalg.norm(z, axis=1, keepdims=True), labels, 1, 0.2).mean()

        check_gradient(mean, z, tolerance=1e-6)  # the third derivative has a factor of 1 / 0.2**3


def test_the_real_anchor_loss_by_hand():
    # Two real faces at a right angle and a forged one opposite to the first, T = 1: sums of exp(s - 1).
    z = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], np.float32)
    e = np.exp
    first = -(1 / 0.07) * (-1 - np.log(e(-1) + e(-2) + 1e-6))
    second = -(1 / 0.07) * (-1 - np.log(2 * e(-1) + 1e-6))
    np.testing.assert_allclose(CONTRASTS["real_anchor"](z, np.array([1, 1, 0]), 1, 1.0), [first, second, 0], rtol=1e-6)


def test_losses_of_unit_rows_by_hand():
    # Square distances 2, 4 and 2 of three points on a circle.
    z = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], np.float32)
    uniformity, alignment = jax.jit(losses.uniformity), jax.jit(losses.alignment)
    np.testing.assert_allclose(uniformity(z), np.log((2 * np.exp(-4) + np.exp(-8)) / 3), rtol=1e-6)
    np.testing.assert_allclose(alignment(z, np.array([1, 1, 0])), 2, rtol=1e-6)
    np.testing.assert_allclose(alignment(z, np.array([0, 0, 0])), 8 / 3, rtol=1e-6)
    # Without a pair both are 0, and no gradient is NaN.
    for loss in (losses.uniformity, lambda x: losses.alignment(x, jnp.zeros(len(x), int))):
        value, gradient = jax.jit(jax.value_and_grad(loss))(z[:1])
        assert value == 0 and not np.any(gradient)
