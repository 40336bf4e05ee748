"""What a reader of a verdict has to be warned of: a detector for demonstrations, and error rates that are high."""

from fsfm_jax.metrics.card import Carded
from fsfm_jax.metrics.thresholds import Threshold

# Share of real faces called forged, or of forged ones called real, on the split that chose the threshold. A verdict
# that is wrong in every fifth case of its own validation data should not be shown without a word.
HIGH_RATE = 0.2
DRAWN = ("forged:", "blended:synthetic:")  # data sets that the program draws itself
NOT_COVERED = (
    "a verdict is about photographed faces and forgeries like those of the training data; paintings, drawings, masks "
    "and faces that are generated in another way are often called real"
)
NO_PROOF = "a score is no proof; rates hold for faces like those of the split they were measured on"


def percent(rate: float) -> str:
    """Return a share in words; only exact shares are called all or none."""
    shown = rate if rate in (0, 1) else min(max(rate, 0.0001), 0.9999)
    return f"{100 * shown:.{2 if shown < 0.1 else 4 if shown > 0.99 else 3}g} %"


def rates_of(threshold: Threshold) -> str:
    """Return both error rates of a threshold as a phrase, where it was chosen."""
    alarms, misses = threshold.false_negative_rate, threshold.false_positive_rate  # real is the positive class
    if not threshold.split:
        return "its error rates are not known"
    told = [
        f"calls forged {'an unknown share' if alarms.reason else percent(alarms.value)} of the real",
        f"real {'an unknown share' if misses.reason else percent(misses.value)} of the forged",
    ]
    return f"{' and '.join(told)} on {threshold.split}"


def warnings_of(carded: Carded, thresholds: dict[str, Threshold | None]) -> list[str]:
    """Return what a reader must know before trusting any verdict, one sentence each.

    Args:
      thresholds: that decide, by what they are for, such as "photos".
    """
    demonstration = carded.demonstration
    found = [] if demonstration is None else [demonstration.describe()]
    drawn = _drawn_sets(carded.card)
    if drawn:
        found.append(
            f"this is a demo detector, trained on drawn faces ({drawn}); its verdicts mean nothing for real photos and "
            "videos"
        )
    for kind, threshold in thresholds.items():
        if threshold is None:
            continue
        high = [rate.value for rate in (threshold.false_negative_rate, threshold.false_positive_rate)
                if not rate.reason and rate.value > HIGH_RATE]  # fmt: skip
        if high:
            found.append(f"{kind}: this detector is often wrong: at its threshold it {rates_of(threshold)}")
    return found


def _drawn_sets(card: dict) -> str:
    """Return the drawn data sets of a training; "" if it had others, or if the detector's card does not say."""
    said = card["all_fields"]["data.train"] if "all_fields" in card else ""
    if not said and card["calibration"] is not None:  # a serialized detector names its validation split alone
        said = card["calibration"]["split"]
    sets = [part.rpartition("=")[2] for part in said.split(",")]
    return said if all(name.startswith(DRAWN) for name in sets) else ""
