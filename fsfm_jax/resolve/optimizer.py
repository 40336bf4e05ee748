"""From the `optimizer` fields of a configuration to an `OptimizerSpec`; the same for every training job."""

import math

from ml_collections import ConfigDict

from fsfm_jax.config.fields import one_of
from fsfm_jax.optim.optimizer import DECAYS, OPTIMIZERS, OptimizerSpec

NUMBERS = ("beta1", "beta2", "epsilon")

Rules = tuple[tuple[str, float], ...]


def resolve_optimizer(
    o: ConfigDict,
    usual: ConfigDict,
    weight_decay_rules: Rules,
    clip_norm: float | None,
    decay: str = "decoupled",
    rate_rules: Rules = (),
) -> OptimizerSpec:
    """Resolve the `optimizer` part `o` of a configuration, whose template is `usual`.

    Raises:
      ValueError: an optimizer or option that is not known, or a number that was changed and that it does not have.
    """
    name = one_of("optimizer.name", o.name, OPTIMIZERS)
    row = OPTIMIZERS[name]
    decay = one_of("optimizer.decay", decay, DECAYS)
    if decay not in row.decays:
        raise ValueError(f"optimizer.decay: expected {' or '.join(row.decays)} with {name}; found {decay!r}")
    for number in NUMBERS:
        if number not in row.takes and o[number] != usual[number]:
            raise ValueError(
                f"optimizer.{number}: {name} does not use it; leave it at {usual[number]} (found {o[number]})"
            )
    return OptimizerSpec(
        o.beta1, o.beta2, o.epsilon, weight_decay_rules, clip_norm, decay, rate_rules, name,
        _options(o.options, name),
    )  # fmt: skip


def _options(text: str, name: str) -> tuple[tuple[str, float], ...]:
    """Parse `"momentum=0.9,rms=0.1"` into pairs in the order of their names."""
    found = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, _, value = (word.strip() for word in part.partition("="))
        known = OPTIMIZERS[name].options
        if not known:
            raise ValueError(f"optimizer.options: {name} has none; found {text!r}")
        one_of(f"optimizer.options of {name}", key, known)
        if key in found:
            raise ValueError(f"optimizer.options: {key} is there twice in {text!r}")
        found[key] = _number(value)
        if not math.isfinite(found[key]):
            raise ValueError(f'optimizer.options: expected "NAME=NUMBER,NAME=NUMBER"; found {text!r}')
    return tuple(sorted(found.items()))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
