"""Losses against the official values and gradients, and against hand-made cases."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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


@pytest.mark.parametrize("kind", OFFICIAL)
def test_instance_losses_equal_the_official_ones(golden, kind):
    arrays = golden("pretrain_tiny")
    cases = [("out/features_online", "out/features_target", f"out/loss_cl/{kind}")]
    cases += [
        (f"cl_only/n{n}/features_online", f"cl_only/n{n}/features_target", f"cl_only/n{n}/loss/{kind}")
        for n in (1, 4, 8)
    ]
    for online, target, name in cases:
        value = jax.jit(OFFICIAL[kind])(arrays[online], arrays[target])
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
    online, target = jnp.eye(3), jnp.eye(3)
    loss = functools.partial(losses.infonce, temperature=0.1, negatives=False)
    np.testing.assert_allclose(loss(online, target), loss(online, target + jnp.eye(3)[::-1] * 0.5 * (1 - jnp.eye(3))))


def test_normalised_pixels_use_the_unbiased_variance():
    patch = jnp.asarray([[[1.0, 2.0, 3.0, 6.0]]])  # mean 3, sum of squares 14, divided by 3
    expected = (np.array([1, 2, 3, 6]) - 3) / np.sqrt(14 / 3 + 1e-6)
    np.testing.assert_allclose(losses.normalise_pixels(patch)[0, 0], expected, rtol=1e-6)


def test_masked_reconstruction_counts_only_masked_patches():
    pixels, goal = jnp.asarray([[[1.0, 3.0], [9.0, 9.0]], [[0.0, 2.0], [1.0, 1.0]]]), jnp.zeros((2, 2, 2))
    mask = jnp.asarray([[True, False], [True, True]])
    ratio = losses.masked_reconstruction(pixels, goal, mask)
    np.testing.assert_allclose(ratio.total, 5 + 2 + 1)  # means of the squares of three patches
    np.testing.assert_allclose(ratio.denominator, 3)


def test_negative_cosine_is_scale_free_and_signed():
    x = jnp.asarray([[1.0, 0.0], [0.0, 2.0]])
    np.testing.assert_allclose(losses.negative_cosine(x, 5 * x, 1.0), -1.0, rtol=1e-6)
    np.testing.assert_allclose(losses.negative_cosine(x, -x, 0.5), 0.5, rtol=1e-6)


def test_unknown_kind_is_refused_by_name():
    with pytest.raises(ValueError, match="loss.kind.*ncs.*found 'simsiam'"):
        losses.instance_discrimination("simsiam", 0.1, 1.0, True)


# Real anchors.

PATTERNS = (
    "no_real", "one_real", "two_real", "half", "all_real", "half_real_is_1", "all_but_one_real", "single_real",
    "single_fake", "real_fake_pair", "real_real_pair",
)  # fmt: skip


@pytest.mark.parametrize("temperature", [0.07, 0.1])
def test_the_real_anchor_loss_equals_the_official_one_for_every_pattern(golden, temperature):
    arrays = golden("finetune_tiny")
    found = {name.split("/")[2] for name in arrays if name.startswith(f"real_anchor/t{temperature}/")}
    assert found == set(PATTERNS)

    def mean(features, labels, real):
        return losses.real_anchor(features, labels, real, temperature).mean()

    both = jax.value_and_grad(mean)
    for pattern in PATTERNS:
        case = f"real_anchor/t{temperature}/{pattern}"
        labels, real = arrays[f"{case}/labels"], int(arrays[f"{case}/pos_class_index"])
        features = jnp.asarray(arrays["real_anchor/features"][: len(labels)])
        value, gradient = both(features, labels, real)
        np.testing.assert_allclose(value, arrays[f"{case}/loss"], rtol=1e-5, atol=1e-9, err_msg=pattern)
        official = arrays[f"{case}/grad"]
        if np.any(official):
            assert np.linalg.norm(gradient - official) < 1e-4 * np.linalg.norm(official), pattern
        else:
            assert not np.any(gradient), pattern


def test_the_real_anchor_loss_by_hand():
    # Two real faces at a right angle and a forged one opposite to the first, T = 1: sums of exp(s - 1).
    z = jnp.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    e = np.exp
    first = -(1 / 0.07) * (-1 - np.log(e(-1) + e(-2) + 1e-6))
    second = -(1 / 0.07) * (-1 - np.log(2 * e(-1) + 1e-6))
    np.testing.assert_allclose(losses.real_anchor(z, jnp.array([1, 1, 0]), 1, 1.0), [first, second, 0], rtol=1e-6)
