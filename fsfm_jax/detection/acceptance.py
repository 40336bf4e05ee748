"""Decide whether a quantised detector may replace the original: by AUC and verdicts on one split.

The bounds: a change of AUC by half a percentage point is less than the differences between published methods. A change
of one verdict in a hundred equals the usual false alarm rate of a detector.
"""

import dataclasses

import numpy as np

from fsfm_jax.detection.calibrate import LEVELS, choose
from fsfm_jax.detection.prediction import Predictions
from fsfm_jax.metrics import binary
from fsfm_jax.metrics.thresholds import Threshold

AUC_BOUND = 0.005
FLIP_BOUND = 0.01


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How two sets of scores of the same examples agree.

    Attributes:
      split: the name of the data set. examples: how many it has.
      auc_before, auc_after: of the frames.
      flips: the largest share of verdicts that differ, over frames and videos and over all thresholds: at those that
        were kept, and at those that each set of scores gives itself.
    """

    split: str
    examples: int
    auc_before: float
    auc_after: float
    flips: float

    @property
    def accepted(self) -> bool:
        """Return whether AUC and verdicts are within the bounds."""
        return abs(self.auc_after - self.auc_before) <= AUC_BOUND and self.flips <= FLIP_BOUND

    def as_json(self) -> dict:
        """Return the entries for the card of a quantised detector."""
        return dataclasses.asdict(self) | {"auc_bound": AUC_BOUND, "flip_bound": FLIP_BOUND}

    def describe(self) -> str:
        """Return both numbers as a phrase, with their bounds."""
        return (
            f"AUC {self.auc_before:.4f} before and {self.auc_after:.4f} after (bound {AUC_BOUND}), "
            f"{100 * self.flips:.2f} % of verdicts changed (bound {100 * FLIP_BOUND:g} %)"
        )


def compare(
    before: Predictions, after: Predictions, kept: dict[str, list[Threshold]], false_alarm_rate: float
) -> Agreement:
    """Compare scores of the same examples before and after quantising.

    Args:
      kept: thresholds of the detector by level, "frame" and "video"; empty lists if it keeps none.
      false_alarm_rate: of the threshold that is fitted again, 0..1.

    Raises:
      ValueError: other examples, or one class only.
    """
    if not (np.array_equal(before.sources, after.sources) and np.array_equal(before.labels, after.labels)):
        raise ValueError(f"{before.dataset}: expected scores of the same examples before and after; found others")
    areas = [binary.auc(found.binary_scores()) for found in (before, after)]
    for area in areas:
        if area.reason:
            raise ValueError(f"{before.dataset}: expected real and forged faces to compare; {area.reason}")
    scores = [_by_level(found) for found in (before, after)]
    own = [choose(found, false_alarm_rate) for found in (before, after)]
    flips = 0.0
    for level in LEVELS:
        pairs = [(one.value, one.value) for one in kept[level]]
        pairs += [(old.value, new.value) for old, new in zip(own[0][level], own[1][level], strict=True)]
        for old, new in pairs:
            changed = (scores[0][level] >= old) != (scores[1][level] >= new)
            flips = max(flips, float(changed.mean()))
    return Agreement(before.dataset, len(before.labels), areas[0].value, areas[1].value, flips)


def _by_level(found: Predictions) -> dict[str, np.ndarray]:
    frames = found.binary_scores()
    videos = found.by_video().binary_scores(frames.classes)
    return {"frame": frames.scores, "video": videos.scores}
