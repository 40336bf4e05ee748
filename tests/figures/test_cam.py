"""Grad-CAM against the definition, on networks whose gradient can be computed otherwise."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import serialized

from fsfm_jax.figures import cam

IMAGES = serialized.images(2)
heat_of = jax.jit(cam.class_activation, static_argnames=("task", "of"))


@functools.partial(jax.jit, static_argnames="task")
def moved(task, params, place, amount):
    """Output of the last block's first norm, with `amount` added at a place, and the first image's first score."""
    seen = []

    def watch(call, arguments, keywords, context):
        out = call(*arguments, **keywords)
        if context.module.name == "norm1":
            seen.append(out)
            if len(seen) == task.model.size.depth:
                out = out.at[0, place[0], place[1]].add(amount)
        return out

    with nn.intercept_methods(watch):
        score = task.log_probabilities(params, IMAGES)[0, 0]
    return seen[-1], score


@pytest.mark.parametrize("fields", [
    {}, {"model__pooling": "cls", "tuning__method": "lora"},
    {"model__network": "antispoof", "model__norm_over": "features", "tuning__method": "fs_adapter"},
])  # fmt: skip
def test_maps_follow_the_definition(fields):
    made = serialized.detector(**fields)
    heat = np.asarray(heat_of(made.task, made.params, IMAGES, of=0))
    assert heat.shape == (2, 2, 2)
    activation = np.asarray(moved(made.task, made.params, jnp.array([0, 0]), 0.0)[0], np.float64)[0]
    # dy/dA by differences, for all tokens of the first image and every dimension.
    gradient, step = np.zeros(activation.shape), 0.02
    for place in np.ndindex(*activation.shape):
        high, low = (moved(made.task, made.params, jnp.array(place), amount)[1] for amount in (step, -step))
        gradient[place] = (high - low) / (2 * step)
    want = np.maximum((gradient.mean(axis=0) * activation).sum(axis=-1), 0)[1:]
    assert want.max() > 0 or fields, "nothing would be compared"
    # Float32 differences of logs of about 1 over 0.04: 1e-5 of the gradient, and as much of the curvature.
    np.testing.assert_allclose(heat[0].ravel(), want / max(want.max(), 1e-30), atol=0.02)


def test_maps_of_a_network_that_was_trained_with_rematerialisation():
    plain, saving = (serialized.detector(model__remat=remat) for remat in ("none", "full"))
    assert saving.task.model.remat == "full"
    heats = [heat_of(made.task, plain.params, IMAGES, of=0) for made in (plain, saving)]
    np.testing.assert_array_equal(*heats)
    assert np.max(heats[0]) > 0.99


def test_each_map_is_its_own_images_and_a_network_that_sees_nothing_has_none():
    made = serialized.detector()
    both = np.asarray(heat_of(made.task, made.params, IMAGES, of=0))
    alone = np.asarray(heat_of(made.task, made.params, IMAGES[1:], of=0))
    np.testing.assert_allclose(both[1:], alone, atol=1e-5)
    assert set(both.max(axis=(1, 2))) <= {0.0, 1.0}
    made = serialized.detector()
    blind = jax.tree.map(np.copy, made.params)
    blind["head"]["kernel"][:] = 0
    np.testing.assert_array_equal(heat_of(made.task, blind, IMAGES, of=1), np.zeros((2, 2, 2)))


def test_an_overlay_is_half_the_face_and_half_the_colour():
    face = np.full((4, 4, 3), 100, np.uint8)
    cold, hot = cam.overlay(face, np.zeros((2, 2))), cam.overlay(face, np.ones((2, 2)))
    # The ends of the colour map: dark blue and dark red, of 128.
    np.testing.assert_array_equal(cold[0, 0], [50, 50, 114])
    np.testing.assert_array_equal(hot[0, 0], [114, 50, 50])
