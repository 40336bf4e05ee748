"""Temperature scaling and calibration errors, against known answers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from fsfm_jax.metrics import calibration

FEW = settings(max_examples=40, deadline=None)


def drawn(seed: int, count: int, classes: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `temperature` times too large for the labels drawn from them."""
    generator = np.random.default_rng(seed)
    honest = 2 * generator.normal(size=(count, classes))
    p = np.exp(honest) / np.exp(honest).sum(axis=1, keepdims=True)
    labels = (generator.random((count, 1)) > np.cumsum(p, axis=1)).sum(axis=1)
    return temperature * honest, np.minimum(labels, classes - 1)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0, 4.0, 50.0])
def test_a_known_temperature_is_found_again(classes, temperature):
    logits, labels = drawn(0, 20_000, classes, temperature)
    found = calibration.fit_temperature(logits, labels, "validation")
    # The relative standard error of T with 20,000 examples is below 2 %.
    assert found.temperature.value == pytest.approx(temperature, rel=0.06)
    assert found.loss_after <= found.loss_before
    assert found.iterations <= 12  # halving alone takes more than 30


@FEW
@given(st.integers(0, 10_000), st.integers(2, 4), st.sampled_from([0.01, 0.3, 1.0, 30.0]))
def test_the_minimum_is_the_one_scipy_finds(seed, classes, temperature):
    logits, labels = drawn(seed, 60, classes, temperature)
    found = calibration.fit_temperature(logits, labels, "validation")
    if found.temperature.reason:
        return

    def loss(log_temperature):
        return calibration.cross_entropy(logits / math.exp(log_temperature), labels).mean()

    best = optimize.minimize_scalar(loss, bounds=(-8, 8), method="bounded", options={"xatol": 1e-9})
    assert found.loss_after == pytest.approx(best.fun, rel=1e-9)
    assert found.loss_after == pytest.approx(loss(math.log(found.temperature.value)), rel=1e-12)


def test_temperature_and_large_logits_by_hand():
    # Three of four are right with the same logit z: sigmoid(z / T) must be 3/4, so T = z / log 3.
    found = calibration.fit_temperature(np.array([2.0, 2.0, 2.0, -2.0]), np.array([1, 1, 0, 0]), "validation")
    assert found.temperature.value == pytest.approx(2 / math.log(3))
    assert found.loss_after == pytest.approx(-(3 * math.log(3 / 4) + math.log(1 / 4)) / 4)
    losses = calibration.cross_entropy(np.array([[1e4, 0.0], [0.0, 0.0]]), np.array([1, 0]))
    np.testing.assert_allclose(losses, [1e4, math.log(2)])


@pytest.mark.parametrize(("logits", "labels", "reason"), [
        ([1.0, 2.0], [1, 1], "validation has only one class"),
        ([1.0, -2.0], [1, 0], "every example of validation is classified correctly"),
        ([-1.0, 2.0], [1, 0], "the logits carry no information about the labels of validation"),
        ([0.0, 0.0], [1, 0], "the logits carry no information about the labels of validation"),
    ])  # fmt: skip
def test_without_a_minimum_there_is_a_reason(logits, labels, reason):
    found = calibration.fit_temperature(np.array(logits), np.array(labels), "validation")
    assert math.isnan(found.temperature.value) and found.temperature.reason.startswith(reason)
    assert math.isnan(found.loss_after) and math.isfinite(found.loss_before)


def test_no_convergence_is_an_error(monkeypatch):
    monkeypatch.setattr(calibration, "MAX_ITERATIONS", 1)
    with pytest.raises(RuntimeError, match="validation: no convergence in 1 iterations"):
        calibration.fit_temperature(*drawn(0, 50, 2, 9.0), "validation")


@pytest.mark.parametrize(("logits", "labels", "message"), [
        ([[1.0, 2.0]], [2], "labels: expected integers from 0 to 1"),
        ([[1.0, 2.0]], [-1], "labels: expected integers from 0 to 1"),
        ([[1.0, 2.0]], [0.0], "labels: expected integers .* found float64"),
        ([[1.0, np.nan]], [0], "logits: expected finite numbers, found nan"),
        ([[1.0, 2.0]], [0, 1], r"found \(1, 2\), \(2,\)"),
        ([[1.0]], [0], r"C > 1; found \(1, 1\)"),
        (np.zeros((0, 2)), np.zeros(0, int), "N > 0"),
    ])  # fmt: skip
def test_bad_logits_are_refused(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        calibration.cross_entropy(np.array(logits), np.array(labels))


def test_bins_of_equal_width_and_of_equal_mass_by_hand():
    p = np.array([0.0, 0.1, 0.25, 0.5, 0.6, 1.0])
    diagram = calibration.reliability(p, np.array([0, 1, 0, 1, 0, 1]), 4, "width")
    np.testing.assert_array_equal(diagram.low, [0, 0.25, 0.5, 0.75])
    np.testing.assert_array_equal(diagram.counts, [2, 1, 2, 1])
    np.testing.assert_allclose(diagram.predicted, [0.05, 0.25, 0.55, 1.0])
    np.testing.assert_allclose(diagram.observed, [0.5, 0.0, 0.5, 1.0])
    assert calibration.expected_calibration_error(diagram) == pytest.approx((2 * 0.45 + 0.25 + 2 * 0.05 + 0) / 6)
    diagram = calibration.reliability(np.array([0.1, 0.9]), np.array([0, 1]), 3, "width")
    assert diagram.counts.tolist() == [1, 0, 1]
    assert math.isnan(diagram.predicted[1]) and math.isnan(diagram.observed[1])
    assert calibration.expected_calibration_error(diagram) == pytest.approx(0.1)
    p = np.array([0.05, 0.06, 0.07, 0.08, 0.9, 0.95])
    assert calibration.reliability(p, np.zeros(6), 3, "mass").counts.tolist() == [2, 2, 2]
    tied = np.array([0.1, 0.2, 0.2, 0.2, 0.2, 0.9])
    diagram = calibration.reliability(tied, np.array([0, 1, 0, 1, 0, 1]), 3, "mass")
    assert diagram.counts.tolist() == [1, 5]
    np.testing.assert_allclose(diagram.low, [0.1, 0.2])
    assert calibration.reliability(np.full(5, 0.3), np.array([1, 0, 0, 0, 0]), 3, "mass").counts.tolist() == [5]


@FEW
@given(st.lists(st.integers(0, 20).map(lambda k: k / 20), min_size=1, max_size=40), st.integers(1, 12), st.randoms())
def test_every_example_is_in_the_bin_that_its_edges_say(values, bins, random):
    p, outcomes = np.array(values), np.array([random.randint(0, 1) for _ in values])
    shuffled = np.random.default_rng(0).permutation(len(p))
    for spacing in calibration.SPACINGS:
        diagram = calibration.reliability(p, outcomes, bins, spacing)
        inside = [
            (p >= low) & ((p < high) | ((place == len(diagram.low) - 1) & (p <= high)))
            for place, (low, high) in enumerate(zip(diagram.low, diagram.high, strict=True))
        ]
        assert [int(i.sum()) for i in inside] == diagram.counts.tolist() and diagram.counts.sum() == len(p)
        assert 0 <= calibration.expected_calibration_error(diagram) <= 1
        moved = calibration.reliability(p[shuffled], outcomes[shuffled], bins, spacing)
        np.testing.assert_allclose(moved.observed, diagram.observed)
    assert (calibration.reliability(p, outcomes, bins, "mass").counts > 0).all()


@pytest.mark.parametrize(("p", "outcomes", "bins", "spacing", "message"), [
        ([0.5], [1], 3, "equal", "spacing width or mass; found .*'equal'"),
        ([0.5], [1], 0, "mass", "bins > 0"),
        ([0.5, 0.5], [1], 3, "mass", "as many outcomes as probabilities"),
        ([1.5], [1], 3, "mass", "probabilities from 0 to 1"),
        ([np.nan], [1], 3, "mass", "probabilities: expected finite numbers"),
        ([0.5], [2], 3, "mass", "expected 0 and 1"),
    ])  # fmt: skip
def test_bad_diagrams_are_refused(p, outcomes, bins, spacing, message):
    with pytest.raises(ValueError, match=message):
        calibration.reliability(np.array(p), np.array(outcomes), bins, spacing)
