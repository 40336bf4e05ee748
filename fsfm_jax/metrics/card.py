"""What the card of a detector says, wherever the card lies: beside its parameters, or beside a serialized one."""

from fsfm_jax.metrics.thresholds import Threshold


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

    def thresholds(self, level: str) -> list[Threshold]:
        """The thresholds it keeps for "frame" or "video"; empty if it was not calibrated."""
        calibration = self.card["calibration"]
        return [] if calibration is None else [Threshold.from_json(t) for t in calibration["thresholds"][level]]
