"""Mean and deviation over seeds, by hand."""

import csv
import math

import pytest

from fsfm_jax.detection.facts import Facts
from fsfm_jax.detection.repeats import repeats, write_repeats


def summary(frame_auc, video_auc, eer=0.25, accuracy=0.5):
    def level(auc):
        reasons = {} if auc is not None else {"auc": "no fake"}
        fixed = {"rule": "fixed at 0.5", "oracle": False, "metrics": {"balanced_accuracy": accuracy}}
        metrics = {"auc": auc, "equal_error_rate": eer}
        return {"examples": 8, "metrics": metrics, "undefined": reasons, "thresholds": [fixed]}

    return {"frame": level(frame_auc), "video": level(video_auc)}


def test_mean_and_population_deviation_of_what_is_defined_for_every_seed():
    head, rows = repeats({4: {"A": summary(0.5, 0.9)}, 5: {"A": summary(0.7, 0.8)}}, "dfd")
    assert head == ["data set", "seed", "frame AUC", "video AUC", "video EER", "video balanced accuracy"]
    assert [row[:2] for row in rows] == [["A", 4], ["A", 5], ["A", "mean"], ["A", "std"]]
    assert rows[2][2:] == pytest.approx([60, 85, 25, 50]) and rows[3][2:] == pytest.approx([10, 5, 0, 0])
    _, rows = repeats({0: {"A": summary(0.5, None)}, 1: {"A": summary(0.7, 0.8)}}, "dfd")
    assert [row[3] for row in rows] == [None, pytest.approx(80), None, None]


def test_the_files_hold_every_seed(tmp_path):
    values = (1 / 3, 2 / 3, None)
    results = {seed: {"A": summary(0.5, value), "B": summary(0.5, 0.5)} for seed, value in enumerate(values)}
    known = Facts([(f"seed {seed}", {"seed": seed, "selection": {"label": "The last."}}) for seed in results], [])
    write_repeats(str(tmp_path), results, "dfd", known)
    rows = list(csv.DictReader((tmp_path / "repeats.csv").read_text().splitlines()))
    assert [row["video AUC"] for row in rows if row["data set"] == "A"] == [
        *(repr(100 * value) for value in values[:2]), "", "", "",
    ]  # fmt: skip
    text = (tmp_path / "repeats.md").read_text()
    assert "| A | 0 | 50.00 | 33.33 |" in text and "| B | mean | 50.00 | 50.00 |" in text
    assert "|\n\n## Facts\n\n" in text and "- seed of the training: seed 0: 0; seed 1: 1; seed 2: 2\n" in text
    assert math.isclose(float(next(r for r in rows if r["seed"] == "std" and r["data set"] == "B")["video EER"]), 0)
