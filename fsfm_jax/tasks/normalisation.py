"""Pixels as the networks take them: zero mean and unit deviation in each channel."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each RGB channel, on a scale where pixels are 0..1."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def normalise(pixels: jax.Array, statistics: Statistics) -> jax.Array:
    """uint8 to zero mean and unit deviation in float32; floats pass, they are normalised.

    `pixels` are images `[B, H, W, 3]` or their rows `[B, H, 3 W]`: channels vary fastest along the last axis.
    """
    if pixels.dtype != jnp.uint8:
        return pixels
    of_channels = (statistics.mean, statistics.std)
    mean, std = (np.tile(np.float32(numbers), pixels.shape[-1] // len(numbers)) for numbers in of_channels)
    shape = (1,) * (pixels.ndim - 1) + (-1,)
    return (pixels.astype(jnp.float32) / 255 - mean.reshape(shape)) / std.reshape(shape)
