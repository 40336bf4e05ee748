"""A number, or NaN and the reason why there is none."""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Value:
    """The value of a metric: a number with an empty `reason`, or NaN with the reason why it is undefined.

    Raises:
      ValueError: NaN without a reason, or a number with one.
    """

    value: float
    reason: str = ""

    def __post_init__(self):
        if math.isnan(self.value) != bool(self.reason):
            raise ValueError(f"Value: expected a number, or NaN with a reason; found {self.value} with {self.reason!r}")

    def __float__(self) -> float:
        return float(self.value)


def undefined(reason: str) -> Value:
    """NaN because of `reason`."""
    return Value(math.nan, reason)


def mean(*values: Value) -> Value:
    """The mean of `values`; undefined, with the reason of the first undefined one, if any of them is."""
    for value in values:
        if value.reason:
            return value
    return Value(sum(value.value for value in values) / len(values))


def split_reasons(values: Mapping[str, Value]) -> dict[str, dict]:
    """`metrics` and `undefined` for JSON, which has no NaN: null stands for it, and the reason beside it."""
    return {
        "metrics": {name: None if value.reason else value.value for name, value in values.items()},
        "undefined": {name: value.reason for name, value in values.items() if value.reason},
    }
