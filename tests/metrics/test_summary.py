"""The summary: complete, valid JSON, and honest about what it lacks and where thresholds come from."""

import json

import numpy as np
import pytest

from fsfm_jax.metrics import binary, bootstrap, curve, presentation, thresholds, video
from fsfm_jax.metrics.scores import ANTI_SPOOFING, DEEPFAKE, Scored
from fsfm_jax.metrics.summary import DECISION, RANKING, RESAMPLED, Resampling, summarise

GENERATOR = np.random.default_rng(0)
VIDEOS = np.repeat(np.arange(20), 4)
FRAMES = np.tile(np.arange(4), 20)
LABELS = VIDEOS % 2
SCORES = np.clip(0.3 + 0.3 * LABELS + 0.2 * GENERATOR.normal(size=80), 0, 1)
SPECIES = np.where(LABELS == 1, "", np.where(VIDEOS % 4 == 0, "print", "replay"))
SCORED = Scored(SCORES, LABELS, ANTI_SPOOFING)


def strict(found: dict) -> dict:
    """Through JSON without NaN and back."""
    return json.loads(json.dumps(found, allow_nan=False))


def test_both_levels_hold_every_metric_with_the_values_of_their_functions():
    found = strict(summarise(SCORED, VIDEOS, FRAMES, "test"))
    by_video = video.aggregate(SCORED, VIDEOS, FRAMES).binary_scores(ANTI_SPOOFING)
    assert (found["positive"], found["negative"], found["split"]) == ("bona fide", "attack", "test")
    assert found["bootstrap"] is None and "intervals" not in found["video"]
    for level, scored, threshold in (
        (found["frame"], SCORED, video.FRAME_THRESHOLD),
        (found["video"], by_video, video.VIDEO_THRESHOLD),
    ):
        assert (level["examples"], level["positives"]) == (len(scored), len(scored) // 2)
        assert level["metrics"].keys() - RANKING.keys() == {
            "calibration_error_equal_width",
            "calibration_error_equal_mass",
        }
        assert level["undefined"] == {}
        assert level["metrics"]["auc"] == binary.auc(scored).value
        (fixed,) = level["thresholds"]
        assert (fixed["threshold"], fixed["chosen_on"], fixed["oracle"]) == (threshold, None, False)
        assert fixed["metrics"] == {name: metric(scored, threshold).value for name, metric in DECISION.items()}
    assert found["frame"]["metrics"]["auc"] < found["video"]["metrics"]["auc"]


def test_a_threshold_of_the_same_split_is_an_oracle_and_species_add_rates_at_both_levels():
    by_video = video.aggregate(SCORED, VIDEOS, FRAMES).binary_scores(ANTI_SPOOFING)
    chosen = [thresholds.on_released_grid(by_video, split) for split in ("test", "validation")]
    found = strict(summarise(SCORED, VIDEOS, FRAMES, "test", video_thresholds=chosen))
    assert [t["oracle"] for t in found["video"]["thresholds"]] == [False, True, False]
    assert [t["chosen_on"] for t in found["video"]["thresholds"]] == [None, "test", "validation"]
    assert len(found["frame"]["thresholds"]) == 1
    found = strict(summarise(SCORED, VIDEOS, FRAMES, "test", species=SPECIES))
    rates = found["frame"]["thresholds"][0]["metrics"]
    assert rates["apcer"] == max(rates["apcer/print"], rates["apcer/replay"])
    assert rates["bpcer"] == rates["false_negative_rate"]
    by_video = video.aggregate(SCORED, VIDEOS, FRAMES).binary_scores(ANTI_SPOOFING)
    acer = presentation.acer(by_video, SPECIES[::4], video.VIDEO_THRESHOLD)
    assert found["video"]["thresholds"][0]["metrics"]["acer"] == acer.value


def test_a_video_with_two_species_and_scores_that_are_no_probabilities_are_refused():
    species = SPECIES.copy()
    species[1] = "mask"
    with pytest.raises(ValueError, match="species: expected one per video, found 'print' and 'mask' in video '0'"):
        summarise(SCORED, VIDEOS, FRAMES, "test", species=species)
    with pytest.raises(ValueError, match="species: expected shape"):
        summarise(SCORED, VIDEOS, FRAMES, "test", species=species[1:])
    with pytest.raises(ValueError, match="apply the softmax first"):
        summarise(Scored(SCORES * 5, LABELS, DEEPFAKE), VIDEOS, FRAMES, "test")


def test_intervals_surround_the_values():
    found = strict(summarise(SCORED, VIDEOS, FRAMES, "test", resampling=Resampling(200, 0.95, 0)))
    assert found["bootstrap"] == {"resamples": 200, "level": 0.95, "seed": 0, "unit": "video"}
    for level in ("frame", "video"):
        assert found[level]["intervals"].keys() == RESAMPLED.keys()
        interval = found[level]["intervals"]["auc"]
        assert interval["low"] < found[level]["metrics"]["auc"] <= interval["high"]
    # Also for frames whole videos are drawn.
    expected = bootstrap.intervals(SCORED, {"auc": curve.area}, VIDEOS, 200, 0.95, 0)["auc"]
    assert found["frame"]["intervals"]["auc"] == {"low": expected.low, "high": expected.high}


def test_one_class_leaves_nulls_with_reasons():
    ones = Scored(SCORES, np.ones(80), DEEPFAKE)
    found = strict(summarise(ones, VIDEOS, FRAMES, "test", resampling=Resampling(10, 0.9, 0)))
    for level, count in (("frame", 80), ("video", 20)):
        reason = f"no fake among {count} examples"
        assert found[level]["metrics"]["auc"] is None
        missing = {name for name, value in found[level]["metrics"].items() if value is None}
        assert missing == found[level]["undefined"].keys()
        assert set(found[level]["undefined"].values()) == {reason}
        assert found[level]["metrics"]["log_loss"] > 0
        (fixed,) = found[level]["thresholds"]
        assert fixed["metrics"]["balanced_accuracy"] is None and fixed["undefined"]["balanced_accuracy"] == reason
        assert fixed["metrics"]["accuracy"] == pytest.approx(1 - fixed["metrics"]["false_negative_rate"])
        assert found[level]["intervals"]["auc"] == {"low": None, "high": None, "reason": reason}
