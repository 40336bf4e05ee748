"""What the card of a detector says, wherever the card lies: beside its parameters, or beside a serialized one."""

from fsfm_jax.metrics.demonstration import FIELD, Demonstration
from fsfm_jax.metrics.thresholds import Threshold

MERGED = "merged"  # the tuning whose updates were added to the matrices that they belong to

INT8 = "int8"  # the dtype of a quantised detector


class Carded:
    """Reads `card`, the JSON that gives a detector's scores their meaning; the base of whatever has one."""

    card: dict

    @property
    def class_names(self) -> tuple[str, ...]:
        """By index."""
        return tuple(self.card["class_names"])

    @property
    def real(self) -> int:
        """Index of real (bona fide) faces."""
        return self.card["real"]

    @property
    def temperature(self) -> float | None:
        """What its logits are divided by for calibrated probabilities; None if it was not calibrated."""
        return None if self.card["calibration"] is None else self.card["calibration"]["temperature"]

    @property
    def quantised(self) -> bool:
        """Whether its products are in int8."""
        return "artifact" in self.card and self.card["artifact"].get("dtype") == INT8

    @property
    def own_transform(self) -> str | None:
        """What made images of crops when it was selected and calibrated; None if nothing says it."""
        if "input" in self.card:  # of a serialized detector
            return self.card["input"].get("transform")
        # The configuration of an imported one names its network alone.
        known = "config" in self.card and "official" not in self.card
        return self.card["config"]["evaluation.transform"] if known else None

    @property
    def demonstration(self) -> Demonstration | None:
        """What makes it a demonstration; None for any other detector."""
        return Demonstration.from_json(self.card[FIELD]) if FIELD in self.card else None

    def thresholds(self, level: str) -> list[Threshold]:
        """The thresholds it keeps for "frame" or "video"; empty if it was not calibrated."""
        calibration = self.card["calibration"]
        return [] if calibration is None else [Threshold.from_json(t) for t in calibration["thresholds"][level]]
