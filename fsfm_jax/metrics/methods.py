"""AUC of each manipulation method of a test set: its forged faces against all real faces."""

import numpy as np

from fsfm_jax.metrics import binary, video
from fsfm_jax.metrics.scores import Scored
from fsfm_jax.metrics.value import split_reasons

SEPARATOR = "/"  # between a scenario and its method, as in Celeb-DF++: FaceSwap/BlendFace


def auc_by_method(scored: Scored, videos: np.ndarray, frames: np.ndarray, methods: np.ndarray) -> dict[str, dict]:
    """Return AUC and counts of frames and videos by method, sorted, as a dict for `json.dumps`.

    A method `A/B` is counted under itself and under `A`, which has all forged faces of that scenario. Forged faces
    without a method are in no group. Every group has the same real faces.

    methods: `[N] str`, the manipulation method of each forged example; ignored for real examples.
    videos, frames: `[N]`, as in `video.aggregate`.

    Raises:
      ValueError: if `methods` has another length, or `video.aggregate` raises it.
    """
    videos, frames, methods = np.asarray(videos), np.asarray(frames), np.asarray(methods)
    if methods.shape != scored.labels.shape:
        raise ValueError(f"methods: expected shape {scored.labels.shape} as the scores, found {methods.shape}")
    forged = ~scored.labels
    names, index = np.unique(np.where(forged, methods, ""), return_inverse=True)
    members: dict[str, list[int]] = {}
    for number, name in enumerate(names.tolist()):
        for group in _groups(name):
            members.setdefault(group, []).append(number)
    found = {}
    for name, numbers in sorted(members.items()):
        chosen = scored.labels | (forged & np.isin(index, numbers))
        part = Scored(scored.scores[chosen], scored.labels[chosen], scored.classes)
        by_video = video.aggregate(part, videos[chosen], frames[chosen]).binary_scores(scored.classes)
        found[name] = {"frame": _level(part), "video": _level(by_video)}
    return found


def _groups(name: str) -> list[str]:
    """Return the groups of a method, `A/B` -> A, A/B; none for an empty name."""
    parts = name.split(SEPARATOR) if name else []
    return [SEPARATOR.join(parts[: count + 1]) for count in range(len(parts))]


def _level(scored: Scored) -> dict:
    counts = {"positives": scored.positives, "negatives": scored.negatives}
    return {**counts, **split_reasons({"auc": binary.auc(scored)})}
