"""Drawn arrays, and gradients to compare with those of a formula."""

import jax
import jax.numpy as jnp
import numpy as np


def drawn(*shape, seed=0, dtype=np.float64):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def value_and_gradients(function, *arguments):
    """Value, and the gradient of a drawn linear form of it, with respect to all arguments."""
    out, back = jax.vjp(function, *arguments)
    return out, *back(drawn(*out.shape, seed=9, dtype=out.dtype))
