"""The interface between a task and the training loop."""

import functools
import operator
from collections.abc import Mapping
from typing import Any, Protocol

import jax

Batch = dict[str, jax.Array]
Terms = dict[str, jax.Array]

# Names of terms with one row per image, used for monitoring only: projections `[B, E]`, and the cosine similarities of
# their predictions to the target `[B]`.
PROJECTION, AGREEMENT = "projection", "agreement"
ROWS = (PROJECTION, AGREEMENT)


class Task(Protocol):
    """A model with its loss. All methods are pure and traceable."""

    @property
    def per_image(self) -> bool:
        """Whether the loss, given `denominators`, is a mean of independent terms of each image, without randomness.

        Devices can then compute the gradients of their own images without communication.
        """
        ...

    def init(self, key: jax.Array) -> Any:
        """Return initial parameters of the trained network, float32, from a typed key."""
        ...

    def target_part(self, params: Any) -> Any:
        """Return the part of `params` that the target network has; an empty dict for a task without one."""
        ...

    def denominators(self, batch: Batch) -> Terms:
        """Return the denominators of the loss's ratios over `batch`, float32 scalars."""
        ...

    def loss(
        self, params: Any, target: Any, batch: Batch, denominators: Terms, key: jax.Array
    ) -> tuple[jax.Array, Terms]:
        """Return the loss of `batch` (sums over `denominators`) and its terms by name: float32 scalars, perhaps `ROWS`.

        `key` is a typed key for this micro-batch, for random draws on the device.
        """
        ...

    def constrain(self, params: Any) -> Any:
        """Project `params` back onto their constraints after an optimizer step; most tasks return them unchanged."""
        ...


def weighted_sum(terms: Terms, weights: Mapping[str, float]) -> jax.Array:
    """Return the loss: the sum of weighted terms, in the order of `weights`."""
    return functools.reduce(operator.add, [weight * terms[name] for name, weight in weights.items()])
