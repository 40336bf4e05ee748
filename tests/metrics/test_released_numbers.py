"""Every number of golden/metrics.json: what the official evaluation loops return for given logits."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from fsfm_jax.metrics import binary, calibration, presentation, thresholds, video
from fsfm_jax.metrics.scores import ANTI_SPOOFING, DEEPFAKE, Scored

CASES = {
    case["name"]: case
    for case in json.loads((Path(__file__).parents[1] / "golden" / "metrics.json").read_text())["cases"]
}
MIXED, ONE_CLASS = "mixed_label_videos_first_frame_wins", "one_class_only"
BOTH_CLASSES = [name for name in CASES if name != ONE_CLASS]
WHOLE = [name for name in BOTH_CLASSES if name != MIXED]

# Counting is exact, so only the last bits differ; their root is searched numerically, to 2e-12.
EXACT = dict(rel=1e-12, abs=1e-12)
ROOT = dict(rel=0, abs=1e-11)
# Their losses, and one of their accuracies, are means in float32.
SINGLE = dict(rel=1e-6)


def frames_of(case, classes=DEEPFAKE) -> Scored:
    return Scored(np.asarray(case["frame_scores"]), np.asarray(case["labels"]), classes)


def given_videos(case, classes=DEEPFAKE) -> Scored:
    return Scored(np.asarray(case["video_scores"]), np.asarray(case["video_labels"]), classes)


def aggregated(case, classes=DEEPFAKE) -> video.Videos:
    return video.aggregate(frames_of(case, classes), np.asarray(case["video_ids"]), np.arange(len(case["labels"])))


def mean_of_batches(losses, size):
    """Plain mean of the batch means, by which the released code selects: a short last batch counts as a full one."""
    return np.mean([losses[start : start + size].mean() for start in range(0, len(losses), size)])


def expected_value(official, value, **tolerance):
    assert value.reason == ""
    assert value.value == pytest.approx(official, **tolerance)


@pytest.mark.parametrize("name", BOTH_CLASSES)
def test_frame_metrics(name):
    case, frames = CASES[name], frames_of(CASES[name])
    losses = calibration.cross_entropy(np.asarray(case["logits"]), np.asarray(case["labels"]))
    for loop in ("deepfake_video_eval", "deepfake_frame_eval", "single"):
        official = case[loop]
        balanced = _percent(binary.balanced_accuracy, frames, video.FRAME_THRESHOLD)
        expected_value(official["frame_balanced_acc"], balanced, **EXACT)
        expected_value(official["frame_auc"], _percent(binary.auc, frames), **EXACT)
        expected_value(official["frame_eer"], binary.equal_error_rate(frames), **ROOT)
        if loop != "single":
            assert mean_of_batches(losses, case["batch_size"]) == pytest.approx(official["loss"], **SINGLE)
        if loop != "deepfake_video_eval":
            expected_value(official["frame_acc"], _percent(binary.accuracy, frames, video.FRAME_THRESHOLD), **EXACT)


def _percent(metric, *arguments):
    value = metric(*arguments)
    return type(value)(100 * value.value, value.reason)


@pytest.mark.parametrize("name", BOTH_CLASSES)
def test_video_metrics_from_the_official_video_scores(name):
    case, videos = CASES[name], given_videos(CASES[name])
    for loop in ("deepfake_video_eval", "single"):
        official = case[loop]
        expected_value(official["video_balanced_acc"], _percent(binary.balanced_accuracy, videos, 0.5), **EXACT)
        expected_value(official["video_auc"], _percent(binary.auc, videos), **EXACT)
        expected_value(official["video_eer"], binary.equal_error_rate(videos), **ROOT)
    expected_value(case["single"]["video_acc"], _percent(binary.accuracy, videos, 0.5), **EXACT)


@pytest.mark.parametrize("name", [*WHOLE, ONE_CLASS])
def test_videos_are_aggregated_as_officially_and_in_their_order(name):
    case, videos = CASES[name], aggregated(CASES[name])
    np.testing.assert_allclose(videos.scores, case["video_scores"], rtol=1e-15)
    np.testing.assert_array_equal(videos.labels, case["video_labels"])
    np.testing.assert_array_equal(videos.scores >= video.VIDEO_THRESHOLD, case["video_decisions"])


def test_a_video_with_both_labels_is_refused_where_the_first_frame_wins_officially():
    case = CASES[MIXED]
    with pytest.raises(ValueError, match="one label per video, found both real and fake in video '"):
        aggregated(case)
    # Apart from the labels the videos are the official ones.
    _, index = video.index_videos(np.asarray(case["video_ids"]))
    scores = video.mean_by_video(np.asarray(case["frame_scores"]), index)
    np.testing.assert_allclose(scores, case["video_scores"], rtol=1e-15)
    np.testing.assert_array_equal(scores >= video.VIDEO_THRESHOLD, case["video_decisions"])
    assert "raises" in case["fas_eval"]


@pytest.mark.parametrize("name", CASES)
def test_the_auc_averaged_over_batches(name):
    case, official = CASES[name], CASES[name]["validation_epoch"]
    losses = calibration.cross_entropy(np.asarray(case["logits"]), np.asarray(case["labels"]))
    size, frames = case["batch_size"], frames_of(case)
    assert mean_of_batches(losses, size) == pytest.approx(official["loss"], **SINGLE)
    parts = [slice(start, start + size) for start in range(0, len(frames), size)]
    areas = [binary.auc(Scored(frames.scores[part], frames.labels[part], DEEPFAKE)) for part in parts]
    if math.isnan(official["auc"]):
        assert any(math.isnan(area.value) and area.reason for area in areas)
    else:
        mean = np.average([area.value for area in areas], weights=[len(frames.labels[part]) for part in parts])
        assert 100 * mean == pytest.approx(official["auc"], **EXACT)


@pytest.mark.parametrize("name", WHOLE)
def test_anti_spoofing_metrics(name):
    case, official = CASES[name], CASES[name]["fas_eval"]
    grouped = aggregated(case, ANTI_SPOOFING)
    np.testing.assert_allclose(grouped.scores, official["video_probs"], rtol=1e-15)
    np.testing.assert_array_equal(grouped.labels, official["video_labels"])
    videos = grouped.binary_scores(ANTI_SPOOFING)

    threshold = thresholds.on_released_grid(videos, "test")
    assert threshold.value == official["threshold"]
    expected_value(official["HTER"], binary.half_total_error_rate(videos, threshold.value), **EXACT)
    assert official["EER"] == official["HTER"]
    expected_value(official["ACC_at_threshold_pct"], _percent(binary.accuracy, videos, threshold.value), **EXACT)
    expected_value(official["AUC"], binary.auc(videos), **EXACT)
    expected_value(official["TPR_at_FPR_1pct"], binary.true_positive_rate_at(videos, 0.01), **EXACT)

    species = np.where(videos.labels, "", "print")
    expected_value(official["APCER_at_half"], presentation.apcer(videos, species, 0.5), **EXACT)
    expected_value(official["BPCER_at_half"], presentation.bpcer(videos, 0.5), **EXACT)
    expected_value(official["ACER_at_half"], presentation.acer(videos, species, 0.5), **EXACT)
    expected_value(official["ACC_at_half"], binary.accuracy(videos, 0.5), **EXACT)
    expected_value(official["HTER_at_half"], binary.half_total_error_rate(videos, 0.5), **EXACT)


@pytest.mark.parametrize("name", [*WHOLE, ONE_CLASS])
def test_anti_spoofing_loss_and_top1_are_of_the_mean_logits_of_a_video(name):
    case, official = CASES[name], CASES[name]["fas_eval"]
    videos = aggregated(case)
    logits = video.mean_by_video(np.asarray(case["logits"]), videos.index)
    labels = videos.labels.astype(int)
    assert calibration.cross_entropy(logits, labels).mean() == pytest.approx(official["loss"], **SINGLE)
    assert 100 * np.mean(logits.argmax(axis=1) == labels) == pytest.approx(official["top1"], **SINGLE)


def test_one_class_gives_reasons_where_the_official_code_gives_numbers_or_fails():
    case = CASES[ONE_CLASS]
    frames, videos = frames_of(case), given_videos(case, ANTI_SPOOFING)
    # What needs one class only is computed, and equal.
    expected_value(case["single"]["frame_acc"], _percent(binary.accuracy, frames, video.FRAME_THRESHOLD), **EXACT)
    expected_value(case["single"]["video_acc"], _percent(binary.accuracy, videos, 0.5), **EXACT)
    expected_value(case["fas_eval"]["BPCER_at_half"], presentation.bpcer(videos, 0.5), **EXACT)
    # There the class that is missing has no share in one mean, and an error rate of 1 in the other.
    assert case["single"]["frame_balanced_acc"] == case["single"]["frame_acc"]
    missed = case["fas_eval"]["BPCER_at_half"]
    assert case["fas_eval"]["HTER_at_half"] == pytest.approx((1 + missed) / 2, **EXACT)
    for value in (
        binary.auc(frames),
        binary.equal_error_rate(frames),
        binary.balanced_accuracy(frames, 0.5),
        binary.true_positive_rate_at(frames, 0.01),
    ):
        assert math.isnan(value.value) and value.reason == f"no fake among {len(case['labels'])} examples"
    count = len(case["video_labels"])
    species = np.full(count, "")
    for value in (
        binary.half_total_error_rate(videos, 0.5),
        presentation.apcer(videos, species, 0.5),
        presentation.acer(videos, species, 0.5),
    ):
        assert math.isnan(value.value) and value.reason == f"no attack among {count} examples"
    with pytest.raises(ValueError, match=f"on test: no attack among {count} examples; choose it on a split"):
        thresholds.on_released_grid(videos, "test")
