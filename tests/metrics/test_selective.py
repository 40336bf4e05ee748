"""Risk over coverage: cases worked out by hand, equal confidences, and what is refused."""

import itertools
import math

import numpy as np
import pytest

from fsfm_jax.metrics import selective

CONFIDENCES, WRONG = np.array([0.9, 0.6, 0.8, 0.7]), np.array([0, 1, 1, 0])


def test_by_hand():
    curve = selective.risk_coverage(CONFIDENCES, WRONG)
    assert curve.thresholds.tolist() == [0.9, 0.8, 0.7, 0.6]
    assert curve.accepted.tolist() == [1, 2, 3, 4] and curve.errors.tolist() == [0, 1, 1, 2]
    # Risks 0, 1/2, 1/3, 2/4; ranked last the two errors would give 0, 0, 1/3, 2/4.
    assert selective.area(curve) == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert selective.excess_area(curve) == pytest.approx((1 / 2) / 4)


def test_equal_confidences_count_as_the_mean_over_their_orders():
    confidences, wrong = [0.9, 0.5, 0.5, 0.5, 0.4], np.array([0, 1, 0, 0, 1])
    areas = []
    for order in itertools.permutations([1, 2, 3]):
        apart = [0.9, *(0.5 + 0.01 * order.index(place) for place in (1, 2, 3)), 0.4]
        areas.append(selective.area(selective.risk_coverage(apart, wrong)))
    curve = selective.risk_coverage(confidences, wrong)
    assert selective.area(curve) == pytest.approx(np.mean(areas)) and len(set(areas)) > 1
    # Nothing can be gained where all are right, or all are wrong, or all are as sure.
    for nothing, excess in (([0] * 5, 0.0), ([1] * 5, 0.0)):
        assert selective.excess_area(selective.risk_coverage(confidences, nothing)) == excess
    same = selective.risk_coverage([0.5] * 5, wrong)
    assert selective.area(same) == pytest.approx(2 / 5) and same.accepted.tolist() == [5]


def test_the_confidence_for_a_risk_is_the_lowest_that_keeps_it():
    """The risk may be higher in between: the surest video may be the wrong one."""
    curve = selective.risk_coverage([0.9, 0.8, 0.7, 0.6, 0.5], [1, 0, 0, 0, 1])
    assert selective.choose_confidence(curve, 0.25) == 0.6 and selective.choose_confidence(curve, 0.4) == 0.5
    assert selective.choose_confidence(curve, 0.2) == math.inf
    assert selective.coverage_at(curve, 0.6) == 4 / 5 and selective.risk_at(curve, 0.6).value == 1 / 4
    assert selective.coverage_at(curve, 0.65) == 3 / 5 and selective.risk_at(curve, 0.65).value == 1 / 3
    assert selective.coverage_at(curve, math.inf) == 0 and "no verdict has" in selective.risk_at(curve, math.inf).reason


@pytest.mark.parametrize(("confidences", "wrong", "text"), [
    ([], [], "confidences: expected at least one"), ([0.5, math.nan], [0, 1], "confidences: expected finite"),
    ([0.5], [0, 1], "expected the same number, found 1 and 2"), ([0.5], [2], "expected 0 and 1"),
])  # fmt: skip
def test_what_cannot_be_is_refused(confidences, wrong, text):
    with pytest.raises(ValueError, match=text):
        selective.risk_coverage(confidences, wrong)


def test_a_risk_is_a_share():
    with pytest.raises(ValueError, match="risk: expected a fraction from 0 to 1, found 5"):
        selective.choose_confidence(selective.risk_coverage(CONFIDENCES, WRONG), 5)
