"""Aggregation of frames to videos: means, order, and what is refused."""

import numpy as np
import pytest

from fsfm_jax.metrics import video
from fsfm_jax.metrics.scores import DEEPFAKE, Scored

SCORED = Scored(np.array([0.9, 0.2, 0.7, 0.0, 0.8]), np.array([1, 0, 1, 0, 1]), DEEPFAKE)
VIDEOS = np.array(["z", "a", "z", "a", "m"])
FRAMES = np.array([0, 0, 3, 1, -1])


def test_a_video_has_the_mean_of_its_frames_in_the_order_of_appearance():
    videos = video.aggregate(SCORED, VIDEOS, FRAMES)
    assert videos.ids.tolist() == ["z", "a", "m"]
    np.testing.assert_allclose(videos.scores, [0.8, 0.1, 0.8])
    assert videos.labels.tolist() == [True, False, True]
    assert videos.frames.tolist() == [2, 2, 1]
    assert videos.index.tolist() == [0, 1, 0, 1, 2]
    assert videos.first_places().tolist() == [0, 1, 4]
    assert videos.binary_scores(DEEPFAKE).positives == 2
    order = np.random.default_rng(0).permutation(5)
    moved = video.aggregate(Scored(SCORED.scores[order], SCORED.labels[order], DEEPFAKE), VIDEOS[order], FRAMES[order])
    straight = video.aggregate(SCORED, VIDEOS, FRAMES)
    np.testing.assert_allclose(moved.scores[np.argsort(moved.ids)], straight.scores[np.argsort(straight.ids)])


def test_a_video_with_two_labels_is_named():
    labels = SCORED.labels.copy()
    labels[2] = False
    with pytest.raises(ValueError, match="one label per video, found both real and fake in video 'z'; make"):
        video.aggregate(Scored(SCORED.scores, labels, DEEPFAKE), VIDEOS, FRAMES)
    many = Scored(np.zeros(10), np.tile([0, 1], 5), DEEPFAKE)
    with pytest.raises(ValueError, match="in video '0', '1', '2' and 2 more"):
        video.aggregate(many, np.arange(10) // 2, np.arange(10))


def test_a_frame_given_twice_is_named_and_lengths_must_agree():
    frames = FRAMES.copy()
    frames[3] = 0
    with pytest.raises(ValueError, match=r"found frame 0 of video 'a' twice \(1 repeats in all\)"):
        video.aggregate(SCORED, VIDEOS, frames)
    with pytest.raises(ValueError, match=r"videos: expected shape \(5,\).*found \(4,\)"):
        video.aggregate(SCORED, VIDEOS[1:], FRAMES)
    with pytest.raises(ValueError, match=r"frames: expected shape \(5,\).*found \(4,\)"):
        video.aggregate(SCORED, VIDEOS, FRAMES[1:])
