"""What training does to a batch on the device, after normalisation: noise in erased boxes, then mixing in pairs.

Image b is mixed with image B - 1 - b of the global batch; with an odd B the middle one stays itself. The
released code pairs images inside the batch of one GPU. Letters: B images of the global batch, H x W pixels, C classes.
"""

import jax
import jax.numpy as jnp

from fsfm_jax import losses


def fill_erased(images: jax.Array, boxes: jax.Array, key: jax.Array) -> jax.Array:
    """Independent N(0, 1) numbers in every value of the erased boxes (random erasing, "pixel" mode).

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
    """Share of an image that is its own after mixing, `float32` scalar 0..1: `1 - box / (H W)`, or `ratio` for mixup.

    CutMix's own ratio asks for a box; the one that fits into the image may be smaller.
    """
    area = (box[2] * box[3]).astype(jnp.float32)
    return jnp.where(use_cutmix, 1 - area / (height * width), ratio)


def mix_images(images: jax.Array, use_cutmix: jax.Array, ratio: jax.Array, box: jax.Array) -> jax.Array:
    """Every image with its partner: a weighted sum (mixup) or a box of it (CutMix).

    Args:
      images: `[B, H, W, 3] float32`, the global batch.
      use_cutmix: `bool` scalar.
      ratio: `float32` scalar, weight of the image itself in mixup, 0..1.
      box: `[4] int32`, top, left, height, width of what CutMix takes from the partner.

    Returns:
      `[B, H, W, 3] float32`.
    """
    partner = images[::-1]
    taken = _inside(box[None], *images.shape[1:3])[..., None]
    blend = ratio * images + (1 - ratio) * partner
    return jnp.where(use_cutmix, jnp.where(taken, partner, images), blend)


def mix_targets(labels: jax.Array, classes: int, smoothing: float, kept: jax.Array) -> jax.Array:
    """Smoothed one-hot targets of image and partner, `kept` parts of the first and `1 - kept` of the second.

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
    """Which pixels lie in `boxes [B, 4]`, `[B, H, W] bool`."""
    top, left, rows, columns = (boxes[:, k, None] for k in range(4))
    row, column = jnp.arange(height)[None], jnp.arange(width)[None]
    in_rows = (top <= row) & (row < top + rows)
    in_columns = (left <= column) & (column < left + columns)
    return in_rows[:, :, None] & in_columns[:, None, :]
