"""Temperature, thresholds and the acceptance of quantised scores on a validation split, worked out by hand."""

import dataclasses
import json

import numpy as np
import pytest
from carded import ALARM

from fsfm_jax.detection.acceptance import AUC_BOUND, FLIP_BOUND, Agreement, compare
from fsfm_jax.detection.calibrate import calibrate, calibrated_metrics, choose
from fsfm_jax.detection.prediction import Predictions
from fsfm_jax.metrics.thresholds import Threshold


def predictions(real_probabilities, labels, frames_per_video=1) -> Predictions:
    p, count = np.array(real_probabilities), len(labels)
    table = np.log(np.stack([1 - p, p], axis=1)).astype(np.float32)
    places = np.arange(count)
    return Predictions(
        "val", table, ("fake", "real"), 1, np.array(labels), np.array([f"v{k // frames_per_video}" for k in places]),
        places % frames_per_video, np.array([""] * count), np.array([f"{k}.png" for k in places]),
    )  # fmt: skip


def test_a_detector_that_is_too_sure_gets_the_temperature_that_mends_it():
    # It says 0.9 and is right three times in four: log(9) / T = log(3), so T = 2.
    found = predictions([0.9, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1], [1, 1, 1, 0, 0, 0, 0, 1])
    card = calibrate(found, 0.5)
    assert card["temperature"] == pytest.approx(2, rel=1e-6) and card["undefined"] == ""
    assert card["calibration_error"]["before"] == pytest.approx(0.15, abs=1e-6)
    assert card["calibration_error"]["after"] == pytest.approx(0, abs=1e-6)
    assert card["log_loss"]["before"] > card["log_loss"]["after"]
    assert json.loads(json.dumps(card)) == card
    metrics = calibrated_metrics(found, card["temperature"])
    assert metrics["calibrated"]["log_loss"] == pytest.approx(card["log_loss"]["after"])
    assert metrics["raw"]["temperature"] == 1


def test_a_false_alarm_is_a_real_face_called_fake_and_videos_have_thresholds_of_their_own():
    # Ten real faces at 0.1 to 1.0 x 0.9, ten fakes below 0.05: two alarms in ten are allowed.
    real = 0.09 * np.arange(1, 11)
    found = predictions([*real, *np.linspace(0.01, 0.05, 10)], [1] * 10 + [0] * 10)
    equal, stated = choose(found, 0.2)["frame"]
    assert stated.rule == "false negative rate <= 0.2" and stated.split == "val"
    assert stated.value == pytest.approx(real[2]) and stated.false_negative_rate.value == 0.2
    assert equal.false_negative_rate.value == 0 and equal.value == pytest.approx(real[0])
    # Means of two frames: 0.5 and 0.3.
    found = predictions([0.2, 0.8, 0.3, 0.3], [1, 1, 0, 0], frames_per_video=2)
    chosen = choose(found, None)
    assert len(chosen["video"]) == 1 and chosen["video"][0].value == pytest.approx(0.5)
    assert chosen["frame"][0].value != chosen["video"][0].value


def test_a_split_that_is_all_right_or_of_one_class_cannot_calibrate():
    card = calibrate(predictions([0.9, 0.2], [1, 0]), 0.01)
    assert card["temperature"] is None and "every example of val is classified correctly" in card["undefined"]
    assert card["log_loss"]["after"] is None and card["thresholds"]["video"]
    with pytest.raises(ValueError, match="choose it on a split that has both classes"):
        calibrate(predictions([0.9, 0.6], [1, 1]), 0.01)


def test_thresholds_come_back_from_json():
    for chosen in choose(predictions([0.9, 0.6, 0.2, 0.4], [1, 1, 0, 0]), 0.5).values():
        for threshold in chosen:
            stored = json.loads(json.dumps(threshold.as_json()))
            assert Threshold.from_json(stored) == threshold and list(stored)[3:] == ["false_alarm_rate", "miss_rate"]
            # Real is the positive class: a false negative is a false alarm. Earlier cards have those names.
            false_alarms, misses = stored.pop("false_alarm_rate"), stored.pop("miss_rate")
            assert (false_alarms, misses) == (threshold.false_negative_rate.value, threshold.false_positive_rate.value)
            earlier = stored | {"false_negative_rate": false_alarms, "false_positive_rate": misses}
            assert Threshold.from_json(earlier) == threshold


NONE = {"frame": [], "video": []}
HUNDRED = np.concatenate([np.linspace(0.11, 0.49, 100), np.linspace(0.51, 0.89, 100)])
LABELS = [0] * 100 + [1] * 100


def kept(value: float, level: str = "frame") -> dict:
    return NONE | {level: [Threshold.from_json(ALARM | {"value": value})]}


def test_scores_that_stay_are_accepted_and_flips_are_counted_at_the_kept_threshold():
    before = predictions(HUNDRED, LABELS)
    same = compare(before, before, kept(0.3), 0.1)
    assert same == Agreement("val", 200, 1.0, 1.0, 0.0) and same.accepted
    # Every score falls by 0.01: no order changes, so the AUC and fitted thresholds' verdicts stay. At 0.3 those fall
    # below it that lay within 0.01 above; the scores are 0.38 / 99 apart.
    after = predictions(HUNDRED - 0.01, LABELS)
    fallen = int(((HUNDRED >= 0.3) & (HUNDRED - 0.01 < 0.3)).sum())
    found = compare(before, after, kept(0.3), 0.1)
    assert fallen == 3 and found.flips == 3 / 200 and found.auc_after == 1.0 and not found.accepted
    assert compare(before, after, NONE, 0.1).accepted
    # One video holds all frames of each person: the mean counts, and falls below 0.3 as a whole.
    videos = [predictions(scores, LABELS, frames_per_video=100) for scores in (HUNDRED, HUNDRED - 0.01)]
    assert compare(*videos, kept(0.295, "video"), 0.1).flips == 0.5


def test_an_auc_that_moves_beyond_its_bound_is_refused_whichever_way():
    before = predictions([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1])
    after = predictions([0.1, 0.85, 0.8, 0.9], [0, 0, 1, 1])  # one of four pairs is in the wrong order
    for pair, areas in (((before, after), (1.0, 0.75)), ((after, before), (0.75, 1.0))):
        found = compare(*pair, NONE, 0.1)
        assert (found.auc_before, found.auc_after) == areas and not found.accepted
    at_bound = Agreement("val", 200, 0.9, 0.9, FLIP_BOUND)
    assert at_bound.accepted and at_bound.as_json()["auc_bound"] == AUC_BOUND
    assert not dataclasses.replace(at_bound, flips=FLIP_BOUND * 1.01).accepted
    for way in (-1, 1):
        assert not dataclasses.replace(at_bound, auc_after=0.9 + way * AUC_BOUND * 1.01).accepted


def test_other_examples_or_one_class_cannot_be_compared():
    before = predictions([0.1, 0.9], [0, 1])
    with pytest.raises(ValueError, match="expected scores of the same examples before and after; found others"):
        compare(before, dataclasses.replace(before, sources=before.sources[::-1]), NONE, 0.1)
    with pytest.raises(ValueError, match="expected real and forged faces to compare"):
        compare(predictions([0.1, 0.9], [1, 1]), predictions([0.1, 0.9], [1, 1]), NONE, 0.1)
