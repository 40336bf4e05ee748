"""Drawn arrays, and gradients to compare with those of a formula or with differences of values."""

import jax
import jax.numpy as jnp
import numpy as np


def drawn(*shape, seed=0, dtype=np.float64):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def value_and_gradients(function, *arguments):
    """Value, and the gradient of a drawn linear form of it, with respect to all arguments; one program."""

    @jax.jit
    def run(*arguments):
        out, back = jax.vjp(function, *arguments)
        return out, *back(drawn(*out.shape, seed=9, dtype=out.dtype))

    return run(*arguments)


def check_gradient(function, *arguments, tolerance):
    """Compare the gradient of float64 `arguments`, along a drawn direction, with the difference of values.

    Central differences of 1e-5 are right to about 1e-10 times the third derivative.
    """
    random, step = np.random.default_rng(77), 1e-5  # no seed of the arguments: they may be its first numbers

    def alike(tree):
        return jax.tree.map(lambda leaf: random.normal(size=leaf.shape), tree)

    def product(one, other):
        return sum(np.vdot(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))

    values = jax.jit(lambda moved: function(*moved))

    def along(distance):
        return values(jax.tree.map(lambda x, d: x + distance * d, arguments, direction))

    gradient = jax.jit(lambda moved, weights: jax.vjp(lambda m: function(*m), moved)[1](weights)[0])
    arguments = jax.tree.map(np.asarray, arguments)
    direction = alike(arguments)
    up, down = along(step), along(-step)
    weights = alike(up)
    slope = (product(weights, up) - product(weights, down)) / (2 * step)
    assert abs(slope) > 1e-3
    np.testing.assert_allclose(product(gradient(arguments, weights), direction), slope, rtol=tolerance, atol=tolerance)
