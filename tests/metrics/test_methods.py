"""AUC of each manipulation: a case by hand, and what has no number."""

import json

import numpy as np
import pytest

from fsfm_jax.metrics.methods import auc_by_method
from fsfm_jax.metrics.scores import DEEPFAKE, Scored

# Video, label (1 = real), method, score in eighths; frames of a video are numbered as they come.
ROWS = [
    ("r1", 1, "", 7), ("a", 0, "FaceSwap/A", 6), ("r1", 1, "", 5), ("r2", 1, "", 4), ("b", 0, "FaceSwap/B", 1),
    ("r2", 1, "", 2), ("a", 0, "FaceSwap/A", 0), ("c", 0, "Talking", 8), ("d", 0, "", 0), ("r2", 1, "", 3),
]  # fmt: skip


def columns(rows):
    videos, labels, methods, eighths = (np.array(column) for column in zip(*rows, strict=True))
    return Scored(eighths / 8, labels, DEEPFAKE), videos, np.arange(len(rows)), methods


def test_each_manipulation_is_judged_against_all_real_faces():
    """Real frames are 7, 5, 4, 3, 2 and real videos 6 and 3; forged videos are a: 3, b: 1, c: 8."""
    found = json.loads(json.dumps(auc_by_method(*columns(ROWS)), allow_nan=False))
    # Frames of A are above 1 and 5 of the real ones' five; its video is below one and ties with the other.
    areas = {
        "FaceSwap": ((1 + 5 + 5) / 15, (1 + 0.5 + 2) / 4, 3, 2), "FaceSwap/A": ((1 + 5) / 10, 1.5 / 2, 2, 1),
        "FaceSwap/B": (1, 1, 1, 1), "Talking": (0, 0, 1, 1),
    }  # fmt: skip
    assert list(found) == list(areas)
    for name, (frame, video, frames, videos) in areas.items():
        for level, area, real, forged in (("frame", frame, 5, frames), ("video", video, 2, videos)):
            of_level = found[name][level]
            assert of_level["metrics"]["auc"] == pytest.approx(area, rel=1e-15), (name, level)
            assert (of_level["positives"], of_level["negatives"], of_level["undefined"]) == (real, forged, {})


def test_what_cannot_be_judged_says_why():
    forged = [row for row in ROWS if not row[1]]
    talking = auc_by_method(*columns(forged))["Talking"]["video"]
    assert talking["metrics"] == {"auc": None} and talking["undefined"] == {"auc": "no real among 1 examples"}
    assert (talking["positives"], talking["negatives"]) == (0, 1)
    assert auc_by_method(*columns([row for row in ROWS if row[1] or not row[2]])) == {}
    scored, videos, frames, methods = columns(ROWS)
    with pytest.raises(ValueError, match=r"methods: expected shape \(10,\) as the scores, found \(9,\)"):
        auc_by_method(scored, videos, frames, methods[1:])
