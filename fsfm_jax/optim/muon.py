"""Muon for the matrices of transformer blocks, AdamW for every other parameter.

Muon (Jordan et al., 2024) replaces the momentum of a matrix by the nearest orthogonal matrix, so all directions get
steps of equal size. Embeddings, heads, norms, biases and tokens are trained with AdamW.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax
from optax import contrib

from fsfm_jax.optim import tuning

# Matched against the full path: the kernels of attention and MLP, in encoder and decoders.
MATRICES = r"(.*/)?block_\d+/(attn|mlp)/\w+/kernel"
ITERATIONS = 5  # Newton-Schulz iterations; singular values of the direction are then between about 0.7 and 1.2
QUERY_KEY_VALUE = 3  # number of maps concatenated in one kernel `[D, 3 D]`


class MuonState(NamedTuple):
    """State of both optimizers; the moments of each cover only the parameters that it trains.

    muon: optax's `MuonState`: `count []`, `mu` and the coefficients `ns_coeffs [3]`.
    rest: optax's `ScaleByAdamState`: `count []`, `mu` and `nu`.
    """

    muon: optax.OptState
    rest: optax.OptState


def scale_by_muon(momentum: float, rms: float, rest: optax.GradientTransformation) -> optax.GradientTransformation:
    """Turn gradients into directions: `MATRICES` by Muon with Nesterov momentum, every other parameter by `rest`.

    A matrix `[I, O]` gets the direction `rms sqrt(max(I, O)) U V^T`. Its entries have a root mean square of about `rms`
    for every shape (Liu et al., 2025). With 0.2 this matches AdamW, so both share one learning rate and one decay.
    """
    muon = contrib.scale_by_muon(ns_steps=ITERATIONS, beta=momentum, weight_dimension_numbers=_axes)

    def init(params):
        matrices, others = tuning.split(params, MATRICES)
        return MuonState(muon.init(_stack(matrices)), rest.init(others))

    def update(updates, state, params=None):
        matrices, others = tuning.split(updates, MATRICES)
        matrices, moved = muon.update(_stack(matrices), state.muon)
        matrices = jax.tree.map(lambda x: x * rms * math.sqrt(max(x.shape[0], x.shape[-1])), matrices)
        others, adam = rest.update(others, state.rest)
        return tuning.join(_flatten(matrices), others), MuonState(moved, adam)

    return optax.GradientTransformation(init, update)


def _axes(tree: Any) -> Any:
    """Return the input and output axis of each matrix; an axis between them counts separate maps."""
    return jax.tree.map(lambda x: contrib.MuonDimensionNumbers(0, x.ndim - 1), tree)


def _stack(tree: Any) -> Any:
    """Reshape kernels of queries, keys and values, `[D, 3 D] -> [D, 3, D]`; each map is orthogonalised separately."""
    return _reshape(tree, lambda x: (len(x), QUERY_KEY_VALUE, -1))


def _flatten(tree: Any) -> Any:
    return _reshape(tree, lambda x: (len(x), -1))


def _reshape(tree: Any, shape: Callable[[jax.Array], tuple[int, ...]]) -> Any:
    def reshaped(path, x):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return x.reshape(shape(x)) if name.endswith("/qkv/kernel") else x

    return jax.tree_util.tree_map_with_path(reshaped, tree)
