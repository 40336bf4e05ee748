"""People in a video: who is who, the verdict on each and on the file, and how all outputs tell them."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from carded import CARDED
from videos import CLIP, encode_video

from fsfm_jax.apps import outputs, persons
from fsfm_jax.apps.file_stamp import FileStamp
from fsfm_jax.apps.reading import Crop, FaceReader, Miss, Reading, Settings
from fsfm_jax.apps.result_file import ResultStream
from fsfm_jax.apps.result_parts import ResultParts, read_parts
from fsfm_jax.apps.tracks import GAP
from fsfm_jax.apps.verdict import choose_rule, decide
from fsfm_jax.prepare.media.photo_file import read_photo


def crop(frame: int, face: int, x: int) -> Crop:
    return Crop(frame, face, (x, 0, x + 99, 99), (x, 0, 99), 2.0, np.full((2, 2, 3), 90, np.uint8))


# Left, right and somebody who passes once: the order within a frame is that of the detector.
CROPS = (crop(0, 0, 0), crop(0, 1, 300), crop(5, 0, 310), crop(5, 1, 10), crop(5, 2, 900), crop(15, 0, 20))
REAL = [0.9, 0.6, 0.2, 0.8, 0.01, 0.7]
READING = Reading("a.mp4", "video", CROPS, (Miss(10, "no_face", "none"),), asked=5)
RULE = choose_rule(CARDED, persons=True)  # videos are forged below 0.55


def judged(reading: Reading, scores: list[float], rule=RULE):
    return decide(CARDED, rule, reading, np.log([[1 - score, score] for score in scores]))


def test_each_person_is_judged_as_a_video_alone_and_one_who_is_forged_makes_the_file_forged():
    found = judged(READING, REAL)
    assert [face.person for face in found.faces] == [1, 2, 2, 1, 3, 1]
    left, right, passing = found.persons
    assert (left.faces, left.verdict, left.deciding) == ((0, 3, 5), "real", 5)
    assert (right.faces, right.verdict, right.deciding) == ((1, 2), "forged", 2)
    assert (left.score, right.score) == pytest.approx((0.8, 0.4))
    assert (passing.verdict, passing.reason) == ("", "few_frames")
    assert "only 1 of 5 frames have this person" in passing.detail
    assert (found.score, found.verdict, found.deciding) == (right.score, "forged", 2)
    assert found.calibrated == right.calibrated and right.calibrated is not None
    assert found.notes == ("3 people, 1 without a verdict; person 2 decides",)
    # By frames together the one who passes would count.
    assert judged(READING, REAL, choose_rule(CARDED)).score == pytest.approx((0.6 + 0.01 + 0.7) / 3)


def test_one_who_has_no_verdict_does_not_withhold_that_of_others_and_alone_there_is_none():
    rest = replace(READING, crops=tuple(CROPS[index] for index in (0, 3, 4, 5)))
    found = judged(rest, [0.9, 0.8, 0.01, 0.7])
    assert (found.verdict, found.score, found.reason) == ("real", pytest.approx(0.8), "")
    alone = judged(replace(READING, crops=CROPS[:1]), [0.9])
    assert (alone.verdict, alone.reason, alone.notes) == ("", "few_frames", ()) and alone.score == pytest.approx(0.9)
    nobody = judged(Reading("a.mp4", "video", (), (Miss(0, "no_face", "none"),), "no_face", "none"), [])
    assert (nobody.score, nobody.persons, nobody.reason) == (None, (), "no_face")
    photo = judged(Reading("a.jpg", "photo", CROPS[:2]), [0.9, 0.3])
    assert photo.persons is None and photo.verdict == "forged" and "persons" not in photo.as_json()


@pytest.mark.parametrize("missing, numbers", [(GAP, [1, 1]), (GAP + 1, [1, 2])])
def test_frames_without_a_face_count_as_missing(missing, numbers):
    misses = tuple(Miss(frame, "no_face", "none") for frame in range(1, 1 + missing))
    assert persons.number_persons(Reading("a.mp4", "video", (crop(0, 0, 0), crop(100, 0, 0)), misses)) == numbers


def test_all_outputs_tell_the_persons(tmp_path, capsys):
    found = judged(READING, REAL)
    lines = outputs.person_rows(found, 12)
    assert lines[1].split() == ["person", "2", "2", "2", "of", "5", "0.4000", f"{found.calibrated:.4f}", "forged"]
    assert "no verdict, few_frames" in lines[2] and len(lines) == 3
    told = {"person": 2, "frames_with_face": 2, "verdict": "forged", "reason": None,
            "deciding_face": {"frame": 5, "face": 0, "box": [310, 0, 409, 99]}}  # fmt: skip
    entry = found.as_json()
    assert entry["persons"][1].items() >= told.items() and entry["faces"][4]["person"] == 3
    made = outputs.CsvResults(ResultStream(None), persons=True)
    made.add(found)
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["person"] for row in rows] == ["1", "2", "2", "1", "3", "1"]
    assert [row["person_verdict"] for row in rows] == ["real", "forged", "forged", "real", "", "real"]
    assert float(rows[2]["person_score"]) == pytest.approx(0.4) and rows[2]["decides"] == "yes"
    with ResultParts("--parquet", str(tmp_path / "out")) as parts:
        parts.open({}, {}, CARDED.class_names)
        parts.expect(FileStamp("a.mp4", 1, 1))
        parts.add(found)
    (row,) = read_parts(str(tmp_path / "out")).to_pylist()
    assert row["persons"][1].items() >= told.items() and [face["person"] for face in row["faces"]] == [1, 2, 2, 1, 3, 1]


def test_people_who_move_through_a_real_picture_keep_their_numbers(tmp_path):
    """The camera moves over a photo of several people; in every other frame their order is turned round."""
    photo = read_photo(CLIP.parent / "mit_faceapi_group6.jpg").image
    height, width = (side // 2 * 2 for side in photo.shape[:2])
    moves = [np.roll(photo[:height, :width], 12 * number, axis=1) for number in range(4)]
    encode_video(tmp_path / "pan.mp4", pictures=moves)
    reading = FaceReader(Settings(side=64, detector="blazeface", faces="all", frames=4)).read(str(tmp_path / "pan.mp4"))
    turned = sorted(reading.crops, key=lambda face: (face.frame, face.face * (-1) ** face.frame))
    reading = replace(reading, crops=tuple(turned))
    numbers = persons.number_persons(reading)
    centres = {}
    for face, number in zip(reading.crops, numbers, strict=True):
        centres.setdefault(number, []).append((face.box[0] + face.box[2]) / 2 - 12 * face.frame)
    assert len(centres) == len([face for face in reading.crops if face.frame == 0]) >= 4
    assert all(len(found) == 4 and max(found) - min(found) < 10 for found in centres.values())
