"""Exact t-SNE (van der Maaten and Hinton 2008): coordinates in the plane that preserve the neighbours of features.

All pairs of points are computed, so time and memory grow with the square of their number: 5000 points take 100 MB per
array. The approximations for larger sets (Barnes-Hut, interpolation) are not implemented.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

MOST = 5000  # maximum number of points
ROWS = 512  # rows of the distance matrix processed at once
# Bisections of an interval of 100 in the logarithm of a width; float64 cannot resolve more.
HALVINGS, WIDEST = 60, 50.0
# Affinities are multiplied by 12 while clusters form; momentum and gains as in the paper's section 3.4.
EXAGGERATION, EARLY_STEPS, EARLY_MOMENTUM = 12.0, 250, 0.5
STEPS, MOMENTUM = 750, 0.8
GAIN_UP, GAIN_DOWN, LEAST_GAIN = 0.2, 0.8, 0.01
LEAST_RATE = 50.0


def affinities(features: np.ndarray, perplexity: float) -> np.ndarray:
    """Return the joint probabilities of pairs, `[n, D] -> [n, n] float64`, symmetric, zero diagonal, sum 1.

    Row i uses a Gaussian around point i. Its width gives the distribution over the other points an entropy of
    `log(perplexity)`. p_ij is the mean of both directions divided by n (the paper's equation 1 and section 3.1).

    Raises:
      ValueError: if `perplexity` is less than 1 or not less than the number of other points, features are non-finite,
        or there are more than 5000 points.
    """
    count = len(features)
    if count > MOST:
        raise ValueError(f"t-SNE: expected at most {MOST} points, found {count}; lower --images or use --method=pca")
    if not 1 <= perplexity < count - 1:
        raise ValueError(f"t-SNE: expected a perplexity of 1 to less than {count - 1}, found {perplexity:g}")
    points = np.asarray(features, np.float64)
    if not np.isfinite(points).all():
        raise ValueError("t-SNE: expected finite features, found NaN or infinity")
    points = points - points.mean(axis=0)
    conditional = np.empty((count, count))
    for start in range(0, count, ROWS):
        rows = slice(start, min(start + ROWS, count))
        conditional[rows] = _neighbours(_squared_distances(points[rows], points), start, perplexity)
    return (conditional + conditional.T) / (2 * count)


def _squared_distances(rows: np.ndarray, points: np.ndarray) -> np.ndarray:
    lengths = (rows**2).sum(axis=1)[:, None] + (points**2).sum(axis=1)[None]
    return np.maximum(lengths - 2 * rows @ points.T, 0)


def _neighbours(squared: np.ndarray, first: int, perplexity: float) -> np.ndarray:
    """Return conditional probabilities of rows `first`, `first + 1`, ... from squared distances, `[r, n] -> [r, n]`."""
    own = np.arange(len(squared)), first + np.arange(len(squared))
    squared[own] = np.inf
    squared -= squared.min(axis=1, keepdims=True)
    squared[own] = 0
    mean = squared.mean(axis=1, keepdims=True)
    squared /= np.where(mean > 0, mean, 1)  # one interval of widths then fits features of any scale
    low, high = np.full((len(squared), 1), -WIDEST), np.full((len(squared), 1), WIDEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        probabilities, entropy = _gaussian(squared, np.exp(middle), own)
        wide = entropy > np.log(perplexity)
        low, high = np.where(wide, middle, low), np.where(wide, high, middle)
    return probabilities


def _gaussian(squared: np.ndarray, precision: np.ndarray, own: tuple) -> tuple[np.ndarray, np.ndarray]:
    exponents = squared * precision
    weights = np.exp(-exponents)
    weights[own] = 0
    total = weights.sum(axis=1, keepdims=True)
    probabilities = weights / total
    return probabilities, np.log(total) + (probabilities * exponents).sum(axis=1, keepdims=True)


def divergence(joint: np.ndarray, places: np.ndarray) -> float:
    """Return KL(P || Q) in nats, the loss of t-SNE, for affinities `joint [n, n]` and Student-t Q at `places`."""
    places = np.asarray(places, np.float64)
    weights = 1 / (1 + _squared_distances(places, places))
    np.fill_diagonal(weights, 0)
    pairs = joint > 0
    return float((joint[pairs] * np.log(joint[pairs] / (weights[pairs] / weights.sum()))).sum())


def gradient(joint: jax.Array, places: jax.Array) -> jax.Array:
    """Return the gradient of `divergence` by the places, `[n, n], [n, 2] -> [n, 2]` (the paper's equation 5)."""
    difference = places[:, None] - places[None]
    weights = 1 / (1 + jnp.sum(difference**2, axis=-1))
    weights = weights * (1 - jnp.eye(len(places), dtype=weights.dtype))
    pull = (joint - weights / jnp.sum(weights)) * weights
    return 4 * jnp.sum(pull[:, :, None] * difference, axis=1)


def embed(features: np.ndarray, start: np.ndarray, perplexity: float) -> np.ndarray:
    """Embed the rows of `[n, D]` in the plane, `[n, 2] float32`, from `start [n, 2]`; deterministic.

    Raises:
      ValueError: see `affinities`.
    """
    joint = affinities(features, perplexity).astype(np.float32)
    rate = max(len(joint) / EXAGGERATION / 4, LEAST_RATE)  # the gradient above has a factor 4
    places = np.asarray(start, np.float32)
    places = _descend(joint * np.float32(EXAGGERATION), places, np.float32(rate), EARLY_MOMENTUM, EARLY_STEPS)
    return np.asarray(_descend(joint, places, np.float32(rate), MOMENTUM, STEPS))


@functools.partial(jax.jit, static_argnames=("momentum", "steps"))
def _descend(joint: jax.Array, places: jax.Array, rate: jax.Array, momentum: float, steps: int) -> jax.Array:
    """Run gradient descent with momentum and a gain for each coordinate, which grows while the direction stays."""

    def step(_, state):
        places, velocity, gains = state
        slope = gradient(joint, places)
        steady = slope * velocity < 0  # the last step still points downhill
        gains = jnp.maximum(jnp.where(steady, gains + GAIN_UP, gains * GAIN_DOWN), LEAST_GAIN)
        velocity = momentum * velocity - rate * gains * slope
        return places + velocity, velocity, gains

    state = (places, jnp.zeros_like(places), jnp.ones_like(places))
    return jax.lax.fori_loop(0, steps, step, state)[0]
