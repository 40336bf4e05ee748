"""Pixels as the networks take them: zero mean and unit deviation in each channel."""

import dataclasses

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each RGB channel, on a scale where pixels are 0..1."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def normalise(image: jax.Array, statistics: Statistics) -> jax.Array:
    """`[B, H, W, 3] uint8` to zero mean and unit deviation in float32; floats pass, they are normalised."""
    if image.dtype != jnp.uint8:
        return image
    mean, std = jnp.asarray(statistics.mean), jnp.asarray(statistics.std)
    return (image.astype(jnp.float32) / 255 - mean[None, None, None]) / std[None, None, None]
