"""The sides of the images that a configuration asks for, checked once for every job."""

from ml_collections import ConfigDict

from fsfm_jax.config.fields import RANGES, one_of
from fsfm_jax.models.bases import BASES
from fsfm_jax.models.vit import SIZES


def grid_of(c: ConfigDict) -> int:
    """Return the rows of patches of the images of a configuration: the one check of `model.image_size`.

    Raises:
      ValueError: an unknown size, or images that patches do not fill.
    """
    size = SIZES[one_of("model.size", c.model.size, SIZES)]
    try:
        return size.grid(c.model.image_size)
    except ValueError as error:
        raise ValueError(f"model.image_size: {error} ({c.model.size})") from error


def training_sizes(c: ConfigDict) -> tuple[int, ...]:
    """Return the sides of the images of a fine-tuning, one of which each step has; empty: all have `model.image_size`.

    Raises:
      ValueError: no list of different sizes that patches fill, or a network or cache that has one size.
    """
    text = c.augment.sizes
    if not text:
        return ()
    largest = RANGES["model.image_size"][1]
    parts = [part.strip() for part in text.split(",")]
    sizes = tuple(int(part) for part in parts if part.isascii() and part.isdigit() and len(part) < 6)
    if len(sizes) < len(parts) or len(set(sizes)) < len(sizes) or not all(0 < size <= largest for size in sizes):
        raise ValueError(
            f'augment.sizes: expected different sizes from 1 to {largest}, such as "224,320,384"; found {text!r}'
        )
    for size in sizes:
        try:
            SIZES[c.model.size].grid(size)
        except ValueError as error:
            raise ValueError(f"augment.sizes: {error} ({c.model.size})") from error
    if BASES[one_of("model.base", c.model.base, BASES)].style.relative:
        raise ValueError(f"augment.sizes: {c.model.base} has relative positions of one size; leave it empty")
    if c.features.cache:
        raise ValueError("augment.sizes: features of an image are of one size; leave it empty, or features.cache")
    return sizes
