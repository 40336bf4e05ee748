"""Abstention and conformal sets from predictions, worked out by hand: fitted on one split, reported of another."""

import numpy as np
import pytest

from fsfm_jax.detection.prediction import Predictions
from fsfm_jax.detection.selective import fit_selective, report_selective
from fsfm_jax.detection.tables import SELECTIVE, table
from fsfm_jax.resolve.report import SelectiveSpec


def predictions(name: str, real: list[float], fake: list[float]) -> Predictions:
    """Photos with these P(real), the real ones first."""
    likely, count = np.array([*real, *fake]), len(real) + len(fake)
    labels, text = np.repeat([1, 0], [len(real), len(fake)]), np.array([f"{name} {row}" for row in range(count)])
    logs = np.log(np.stack([1 - likely, likely], axis=1)).astype(np.float32)
    return Predictions(name, logs, ("fake", "real"), 1, labels, text, np.full(count, -1), text, text)


VAL = predictions("val", [0.9, 0.8, 0.6, 0.3], [0.1, 0.2, 0.4, 0.7])
TEST = predictions("test", [0.95, 0.55, 0.15], [0.05, 0.85])


def spec(calibration: str, by_class: bool = True) -> SelectiveSpec:
    return SelectiveSpec(calibration, risk=0.15, alpha=0.4, by_class=by_class)


def test_by_hand():
    # On val, wrong are 0.3 and 0.7, as sure as 0.7: with 0.8 and more none is wrong, then 1 of 5 at least.
    found = report_selective(TEST, fit_selective(VAL, spec("none"), None))
    assert (found["fitted_on"], found["fitted_videos"]) == ("val", 8)
    kept, sets = found["abstention"], found["conformal"]
    assert kept["confidence"] == pytest.approx(0.8) and kept["metrics"] == {"coverage": 4 / 5, "risk": 2 / 4}
    # The third of 0.1, 0.2, 0.4, 0.7: 3 = ceil(5 x 0.6). The set of 0.55 is empty.
    assert sets["thresholds"] == pytest.approx({"real": 0.4, "forged": 0.4}) and sets["chosen_on"]["real"] == 4
    assert sets["metrics"] == pytest.approx({"coverage": 2 / 5, "coverage/forged": 1 / 2, "coverage/real": 1 / 3})
    assert sets["mean_size"] == 4 / 5 and sets["sizes"] == [1 / 5, 4 / 5, 0] and sets["bound"] == 0.6
    both = fit_selective(VAL, spec("none", by_class=False), None)
    assert both.conformal.counts.tolist() == [8, 8]


def test_calibrations_are_fitted_on_the_split():
    # The shares of real ones are 0, 0, 1/2 four times, 1, 1; the test set becomes 1, 1/2, 0 and 0, 1.
    found = report_selective(TEST, fit_selective(VAL, spec("isotonic"), None))["probabilities"]
    assert found["isotonic"]["errors"] == 2 / 5 and found["isotonic"]["brier"] == pytest.approx((0.25 + 1 + 1) / 5)
    assert found["none"]["brier"] == pytest.approx((2 * 0.05**2 + 0.45**2 + 2 * 0.85**2) / 5)
    # A temperature of 2 takes roots of the odds: 4 to 1 become 2 to 1.
    assert fit_selective(VAL, spec("temperature"), 2.0).confidence == pytest.approx(2 / 3)
    assert fit_selective(VAL, spec("none"), 2.0).confidence == pytest.approx(0.8)
    with pytest.raises(ValueError, match="isotonic calibration on val: no fake among 2 examples"):
        fit_selective(predictions("val", [0.5, 0.6], []), spec("isotonic"), None)


def test_the_table_says_what_it_is_fitted_on_and_what_is_missing():
    """A detector without a temperature is said at the end of a long training, not an error."""
    level = {"examples": 5, "metrics": {"auc": 0.5, "equal_error_rate": 0.5}, "undefined": {}, "thresholds": []}
    level["intervals"] = {"auc": {"low": None, "high": None}}
    summary = {"frame": level, "video": level}
    none = report_selective(TEST, fit_selective(VAL, spec("temperature"), None))
    found = report_selective(TEST, fit_selective(VAL, spec("none"), None))
    text = table({"A": summary | {SELECTIVE: found}, "B": summary | {SELECTIVE: none}}, "diff", [])
    _, section = text.split("## Abstention and conformal sets, videos, %\n\n")
    # Ranked by confidence right, right, wrong, wrong, right, where two pairs are as sure.
    area = (0 + 0 + 1 / 3 + 2 / 4 + 2 / 5) / 5
    cells = ["40.00", f"{100 * area:.2f}", "80.00", "50.00", "40.00", "33.33", "50.00", "0.80"]
    assert f"| A | {' | '.join(cells)} |" in section and "| B |" not in section
    assert "Fitted on val, 8 videos (calibration: none)." in section and "at least 60 % of each class" in section
    assert "B: undefined, the detector has no temperature; set" in section
    assert "Abstention" not in table({"A": summary}, "diff", [])
