"""Warn of an AUC far below chance: the labels or the classes are probably swapped."""

import math

FAR_BELOW = 0.4  # AUC; by chance it is 0.5
DEVIATIONS = 2.0  # standard deviations below chance that a set of this size has to be


def warn_inverted(name: str, summary: dict, named_by_hand: bool) -> str:
    """Return a warning for a data set whose scores rank forged faces above real ones; "" for any other.

    If score and label are independent, the AUC of n real and m forged examples has the mean 1/2 and the variance
    (n + m + 1) / (12 n m) (Mann and Whitney, 1947). Frames of one video are correlated, so this variance is too small
    for frames. The result is therefore a warning, not a test.

    Args:
      name: name of the data set. summary: the result of `results.summary_of`.
      named_by_hand: whether a user named the detector's classes because its file does not store them.
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
                "the class names are probably not in the order of the outputs (check --classes or official.classes)"
                if named_by_hand
                else "the labels of this set are probably swapped"
            )
            return (
                f"{name}: AUC of {level}s {100 * area:.2f} %, far below the 50 % of chance: {cause}; swapped, it "
                f"would be {100 * (1 - area):.2f} %"
            )
    return ""
