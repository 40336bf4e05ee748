"""Thresholds, with the rule and the split that chose them."""

from dataclasses import dataclass

import numpy as np

from fsfm_jax.metrics import binary
from fsfm_jax.metrics.scores import Scored
from fsfm_jax.metrics.value import Value, undefined

# The anti-spoofing code tries 0, 0.0001, ..., 1, and 1.1, which no score passes.
RELEASED_GRID = np.append(np.arange(10001) / 10000, 1.1)
# Names in JSON, and the fields of `Threshold` that they hold.
STORED = {"false_alarm_rate": "false_negative_rate", "miss_rate": "false_positive_rate"}


@dataclass(frozen=True)
class Threshold:
    """A threshold: `score >= value` means positive. The rates are measured on the split that chose it."""

    value: float
    rule: str  # such as "equal error" or "false positive rate <= 0.01"
    split: str  # name of the split that chose it, "" if none did
    false_positive_rate: Value  # FAR or APCER over all species, when real / bona fide is positive
    false_negative_rate: Value  # FRR or BPCER, when real / bona fide is positive

    @property
    def chosen_on(self) -> str:
        """The rule and its split, as a phrase for tables."""
        return f"{self.rule}, chosen on {self.split}" if self.split else f"{self.rule}, chosen on no data"

    def as_json(self) -> dict:
        """Return a dict for `from_json`; undefined rates are null.

        The names do not require the reader to know that real is the positive class. `false_alarm_rate` is the share of
        real examples that are classified as forged; `miss_rate` is the share of forged ones classified as real.
        """
        rates = {name: getattr(self, field) for name, field in STORED.items()}
        known = {name: None if rate.reason else rate.value for name, rate in rates.items()}
        return {"value": self.value, "rule": self.rule, "split": self.split, **known}

    @classmethod
    def from_json(cls, stored: dict) -> "Threshold":
        """Read the output of `as_json`; cards of earlier versions use the names of the fields.

        Raises:
          KeyError: if an entry is missing.
        """
        rates = {}
        for name, field in STORED.items():
            known = stored[name] if name in stored else stored[field]
            rates[field] = undefined(f"{stored['split']} had only one class") if known is None else Value(known)
        return cls(stored["value"], stored["rule"], stored["split"], **rates)


def _measure(value: float, rule: str, scored: Scored, split: str) -> Threshold:
    if not split:
        raise ValueError(f"split: expected the name of the split on which the threshold ({rule}) is chosen, found ''")
    rates = binary.false_positive_rate(scored, value), binary.false_negative_rate(scored, value)
    return Threshold(float(value), rule, split, *rates)


def fixed(value: float) -> Threshold:
    """Return a threshold that was fixed before any score was seen, such as 0.5.

    Raises:
      ValueError: if `value` is NaN.
    """
    if np.isnan(value):
        raise ValueError("threshold: expected a number, found NaN")
    none = undefined("the threshold was fixed in advance without data")
    return Threshold(float(value), f"fixed at {value:g}", "", none, none)


def at_equal_error(scored: Scored, split: str) -> Threshold:
    """Choose the score on `split` at which the two error rates differ least; for ties the higher one.

    The higher one gives fewer false positives.

    Raises:
      ValueError: if the name `split` is empty, or a class is missing.
    """
    _refuse_one_class(scored, split, "equal error")
    counts = scored.curve
    # The difference of the two rates times both class sizes is an integer, so ties are exact.
    false_negatives = counts.positives - counts.true_positives
    gap = np.abs(counts.false_positives * counts.positives - false_negatives * counts.negatives)
    return _measure(counts.thresholds[np.argmin(gap)], "equal error", scored, split)


def on_released_grid(scored: Scored, split: str) -> Threshold:
    """Choose as the released anti-spoofing code: of 0, 0.0001, ..., 1 and 1.1 the last with the least |FRR - FAR|.

    That code reports the half total error rate at this threshold, on the same split, as both EER and HTER.

    Raises:
      ValueError: if the name `split` is empty, or a class is missing.
    """
    rule = "least |FRR - FAR| on the grid k/10000"
    _refuse_one_class(scored, split, rule)
    # Numbers of rejected positives and accepted negatives at each grid value.
    refused = np.searchsorted(np.sort(scored.scores[scored.labels]), RELEASED_GRID, side="left")
    passed = scored.negatives - np.searchsorted(np.sort(scored.scores[~scored.labels]), RELEASED_GRID, side="left")
    gap = np.abs(refused / scored.positives - passed / scored.negatives)
    return _measure(RELEASED_GRID[len(gap) - 1 - np.argmin(gap[::-1])], rule, scored, split)


def at_false_negative_rate(scored: Scored, target: float, split: str) -> Threshold:
    """Choose the highest score on `split` with a false negative rate of at most `target`; only needs positives.

    With real or bona fide as positive, this limits the rate of false alarms (BPCER).

    Raises:
      ValueError: if the name `split` is empty, there are no positives, or `target` is not in [0, 1].
    """
    binary.check_rate("target", target)
    rule = f"false negative rate <= {target:g}"
    if not scored.positives:
        raise ValueError(f"threshold ({rule}) on {split}: {scored.missing}; choose it on a split that has some")
    counts = scored.curve
    rates = (counts.positives - counts.true_positives) / counts.positives
    return _measure(counts.thresholds[np.argmax(rates <= target)], rule, scored, split)


def _refuse_one_class(scored: Scored, split: str, rule: str) -> None:
    if scored.missing:
        raise ValueError(f"threshold ({rule}) on {split}: {scored.missing}; choose it on a split that has both classes")
