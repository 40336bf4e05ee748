"""What the one training loop needs to know of a task."""

import functools
import operator
from collections.abc import Mapping
from typing import Any, Protocol

import jax

Batch = dict[str, jax.Array]
Terms = dict[str, jax.Array]

# Names among the terms that are rows, one for each image, and only watched: projections `[B, E]`, and the cosines of
# their predictions with the target `[B]`.
PROJECTION, AGREEMENT = "projection", "agreement"
ROWS = (PROJECTION, AGREEMENT)


class Task(Protocol):
    """A model with its loss. All methods are pure and traceable."""

    @property
    def per_image(self) -> bool:
        """Whether the loss, given `denominators`, is a mean of what each image alone contributes, with nothing random.

        Devices can then gather the gradients of their own images without a word to each other.
        """
        ...

    def init(self, key: jax.Array) -> Any:
        """Parameters of the trained network, float32, from a typed key."""
        ...

    def target_part(self, params: Any) -> Any:
        """The part of `params` that the target network has; an empty dict for a task without one."""
        ...

    def denominators(self, batch: Batch) -> Terms:
        """The denominators of the loss's ratios over `batch`, float32 scalars."""
        ...

    def loss(
        self, params: Any, target: Any, batch: Batch, denominators: Terms, key: jax.Array
    ) -> tuple[jax.Array, Terms]:
        """Loss of `batch`, its sums over `denominators`, and its terms by name; float32 scalars, and `ROWS` if it has.

        `key` is a typed key of this micro-batch alone, for what is random on the device.
        """
        ...

    def constrain(self, params: Any) -> Any:
        """`params` after an optimizer step, put back to where they must lie; for most tasks as they are."""
        ...


def weighted_sum(terms: Terms, weights: Mapping[str, float]) -> jax.Array:
    """The loss: the terms that have a weight, times it, added in the order of `weights`."""
    return functools.reduce(operator.add, [weight * terms[name] for name, weight in weights.items()])
