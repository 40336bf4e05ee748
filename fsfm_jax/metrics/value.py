"""The value of a metric: a number, or NaN with a reason."""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Value:
    """The value of a metric: a number with an empty `reason`, or NaN with the reason why it is undefined.

    Raises:
      ValueError: if NaN has no reason, or a number has one.
    """

    value: float
    reason: str = ""

    def __post_init__(self):
        if math.isnan(self.value) != bool(self.reason):
            raise ValueError(f"Value: expected a number, or NaN with a reason; found {self.value} with {self.reason!r}")

    def __float__(self) -> float:
        return float(self.value)


def undefined(reason: str) -> Value:
    """Return NaN with `reason`."""
    return Value(math.nan, reason)


def mean(*values: Value) -> Value:
    """Return the mean of `values`; undefined, with the reason of the first undefined value, if there is one."""
    for value in values:
        if value.reason:
            return value
    return Value(sum(value.value for value in values) / len(values))


def split_reasons(values: Mapping[str, Value]) -> dict[str, dict]:
    """Return `metrics` and `undefined` for JSON: NaN becomes null in `metrics`, with its reason in `undefined`."""
    return {
        "metrics": {name: None if value.reason else value.value for name, value in values.items()},
        "undefined": {name: value.reason for name, value in values.items() if value.reason},
    }
