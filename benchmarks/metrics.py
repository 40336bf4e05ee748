"""Measure the cost of metrics on a large test set: processor seconds for 10 million frames of 100,000 videos.

    python -m benchmarks.metrics

Scores of frames from one video are correlated. They have six digits, so many are equal. Names of videos are as long as
in a real data set. Time is process time, so other programs do not count. The results go to
benchmarks/results/metrics.json.
"""

import time
from collections.abc import Callable

import numpy as np

from benchmarks.masks import write_results
from fsfm_jax.metrics import binary, bootstrap, video
from fsfm_jax.metrics.scores import DEEPFAKE, Scored
from fsfm_jax.metrics.summary import RESAMPLED, summarise

FRAMES, VIDEOS, DIGITS = 10_000_000, 100_000, 6
RESAMPLES, LEVEL = 1000, 0.95


def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw scores, labels, video names and frame numbers, `[N]` each, one video after the other."""
    generator = np.random.default_rng(0)
    of_frame = np.repeat(np.arange(VIDEOS), FRAMES // VIDEOS)
    labels = of_frame % 2
    logits = 2 * labels - 1 + generator.normal(size=VIDEOS)[of_frame] + generator.normal(size=FRAMES)
    names = np.array([f"data_set/method/{number:06d}" for number in range(VIDEOS)])[of_frame]
    frames = np.tile(np.arange(FRAMES // VIDEOS), VIDEOS)
    return np.round(1 / (1 + np.exp(-logits)), DIGITS), labels, names, frames


def main() -> None:
    scores, labels, names, frames = drawn()
    rows = []

    def timed(name: str, count: int, work: Callable):
        before = time.process_time()
        found = work()
        rows.append({"what": name, "examples": f"{count:,}", "seconds": f"{time.process_time() - before:.3f}"})
        return found

    scored = Scored(scores, labels, DEEPFAKE)
    counts = timed("sort, count at every threshold", FRAMES, lambda: scored.curve)
    # All of these use the scores sorted above.
    timed("AUC", FRAMES, lambda: binary.auc(scored))
    timed("equal error rate", FRAMES, lambda: binary.equal_error_rate(scored))
    timed("average precision", FRAMES, lambda: binary.average_precision(scored))
    timed("true positive rate at 1 % false ones", FRAMES, lambda: binary.true_positive_rate_at(scored, 0.01))
    grouped = timed("frames to videos", FRAMES, lambda: video.aggregate(scored, names, frames))
    shuffled = np.random.default_rng(1).permutation(FRAMES)
    mixed = Scored(scores[shuffled], labels[shuffled], DEEPFAKE), names[shuffled], frames[shuffled]
    timed("frames to videos, in any order", FRAMES, lambda: video.aggregate(*mixed))
    fresh = Scored(scores, labels, DEEPFAKE)
    timed("summary of frames and videos", FRAMES, lambda: summarise(fresh, names, frames, "test"))
    by_video, number = grouped.binary_scores(DEEPFAKE), np.arange(VIDEOS)
    timed(
        f"bootstrap of {len(RESAMPLED)} video metrics",
        VIDEOS,
        lambda: bootstrap.intervals(by_video, RESAMPLED, number, RESAMPLES, LEVEL, 0),
    )
    settings = {"videos": VIDEOS, "different scores": len(counts.thresholds), "resamples": RESAMPLES}
    write_results("metrics", settings, rows)


if __name__ == "__main__":
    main()
