"""A verdict in plain words, for readers who have never heard of thresholds."""

import math
from collections.abc import Sequence

from fsfm_jax.apps.persons import FORGED, REAL, Person
from fsfm_jax.apps.reading import VIDEO
from fsfm_jax.apps.verdict import Verdict
from fsfm_jax.metrics.thresholds import Threshold
from fsfm_jax.metrics.value import Value

NO_THRESHOLD = "This detector keeps no threshold, so it gives a score and no verdict."
SEVERAL = "Each further face is one more chance of a false alarm."


def state_person(person: Person, verdict: Verdict) -> tuple[str, str]:
    """Say what the detector found for one person, and why it says nothing, as sentences; the second may be empty."""
    if person.verdict == FORGED:
        return "The detector calls this forged.", ""
    if person.verdict == REAL:
        return "The detector found no evidence of forgery.", ""
    return "No verdict.", _why_none(person, verdict)


def state_file(people: Sequence[Person], verdict: Verdict) -> tuple[str, str, str]:
    """Say what the detector found for all people of a file, whose `verdict` has threshold and frames.

    Returns:
      "real", "forged" or "", the sentence, and why nothing is said; the last may be empty.
    """
    first, count = people[0], len(people)
    if count == 1:
        return first.verdict, *state_person(first, verdict)
    whom = "people" if verdict.kind == VIDEO else "faces"
    forged, real = (sum(one.verdict == word for one in people) for word in (FORGED, REAL))
    if forged:
        part = f"all {count}" if forged == count else f"{forged} of {count}"
        return FORGED, f"The detector calls {part} {whom} forged.", ""
    if real == count:
        return REAL, f"The detector found no evidence of forgery in any of the {count} {whom}.", ""
    if real:
        return REAL, f"The detector found no evidence of forgery in {real} of {count} {whom}.", (
            f"It gives no verdict on the other{'s' if count - real > 1 else ''}."
        )
    return "", "No verdict.", _why_none(first, verdict)


def state_rates(threshold: Threshold | None, kind: str) -> str:
    """Say how often a threshold was wrong where it was chosen; "" where there is none."""
    if threshold is None:
        return ""
    if not threshold.split:
        return "How often it is wrong at this threshold is not known."
    # Real is the positive class, so a false negative is a false alarm.
    wrong = f"{_of_hundred(threshold.false_negative_rate)} real and {_of_hundred(threshold.false_positive_rate)} forged"
    return f"On its validation set it was wrong on {wrong} {'videos' if kind == VIDEO else 'faces'}."


def _why_none(person: Person, verdict: Verdict) -> str:
    if verdict.threshold is None:
        return NO_THRESHOLD
    if person.reason == "few_frames":
        return f"The face was found in only {len(person.faces)} of {verdict.frames} frames, too few to judge."
    assert person.reason == "unsure_face", "a person with a threshold has a verdict, or one of two reasons"
    return "The face finder is not sure enough that this is a face."


def _of_hundred(rate: Value) -> str:
    """Return a share as a count that is neither none nor all unless the share is."""
    if rate.reason:
        return "an unknown share of"
    for whole in (100, 1000):
        count = math.floor(whole * rate.value + 0.5)
        if count == whole * rate.value or 0 < count < whole:
            return f"{count} of {whole:,}"
    return "fewer than 1 of 1,000" if rate.value < 0.5 else "more than 999 of 1,000"
