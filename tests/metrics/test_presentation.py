"""APCER, BPCER and ACER on a worked example with two species."""

import math

import numpy as np
import pytest

from fsfm_jax.metrics import presentation
from fsfm_jax.metrics.scores import ANTI_SPOOFING, Scored

# Four prints (one passes 0.5), two replays (one passes), five bona fide (one is refused).
SCORES = np.array([0.9, 0.2, 0.1, 0.3, 0.5, 0.4, 0.8, 0.7, 0.6, 0.9, 0.45])
LABELS = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
SPECIES = np.array(["print"] * 4 + ["replay"] * 2 + [""] * 5)
SCORED = Scored(SCORES, LABELS, ANTI_SPOOFING)


def test_the_worst_species_counts_and_without_attacks_or_bona_fide_there_is_a_reason():
    rates = presentation.apcer_by_species(SCORED, SPECIES, 0.5)
    assert {name: rate.value for name, rate in rates.items()} == {"print": 0.25, "replay": 0.5}
    assert presentation.apcer(SCORED, SPECIES, 0.5).value == 0.5  # neither the mean 0.375 nor the pooled 2/6
    assert presentation.bpcer(SCORED, 0.5).value == pytest.approx(0.2)
    assert presentation.acer(SCORED, SPECIES, 0.5).value == pytest.approx(0.35)
    assert presentation.apcer(SCORED, SPECIES, 0.55).value == 0.25
    assert presentation.bpcer(SCORED, 0.45).value == 0.0
    assert presentation.apcer(SCORED, SPECIES, 1.1).value == 0.0
    genuine = Scored(SCORES[6:], LABELS[6:], ANTI_SPOOFING)
    assert presentation.apcer_by_species(genuine, SPECIES[6:], 0.5) == {}
    for value in (presentation.apcer(genuine, SPECIES[6:], 0.5), presentation.acer(genuine, SPECIES[6:], 0.5)):
        assert math.isnan(value.value) and value.reason == "no attack among 5 examples"
    attacks = Scored(SCORES[:6], LABELS[:6], ANTI_SPOOFING)
    assert presentation.apcer(attacks, SPECIES[:6], 0.5).value == 0.5
    assert presentation.acer(attacks, SPECIES[:6], 0.5).reason == "no bona fide among 6 examples"


@pytest.mark.parametrize(("place", "name", "message"), [
        (2, "", "found '' for the attack at position 2"),
        (7, "print", "found 'print' for the bona fide at position 7"),
    ])  # fmt: skip
def test_species_and_labels_must_agree(place, name, message):
    species = SPECIES.copy()
    species[place] = name
    with pytest.raises(ValueError, match=f"species: expected a name for each attack .*{message}"):
        presentation.apcer(SCORED, species, 0.5)
    with pytest.raises(ValueError, match=r"species: expected shape \(11,\).*found \(10,\)"):
        presentation.apcer(SCORED, SPECIES[1:], 0.5)
