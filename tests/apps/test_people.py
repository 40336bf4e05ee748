"""Who is in a file and what is said of them: one verdict for each person, in words that nobody has to translate."""

import numpy as np
import pytest
from carded import BARE, CARDED

from fsfm_jax.apps.certainty import Limits
from fsfm_jax.apps.persons import decide_alone
from fsfm_jax.apps.reading import Crop, Miss, Reading
from fsfm_jax.apps.statement import NO_THRESHOLD, state_file, state_person, state_rates
from fsfm_jax.apps.verdict import choose_rule, decide
from fsfm_jax.metrics.thresholds import Threshold
from fsfm_jax.metrics.value import Value, undefined

DARK, LIGHT = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 250, np.uint8)
SURE = Limits(0.25, 0.5)


def crop(frame, left, pixels=DARK, sure=1.0):
    return Crop(frame, 0, (left, 0, left + 99, 99), (left, 0, 100), sure, pixels)


def people_of(reading, real, carded=CARDED, limits=SURE):
    """People of a file whose faces have the probabilities `real`, and the verdict on the file."""
    rule = choose_rule(carded, limits=limits, persons=True)
    verdict = decide(carded, rule, reading, np.log([[1 - one, one] for one in real]))
    return verdict.persons or decide_alone(verdict.faces, verdict.threshold, limits), verdict


def test_a_person_of_a_video_is_one_person_with_the_mean_of_the_frames():
    """Two people in eight frames, the threshold of videos being 0.55; the second comes late, the third is seen once."""
    crops = (crop(0, 0), crop(1, 10), crop(1, 400, LIGHT), crop(2, 20), crop(2, 410, LIGHT), crop(4, 900, LIGHT))
    misses = (Miss(3, "no_face", "none"), *(Miss(frame, "no_face", "none") for frame in (5, 6, 7)))
    people, verdict = people_of(Reading("a", "video", crops, misses, asked=8), (0.9, 0.9, 0.1, 0.6, 0.3, 0.9))
    assert [person.faces for person in people] == [(0, 1, 3), (2, 4), (5,)]
    assert [person.score for person in people] == pytest.approx([0.8, 0.2, 0.9])
    assert [person.verdict for person in people] == ["real", "forged", ""]
    assert [person.deciding for person in people] == [3, 2, 5]
    assert state_person(people[2], verdict) == (
        "No verdict.", "The face was found in only 1 of 8 frames, too few to judge."
    )  # fmt: skip
    assert state_file(people, verdict) == ("forged", "The detector calls 1 of 3 people forged.", "")
    assert state_file(people[::2], verdict) == (
        "real", "The detector found no evidence of forgery in 1 of 2 people.", "It gives no verdict on the other."
    )  # fmt: skip


def test_every_face_of_a_photo_is_somebody():
    reading = Reading("a", "photo", (crop(0, 0), crop(0, 10), crop(0, 20, sure=0.1)))
    people, verdict = people_of(reading, (0.5, 0.41, 0.1))
    assert [person.faces for person in people] == [(0,), (1,), (2,)]
    unsure = "The face finder is not sure enough that this is a face."
    assert state_file(people[2:], verdict) == ("", "No verdict.", unsure)
    assert state_file(people[:2], verdict)[1] == "The detector found no evidence of forgery in any of the 2 faces."
    forged = people_of(reading, (0.1, 0.2, 0.1), limits=Limits())
    assert state_file(*forged) == ("forged", "The detector calls all 3 faces forged.", "")
    (bare, *_), verdict = people_of(reading, (0.5, 0.5, 0.5), BARE)
    assert state_person(bare, verdict) == ("No verdict.", NO_THRESHOLD)


@pytest.mark.parametrize("rate, words", [
        (Value(0.0), "0 of 100"), (Value(1.0), "100 of 100"), (Value(0.13), "13 of 100"), (Value(0.009), "1 of 100"),
        (Value(0.004), "4 of 1,000"), (Value(0.0001), "fewer than 1 of 1,000"), (Value(0.996), "996 of 1,000"),
        (Value(0.9999), "more than 999 of 1,000"), (undefined("one class"), "an unknown share of"),
    ])  # fmt: skip
def test_rates_are_counts_that_are_neither_none_nor_all_unless_they_are(rate, words):
    threshold = Threshold(0.5, "equal error", "val", Value(0.13), rate)
    wrong = f"{words} real and 13 of 100 forged"
    assert state_rates(threshold, "photo") == f"On its validation set it was wrong on {wrong} faces."
    assert state_rates(threshold, "video").endswith("forged videos.")
