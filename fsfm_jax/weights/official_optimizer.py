"""Convert AdamW's state between official files, where parameters are numbered, and our trees.

Official numbers count the trained parameters in the order of the module. Parameters without weight decay come first:
all of one dimension and all biases. The rest follow, with class token and mask token (FSFM, released code). Position
tables are not trained.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from fsfm_jax.optim.optimizer import OPTIMIZERS
from fsfm_jax.weights.names import from_official_array, official_name, official_order, our_path, to_official_array
from fsfm_jax.weights.torch_file import Tensor

# The official optimizer settings, and the names of its moments.
KEYS = OPTIMIZERS["adamw"].counterpart.keys
FIXED = "pos_embed"  # end of the names that are not trained


@dataclasses.dataclass(frozen=True)
class Moments:
    """State of Adam after `count` updates.

    Attributes:
      mu, nu: running means of the gradient and of its square, nested like the parameters, float32.
    """

    count: int
    mu: dict
    nu: dict


@dataclasses.dataclass(frozen=True)
class Settings:
    """The recipe that the official optimizer saves; `rate` is the learning rate of its last step."""

    rate: float
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float


def parameter_groups(shapes: Mapping[str, tuple[int, ...]]) -> tuple[list[str], list[str]]:
    """Return official names of the trained parameters in the optimizer's order: without weight decay, with it."""
    trained = [name for name in official_order(shapes) if not name.endswith(FIXED)]
    plain = [name for name in trained if len(shapes[name]) <= 1 or name.endswith(".bias")]
    return plain, [name for name in trained if name not in set(plain)]


def read_moments(path: str, optimizer: Any, shapes: Mapping[str, tuple[int, ...]]) -> Moments | None:
    """Return the moments in the `optimizer` of a file; None before its first step.

    Args:
      path: names the file in errors.
      shapes: official name -> shape of the arrays of the network.

    Raises:
      ValueError: it is not the state of an AdamW of these parameters.
    """
    groups, state = _parts(path, optimizer)
    names = parameter_groups(shapes)
    if [len(group) for group in groups] != [len(part) for part in names]:
        raise ValueError(
            f"{path}: optimizer: expected groups of {len(names[0])} parameters without and {len(names[1])} with weight "
            f"decay, as this network has; found {', '.join(str(len(group)) for group in groups) or 'none'}"
        )
    if not state:
        return None
    numbered = dict(zip([*groups[0], *groups[1]], [*names[0], *names[1]], strict=True))
    if state.keys() != numbered.keys():
        raise ValueError(
            f"{path}: optimizer: expected the moments of {len(numbered)} parameters; found those of {len(state)}, "
            "of which some are others"
        )
    counts, trees = set(), {ours: {} for ours in KEYS.values()}
    for number, name in numbered.items():
        entry = state[number]
        if not isinstance(entry, dict) or not {"step", *KEYS} <= entry.keys():
            raise ValueError(f"{path}: optimizer: {name}: expected step, {' and '.join(KEYS)}, as AdamW has")
        counts.add(_count(path, name, entry["step"]))
        for key, ours in KEYS.items():
            trees[ours][our_path(name)] = _moment(path, f"{name}: {key}", entry[key], shapes[name], our_path(name))
    if len(counts) > 1:
        raise ValueError(f"{path}: optimizer: expected one number of steps; found {sorted(counts)[:5]}")
    return Moments(counts.pop(), **{ours: unflatten_dict(tree, sep="/") for ours, tree in trees.items()})


def official_optimizer(moments: Moments | None, shapes: Mapping[str, tuple[int, ...]], s: Settings, patch: int) -> dict:
    """Return the `optimizer` of a file, which AdamW of PyTorch 1.13 and later loads.

    Args:
      shapes: official name -> shape, as for `read_moments`; patch: side of a patch in pixels.
    """
    names = parameter_groups(shapes)
    flat = {} if moments is None else {
        key: {official_name(path): to_official_array(path, np.asarray(value), patch)
              for path, value in flatten_dict(tree, sep="/").items()}
        for key, tree in ((key, getattr(moments, ours)) for key, ours in KEYS.items())
    }  # fmt: skip
    state = {}
    for number, name in enumerate([*names[0], *names[1]] if moments is not None else []):
        step = np.array(moments.count, np.float32)
        state[number] = {"step": step} | {key: np.ascontiguousarray(arrays[name]) for key, arrays in flat.items()}
    groups, first = [], 0
    for part, decay in zip(names, (0.0, s.weight_decay), strict=True):
        groups.append({
            "weight_decay": decay, "lr": s.rate, "betas": (s.beta1, s.beta2), "eps": s.epsilon, "amsgrad": False,
            "maximize": False, "foreach": None, "capturable": False,
            "params": list(range(first, first + len(part))),
        })  # fmt: skip
        first += len(part)
    return {"state": state, "param_groups": groups}


def _parts(path: str, optimizer: Any) -> tuple[list[list[int]], dict]:
    groups = optimizer.get("param_groups") if isinstance(optimizer, dict) else None
    state = optimizer.get("state") if isinstance(optimizer, dict) else None
    if not isinstance(groups, list) or not isinstance(state, dict):
        raise ValueError(f"{path}: optimizer: expected state and param_groups, as a PyTorch optimizer has")
    numbers = [group.get("params") if isinstance(group, dict) else None for group in groups]
    if not all(isinstance(part, list) and all(type(number) is int for number in part) for part in numbers):
        raise ValueError(f"{path}: optimizer: expected groups with the numbers of their parameters")
    every = [number for part in numbers for number in part]
    if len(set(every)) != len(every):
        raise ValueError(f"{path}: optimizer: a parameter is in two places")
    return numbers, state


def _count(path: str, name: str, step: Any) -> int:
    value = float(np.asarray(step)) if isinstance(step, Tensor) and step.shape == () else step
    if type(value) not in (int, float) or not math.isfinite(value) or value < 0 or value != int(value):
        raise ValueError(f"{path}: optimizer: {name}: expected a whole number of steps; found {str(value)[:50]}")
    return int(value)


def _moment(path: str, what: str, tensor: Any, shape: tuple[int, ...], ours: str) -> np.ndarray:
    if not isinstance(tensor, Tensor) or tensor.shape != tuple(shape) or tensor.dtype != np.float32:
        found = f"{tensor.dtype}{list(tensor.shape)}" if isinstance(tensor, Tensor) else type(tensor).__name__
        raise ValueError(f"{path}: optimizer: {what}: expected float32{list(shape)}; found {found}")
    array = np.asarray(tensor)
    if not np.isfinite(array).all():
        raise ValueError(f"{path}: optimizer: {what}: some values are not finite; the run that wrote it diverged")
    return np.ascontiguousarray(from_official_array(ours, array))

