"""AdamW with global-norm clipping and rules by parameter path."""

import dataclasses
import re
from typing import Any

import jax
import optax


@dataclasses.dataclass(frozen=True)
class OptimizerSpec:
    """AdamW as in PyTorch: decoupled decay, bias-corrected moments, epsilon outside the root.

    Attributes:
      weight_decay_rules: ordered (pattern, decay) pairs; the first pattern that matches a whole parameter path
        decides. A path without a match is an error.
      clip_norm: the gradient is scaled down to this global L2 norm.
    """

    beta1: float
    beta2: float
    epsilon: float
    weight_decay_rules: tuple[tuple[str, float], ...]
    clip_norm: float


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


def make_optimizer(spec: OptimizerSpec) -> optax.GradientTransformation:
    """Gradients to the direction of AdamW; the caller multiplies by minus the learning rate.

    The learning rate stays outside so that it can follow the run's step even when an update is skipped.
    """
    return optax.chain(
        optax.clip_by_global_norm(spec.clip_norm),
        optax.scale_by_adam(spec.beta1, spec.beta2, spec.epsilon),
        add_decay(spec.weight_decay_rules),
    )
