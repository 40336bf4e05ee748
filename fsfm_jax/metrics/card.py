"""The card of a detector, which is stored next to its parameters or next to an exported artifact."""

from fsfm_jax.metrics.demonstration import FIELD, Demonstration
from fsfm_jax.metrics.thresholds import Threshold

MERGED = "merged"  # the tuning of a network whose low-rank updates were added to its matrices

INT8 = "int8"  # the dtype of a quantised detector


class Carded:
    """A base class that reads `card`, the JSON that gives a detector's scores their meaning."""

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
        """The divisor of the logits for calibrated probabilities; None if the detector was not calibrated."""
        return None if self.card["calibration"] is None else self.card["calibration"]["temperature"]

    @property
    def quantised(self) -> bool:
        """Whether its products are in int8."""
        return "artifact" in self.card and self.card["artifact"].get("dtype") == INT8

    @property
    def own_transform(self) -> str | None:
        """The transform of crops used for its selection and calibration; None if the card does not name it."""
        if "input" in self.card:  # the card of an exported detector
            return self.card["input"].get("transform")
        # The configuration of an imported detector only describes its network.
        known = "config" in self.card and "official" not in self.card
        return self.card["config"]["evaluation.transform"] if known else None

    @property
    def demonstration(self) -> Demonstration | None:
        """The facts about a demonstration detector; None for any other detector."""
        return Demonstration.from_json(self.card[FIELD]) if FIELD in self.card else None

    def thresholds(self, level: str) -> list[Threshold]:
        """Return its thresholds for `level` "frame" or "video"; empty if the detector was not calibrated."""
        calibration = self.card["calibration"]
        return [] if calibration is None else [Threshold.from_json(t) for t in calibration["thresholds"][level]]
