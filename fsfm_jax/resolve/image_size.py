"""The side of the images that a configuration asks for, checked once for every job."""

from ml_collections import ConfigDict

from fsfm_jax.config.fields import one_of
from fsfm_jax.models.vit import SIZES


def grid_of(c: ConfigDict) -> int:
    """Rows of patches of the images of a configuration: the one check of `model.image_size`.

    Raises:
      ValueError: an unknown size, or images that patches do not fill.
    """
    size = SIZES[one_of("model.size", c.model.size, SIZES)]
    try:
        return size.grid(c.model.image_size)
    except ValueError as error:
        raise ValueError(f"model.image_size: {error} ({c.model.size})") from error
