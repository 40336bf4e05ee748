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


# Channel statistics that the released code lists, for data that is not at hand.
STATISTICS = {
    "vggface2": Statistics(
        (0.5482207536697388, 0.42340534925460815, 0.3654651641845703),
        (0.2789176106452942, 0.2438540756702423, 0.23493893444538116),
    ),
    "ffpp": Statistics(
        (0.532625138759613, 0.4048449993133545, 0.3708747327327728),
        (0.25850796699523926, 0.21054500341415405, 0.20785294473171234),
    ),
    "imagenet": Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    # Those of base models: timm's ViT, CLIP, and MARLIN, which sees pixels of 0..1 as they are.
    "inception": Statistics((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "clip": Statistics((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "unit": Statistics((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


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
