"""Shapes of the same network are traced once: for modules of tests that open a few tiny networks again and again."""

import types
from collections.abc import Hashable, Iterator

import jax
import numpy as np
import pytest

_FOUND: dict[Hashable, object] = {}


def _key(value: object) -> Hashable:
    """Something equal for values that a trace cannot tell apart; TypeError if that cannot be known."""
    if isinstance(value, np.ndarray | jax.Array) and not jax.dtypes.issubdtype(value.dtype, jax.dtypes.extended):
        return np.shape(value), str(value.dtype), np.asarray(value).tobytes()
    if isinstance(value, jax.Array):
        return str(value.dtype), np.asarray(jax.random.key_data(value)).tobytes()
    if isinstance(value, types.MethodType):
        return _key(value.__func__), _key(value.__self__)
    if isinstance(value, types.FunctionType):
        cells = tuple(_key(cell.cell_contents) for cell in value.__closure__ or ())
        return value.__code__, _key(value.__defaults__ or ()), cells
    if isinstance(value, tuple | list | dict):
        leaves, tree = jax.tree.flatten(value)
        return tree, tuple(_key(leaf) for leaf in leaves)
    return hash(value) and (type(value), value)


@pytest.fixture(autouse=True)
def traced_once(monkeypatch) -> Iterator[None]:
    """Remember what `jax.eval_shape` has found of a function, its closure and its arguments."""
    trace = jax.eval_shape

    def remembered(function, *arguments):
        try:
            key = _key(function), _key(arguments)
        except TypeError:
            return trace(function, *arguments)
        if key not in _FOUND:
            _FOUND[key] = trace(function, *arguments)
        return jax.tree.map(lambda leaf: leaf, _FOUND[key])  # a tree that the caller may change

    monkeypatch.setattr(jax, "eval_shape", remembered)
    yield
