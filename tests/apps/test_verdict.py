"""Verdicts computed by hand, full batches over several files, and how verdicts are written."""

import csv
import io
import json
import math

import numpy as np
import pytest
from carded import BARE, CARDED

from fsfm_jax.apps import outputs
from fsfm_jax.apps.reading import Crop, Miss, Reading
from fsfm_jax.apps.scoring import verdicts
from fsfm_jax.apps.verdict import Rule, judged, rule_of, said
from fsfm_jax.metrics.card import Carded
from fsfm_jax.plain import plain


def crop(frame: int, face: int = 0, value: int = 0) -> Crop:
    return Crop(frame, face, (1, 2, 3, 4), (0, 0, 9), math.nan, np.full((2, 2, 3), value, np.uint8))


def logs(*real: float) -> np.ndarray:
    return np.log([[1 - p, p] for p in real]).astype(np.float32)


def test_a_photo_is_judged_by_the_threshold_of_frames():
    for score, verdict in ((0.39, "forged"), (0.41, "real")):
        found = judged(CARDED, rule_of(CARDED), Reading("a", "photo", (crop(0),)), logs(score))
        assert found.verdict == verdict and found.score == pytest.approx(score, abs=1e-7)
        # The odds at temperature 2 are the square root of the odds.
        odds = math.sqrt(score / (1 - score))
        assert found.calibrated == pytest.approx(odds / (1 + odds), abs=1e-6)
    assert found.faces[0].classes == pytest.approx({"fake": 0.59, "real": 0.41}, abs=1e-6)


def test_a_score_at_the_threshold_is_real():
    found = judged(CARDED, rule_of(CARDED, "0.5"), Reading("a", "photo", (crop(0),)), logs(0.5))
    assert found.score == 0.5 and found.verdict == "real"


def test_a_video_is_the_mean_over_frames_of_the_face_that_looks_most_forged():
    reading = Reading("a", "video", (crop(0, 0), crop(0, 1), crop(10)), (Miss(5, "no_face", ""),), rate=5.0)
    found = judged(CARDED, rule_of(CARDED), reading, logs(0.3, 0.9, 0.75))
    assert found.score == pytest.approx((0.3 + 0.75) / 2, abs=1e-6)
    assert (found.verdict, found.threshold.value) == ("forged", 0.55)
    assert [face.second for face in found.faces] == [0.0, 0.0, 2.0]
    equal = judged(CARDED, rule_of(CARDED, "equal_error"), reading, logs(0.9, 0.72, 0.75))
    assert (equal.verdict, equal.threshold.value) == ("real", 0.7)


def test_thresholds_say_what_they_cost():
    rule = rule_of(CARDED)
    assert said(rule.frame) == (
        "forged if P(real) < 0.4 (at most 10 % false alarms, chosen on val, "
        "where it called 8 % of the real ones forged)"
    )
    assert said(rule_of(CARDED, "0.25").video) == "forged if P(real) < 0.25 (fixed at 0.25, chosen on no data)"
    with pytest.raises(ValueError, match="threshold: expected false_alarm, equal_error or a number; found 'half'"):
        rule_of(CARDED, "half")


def test_without_calibration_there_is_no_verdict_and_without_a_face_no_score():
    assert rule_of(BARE) == Rule(None, None, None)
    found = judged(BARE, rule_of(BARE), Reading("a", "photo", (crop(0),)), logs(0.3))
    assert (found.verdict, found.calibrated, found.threshold) == ("", None, None) and found.score
    nothing = Reading("a", "photo", (), (Miss(0, "no_face", "none"),), "no_face", "none")
    found = judged(CARDED, rule_of(CARDED), nothing, np.zeros((0, 2)))
    assert (found.score, found.calibrated, found.verdict, found.reason) == (None, None, "", "no_face")


class Judge(Carded):
    """Says of each crop the value of its pixels in percent, and remembers its batches."""

    card, batch = CARDED.card, 4

    def __init__(self):
        self.batches = []

    def log_probabilities(self, crops):
        self.batches.append(len(crops))
        return logs(*(crops[:, 0, 0, 0] / 100))


def test_batches_are_full_across_files_and_verdicts_keep_the_order():
    counts = [1, 0, 6, 0, 3, 1, 0]
    readings, value = [], 10
    for number, count in enumerate(counts):
        crops = []
        for frame in range(count):
            crops.append(crop(frame, value=value))
            value += 1
        kind = "video" if count > 1 else "photo"
        readings.append(Reading(str(number), kind, tuple(crops), reason="" if count else "no_face"))
    judge, taken = Judge(), []

    def given():
        for reading in readings:
            taken.append(reading.path)
            yield reading

    found = []
    for reading, verdict in verdicts(judge, rule_of(judge), given()):
        found.append(verdict)
        assert reading.path == verdict.path
        if verdict.path == "0":
            assert taken == ["0", "1", "2"]  # not all files are held until the end
    assert judge.batches == [4, 4, 3]
    assert [verdict.path for verdict in found] == [str(number) for number in range(7)]
    scores = [verdict.score for verdict in found]
    assert scores[1] is scores[3] is scores[6] is None
    means = [0.10, np.mean([0.11, 0.12, 0.13, 0.14, 0.15, 0.16]), np.mean([0.17, 0.18, 0.19]), 0.20]
    assert [scores[i] for i in (0, 2, 4, 5)] == pytest.approx(means, abs=1e-6)


def some_verdicts():
    rule = rule_of(CARDED)
    names = "=1+1.jpg", "a\x1b[31m\n.mp4", "none.jpg"
    readings = (
        Reading(names[0], "photo", (crop(0),)),
        Reading(names[1], "video", (crop(0), crop(8)), rate=4.0),
        Reading(names[2], "photo", (), (Miss(0, "no_face", "none, \"sir\""),), "no_face", "none, \"sir\""),
    )
    scores = logs(0.9), logs(0.2, 0.4), np.zeros((0, 2))
    return rule, [judged(CARDED, rule, r, s) for r, s in zip(readings, scores, strict=True)]


def test_json_holds_everything_and_csv_a_row_for_each_face():
    rule, found = some_verdicts()
    file = io.StringIO()
    outputs.write_json(file, CARDED, rule, "runs/dfd", found)
    content = json.loads(file.getvalue())
    assert content["thresholds"]["video"]["value"] == 0.55 and content["temperature"] == 2.0
    first, video, none = content["files"]
    assert (first["file"], first["verdict"], first["faces"][0]["detector"]) == ("=1+1.jpg", "real", None)
    assert (video["verdict"], [face["second"] for face in video["faces"]]) == ("forged", [0.0, 2.0])
    assert none["score"] is None and none["misses"] == [{"frame": 0, "reason": "no_face", "detail": 'none, "sir"'}]
    file = io.StringIO()
    outputs.write_csv(file, found)
    rows = list(csv.DictReader(io.StringIO(file.getvalue(), newline="")))
    assert [row["file"] for row in rows] == ["./=1+1.jpg", "a\x1b[31m\n.mp4", "a\x1b[31m\n.mp4", "none.jpg"]
    assert float(rows[2]["score"]) == pytest.approx(0.4) and float(rows[2]["file_score"]) == pytest.approx(0.3)
    assert rows[3]["score"] == "" and rows[3]["detail"] == 'none, "sir"'


def test_no_name_can_steer_a_terminal():
    _, found = some_verdicts()
    text = "\n".join(outputs.row(verdict, 20) for verdict in found)
    assert "\x1b" not in text and "a\\x1b[31m\\n.mp4" in text and text.count("\n") == 2
    assert plain("face \udcff.jpg") == "face \\udcff.jpg"


def test_the_table_says_how_it_was_made():
    lines = outputs.explanation(CARDED, rule_of(CARDED))
    assert lines[0].startswith("photos: forged if P(real) < 0.4 (") and "0.55" in lines[1]
    assert "calibrated: at the temperature 2, fitted on val" in lines
    lines = outputs.explanation(BARE, rule_of(BARE))
    assert lines[0] == "photos: no threshold, hence no verdict" and any("--threshold=0.5" in line for line in lines)
