"""Notice an evaluation far below chance: its labels or its classes are probably the wrong way round."""

import math

FAR_BELOW = 0.4  # AUC; by chance it is 0.5
DEVIATIONS = 2.0  # standard deviations below chance that a set of this size has to be


def warn_inverted(name: str, summary: dict, named_by_hand: bool) -> str:
    """A sentence for a data set whose scores rank forged faces above real ones; "" for any other.

    Without a connection between score and label, the AUC of n real and m forged examples has the mean 1/2 and the
    variance (n + m + 1) / (12 n m) (Mann and Whitney, 1947). Frames of one video are alike, so that for frames this is
    too small: a warning, not a test.

    Args:
      name: of the data set. summary: of `results.summary_of`.
      named_by_hand: whether a user named the classes of the detector, whose file does not say them.
    """
    for level in ("video", "frame"):
        found = summary[level]
        area, real = found["metrics"]["auc"], found["positives"]
        forged = found["examples"] - real
        if area is None or not real or not forged:
            continue
        deviation = math.sqrt((real + forged + 1) / (12 * real * forged))
        if area < min(FAR_BELOW, 0.5 - DEVIATIONS * deviation):
            cause = (
                "the classes were probably named in another order than the outputs have (--classes, official.classes)"
                if named_by_hand
                else "the labels of this set are probably the wrong way round"
            )
            return (
                f"{name}: AUC of {level}s {100 * area:.2f} %, far below the 50 % of chance: {cause}; the other way "
                f"round it would be {100 * (1 - area):.2f} %"
            )
    return ""
