"""Prediction from the command line: every kind of checkpoint says the same, and every file is accounted for."""

import csv
import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import serialized
from absl import app
from videos import CLIP

from fsfm_jax.apps import explained, judge, predict
from fsfm_jax.apps.reading import FaceReader, Settings
from fsfm_jax.apps.verdict import judged, rule_of
from fsfm_jax.data.photo import encode_png
from fsfm_jax.detection.opened_detector import Unsaid
from fsfm_jax.export import serialize

PHOTO = CLIP.parent / "pd_nasa_astronaut.jpg"
DEFAULTS = dict(
    threshold="equal_error", faces="largest", frames=3, detector="blazeface", scale=1.3, crop_size=None, transform="",
    json="", csv="", explain="", workers=1, seconds=60.0, batch=4, dtype="", classes="", statistics="", norm_over="",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> str:
    return serialized.run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def opened(run) -> judge.Judge:
    return judge.open_judge(run, Unsaid(), batch=4)


def command(monkeypatch, arguments, **changes) -> int:
    """The exit code of the command."""
    monkeypatch.setattr(predict, "flags", SimpleNamespace(FLAGS=SimpleNamespace(**DEFAULTS | changes)))
    with pytest.raises(SystemExit) as ended:
        predict.main(["predict", *map(str, arguments)])
    return ended.value.code


def test_scores_are_those_of_the_detector_for_any_number_of_crops(opened):
    pixels, detector = serialized.images(11), serialized.detector()
    live = serialized.live(detector, pixels)
    for count in (0, 1, 3, 4, 11):
        found = opened.log_probabilities(pixels[:count])
        assert found.shape == (count, 2)
        np.testing.assert_allclose(found, live[:count], rtol=0, atol=serialized.TOLERANCE)
    assert (opened.transform, opened.image_size, opened.explains) == ("resize_center", serialized.SIDE, True)


def test_sizes_are_few_so_that_little_is_compiled(opened):
    sizes = []
    score = opened._score
    try:
        opened._score = lambda crops: (sizes.append(len(crops)), score(crops))[1]
        for count in (1, 2, 4, 5, 9):
            opened.log_probabilities(serialized.images(count))
    finally:
        opened._score = score
    assert set(sizes) == {1, 4}


def test_a_serialized_detector_scores_alike_and_has_no_heat(opened, run, tmp_path):
    path = str(tmp_path / "detector.jax")
    serialize.serialize(serialized.detector(), path)
    other = judge.open_judge(path, Unsaid(), batch=4)
    pixels = serialized.images(5)
    np.testing.assert_allclose(
        other.log_probabilities(pixels), opened.log_probabilities(pixels), rtol=0, atol=serialized.TOLERANCE
    )
    assert (other.transform, other.explains, other.temperature) == ("resize_center", False, 1.5)
    with pytest.raises(ValueError, match="a serialized detector has no gradient"):
        other.heat(pixels)
    for unsaid, dtype, text in (
        (Unsaid(classes="real,fake"), "", "--classes: .* says it itself, fake,real; found real,fake"),
        (Unsaid(statistics="vggface2"), "", "--statistics: .* says it itself"),
        (Unsaid(), "float32", "--dtype: .* is serialized, in the dtype that it has"),
    ):
        with pytest.raises(ValueError, match=text):
            judge.open_judge(path, unsaid, dtype)
    judge.open_judge(path, Unsaid(classes="fake, real"))


def test_scores_that_are_not_finite_are_refused(opened):
    score = opened._score
    try:
        opened._score = lambda crops: score(crops) * np.nan
        with pytest.raises(ValueError, match="scores that are not finite; its weights or statistics are damaged"):
            opened.log_probabilities(serialized.images(1))
    finally:
        opened._score = score


def test_heat_is_that_of_the_likeliest_forged_class(opened):
    pixels, asked = serialized.images(3), []
    heat, score = opened._heat, opened._score
    try:
        opened._heat = lambda crops, of: (asked.append((len(crops), of)), heat(crops, of))[1]
        # Real is likelier, and not asked for.
        opened._score = lambda crops: np.log(np.full((len(crops), 2), [0.1, 0.9]))
        found = opened.heat(pixels)
    finally:
        opened._heat, opened._score = heat, score
    assert asked == [(4, 0)] and found.shape == (3, 2, 2) and found.max() <= 1 and opened.heat(pixels[:0]).shape[0] == 0


def test_every_file_has_a_score_or_a_reason(run, opened, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(PHOTO.read_bytes())
    (folder / "b.mp4").write_bytes(CLIP.read_bytes())
    (folder / "c.jpg").write_bytes(b"<html>")
    (folder / "d.png").write_bytes(encode_png(np.zeros((50, 50, 3), np.uint8), 1))
    out = {"json": str(tmp_path / "found.json"), "csv": str(tmp_path / "found.csv"), "explain": str(tmp_path / "see")}
    assert command(monkeypatch, [folder], checkpoint=run, **out) == predict.SOME_WITHOUT
    text = capsys.readouterr().out
    assert "2 of 4 files have a score" in text and "c.jpg" in text and "unknown_format: neither a photo" in text
    content = json.loads((tmp_path / "found.json").read_text())
    reader = FaceReader(Settings(side=32, detector="blazeface", frames=3))
    for entry in content["files"][:2]:
        reading = reader.read(entry["file"])
        rows = serialized.live(serialized.detector(), np.stack([crop.pixels for crop in reading.crops]))
        want = judged(opened, rule_of(opened, "equal_error"), reading, rows)
        assert entry["score"] == pytest.approx(want.score, abs=1e-5) and entry["verdict"] == want.verdict
    assert [entry["reason"] for entry in content["files"][2:]] == ["unknown_format", "no_face"]
    with open(out["csv"], newline="") as file:
        assert [row["frame"] for row in csv.DictReader(file)] == ["0", "0", "22", "44", "", ""]
    pictures = json.loads((tmp_path / "see" / "pictures.json").read_text())
    assert pictures[str(folder / "b.mp4")] == [
        "00001_frame0_face0.png", "00001_frame22_face0.png", "00001_frame44_face0.png", "00001_timeline.png"
    ]  # fmt: skip
    assert cv2.imread(str(tmp_path / "see" / "00000_frame0_face0.png")).shape == (32, 68, 3)


def test_all_scored_is_success_and_the_standard_output_is_json_alone(run, monkeypatch, capsys):
    assert command(monkeypatch, [PHOTO], checkpoint=run, json="-") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["files"][0]["score"] > 0 and "1 of 1 files have a score" in err


@pytest.mark.parametrize("arguments, changes, text", [
        (["absent.jpg"], {}, "error: absent.jpg: there is no such file or folder"),
        ([PHOTO], {"checkpoint": "nowhere"}, "error: checkpoint: no run at nowhere"),
        ([PHOTO], {"json": "-", "csv": "-"}, "error: --json, --csv: only one of them can be the standard output"),
        ([PHOTO], {"threshold": "high"}, "error: threshold: expected false_alarm, equal_error or a number"),
        ([PHOTO], {"detector": "dlob"}, "error: detector 'dlob': expected one of"),
    ])  # fmt: skip
def test_what_cannot_be_done_is_a_sentence(run, monkeypatch, arguments, changes, text):
    assert text in command(monkeypatch, arguments, **{"checkpoint": run} | changes)


def test_without_files_it_says_how_it_is_used(run, monkeypatch):
    monkeypatch.setattr(predict, "flags", SimpleNamespace(FLAGS=SimpleNamespace(checkpoint=run)))
    with pytest.raises(app.UsageError, match="expected --checkpoint=WORKDIR_OR_FILE and photos, videos or folders"):
        predict.main(["predict"])


def test_the_timeline_shows_scores_and_threshold(opened):
    reading = FaceReader(Settings(side=32, detector="blazeface", frames=4)).read(str(CLIP))
    rule = rule_of(opened, "0.5")
    low, high = np.log([[0.9, 0.1]] * 4), np.log([[0.1, 0.9]] * 4)
    below, above = (explained.timeline(judged(opened, rule, reading, rows)) for rows in (low, high))

    def height(picture) -> float:
        """Mean row of the curve, whose colour is blue."""
        blue = (np.abs(picture.astype(int) - (30, 90, 190)).sum(axis=2) == 0)
        return np.argwhere(blue)[:, 0].mean()

    # 0.1 and 0.9 of an axis of 220 pixels.
    assert height(below) - height(above) == pytest.approx(0.8 * 220, abs=1.5)
    with pytest.raises(ValueError, match="expected a file with a face, found no_face"):
        explained.timeline(SimpleNamespace(faces=(), path="a", reason="no_face"))
