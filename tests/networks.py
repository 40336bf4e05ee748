"""Tiny networks for tests of what is exported: specifications, and parameters of given shapes."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from fsfm_jax.models.bases import BASES
from fsfm_jax.models.classifier import Classifier, ClassifierSpec
from fsfm_jax.models.vit import Size
from fsfm_jax.weights.encoder_size import shapes_of

# The smallest with two of everything: 8 pixels in 4 patches.
SMALLEST = ClassifierSpec(
    size=Size(8, 2, 2, 4), image_size=8, classes=3, pooling="mean_patches", drop_path=0.1, dtype=jnp.bfloat16,
    remat="full",
)  # fmt: skip
# One base model of each wiring, the first by name: "fsfm" for the plain one.
WIRINGS = sorted({base.style: name for name, base in reversed(BASES.items())}.values())


def drawn(shapes, seed: int = 0) -> dict:
    """A tree of these shapes with different numbers everywhere, in the alphabetical order of JAX."""
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32), shapes)


def scaled(shapes, seed: int = 0) -> dict:
    """A tree of these shapes as of a trained network: products at their scale, everything else of about 1/3."""
    random = np.random.default_rng(seed)

    def draw(path, leaf):
        scale = leaf.shape[0] ** -0.5 if path[-1].key == "kernel" else 0.3
        return (random.normal(size=leaf.shape) * scale + (path[-1].key == "scale")).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def zeros(network, *inputs) -> dict:
    """Parameters of zeros, to set by hand; nothing is compiled."""
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes_of(network, *inputs))


def count_by_depth(size: Size, count: Callable[[Size], list[int]]) -> list[int]:
    """What `count` finds in a network of `size`. Blocks are alike: a third has as much more as a second."""
    one, two = (np.array(count(dataclasses.replace(size, depth=depth))) for depth in (1, 2))
    return (one + (size.depth - 1) * (two - one)).tolist()


def classifier(of: ClassifierSpec, draw: Callable[..., dict] = drawn) -> dict:
    """Parameters of a classifier."""
    side = of.image_size
    return draw(shapes_of(Classifier(of), jnp.zeros((1, side, side, 3)), False))
