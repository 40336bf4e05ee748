"""Uniform, normal and Beta numbers: the right distributions, from (seed, purpose, position) alone."""

import math

import numpy as np
import pytest

from fsfm_jax.data.distributions import between, log_between, standard_normal, symmetric_beta, uniforms


def test_uniform_numbers_stay_below_one_and_fill_the_interval():
    drawn = np.array([uniforms(0, "test", position, 50) for position in range(400)])
    assert drawn.min() >= 0 and drawn.max() < 1
    # Deviation of one share of n draws: sqrt(p (1 - p) / n), p = 1 / 20.
    share = np.histogram(drawn, 20, (0, 1))[0] / drawn.size
    np.testing.assert_allclose(share, 1 / 20, rtol=0, atol=5 * math.sqrt(0.05 * 0.95 / drawn.size))
    assert uniforms(0, "test", 7, 3) == uniforms(0, "test", 7, 50)[:3]
    assert all(int((1 - 2.0**-53) * n) == n - 1 for n in (1, 2, 3, 15, 224, 10**9 + 7))


def test_scales_end_where_they_should():
    assert [between(u, 0.8, 1.2) for u in (0, 0.5)] == [0.8, 1.0]
    np.testing.assert_allclose([log_between(u, 0.25, 4) for u in (0, 0.5, 1)], [0.25, 1, 4])


def test_normal_numbers_have_the_moments_of_the_normal_distribution():
    drawn = np.array([standard_normal(*uniforms(0, "test", position, 2)) for position in range(20_000)])
    # E x**k and Var x**k = E x**2k - (E x**k)**2, from 1, 3, 15, 105.
    for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(np.mean(drawn**power) - mean) < 5 * math.sqrt(variance / len(drawn))
    assert math.isfinite(standard_normal(1 - 2.0**-53, 0.5)) and standard_normal(0, 0.25) == 0


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.8, 1.0, 2.5, 30.0])
def test_beta_numbers_have_the_moments_of_the_beta_distribution(alpha):
    def moment(power: int) -> float:
        return math.prod((alpha + k) / (2 * alpha + k) for k in range(power))

    drawn = np.array([symmetric_beta(0, "test", position, alpha) for position in range(3000)])
    assert drawn.min() >= 0 and drawn.max() <= 1
    for power in (1, 2, 3, 4):
        error = math.sqrt((moment(2 * power) - moment(power) ** 2) / len(drawn))
        assert abs(np.mean(drawn**power) - moment(power)) < 5 * error


def test_beta_numbers_depend_on_seed_purpose_and_position_only():
    drawn = symmetric_beta(3, "test", 5, 0.8)
    assert drawn == symmetric_beta(3, "test", 5, 0.8)
    assert len({drawn, symmetric_beta(4, "test", 5, 0.8), symmetric_beta(3, "t", 5, 0.8)}) == 3
    assert len({symmetric_beta(3, "test", position, 0.8) for position in range(500)}) == 500


def test_a_beta_number_may_need_more_than_one_piece_of_the_stream(monkeypatch):
    # One candidate per piece: two thirds of the draws of this bell-shaped Beta go on to the next piece.
    monkeypatch.setattr("fsfm_jax.data.distributions._TRIES", 1)
    drawn = np.array([symmetric_beta(0, "test", position, 8.0) for position in range(2000)])
    assert abs(drawn.mean() - 0.5) < 5 * math.sqrt(1 / 4 / 17 / len(drawn))  # variance 1 / (4 (2 alpha + 1))
    assert abs(drawn.var() - 1 / 68) < 5 * math.sqrt(2 / len(drawn)) / 68
