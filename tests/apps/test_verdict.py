"""Verdicts computed by hand, full batches over several files, and how verdicts are written."""

import csv
import io
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from carded import ALARM, BARE, CARDED, Detector

from fsfm_jax.apps import outputs, scoring
from fsfm_jax.apps.certainty import Limits, limits_of
from fsfm_jax.apps.outputs import warnings
from fsfm_jax.apps.reading import Crop, Miss, Reading
from fsfm_jax.apps.scoring import score_readings
from fsfm_jax.apps.verdict import DecisionRule, check_threshold, choose_rule, decide, describe_threshold
from fsfm_jax.metrics.card import Carded
from fsfm_jax.metrics.thresholds import Threshold
from fsfm_jax.text import plain


def crop(frame: int, face: int = 0, value: int = 0) -> Crop:
    return Crop(frame, face, (1, 2, 3, 4), (0, 0, 9), math.nan, np.full((2, 2, 3), value, np.uint8))


def logs(*real: float) -> np.ndarray:
    return np.log([[1 - p, p] for p in real]).astype(np.float32)


def test_a_photo_is_judged_by_the_threshold_of_frames_at_which_it_is_real():
    for score, verdict in ((0.39, "forged"), (0.41, "real")):
        found = decide(CARDED, choose_rule(CARDED), Reading("a", "photo", (crop(0),)), logs(score))
        assert found.verdict == verdict and found.score == pytest.approx(score, abs=1e-7)
        # The odds at temperature 2 are the square root of the odds.
        odds = math.sqrt(score / (1 - score))
        assert found.calibrated == pytest.approx(odds / (1 + odds), abs=1e-6)
    assert found.faces[0].classes == pytest.approx({"fake": 0.59, "real": 0.41}, abs=1e-6)
    found = decide(CARDED, choose_rule(CARDED, "0.5"), Reading("a", "photo", (crop(0),)), logs(0.5))
    assert found.score == 0.5 and found.verdict == "real"


def test_a_video_is_the_mean_over_frames_of_the_face_that_looks_most_forged():
    reading = Reading("a", "video", (crop(0, 0), crop(0, 1), crop(10)), (Miss(5, "no_face", ""),), rate=5.0)
    found = decide(CARDED, choose_rule(CARDED), reading, logs(0.3, 0.9, 0.75))
    assert found.score == pytest.approx((0.3 + 0.75) / 2, abs=1e-6)
    assert (found.verdict, found.threshold.value) == ("forged", 0.55)
    assert [face.second for face in found.faces] == [0.0, 0.0, 2.0]
    equal = decide(CARDED, choose_rule(CARDED, "equal_error"), reading, logs(0.9, 0.72, 0.75))
    assert (equal.verdict, equal.threshold.value) == ("real", 0.7)


def test_thresholds_and_the_table_say_how_they_were_made_and_what_they_cost():
    rule = choose_rule(CARDED)
    assert describe_threshold(rule.frame) == (
        "forged if P(real) < 0.4 (at most 10 % false alarms, chosen on val: "
        "calls forged 8 % of the real and real 20 % of the forged on val)"
    )
    assert describe_threshold(choose_rule(CARDED, "0.25").video) == (
        "forged if P(real) < 0.25 (fixed at 0.25, chosen on no data: its error rates are not known)"
    )
    one_class = Threshold.from_json(ALARM | {"false_alarm_rate": None, "miss_rate": 0.9999})
    said = describe_threshold(one_class)
    assert "calls forged an unknown share of the real and real 99.99 % of the forged on val" in said
    lines = outputs.explanation(CARDED, choose_rule(CARDED))
    assert lines[0].startswith("photos: forged if P(real) < 0.4 (") and "0.55" in lines[1]
    assert "paintings, drawings, masks" in lines[-2]
    assert "calibrated: at the temperature 2, fitted on val" in lines
    lines = outputs.explanation(BARE, choose_rule(BARE))
    assert lines[0] == "photos and videos: no threshold, hence no verdict"
    assert any("--threshold=0.5" in line for line in lines)


@pytest.mark.parametrize("threshold", ["half", "50", "-0.1", "nan", "inf", "1.0001", ""])
def test_a_threshold_is_a_rule_or_a_probability(threshold):
    for check in (check_threshold, lambda text: choose_rule(CARDED, text)):
        with pytest.raises(ValueError, match=f"a probability from 0 to 1, such as 0.5; found '{threshold}'"):
            check(threshold)
    assert (choose_rule(CARDED, "0").frame.value, choose_rule(CARDED, "1").video.value) == (0.0, 1.0)


def test_a_demo_detector_and_high_rates_are_warned_of():
    def warned(calibration=None, **card):
        carded = Detector(calibration)
        carded.card |= card
        return warnings(carded, choose_rule(carded))

    def kept(**rates):
        return {"split": "val", "temperature": None, "thresholds": {"frame": [ALARM], "video": [ALARM | rates]}}

    said = {"trained_on": "drawn faces", "licence": "MIT", "measured": []}
    assert warned(demonstration=said) == [
        "this is a small demonstration detector, and its verdicts are no evidence; it was trained on drawn faces; how "
        "often it is right was not measured"
    ]
    assert warned() == warned(kept()) == warned(all_fields={"data.train": "forged:blend:9,data/dfd:train"}) == []
    (text,) = warned(kept(false_positive_rate=0.87))
    assert text == (
        "videos: this detector is often wrong: at its threshold it calls forged 8 % of the real and real 87 % of the "
        "forged on val"
    )
    assert len(warned(kept(false_negative_rate=0.21))) == 1 and not warned(kept(false_negative_rate=None))
    for card in ({"all_fields": {"data.train": "forged:blend:9,spoof=forged:print:9"}},
                 {"all_fields": {"data.train": "forged:blend:9,blended:synthetic:8"}},
                 {"calibration": kept() | {"split": "forged:blend:128:1:0"}}):  # fmt: skip
        (text,) = warned(**card)
        assert text.startswith("this is a demo detector, trained on drawn faces (forged:blend:")
    assert warned(all_fields={"data.train": "blended:samples"}) == []


def faces(*sureness: float, frames: int) -> Reading:
    crops = [replace(crop(frame), sureness=value) for frame, value in enumerate(sureness)]
    misses = [Miss(frame, "no_face", "none") for frame in range(len(crops), frames)]
    return Reading("a", "video" if frames > 1 else "photo", tuple(crops), tuple(misses))


@pytest.mark.parametrize("reading, limits, reason, detail", [
        (faces(2.0, 2.0, frames=32), Limits(), "few_frames", "only 2 of 32 frames have a face, a verdict needs 25%"),
        (faces(2.0, 2.0, frames=32), Limits(frames=2 / 32), "", ""),
        (replace(faces(2.0, frames=2), asked=32), Limits(), "few_frames", "only 1 of 32 frames"),
        (faces(*[2.0] * 8, frames=32), Limits(), "", ""),
        (faces(2.0, frames=1), Limits(frames=1.0), "", ""),
        (faces(0.7, frames=1), limits_of("dlib+blazeface"), "unsure_face", "at most 0.70, a verdict needs 0.8"),
        (faces(0.8, frames=1), limits_of("blazeface"), "", ""),
        (faces(0.7, frames=1), limits_of("yunet:a.onnx", 0.0), "unsure_face", "at most 0.70, a verdict needs 0.8"),
        (faces(0.7, frames=1), limits_of("dlib+blazeface", confidence=0.6), "", ""),
        (faces(math.nan, frames=1), limits_of("none"), "", ""),
        (faces(0.9, 0.7, 0.7, 0.7, 0.7, frames=5), limits_of("blazeface"), "unsure_face", "sure of only 1 of 5 frames"),
        (faces(0.9, 0.9, 0.7, 0.7, 0.7, frames=5), limits_of("blazeface"), "", ""),
    ])  # fmt: skip
def test_a_verdict_is_withheld_from_few_frames_and_unsure_faces(reading, limits, reason, detail):
    rows = logs(*[0.9] * len(reading.crops))
    found = decide(CARDED, choose_rule(CARDED, limits=limits), reading, rows)
    assert (found.verdict, found.reason) == ("" if reason else "real", reason) and detail in found.detail
    assert found.score == pytest.approx(0.9)
    assert found.frames == max(len(reading.crops) + len(reading.misses), reading.asked)
    assert found.as_json()["verdict"] == (None if reason else "real")
    line = outputs.row(found, 20)
    assert f"no verdict, {reason}: {found.detail}" in line if reason else line.endswith("real")


def test_limits_that_make_no_sense_are_refused():
    for share in (1.5, -0.1, math.nan):
        with pytest.raises(ValueError, match="least_frames: expected a share from 0 to 1"):
            limits_of("dlib", share)
    with pytest.raises(ValueError, match="least_confidence: expected a number"):
        limits_of("dlib", confidence=math.nan)


def test_faces_that_are_not_judged_and_the_one_that_decides_are_told():
    """One face of 19 is judged; then three are, and the second looks most forged."""
    one = Reading("a.jpg", "photo", (crop(0),), found=((0, 19),), notes=("HDR tone-mapped",))
    found = decide(CARDED, choose_rule(CARDED), one, logs(0.9))
    assert outputs.row(found, 5).split("  ")[-1] == "real [HDR tone-mapped; 19 faces, 1 judged]"
    assert "1 of 19" in outputs.row(found, 5)
    entry = found.as_json()
    assert (entry["faces_found"], entry["faces_judged"], entry["notes"][0]) == (19, 1, "HDR tone-mapped")
    three = replace(one, crops=(crop(0), replace(crop(0, 1), box=(10, 20, 30, 40)), crop(0, 2)), found=((0, 3),))
    found = decide(CARDED, choose_rule(CARDED), three, logs(0.9, 0.1, 0.5))
    assert (found.verdict, found.deciding, found.notes[1:]) == ("forged", 1, ("the face at 10,20 to 30,40 decides",))
    assert found.as_json()["deciding_face"] == {"frame": 0, "face": 1, "box": [10, 20, 30, 40]}
    video = Reading("a", "video", (crop(0), crop(1), crop(1, 1)), (Miss(2, "no_face", ""),), found=((0, 1), (1, 40)))
    found = decide(CARDED, choose_rule(CARDED), video, logs(0.6, 0.9, 0.2))
    assert (found.deciding, found.notes, found.frames_with_face) == (2, ("41 faces, 3 judged",), 2)
    assert "2 of 3" in outputs.row(found, 5) and "3 of 41" in outputs.row(found, 5)


def test_without_calibration_there_is_no_verdict_and_without_a_face_no_score():
    assert choose_rule(BARE) == DecisionRule(None, None, None)
    found = decide(BARE, choose_rule(BARE), Reading("a", "photo", (crop(0),)), logs(0.3))
    assert (found.verdict, found.calibrated, found.threshold) == ("", None, None) and found.score
    nothing = Reading("a", "photo", (), (Miss(0, "no_face", "none"),), "no_face", "none")
    found = decide(CARDED, choose_rule(CARDED), nothing, np.zeros((0, 2)))
    assert (found.score, found.calibrated, found.verdict, found.reason) == (None, None, "", "no_face")


class Predictor(Carded):
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
    predictor, taken = Predictor(), []

    def given():
        for reading in readings:
            taken.append(reading.path)
            yield reading

    found = []
    for reading, verdict in score_readings(predictor, choose_rule(predictor), given()):
        found.append(verdict)
        assert reading.path == verdict.path
        if verdict.path == "0":
            assert taken == ["0", "1", "2"]  # not all files are held until the end
    assert predictor.batches == [4, 4, 3]
    assert [verdict.path for verdict in found] == [str(number) for number in range(7)]
    scores = [verdict.score for verdict in found]
    assert scores[1] is scores[3] is scores[6] is None
    means = [0.10, np.mean([0.11, 0.12, 0.13, 0.14, 0.15, 0.16]), np.mean([0.17, 0.18, 0.19]), 0.20]
    assert [scores[i] for i in (0, 2, 4, 5)] == pytest.approx(means, abs=1e-6)


def test_a_batch_that_is_not_full_is_scored_when_nothing_comes_or_many_wait(monkeypatch):
    """A file without a face fills no batch."""
    predictor, taken = Predictor(), []
    faceless = Reading("none", "photo", reason="no_face")

    def given(*readings):
        for reading in readings:
            taken.append(reading)
            yield reading

    one = Reading("a", "photo", (crop(0, value=30),))
    stream = score_readings(predictor, choose_rule(predictor), given(one, faceless, None, one))
    assert [next(stream)[1].path for _ in range(2)] == ["a", "none"] and taken == [one, faceless, None]
    monkeypatch.setattr(scoring, "MOST_WAITING", 3)
    taken.clear()
    stream = score_readings(predictor, choose_rule(predictor), given(one, *[faceless] * 9))
    assert next(stream)[1].score == pytest.approx(0.3) and len(taken) == 3


def some_verdicts():
    rule = choose_rule(CARDED)
    names = "=1+1.jpg", "a\x1b[31m\n.mp4", "none.jpg"
    readings = (
        Reading(names[0], "photo", (crop(0),)),
        Reading(names[1], "video", (crop(0), crop(8)), rate=4.0),
        Reading(names[2], "photo", (), (Miss(0, "no_face", "none, \"sir\""),), "no_face", "none, \"sir\""),
    )
    scores = logs(0.9), logs(0.2, 0.4), np.zeros((0, 2))
    return rule, [decide(CARDED, rule, r, s) for r, s in zip(readings, scores, strict=True)]


class File(io.StringIO):
    def write(self, text, results=1):
        return super().write(text)


def written(made, found) -> str:
    for verdict in found:
        made.add(verdict)
    made.end()
    return made._file.getvalue()


def test_json_holds_everything_csv_a_row_for_each_face_and_no_name_steers_a_terminal():
    rule, found = some_verdicts()
    text = written(outputs.JsonResults(File(), CARDED, rule, "runs/d\x7ffd"), found)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    content = json.loads(text)
    assert (content["detector"], content["complete"], content["warnings"]) == ("runs/d\x7ffd", True, [])
    assert json.loads(written(outputs.JsonResults(File(), BARE, choose_rule(BARE), "a"), []))["files"] == []
    cut = outputs.JsonResults(File(), CARDED, rule, "a")
    cut.add(found[0])  # and then it is interrupted
    unfinished = json.loads(cut._file.getvalue() + cut._file.closing)
    assert (len(unfinished["files"]), unfinished["complete"]) == (1, False)
    assert content["thresholds"]["video"]["value"] == 0.55 and content["temperature"] == 2.0
    first, video, none = content["files"]
    assert (first["file"], first["verdict"], first["faces"][0]["detector"]) == ("=1+1.jpg", "real", None)
    assert (video["verdict"], [face["second"] for face in video["faces"]]) == ("forged", [0.0, 2.0])
    assert none["score"] is None and none["misses"] == [{"frame": 0, "reason": "no_face", "detail": 'none, "sir"'}]
    text = written(outputs.CsvResults(File()), found)
    assert not re.search(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f]", text)  # may be printed
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["file"] for row in rows] == ["./=1+1.jpg", "a\\x1b[31m\\n.mp4", "a\\x1b[31m\\n.mp4", "none.jpg"]
    assert [row["decides"] + row["frames_with_face"] for row in rows] == ["yes1", "yes2", "2", "0"]
    assert float(rows[2]["score"]) == pytest.approx(0.4) and float(rows[2]["file_score"]) == pytest.approx(0.3)
    assert rows[3]["score"] == "" and rows[3]["detail"] == 'none, "sir"'
    _, found = some_verdicts()
    text = "\n".join(outputs.row(verdict, 20) for verdict in found)
    assert "\x1b" not in text and "a\\x1b[31m\\n.mp4" in text and text.count("\n") == 2
    assert plain("face \udcff.jpg") == "face \\udcff.jpg"
