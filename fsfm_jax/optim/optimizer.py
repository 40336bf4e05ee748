"""Adam and AdamW, clipping, and rules by parameter path."""

import dataclasses
import re
from typing import Any

import jax
import optax

# Where the decay enters: after the moments (AdamW), or into the gradient before them (Adam with an L2 penalty).
DECAYS = ("decoupled", "coupled")


@dataclasses.dataclass(frozen=True)
class OptimizerSpec:
    """Adam or AdamW as in PyTorch: bias-corrected moments, epsilon outside the root.

    Attributes:
      weight_decay_rules: ordered (pattern, decay) pairs; the first pattern that matches a whole parameter path
        decides. A path without a match is an error.
      clip_norm: the gradient is scaled down to this global L2 norm; None never scales it.
      decay: one of `DECAYS`.
      rate_rules: factors of the learning rate, by path like the decay; empty means 1 everywhere.
    """

    beta1: float
    beta2: float
    epsilon: float
    weight_decay_rules: tuple[tuple[str, float], ...]
    clip_norm: float | None
    decay: str = "decoupled"
    rate_rules: tuple[tuple[str, float], ...] = ()


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

    def update(updates, state, params):
        decay = by_rule(params, rules)
        return jax.tree.map(lambda u, p, d: u + d * p, updates, params, decay), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def scale_by_rules(rules: tuple[tuple[str, float], ...]) -> optax.GradientTransformation:
    """Multiplies each update by a factor chosen by path.

    At the end of the chain the factor acts on decay and gradient alike, as a learning rate of its own does;
    peak and floor of a schedule are scaled with it.
    """

    def update(updates, state, params):
        return jax.tree.map(lambda u, factor: u * factor, updates, by_rule(params, rules)), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def make_optimizer(spec: OptimizerSpec) -> optax.GradientTransformation:
    """Gradients to the direction of Adam; the caller multiplies by minus the learning rate.

    The learning rate stays outside so that it can follow the run's step even when an update is skipped.

    Raises:
      ValueError: `spec.decay` is not one of `DECAYS`.
    """
    if spec.decay not in DECAYS:
        raise ValueError(f"optimizer.decay: expected one of {', '.join(DECAYS)}; found {spec.decay!r}")
    adam = [optax.scale_by_adam(spec.beta1, spec.beta2, spec.epsilon), add_decay(spec.weight_decay_rules)]
    return optax.chain(
        *([optax.clip_by_global_norm(spec.clip_norm)] if spec.clip_norm is not None else []),
        *(adam if spec.decay == "decoupled" else reversed(adam)),
        *([scale_by_rules(spec.rate_rules)] if spec.rate_rules else []),
    )
