"""Bootstrap intervals: the resamples themselves, the seed, coverage, and what has no interval."""

import functools
import math

import numpy as np
import pytest

from fsfm_jax.metrics import bootstrap, curve
from fsfm_jax.metrics.scores import DEEPFAKE, Scored

STATISTICS = {
    "auc": curve.area,
    "average_precision": curve.average_precision,
    "equal_error_rate": curve.equal_error_rate,
    "tpr": functools.partial(curve.true_positive_rate_at, false_positive_rate=0.1),
    "accuracy": functools.partial(curve.accuracy, threshold=0.0),
    "hter": functools.partial(curve.half_total_error_rate, threshold=0.5),
}


def clustered(seed: int, videos: int, frames: int, spread: float = 1.0) -> tuple[Scored, np.ndarray]:
    """Frames of a video share most of their score."""
    generator = np.random.default_rng(seed)
    labels = np.arange(videos) % 2
    of_frame = np.arange(videos * frames) % videos
    scores = (labels + generator.normal(size=videos))[of_frame] + 0.1 * generator.normal(size=videos * frames)
    return Scored(scores * spread, labels[of_frame], DEEPFAKE), of_frame


@pytest.mark.parametrize("ties", [False, True])
def test_a_resample_is_the_metric_of_the_repeated_frames(ties, monkeypatch):
    monkeypatch.setattr(bootstrap, "CHUNK_ELEMENTS", 100)  # several chunks
    scored, videos = clustered(0, 12, 3)
    if ties:
        scored = Scored(np.round(scored.scores), scored.labels, DEEPFAKE)
    drawn = bootstrap.draw(np.arange(12) % 2 == 1, 20, seed=1)
    values = bootstrap.resample(scored, STATISTICS, videos, drawn)
    for row, counts in enumerate(drawn):
        repeated = np.repeat(np.arange(36), counts[videos])
        alone = Scored(scored.scores[repeated], scored.labels[repeated], DEEPFAKE)
        for name, statistic in STATISTICS.items():
            assert values[name][row] == pytest.approx(float(statistic(alone.curve)), abs=1e-12), name


def test_each_resample_keeps_the_number_of_videos_of_each_class():
    labels = np.array([1, 0, 0, 1, 0, 0, 0], bool)
    drawn = bootstrap.draw(labels, 500, seed=0)
    assert (drawn[:, labels].sum(axis=1) == 2).all() and (drawn[:, ~labels].sum(axis=1) == 5).all()
    # Drawn with replacement, and each video once on average: 500 draws of variance below 1 each.
    assert drawn.max() > 1
    np.testing.assert_allclose(drawn.mean(axis=0), 1, atol=5 / math.sqrt(500))


def test_the_seed_decides():
    scored, videos = clustered(0, 30, 2)
    first, again, other = (bootstrap.intervals(scored, STATISTICS, videos, 50, 0.9, seed) for seed in (3, 3, 4))
    assert first == again
    assert first["auc"] != other["auc"]
    assert first["auc"].low < first["auc"].high


def test_the_interval_covers_about_as_often_as_it_says():
    # 200 sets of 60 videos, AUC of two normal distributions one apart: Phi(1 / sqrt(2)).
    truth = 0.5 * (1 + math.erf(0.5))
    generator = np.random.default_rng(7)
    hits = 0
    for seed in range(200):
        labels = np.arange(60) % 2
        scored = Scored(labels + generator.normal(size=60), labels, DEEPFAKE)
        found = bootstrap.intervals(scored, {"auc": curve.area}, np.arange(60), 300, 0.9, seed)["auc"]
        hits += found.low <= truth <= found.high
    # Standard error 0.021; percentile intervals of small sets are known to be a little short.
    assert 0.82 <= hits / 200 <= 0.96


def test_frames_of_a_video_are_no_independent_witnesses():
    scored, videos = clustered(2, 40, 10)
    whole = bootstrap.intervals(scored, {"auc": curve.area}, videos, 300, 0.9, 0)["auc"]
    frames = bootstrap.intervals(scored, {"auc": curve.area}, np.arange(400), 300, 0.9, 0)["auc"]
    assert whole.high - whole.low > 2 * (frames.high - frames.low)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [([1, 1, 1], "no fake among 3 examples"), ([0, 1, 0], "only one real video to resample")],
)
def test_without_two_videos_of_each_class_there_is_a_reason(labels, reason):
    scored = Scored(np.array([0.1, 0.2, 0.3]), np.array(labels), DEEPFAKE)
    for found in bootstrap.intervals(scored, STATISTICS, np.arange(3), 10, 0.9, 0).values():
        assert math.isnan(found.low) and math.isnan(found.high) and found.reason == reason


@pytest.mark.parametrize(("videos", "message"), [
        (np.array([0, 1, 1, 0]), "one label per video, found both in video 0"),
        (np.array([0, 3, 0, 3]), "every number up to 3, found no 1"),
        (np.array([-1, 0, -1, 0]), "numbers from 0, found -1"),
        (np.array([0, 1]), r"integers of shape \(4,\), found int64 of shape \(2,\)"),
        (np.array(["a", "b", "a", "b"]), "videos: expected integers"),
    ])  # fmt: skip
def test_videos_must_be_numbered_and_of_one_class(videos, message):
    scored = Scored(np.arange(4.0), np.array([0, 1, 0, 1]), DEEPFAKE)
    with pytest.raises(ValueError, match=message):
        bootstrap.intervals(scored, STATISTICS, videos, 10, 0.9, 0)


@pytest.mark.parametrize(("resamples", "level"), [(0, 0.9), (10, 95), (10, 0)])
def test_bad_settings_are_refused(resamples, level):
    scored, videos = clustered(0, 4, 1)
    with pytest.raises(ValueError, match=f"found {resamples} and {level}"):
        bootstrap.intervals(scored, STATISTICS, videos, resamples, level, 0)
