"""Grad-CAM of a detector: the evidence for a class at each patch of a face, computed at the last block.

A Flax interceptor captures the activations, so the network's code is unchanged. With A the output of the last block's
first norm and y the score of a class, the map is ReLU(sum_d w_d A[n, d]) over the patches n. Here w_d is the mean over
all tokens of dy / dA[., d] (Selvaraju et al. 2017, applied to tokens instead of pixels).
"""

import dataclasses

import cv2
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from fsfm_jax import records
from fsfm_jax.models.ops import at_least_float32
from fsfm_jax.tasks.classify import ClassifyTask

NORM = "norm1"
OPACITY = 0.5


def class_activation(task: ClassifyTask, params, images: jax.Array, of: int) -> jax.Array:
    """Return the maps of class `of`, `[B, S, S, 3] uint8 -> [B, G, G] float32`.

    Each map is divided by its maximum, so values are in 0..1. A map is zero if there is no evidence for the class. The
    score y is the log-probability.
    """
    # A rematerialised block must not leak traced values; without rematerialisation the numbers are the same.
    model = dataclasses.replace(task.model, remat="none")
    task = dataclasses.replace(task, model=model)
    path = ("encoder", f"block_{model.size.depth - 1:02d}", NORM)
    tokens = model.grid**2 + model.style.prefix
    zero = jnp.zeros((images.shape[0], tokens, model.size.width))

    def score(shift: jax.Array) -> tuple[jax.Array, jax.Array]:
        seen = []

        def watch(call, arguments, keywords, context):
            out = call(*arguments, **keywords)
            if context.method_name != "__call__" or context.module.path[-3:] != path:
                return out
            seen.append(at_least_float32(out))
            return (seen[-1] + shift).astype(out.dtype)

        with nn.intercept_methods(watch):
            found = task.log_probabilities(params, images)
        (activation,) = seen
        # Images are independent, so the gradient of the sum contains the gradient of each.
        return jnp.sum(found[:, of]), activation

    gradient, activation = jax.grad(score, has_aux=True)(zero)
    weights = jnp.mean(gradient, axis=1, keepdims=True)
    heat = jax.nn.relu(jnp.sum(weights * activation, axis=-1))[:, model.style.prefix :]
    largest = jnp.max(heat, axis=1, keepdims=True)
    heat = heat / jnp.where(largest > 0, largest, 1)
    return heat.reshape(-1, model.grid, model.grid).astype(jnp.float32)


def enlarge(heat: np.ndarray, side: int) -> np.ndarray:
    """Resize a map `[G, G]` of finite numbers in 0..1 to `[S, S] float32`; raise ValueError for an invalid map."""
    if np.ndim(heat) != 2 or not np.isfinite(heat).all():
        raise ValueError(f"heat: expected a map [G, G] of finite numbers, found shape {list(np.shape(heat))}")
    return cv2.resize(np.asarray(heat, np.float32), (side, side), interpolation=cv2.INTER_CUBIC).clip(0, 1)


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Draw a map over a face, `[S, S, 3] uint8`, `[G, G]` in 0..1 `-> [S, S, 3] uint8` RGB; ValueError if invalid."""
    records.check_image(image)
    wide = enlarge(heat, image.shape[0])
    colours = cv2.applyColorMap(np.round(wide * 255).astype(np.uint8), cv2.COLORMAP_JET)[..., ::-1]
    return np.round((1 - OPACITY) * image + OPACITY * colours).astype(np.uint8)
