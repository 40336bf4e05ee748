"""Prediction from the command line: every kind of checkpoint says the same, and every file is accounted for."""

import contextlib
import csv
import json
import math
import os
import signal
import threading
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import serialized
from absl import app
from predicting import command
from videos import CLIP

from fsfm_jax.apps import explanation, predict, readers, result_parts
from fsfm_jax.apps.reading import FaceReader, Settings
from fsfm_jax.apps.result_parts import read_parts
from fsfm_jax.apps.verdict import choose_rule, decide
from fsfm_jax.data.photo import encode_png
from fsfm_jax.detection import predictor
from fsfm_jax.detection.opener import Unsaid
from fsfm_jax.export import serialize

PHOTO, GROUP = CLIP.parent / "pd_nasa_astronaut.jpg", CLIP.parent / "mit_faceapi_group6.jpg"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> str:
    return serialized.run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def opened(run) -> predictor.Predictor:
    return predictor.open_predictor(run, Unsaid(), batch=4)


def unopened(*_):
    raise AssertionError("the detector is opened before what can be refused is refused")


def test_scores_are_those_of_the_detector_for_any_number_of_crops_in_few_sizes(opened, monkeypatch):
    pixels, sizes, score = serialized.images(11), [], opened._score
    live = serialized.live(serialized.detector(), pixels)
    monkeypatch.setattr(opened, "_score", lambda crops: (sizes.append(len(crops)), score(crops))[1])
    for count in (0, 1, 3, 4, 11):
        found = opened.log_probabilities(pixels[:count])
        assert found.shape == (count, 2)
        np.testing.assert_allclose(found, live[:count], rtol=0, atol=serialized.TOLERANCE)
    assert set(sizes) == {1, 4}  # little is compiled
    assert (opened.transform, opened.image_size, opened.explains) == ("resize_center", serialized.SIDE, True)
    monkeypatch.setattr(opened, "_score", lambda crops: score(crops) * np.nan)
    with pytest.raises(ValueError, match="expected finite scores, found non-finite ones. Check its weights"):
        opened.log_probabilities(serialized.images(1))


def test_a_serialized_detector_scores_alike_and_has_no_heat(opened, run, tmp_path):
    path = str(tmp_path / "detector.jax")
    serialize.serialize(serialized.detector(), path)
    other = predictor.open_predictor(path, Unsaid(), batch=4)
    pixels = serialized.images(5)
    np.testing.assert_allclose(
        other.log_probabilities(pixels), opened.log_probabilities(pixels), rtol=0, atol=serialized.TOLERANCE
    )
    assert (other.transform, other.explains, other.temperature) == ("resize_center", False, 1.5)
    with pytest.raises(ValueError, match="a serialized detector has no gradient"):
        other.heat(pixels)
    for unsaid, dtype, text in (
        (Unsaid(classes="real,fake"), "", "--classes: expected fake,real, as .* says; found real,fake"),
        (Unsaid(statistics="vggface2"), "", "--statistics: expected .*, as .* says"),
        (Unsaid(), "float32", "--dtype: .* is serialized in a fixed dtype"),
    ):
        with pytest.raises(ValueError, match=text):
            predictor.open_predictor(path, unsaid, dtype)
    predictor.open_predictor(path, Unsaid(classes="fake, real"))


def test_heat_is_that_of_the_likeliest_forged_class(opened, monkeypatch):
    pixels, asked, heat = serialized.images(3), [], opened._heat
    monkeypatch.setattr(opened, "_heat", lambda crops, of: (asked.append((len(crops), of)), heat(crops, of))[1])
    # Real is likelier, and not asked for.
    monkeypatch.setattr(opened, "_score", lambda crops: np.log(np.full((len(crops), 2), [0.1, 0.9])))
    found = opened.heat(pixels)
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
        want = decide(opened, choose_rule(opened, "equal_error"), reading, rows)
        assert entry["score"] == pytest.approx(want.score, abs=1e-5) and entry["verdict"] == want.verdict
    assert [entry["reason"] for entry in content["files"][2:]] == ["unknown_format", "no_face"]
    with open(out["csv"], newline="") as file:
        assert [row["frame"] for row in csv.DictReader(file)] == ["0", "0", "22", "44", "", ""]
    pictures = json.loads((tmp_path / "see" / "pictures.json").read_text())
    decides = min(content["files"][1]["faces"], key=lambda face: face["score"])["frame"]
    assert content["files"][1]["deciding_face"]["frame"] == decides
    frames = sorted((0, 22, 44), key=lambda frame: (frame != decides, frame))
    assert pictures[str(folder / "b.mp4")] == [
        *(f"00001_frame{frame}_face0.png" for frame in frames), "00001_timeline.png"
    ]  # fmt: skip
    assert [entry["frames_asked"] for entry in content["files"]] == [1, 3, 0, 1]
    assert (content["least_frames"], content["least_confidence"], content["complete"]) == (0.25, 0.8, True)
    assert cv2.imread(str(tmp_path / "see" / "00000_frame0_face0.png")).shape == (32, 68, 3)


def test_all_scored_is_success_and_the_standard_output_is_json_alone(run, monkeypatch, capsys):
    assert command(monkeypatch, [GROUP], checkpoint=run, json="-", redact=True) == 0
    out, err = capsys.readouterr()
    (entry,) = json.loads(out)["files"]
    assert entry["file"].startswith("file-") and entry["file"] in err
    for private in (GROUP.stem, str(GROUP.parent), os.path.dirname(run)):
        assert private not in out + err
    assert (entry["score"] > 0, entry["faces_found"], entry["notes"]) == (True, 4, ["4 faces, 1 judged"])
    assert "1 of 1 files have a score" in err and "3 faces were found and not judged; --faces=all judges every" in err


@pytest.mark.parametrize("arguments, changes, text", [
        (["absent\x1b[31m.jpg"], {}, "absent\\x1b[31m.jpg: there is no such file or folder"),
        ([PHOTO], {"json": "-", "csv": "-"}, "--csv, --json: only one of them can be the standard output"),
        ([PHOTO], {"threshold": "50"}, "threshold: expected false_alarm, equal_error or a probability from 0 to 1"),
        ([PHOTO], {"json": "none/a.json"}, "--json=none/a.json: cannot write to the folder none: No such file"),
        ([PHOTO], {"csv": "/"}, "--csv=/: expected a file, found a folder"),
        ([PHOTO], {"explain": str(PHOTO)}, f"--explain={PHOTO}: it is not a folder"),
        ([PHOTO], {"transform": "shrink"}, "transform: expected one of resize, resize_center; found 'shrink'"),
        ([PHOTO], {"scale": math.nan}, "scale: expected 0.5 to 5 times"),
        ([PHOTO], {"seconds": math.nan}, "--seconds: expected 1 to 86400 seconds, found nan"),
        ([PHOTO], {"parquet": "out", "json": "-", "explain": "see"}, "--parquet: --json, --explain cannot resume"),
        ([CLIP.parent], {"parquet": f"{CLIP.parent}/out"}, f"--parquet={CLIP.parent}/out: lies in {CLIP.parent}"),
        ([PHOTO], {"redact": True, "explain": "see"}, "--redact: expected no pictures and no names to resume with"),
        ([CLIP.parent], {"redact": True, "watch": 1.0}, "--redact: expected no pictures and no names to resume with"),
        ([PHOTO], {"parquet": "no/out"}, "--parquet=no/out: there is no folder"),
        ([PHOTO], {"watch": 1.0}, f"{PHOTO}: expected a folder to watch; found a file"),
        ([PHOTO], {"least_frames": 1.5}, "least_frames: expected a share from 0 to 1, found 1.5"),
    ])  # fmt: skip
def test_what_cannot_be_done_is_a_sentence_before_the_detector_is_opened(
    run, monkeypatch, capsys, arguments, changes, text
):
    monkeypatch.setattr(predictor, "open_predictor", unopened)
    assert command(monkeypatch, arguments, **{"checkpoint": run} | changes) == 1
    assert capsys.readouterr().err.startswith(f"error: {text}")


@pytest.mark.parametrize("changes, text", [
        ({"checkpoint": "nowhere"}, "checkpoint: no run at nowhere"),
        ({"detector": "dlob"}, "detector 'dlob': expected one of"),
    ])  # fmt: skip
def test_a_wrong_detector_leaves_outputs_as_they_were(run, monkeypatch, capsys, tmp_path, changes, text):
    (tmp_path / "old.json").write_text("old")
    out = {"json": str(tmp_path / "old.json"), "explain": str(tmp_path / "see")}
    assert command(monkeypatch, [PHOTO], **{"checkpoint": run} | out | changes) == 1
    assert f"error: {text}" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["old.json"] and (tmp_path / "old.json").read_text() == "old"


def test_an_interrupted_command_keeps_what_it_has_found(run, monkeypatch, capsys, tmp_path):
    """A video is searched, then Ctrl-C comes; a folder that may not be listed does not stop anything."""
    folder = tmp_path / "secret"
    folder.mkdir()

    def refusing(path, listed=os.scandir):
        if str(path) == str(folder):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", refusing)

    class Reader(FaceReader):
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def read_all(self, paths):
            yield self.read(paths[0])
            raise KeyboardInterrupt

    monkeypatch.setattr(readers, "Worker", contextlib.nullcontext)
    monkeypatch.setattr(readers, "Readers", lambda settings, workers, seconds, first: Reader(settings))
    json_file, csv_file = tmp_path / "a.json", tmp_path / "a.csv"
    out = {"json": str(json_file), "csv": str(csv_file)}
    assert command(monkeypatch, [folder, CLIP, PHOTO], checkpoint=run, batch=1, **out) == 130
    told = capsys.readouterr()
    assert told.err == (
        f"interrupted; 2 of 3 files were judged; results so far: {csv_file}.partial, {json_file}.partial\n"
    )
    assert "unreadable: the folder cannot be listed: Permission denied" in told.out
    content = json.loads((tmp_path / "a.json.partial").read_text())
    assert [entry["file"] for entry in content["files"]] == [str(folder), str(CLIP)] and not content["complete"]
    assert sorted(os.listdir(tmp_path)) == ["a.csv.partial", "a.json.partial", "secret"]


def test_a_large_job_goes_on_with_the_files_that_have_no_result(run, tmp_path, monkeypatch, capsys):
    folder, out = tmp_path / "in", str(tmp_path / "out")
    folder.mkdir()
    (folder / "a.jpg").write_bytes(PHOTO.read_bytes())
    (folder / "b.jpg").write_bytes(b"<html>")
    assert command(monkeypatch, [folder], checkpoint=run, parquet=out) == predict.SOME_WITHOUT
    assert "1 of 2 files have a score" in capsys.readouterr().out
    (folder / "c.jpg").write_bytes(GROUP.read_bytes())
    assert command(monkeypatch, [folder], checkpoint=run, parquet=out) == predict.SOME_WITHOUT
    said = capsys.readouterr().out
    assert "2 of 3 files have a result already\n2 of 3 files have a score\n" in said
    table = read_parts(out)
    assert [os.path.basename(path) for path in table["file"].to_pylist()] == ["a.jpg", "b.jpg", "c.jpg"]
    assert table["reason"].to_pylist() == [None, "unknown_format", None]
    assert command(monkeypatch, [folder], checkpoint=run, parquet=out, scale=1.4) == 1
    assert "expected the options that its results were made with; found scale: then 1.3, now 1.4" in (
        capsys.readouterr().err
    )


def test_a_folder_is_watched_until_sigterm_and_what_was_scored_is_saved(run, tmp_path, monkeypatch, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()

    def feed():
        """A file, each other one when the one before has its result, a change of the first, then the signal."""
        files = ("photograph", PHOTO.read_bytes()), ("b", b"<html>"), ("photograph", b"GIF")
        for number, (name, content) in enumerate(files):
            (folder / name).write_bytes(content)
            for _ in range(600):
                if (out / f"part-{number:06d}.parquet").exists():
                    break
                time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(result_parts, "PART_SECONDS", 0.1)  # while nothing comes, too
    feeding = threading.Thread(target=feed)
    feeding.start()
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch, ["in"], checkpoint=run, parquet="out", watch=0.1) == 0
    feeding.join()
    said = capsys.readouterr()
    assert "Ctrl-C stops" in said.out and "stopped; 1 of 3 files have a score" in said.out and not said.err
    assert said.out.count("\nin/photograph ") == 2  # names are not cut to the width of the folder's
    assert len(os.listdir(out)) == 3 and read_parts(str(out))["bytes"].to_pylist() == [PHOTO.stat().st_size, 6, 3]


def test_the_deciding_face_is_shown_first_and_others_are_spread():
    assert explanation.choose_faces(3, 1) == [1, 0, 2] and explanation.choose_faces(0, None) == []
    many = explanation.choose_faces(100, 97)
    assert many[:2] == [97, 0] and many[-1] == 99 and len(set(many)) == explanation.PICTURES


def test_flags_are_passed_on_and_without_files_it_says_how_it_is_used(monkeypatch, run):
    """Settings that only some detectors or files show."""
    asked = []

    def Readers(settings, workers, seconds, first):  # noqa: N802
        asked.append(settings)
        raise ValueError("enough")

    monkeypatch.setattr(readers, "Worker", contextlib.nullcontext)
    monkeypatch.setattr(readers, "Readers", Readers)
    for size in (None, 4000):
        assert command(monkeypatch, [PHOTO], checkpoint=run, detector_size=size, faces="all", scale=2.0) == 1
    assert [settings.detector_size for settings in asked] == [None, 4000]
    assert (asked[0].faces, asked[0].scale, asked[0].side) == ("all", 2.0, serialized.SIDE)
    monkeypatch.setattr(predict, "flags", SimpleNamespace(FLAGS=SimpleNamespace(checkpoint=run)))
    with pytest.raises(app.UsageError, match="expected photos, videos or folders"):
        predict.main(["predict"])


def test_the_timeline_shows_scores_and_threshold(opened, monkeypatch):
    reading = FaceReader(Settings(side=32, detector="blazeface", frames=4)).read(str(CLIP))
    real = np.array([0.1, 0.7, 0.9, 0.8])
    verdict = decide(opened, choose_rule(opened, "0.5"), reading, np.log(np.stack([1 - real, real], axis=1)))
    assert explanation.timeline(verdict).std() > 10
    monkeypatch.setattr(explanation, "draw", lambda figure: figure)
    (axes,) = explanation.timeline(verdict).axes
    curve, score, threshold = axes.get_lines()
    seconds = [crop.frame / reading.rate for crop in reading.crops]
    np.testing.assert_allclose(curve.get_xydata(), np.stack([seconds, real], axis=1))
    assert axes.get_xlabel() == "seconds" and axes.get_ylim() == (0, 1)
    np.testing.assert_allclose([score.get_ydata(), threshold.get_ydata()], [[0.625] * 2, [0.5] * 2])
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert shown == ["score of the video: 0.6250", "real; threshold 0.5"]
    with pytest.raises(ValueError, match="expected a file with a face, found no_face"):
        explanation.timeline(SimpleNamespace(faces=(), path="a", reason="no_face"))
