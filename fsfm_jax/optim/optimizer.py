"""The table of optimizers, clipping, and rules by parameter path.

An optimizer is a row of `OPTIMIZERS`: how its direction is made, what it is told, and what it remembers. Clipping comes
before the direction, weight decay and factors of the learning rate behind it, for every row alike.
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
    """An optimizer with its numbers; by default AdamW as in PyTorch: bias-corrected moments, epsilon outside the root.

    Attributes:
      weight_decay_rules: ordered (pattern, decay) pairs; the first pattern that matches a whole parameter path
        decides. A path without a match is an error.
      clip_norm: the gradient is scaled down to this global L2 norm; None never scales it.
      decay: one of `DECAYS`.
      rate_rules: factors of the learning rate, by path like the decay; empty means 1 everywhere.
      name: a key of `OPTIMIZERS`.
      options: numbers that only this optimizer has, by name; those that are left out are its row's.
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

    name: of its class. keys: its name of each moment -> ours. Its `step` is our `count`.
    """

    name: str
    keys: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """One row: everything that is particular to an optimizer.

    Attributes:
      direction: makes the transformation of gradients to directions; takes the specification, and each of `options` by
        name. The caller subtracts the direction times the learning rate.
      takes: fields of `OptimizerSpec` that it uses, of beta1, beta2 and epsilon.
      options: its own numbers and their defaults.
      decays: which of `DECAYS` it can have.
      state: type of the optax state that has its moments.
      counterpart: what can be exported to PyTorch and imported from it; None if nothing can.
    """

    direction: Callable[..., optax.GradientTransformation]
    takes: tuple[str, ...]
    state: type
    options: Mapping[str, float] = dataclasses.field(default_factory=dict)
    decays: tuple[str, ...] = ("decoupled",)
    counterpart: Counterpart | None = None

    def find_moments(self, stored: Any) -> dict | None:
        """Fields of `state` in what a checkpoint has of an optax state, dicts and lists; None without a counterpart."""
        if self.counterpart is None:
            return None
        if isinstance(stored, dict) and stored.keys() == set(self.state._fields):
            return stored
        inner = stored.values() if isinstance(stored, dict) else stored if isinstance(stored, list | tuple) else ()
        return next((found for item in inner if (found := self.find_moments(item)) is not None), None)

    def with_moments(self, state: Any, moments: Mapping) -> Any:
        """The optax state with these fields of `state`; as it is, if there are none or without a counterpart."""
        if not moments or self.counterpart is None:
            return state

        def is_ours(part: Any) -> bool:
            return isinstance(part, self.state)

        return jax.tree.map(lambda part: part._replace(**moments) if is_ours(part) else part, state, is_leaf=is_ours)


def _adam(spec: OptimizerSpec) -> optax.GradientTransformation:
    return optax.scale_by_adam(spec.beta1, spec.beta2, spec.epsilon)


# One row for each optimizer. More can be added before a run is started: docs/extending.md.
OPTIMIZERS: dict[str, Optimizer] = {
    "adamw": Optimizer(
        direction=_adam,
        takes=("beta1", "beta2", "epsilon"),
        state=optax.ScaleByAdamState,
        decays=DECAYS,
        counterpart=Counterpart("AdamW", {"exp_avg": "mu", "exp_avg_sq": "nu"}),
    ),
    # Chen et al., 2023: the sign of a mixture of gradient and momentum, one moment.
    "lion": Optimizer(
        direction=lambda spec: optax.scale_by_lion(spec.beta1, spec.beta2),
        takes=("beta1", "beta2"),
        state=optax.ScaleByLionState,
    ),
    # beta1, beta2 and epsilon are those of AdamW for what is no matrix.
    "muon": Optimizer(
        direction=lambda spec, momentum, rms: scale_by_muon(momentum, rms, _adam(spec)),
        takes=("beta1", "beta2", "epsilon"),
        state=MuonState,
        options={"momentum": 0.95, "rms": 0.2},
    ),
}


def by_rule(params: Any, rules: tuple[tuple[str, float], ...]) -> Any:
    """The tree of values that ordered full-match path rules give, in the shape of `params`.

    Raises:
      ValueError: paths that no rule covers, all listed.
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
            f"no rule of {[pattern for pattern, _ in rules]} covers {', '.join(uncovered)}; end the rules with '.*'"
        )
    return tree


def add_decay(rules: tuple[tuple[str, float], ...]) -> optax.GradientTransformation:
    """Adds `decay * parameter` to each update, the decay chosen by path."""

    def update(updates, state, params=None):
        decay = by_rule(params, rules)
        return jax.tree.map(lambda u, p, d: u + d * p, updates, params, decay), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def scale_by_rules(rules: tuple[tuple[str, float], ...]) -> optax.GradientTransformation:
    """Multiplies each update by a factor chosen by path.

    At the end of the chain the factor acts on decay and gradient alike, as a learning rate of its own does;
    peak and floor of a schedule are scaled with it.
    """

    def update(updates, state, params=None):
        return jax.tree.map(lambda u, factor: u * factor, updates, by_rule(params, rules)), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def make_optimizer(spec: OptimizerSpec) -> optax.GradientTransformation:
    """Gradients to the direction of the optimizer; the caller multiplies by minus the learning rate.

    The learning rate stays outside so that it can follow the run's step even when an update is skipped.

    Raises:
      ValueError: `spec.name` is not in `OPTIMIZERS`, or its row has no such `spec.decay` or option.
    """
    if spec.name not in OPTIMIZERS:
        raise ValueError(f"optimizer.name: expected one of {', '.join(OPTIMIZERS)}; found {spec.name!r}")
    row = OPTIMIZERS[spec.name]
    if spec.decay not in row.decays:
        found = f"found {spec.decay!r} with optimizer.name {spec.name}"
        raise ValueError(f"optimizer.decay: expected one of {', '.join(row.decays)}; {found}")
    unknown = [name for name, _ in spec.options if name not in row.options]
    if unknown:
        known = f"of {', '.join(row.options)}" if row.options else "none, it has no options of its own"
        raise ValueError(f"optimizer.options: {spec.name}: expected {known}; found {', '.join(unknown)}")
    direction = row.direction(spec, **dict(row.options) | dict(spec.options))
    # A decay that is coupled is a part of the gradient: it enters before the moments.
    steps = [direction, add_decay(spec.weight_decay_rules)]
    return optax.chain(
        *([optax.clip_by_global_norm(spec.clip_norm)] if spec.clip_norm is not None else []),
        *(steps if spec.decay == "decoupled" else reversed(steps)),
        *([scale_by_rules(spec.rate_rules)] if spec.rate_rules else []),
    )
