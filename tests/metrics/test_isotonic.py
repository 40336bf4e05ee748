"""Isotonic calibration, by hand and against scikit-learn."""

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from fsfm_jax.metrics.isotonic import fit_isotonic
from fsfm_jax.metrics.scores import DEEPFAKE, Scored


def test_by_hand():
    """Equal scores share a value, and neighbours in the wrong order their mean, each example counting once."""
    found = fit_isotonic(Scored([0.1, 0.2, 0.2, 0.3, 0.6], [0, 1, 1, 0, 1], DEEPFAKE), "val")
    assert found.scores.tolist() == [0.1, 0.2, 0.3, 0.6]
    assert found.shares.tolist() == pytest.approx([0, 2 / 3, 2 / 3, 1])
    assert found.apply([0.05, 0.15, 0.25, 0.45, 0.9]).tolist() == pytest.approx([0, 1 / 3, 2 / 3, 5 / 6, 1])


@pytest.mark.parametrize("digits", [1, 2, 9])  # with many equal scores, some, and none
def test_as_scikit_learn(digits):
    random = np.random.default_rng(digits)
    labels = random.random(400) < 0.4
    scores = np.round(1 / (1 + np.exp(-random.normal(labels * 1.5, 1.0))), digits)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(scores, labels)
    found, asked = fit_isotonic(Scored(scores, labels, DEEPFAKE), "val"), np.linspace(0, 1, 1001)
    np.testing.assert_allclose(found.apply(asked), theirs.predict(asked), rtol=0, atol=1e-12)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="isotonic calibration on val: no fake among 3 examples"):
        fit_isotonic(Scored([0.1, 0.2, 0.3], [1, 1, 1], DEEPFAKE), "val")
