"""Normalise pixels for the networks: zero mean and unit standard deviation in each channel."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each RGB channel, on a scale where pixels are 0..1."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def normalise(pixels: jax.Array, statistics: Statistics | None) -> jax.Array:
    """Normalise uint8 pixels to zero mean and unit standard deviation, float32.

    Args:
      pixels: images `[B, H, W, 3]` or their rows `[B, H, 3 W]`: channels vary fastest along the last axis.
      statistics: channel statistics; None means that `pixels` are already normalised floats, returned unchanged.

    Raises:
      ValueError: the dtype or shape is another. Floats are refused, as they may be 0..1, 0..255 or normalised.
    """
    if statistics is None:
        if not jnp.issubdtype(pixels.dtype, jnp.floating):
            raise ValueError(f"images: expected normalised floats without statistics, found {pixels.dtype}")
        return pixels
    if pixels.dtype != jnp.uint8 or pixels.ndim not in (3, 4) or pixels.shape[-1] % 3:
        raise ValueError(
            f"images: expected uint8 pixels 0..255 of shape [B, H, W, 3], found {pixels.dtype} {list(pixels.shape)}; "
            "pass decoded pixels, they are normalised here"
        )
    of_channels = (statistics.mean, statistics.std)
    mean, std = (np.tile(np.array(numbers, np.float32), pixels.shape[-1] // len(numbers)) for numbers in of_channels)
    shape = (1,) * (pixels.ndim - 1) + (-1,)
    return (pixels.astype(jnp.float32) / 255 - mean.reshape(shape)) / std.reshape(shape)
