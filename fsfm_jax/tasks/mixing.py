"""Augment a batch on the device, after normalisation: fill erased boxes with noise, then mix images in pairs.

Image b is mixed with image B - 1 - b of the global batch; with an odd B the middle one is unchanged. The
released code pairs images inside the batch of one GPU. Letters: B images of the global batch, H x W pixels, C classes.
"""

import jax
import jax.numpy as jnp

from fsfm_jax import losses


def fill_erased(images: jax.Array, boxes: jax.Array, key: jax.Array) -> jax.Array:
    """Fill the erased boxes with independent N(0, 1) values (random erasing, "pixel" mode).

    Args:
      images: `[B, H, W, 3] float32`, normalised.
      boxes: `[B, 4] int32`, top, left, height, width; a zero height or width erases nothing.
      key: typed key of this step.

    Returns:
      `[B, H, W, 3] float32`.
    """
    noise = jax.random.normal(key, images.shape, images.dtype)
    return jnp.where(_inside(boxes, *images.shape[1:3])[..., None], noise, images)


def kept_share(use_cutmix: jax.Array, ratio: jax.Array, box: jax.Array, height: int, width: int) -> jax.Array:
    """Return the share of an image that remains after mixing, `float32` scalar: `1 - box / (H W)`; `ratio` for mixup.

    For CutMix, the box clipped to the image may be smaller than `ratio` asks for.
    """
    area = (box[2] * box[3]).astype(jnp.float32)
    return jnp.where(use_cutmix, 1 - area / (height * width), ratio)


def mix_images(images: jax.Array, use_cutmix: jax.Array, ratio: jax.Array, box: jax.Array) -> jax.Array:
    """Mix every image with its partner: a weighted sum (mixup), or a box of the partner (CutMix).

    Args:
      images: `[B, H, W, 3] float32`, the global batch.
      use_cutmix: `bool` scalar.
      ratio: `float32` scalar, weight of the image itself in mixup, 0..1.
      box: `[4] int32`, top, left, height, width of the box that CutMix takes from the partner.

    Returns:
      `[B, H, W, 3] float32`.
    """
    partner = images[::-1]
    taken = _inside(box[None], *images.shape[1:3])[..., None]
    blend = ratio * images + (1 - ratio) * partner
    return jnp.where(use_cutmix, jnp.where(taken, partner, images), blend)


def mix_targets(labels: jax.Array, classes: int, smoothing: float, kept: jax.Array) -> jax.Array:
    """Return smoothed one-hot targets of image and partner, with weights `kept` and `1 - kept`.

    Args:
      labels: `[B] int32`, 0..C - 1, the global batch.
      smoothing: share of a target that is spread evenly over all C classes, 0..1: with 0.1 and two classes
        0.95 and 0.05.
      kept: `float32` scalar from `kept_share`.

    Returns:
      `[B, C] float32`, rows sum to 1.
    """
    own = losses.smooth_labels(labels, classes, smoothing)
    return kept * own + (1 - kept) * own[::-1]


def _inside(boxes: jax.Array, height: int, width: int) -> jax.Array:
    """Return which pixels lie in `boxes [B, 4]`, `[B, H, W] bool`."""
    top, left, rows, columns = (boxes[:, k, None] for k in range(4))
    row, column = jnp.arange(height)[None], jnp.arange(width)[None]
    in_rows = (top <= row) & (row < top + rows)
    in_columns = (left <= column) & (column < left + columns)
    return in_rows[:, :, None] & in_columns[:, None, :]
