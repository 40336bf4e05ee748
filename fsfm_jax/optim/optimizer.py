"""The table of optimizers, clipping, and rules by parameter path.

Each optimizer is a row of `OPTIMIZERS` with its direction, settings and state. For every row clipping comes before the
direction; factors of the learning rate, and decoupled weight decay, come after it.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import optax

from fsfm_jax.optim.muon import MuonState, scale_by_muon

# Where the decay enters: after the moments (AdamW), or into the gradient before them (Adam with an L2 penalty).
DECAYS = ("decoupled", "coupled")


@dataclasses.dataclass(frozen=True)
class OptimizerSpec:
    """An optimizer and its settings; by default AdamW as in PyTorch: bias-corrected moments, epsilon outside the root.

    Attributes:
      beta1, beta2: decay rates of the first and second moment.
      epsilon: added to the root of the second moment.
      weight_decay_rules: ordered (pattern, decay) pairs. The first pattern that matches the full parameter path
        applies. A path without a match is an error.
      clip_norm: global L2 norm to which a larger gradient is scaled down; None: no clipping.
      decay: one of `DECAYS`.
      rate_rules: factors of the learning rate as (pattern, factor) pairs; empty means 1 everywhere.
      name: a key of `OPTIMIZERS`.
      options: settings that only this optimizer has, by name; missing ones have the defaults of its row.
    """

    beta1: float
    beta2: float
    epsilon: float
    weight_decay_rules: tuple[tuple[str, float], ...]
    clip_norm: float | None
    decay: str = "decoupled"
    rate_rules: tuple[tuple[str, float], ...] = ()
    name: str = "adamw"
    options: tuple[tuple[str, float], ...] = ()


class Counterpart(NamedTuple):
    """The optimizer of `torch.optim` that keeps the same state.

    name: name of its class.
    keys: PyTorch's name of each moment -> optax's name. PyTorch's `step` is optax's `count`.
    """

    name: str
    keys: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """A row of `OPTIMIZERS`: everything that is specific to one optimizer.

    Attributes:
      direction: function from the specification, and each of `options` by name, to the transformation of gradients to
        directions. The caller subtracts the direction times the learning rate.
      takes: the fields of `OptimizerSpec` that it uses, from beta1, beta2 and epsilon.
      state: type of the optax state that holds its moments.
      options: its own settings and their defaults.
      decays: the values of `DECAYS` that it supports.
      counterpart: the PyTorch optimizer for import and export of the state; None: not supported.
    """

    direction: Callable[..., optax.GradientTransformation]
    takes: tuple[str, ...]
    state: type
    options: Mapping[str, float] = dataclasses.field(default_factory=dict)
    decays: tuple[str, ...] = ("decoupled",)
    counterpart: Counterpart | None = None

    def find_moments(self, stored: Any) -> dict | None:
        """Return the fields of `state` from an optax state stored as dicts and lists; None without a counterpart."""
        if self.counterpart is None:
            return None
        if isinstance(stored, dict) and stored.keys() == set(self.state._fields):
            return stored
        inner = stored.values() if isinstance(stored, dict) else stored if isinstance(stored, list | tuple) else ()
        return next((found for item in inner if (found := self.find_moments(item)) is not None), None)

    def with_moments(self, state: Any, moments: Mapping) -> Any:
        """Return the optax state with its moments replaced; unchanged if `moments` is empty or without counterpart."""
        if not moments or self.counterpart is None:
            return state

        def is_ours(part: Any) -> bool:
            return isinstance(part, self.state)

        return jax.tree.map(lambda part: part._replace(**moments) if is_ours(part) else part, state, is_leaf=is_ours)


def _adam(spec: OptimizerSpec) -> optax.GradientTransformation:
    return optax.scale_by_adam(spec.beta1, spec.beta2, spec.epsilon)


# One row for each optimizer. To add one, see docs/extending.md.
OPTIMIZERS: dict[str, Optimizer] = {
    "adamw": Optimizer(
        direction=_adam,
        takes=("beta1", "beta2", "epsilon"),
        state=optax.ScaleByAdamState,
        decays=DECAYS,
        counterpart=Counterpart("AdamW", {"exp_avg": "mu", "exp_avg_sq": "nu"}),
    ),
    # Chen et al., 2023: the sign of a weighted sum of gradient and momentum; one moment.
    "lion": Optimizer(
        direction=lambda spec: optax.scale_by_lion(spec.beta1, spec.beta2),
        takes=("beta1", "beta2"),
        state=optax.ScaleByLionState,
    ),
    # beta1, beta2 and epsilon are those of AdamW for all parameters except the matrices.
    "muon": Optimizer(
        direction=lambda spec, momentum, rms: scale_by_muon(momentum, rms, _adam(spec)),
        takes=("beta1", "beta2", "epsilon"),
        state=MuonState,
        options={"momentum": 0.95, "rms": 0.2},
    ),
}


def by_rule(params: Any, rules: tuple[tuple[str, float], ...]) -> Any:
    """Return a tree like `params` with the value of the first rule that matches each full path.

    Raises:
      ValueError: if no rule matches some paths; the message lists all of them.
    """
    uncovered = []

    def value(path, _):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        for pattern, result in rules:
            if re.fullmatch(pattern, name):
                return result
        uncovered.append(name)
        return None

    tree = jax.tree_util.tree_map_with_path(value, params)
    if uncovered:
        raise ValueError(
            f"expected a matching rule for every parameter; none of {[pattern for pattern, _ in rules]} "
            f"matches {', '.join(uncovered)}; add '.*' as the last rule"
        )
    return tree


def add_decay(rules: tuple[tuple[str, float], ...]) -> optax.GradientTransformation:
    """Add `decay * parameter` to each update; the decay is chosen by path."""

    def update(updates, state, params=None):
        decay = by_rule(params, rules)
        return jax.tree.map(lambda u, p, d: u + d * p, updates, params, decay), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def scale_by_rules(rules: tuple[tuple[str, float], ...]) -> optax.GradientTransformation:
    """Multiply each update by a factor chosen by path.

    At the end of the chain the factor applies to decay and gradient, like a separate learning rate. Peak and floor of
    a schedule are scaled with it.
    """

    def update(updates, state, params=None):
        return jax.tree.map(lambda u, factor: u * factor, updates, by_rule(params, rules)), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def make_optimizer(spec: OptimizerSpec) -> optax.GradientTransformation:
    """Return the transformation of gradients to directions; the caller multiplies by minus the learning rate.

    The learning rate is applied outside, so it follows the run's step even if an update is skipped.

    Raises:
      ValueError: if `spec.name` is not in `OPTIMIZERS`, or its row does not support `spec.decay` or an option.
    """
    if spec.name not in OPTIMIZERS:
        raise ValueError(f"optimizer.name: expected one of {', '.join(OPTIMIZERS)}; found {spec.name!r}")
    row = OPTIMIZERS[spec.name]
    if spec.decay not in row.decays:
        found = f"found {spec.decay!r} with optimizer.name {spec.name}"
        raise ValueError(f"optimizer.decay: expected one of {', '.join(row.decays)}; {found}")
    unknown = [name for name, _ in spec.options if name not in row.options]
    if unknown:
        known = f"options from {', '.join(row.options)}" if row.options else "no options for this optimizer"
        raise ValueError(f"optimizer.options: {spec.name}: expected {known}; found {', '.join(unknown)}")
    direction = row.direction(spec, **dict(row.options) | dict(spec.options))
    # A coupled decay is part of the gradient, so it is added before the moments.
    steps = [direction, add_decay(spec.weight_decay_rules)]
    return optax.chain(
        *([optax.clip_by_global_norm(spec.clip_norm)] if spec.clip_norm is not None else []),
        *(steps if spec.decay == "decoupled" else reversed(steps)),
        *([scale_by_rules(spec.rate_rules)] if spec.rate_rules else []),
    )
