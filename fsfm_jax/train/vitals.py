"""Numbers of a step that no loss shows: whether features still differ, and whether the target still moves.

They are computed in the step, in float32, once for all of its micro-batches: what is summed over devices is one row of
numbers a step.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from fsfm_jax.tasks.base import AGREEMENT, PROJECTION

# Names in the metrics.
FEATURE_STD, TARGET_COSINE = "feature_std", "target_cosine"
TARGET_DISTANCE, TARGET_MOVED = "target_distance", "target_moved"
SKIPPED = "skipped"
SHORTEST = 1e-12  # rows below this length are not made unit: rows of zeros are one point
WATCHED = (FEATURE_STD, TARGET_COSINE, TARGET_DISTANCE, TARGET_MOVED, SKIPPED)


def of_images(rows: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Return spread of the projections and their mean cosine with the target, over all images of a step.

    `feature_std` is `sqrt(E) mean_e std(z_e)` of the rows z, made unit (SimSiam, section 4.1): 1 if they lie in all
    directions alike, 0 if all are one. Single precision leaves up to 0.001 of noise where it should be 0. A row that is
    not finite makes it NaN.

    Args:
      rows: `projection [..., E]` and `agreement [...]`, one row for each image; or nothing, and then nothing is found.
    """
    if PROJECTION not in rows:
        return {}
    features = rows[PROJECTION].astype(jnp.float32)
    features /= jnp.maximum(jnp.linalg.norm(features, axis=-1, keepdims=True), SHORTEST)
    # One array, and so one sum over devices.
    packed = jnp.concatenate([features, jnp.square(features), rows[AGREEMENT][..., None].astype(jnp.float32)], -1)
    means = jnp.mean(packed, axis=tuple(range(packed.ndim - 1)))
    width = features.shape[-1]
    mean, square = means[:width], means[width:-1]
    spread = jnp.sqrt(jnp.maximum(square - jnp.square(mean), 0))
    return {FEATURE_STD: jnp.sqrt(jnp.float32(width)) * jnp.mean(spread), TARGET_COSINE: means[-1]}


def of_target(online: Any, target: Any, before: Any) -> dict[str, jax.Array]:
    """Measure how far the target is from the online network, and how far it moved in this step; {} without a target.

    `target_distance` is the L2 norm of the difference over all parameters that the two networks share, `target_moved`
    that over their vectors (biases, norms, tokens), of which every layer has some: also with matrices, the old target
    would have to stay in memory next to the new one. Both are divided by the norm of the target.

    Args:
      online, target: after the step, trees of the same shape.
      before: the target before the step.
    """
    if not jax.tree.leaves(online):
        return {}
    new, old = _vectors(target), _vectors(before)
    return {
        TARGET_DISTANCE: _norm(_difference(online, target)) / _norm(target),
        TARGET_MOVED: _norm(_difference(new, old)) / _norm(old),
    }


def _vectors(tree: Any) -> list[jax.Array]:
    """Return the arrays of a tree with one axis that is longer than 1, or none."""
    return [leaf for leaf in jax.tree.leaves(tree) if leaf.size == max(leaf.shape, default=1)]


def _difference(one: Any, other: Any) -> Any:
    return jax.tree.map(lambda a, b: a - b, one, other)


def _norm(tree: Any) -> jax.Array:
    return optax.tree.norm(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), tree))
