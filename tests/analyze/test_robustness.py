"""The robustness report of a tiny detector on drawn forgeries: its numbers, resuming, and what is refused."""

import csv
import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import serialized
from sklearn.metrics import roc_auc_score
from tuning import evaluation_of

from fsfm_jax.analyze import __main__ as command
from fsfm_jax.analyze import robustness
from fsfm_jax.analyze.robustness_table import panels_of
from fsfm_jax.data.corruption import corrupt
from fsfm_jax.data.forgery import ForgedSource
from fsfm_jax.data.label_stream import decode
from fsfm_jax.data.resizing import for_evaluation
from fsfm_jax.detection.detector import digest_parameters
from fsfm_jax.detection.opener import Unsaid, open_detector
from fsfm_jax.detection.saved import open_saved, save_detector
from fsfm_jax.export import serialize, to_torch
from fsfm_jax.jobs import evaluate

DATA = "A=forged:blend:18:2,B=forged:blend:8:3:1"
OPTIONS = dict(
    data=DATA, corruptions=["noise", "jpeg"], strengths=["severe", "faint"], seed=0, batch=8, classes="", statistics="",
    norm_over="",
)  # fmt: skip
WRITTEN = ("results.json", "robustness.png", "table.csv", "table.md")


# Two thresholds for videos, of which the last is the one that is kept for verdicts.
RULE = "false negative rate <= 0.1"
VIDEO_THRESHOLDS = [serialized.THRESHOLD | {"value": 0.9}, serialized.THRESHOLD | {"rule": RULE}]


@pytest.fixture(scope="module")
def detector(tmp_path_factory) -> str:
    made, workdir = serialized.detector(), tmp_path_factory.mktemp("detector")
    calibration = serialized.CALIBRATION | {"thresholds": {"frame": VIDEO_THRESHOLDS, "video": VIDEO_THRESHOLDS}}
    save_detector(str(workdir), 7, made.params, made.card | {"calibration": calibration})
    return str(workdir)


def report(folder, checkpoint, **options):
    given = SimpleNamespace(**OPTIONS | {"output": str(folder), "checkpoint": [checkpoint]} | options)
    command.analyse("robustness", given)
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def reported(detector, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reported")
    report(folder, detector)
    return folder


@pytest.fixture(scope="module")
def content(reported) -> dict:
    return json.loads((reported / "results.json").read_text())


def test_pictures_as_they_are_come_first_and_have_the_numbers_of_an_evaluation(content, detector, tmp_path):
    evaluate.run(evaluation_of(detector, DATA, bootstrap__resamples=1000), str(tmp_path))
    wanted = json.loads((tmp_path / "metrics.json").read_text())["data"]
    assert [*content["data"]] == ["A", "B"]
    for name, found in content["data"].items():
        first, *others = found["rows"]
        assert (first["corruption"], first["strength"]) == (None, None)
        assert [(row["corruption"], row["strength"]) for row in others] == [
            ("jpeg", "faint"), ("jpeg", "severe"), ("noise", "faint"), ("noise", "severe"),
        ]  # fmt: skip
        for level in ("frame", "video"):
            assert first[level]["examples"] == wanted[name][level]["examples"]
            assert first[level]["metrics"]["auc"] == wanted[name][level]["metrics"]["auc"]
            assert first[level]["interval"] == wanted[name][level]["intervals"]["auc"]
        kept = wanted[name]["video"]["thresholds"][2]
        stored = content["detector"]["threshold"]
        assert (kept["threshold"], kept["rule"]) == (stored["value"], stored["rule"]) == (0.25, RULE)
        rates = first["decisions"]["metrics"]
        assert rates["false_alarm_rate"] == kept["metrics"]["false_negative_rate"]
        assert rates["miss_rate"] == kept["metrics"]["false_positive_rate"]


@pytest.mark.parametrize("name, strength, seed", [("jpeg", "severe", 0), ("noise", "severe", 0), ("noise", "faint", 5)])
def test_a_row_is_what_the_detector_says_of_corrupted_pictures(content, detector, name, strength, seed, tmp_path):
    if seed:
        content = report(tmp_path, detector, seed=seed, corruptions=[name], strengths=[strength])
    source, opened = ForgedSource(["blend"], 18, 2), open_saved(detector)
    photos = [for_evaluation("resize_center", decode(source[index]), serialized.SIDE) for index in range(18)]
    pixels = np.stack([corrupt(name, strength, photo, seed, index) for index, photo in enumerate(photos)])
    scores = np.exp(serialized.live(opened, pixels).astype(np.float64))[:, opened.real]
    (row,) = [r for r in content["data"]["A"]["rows"] if (r["corruption"], r["strength"]) == (name, strength)]
    assert row["frame"]["metrics"]["auc"] == pytest.approx(roc_auc_score(source.labels, scores), abs=1e-12)
    videos = np.array([scores[start : start + 4].mean() for start in range(0, 18, 4)])
    labels = source.labels[::4].astype(bool)
    assert row["video"]["metrics"]["auc"] == pytest.approx(roc_auc_score(labels, videos), abs=1e-12)
    assert row["decisions"]["metrics"] == {
        "false_alarm_rate": np.mean(videos[labels] < 0.25), "miss_rate": np.mean(videos[~labels] >= 0.25),
    }  # fmt: skip
    plain = content["data"]["A"]["rows"][0]["frame"]["metrics"]["auc"]
    assert row["frame"]["metrics"]["auc"] != plain  # the corruption does something here


def test_tables_and_picture_hold_the_same(reported, content, detector):
    rows = list(csv.DictReader((reported / "table.csv").read_text().splitlines()))
    assert len(rows) == 10 and (rows[0]["corruption"], rows[0]["videos"], rows[0]["frames"]) == ("none", "5", "18")
    jpeg, said = rows[2], content["data"]["A"]["rows"][2]
    assert (jpeg["strength"], jpeg["value"], jpeg["values of"]) == ("severe", "quality 10", "ours")
    assert rows[3]["values of"] == "DeeperForensics-1.0"
    for title, number in (
        ("video AUC", said["video"]["metrics"]["auc"]), ("frame AUC low", said["frame"]["interval"]["low"]),
        ("false alarm rate", said["decisions"]["metrics"]["false_alarm_rate"]),
    ):  # fmt: skip
        assert float(jpeg[title]) == number
    table = (reported / "table.md").read_text()
    area, interval = said["video"]["metrics"]["auc"], said["video"]["interval"]
    shown = f"{100 * area:.2f} ({100 * interval['low']:.2f}–{100 * interval['high']:.2f})"
    assert f"| jpeg | severe | quality 10 | {shown} | " in table
    digest = digest_parameters(open_saved(detector).params)[:12]
    assert "## A: 18 images, 5 videos (" in table and f"- weights, SHA-256: {digest}\n" in table
    assert table.count("\n## Facts\n") == 1 and "- compression: A: JPEG of quality" in table
    assert f"at 0.25 ({RULE}, chosen on val)" in table and "Strengths of noise are from Deeper" in table
    assert cv2.imread(str(reported / "robustness.png")).std() > 10
    areas = [row["video"]["metrics"]["auc"] for row in content["data"]["A"]["rows"]]
    jpeg, noise = panels_of(content)
    assert (noise.title, noise.ticks) == ("noise (std, levels)", ["none", "8.06", "57"])
    for panel, places in ((jpeg, (0, 1, 2)), (noise, (0, 3, 4))):
        assert panel.lines["A"].values == [100 * areas[place] for place in places]


def test_a_report_that_was_stopped_resumes_and_has_the_same_bytes(reported, detector, tmp_path, monkeypatch, capsys):
    measured, measure = [], robustness.measure

    def fail_fourth(*arguments):
        if len(measured) == 3:
            raise KeyboardInterrupt
        measured.append(arguments)
        return measure(*arguments)

    monkeypatch.setattr(robustness, "measure", fail_fourth)
    with pytest.raises(KeyboardInterrupt):
        report(tmp_path, detector)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts"]
    monkeypatch.setattr(robustness, "measure", lambda *arguments: measured.append(arguments) or measure(*arguments))
    report(tmp_path, detector)
    assert len(measured) == 10 and "3 of 10 rows were measured before" in capsys.readouterr().err
    for name in WRITTEN:
        assert (tmp_path / name).read_bytes() == (reported / name).read_bytes(), name
    report(tmp_path, detector, strengths=["mild"])  # others stay as they are, and are not in these tables
    assert len(measured) == 10 + 2 * 2 and len(list((tmp_path / "parts" / "A").iterdir())) == 7


def test_rows_of_another_report_are_not_taken_for_ones_own(reported, detector, tmp_path):
    before = {name: (reported / name).read_bytes() for name in WRITTEN}
    for options, text in (
        ({"seed": 1}, "none.json: found a row of another report: seed 0, not 1. Use another --output, or remove"),
        ({"data": DATA.replace("18:2", "18:4")}, "dataset forged:blend:18:2:0, not forged:blend:18:4:0"),
    ):
        with pytest.raises(ValueError, match=text):
            report(reported, detector, **options)
    other = serialized.run(tmp_path / "other", evaluation__transform="resize")
    with pytest.raises(ValueError, match="report: transform resize_center, not resize"):
        report(reported, other)
    assert before == {name: (reported / name).read_bytes() for name in WRITTEN}
    (tmp_path / "parts" / "A").mkdir(parents=True)
    (tmp_path / "parts" / "A" / "none.json").write_text("{")
    with pytest.raises(ValueError, match="none.json: expected a row written by this command .*; remove this file"):
        report(tmp_path, detector)


def test_a_serialized_detector_and_a_set_of_one_class(content, detector, tmp_path, capsys):
    serialize.serialize(open_saved(detector), str(tmp_path / "detector.jax"), platforms=("cpu",))
    found = report(tmp_path, str(tmp_path / "detector.jax"), data="A=forged:blend:18:2,one=forged:blend:4:2")
    for row, wanted in zip(found["data"]["A"]["rows"], content["data"]["A"]["rows"], strict=True):
        assert row["frame"]["metrics"]["auc"] == wanted["frame"]["metrics"]["auc"]
    assert found["detector"]["weights_sha256_of"] == "the file"
    # The first four frames are one video: no AUC, but one of the two rates.
    (row, *_), table = found["data"]["one"]["rows"], (tmp_path / "table.md").read_text()
    real = ForgedSource(["blend"], 4, 2).labels[0] == 1
    assert row["video"]["metrics"]["auc"] is None
    assert [row["decisions"]["metrics"][rate] is None for rate in ("false_alarm_rate", "miss_rate")] == [not real, real]
    assert "| none |  |  | undefined | " in table and "one: auc is undefined, no " in table
    assert cv2.imread(str(tmp_path / "robustness.png")).std() > 10


@pytest.mark.parametrize("options, text", [
        ({"corruptions": ["jepg"]}, "--corruptions: expected one of jpeg, .*; found 'jepg'; did you mean 'jpeg'"),
        ({"strengths": ["sever"]}, "--strengths: expected one of faint, .*; found 'sever'; did you mean 'severe'"),
        ({"strengths": []}, "--strengths: expected some of faint, .*; found nothing"),
        ({"seed": -1}, "--seed: expected 0 to 4294967295, found -1"),
        ({"batch": 12}, "--batch: expected a multiple of 8 devices; found 12"),
        ({"data": "samples"}, "--data: expected NAME=SPEC,NAME=SPEC with each name once; found 'samples'"),
        ({"data": "a=forged:print:8"}, "expected the detector's classes fake, real with real as real, found attack"),
        ({"data": ",".join(f"a{n}=forged:blend:4" for n in range(17))}, "--data: expected at most 16 sets, found 17"),
        ({"classes": "fake,real"}, "--classes: expected for official files only"),
    ])  # fmt: skip
def test_what_cannot_be_reported_says_so(detector, tmp_path, options, text):
    with pytest.raises(ValueError, match=text):
        report(tmp_path, detector, **options)
    assert not list(tmp_path.iterdir())


def test_the_digest_of_weights_is_that_of_their_export_and_of_no_others(detector, tmp_path):
    params = open_saved(detector).params
    exported, *_ = to_torch.convert(detector, "official", str(tmp_path / "official"))
    assert digest_parameters(open_detector(exported, Unsaid()).params) == digest_parameters(params)
    bias = params["head"]["bias"]
    others = [{**params, "head": {**params["head"], "bias": bias + 1}}, {**params, "tail": params["head"]}]
    others.append({**params, "head": {**params["head"], "bias": bias[None]}})
    assert len({digest_parameters(one) for one in [params, *others]}) == 4


def test_classes_in_the_wrong_order_are_warned_of(detector, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("fsfm_jax.detection.inversion.FAR_BELOW", 1.0)
    monkeypatch.setattr("fsfm_jax.detection.inversion.DEVIATIONS", -9.0)
    report(tmp_path, detector, data="A=forged:blend:18:2", strengths=["faint"])
    warning = "A: AUC of videos "
    assert f"warning: {warning}" in capsys.readouterr().err
    assert f"Warning: {warning}" in (tmp_path / "table.md").read_text()
