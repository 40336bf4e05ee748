"""The evaluation job on drawn forgeries: what it writes, whose detectors it takes, and what it refuses."""

import csv
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import official_weights
import pytest
import serialized
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_auc_score
from tuning import evaluation_of, tiny

from fsfm_jax.config import tabulate as tabulation
from fsfm_jax.data.forgery import ForgedSource
from fsfm_jax.detection import facts
from fsfm_jax.detection.detector import digest_parameters
from fsfm_jax.detection.inversion import warn_inverted
from fsfm_jax.detection.prediction_file import read_predictions
from fsfm_jax.detection.saved import open_saved, save_detector
from fsfm_jax.export import serialize, to_torch
from fsfm_jax.jobs import evaluate, finetune, tabulate
from fsfm_jax.weights.names import CLASSIFIER, finetuned_to_official

# The evaluation that all tests read is drawn: it is made before.
pytestmark = pytest.mark.usefixtures("undrawn")
SETS = "CDFv2=forged:blend:18:2,other=forged:blend:8:3:1"


@pytest.fixture(scope="module")
def evaluated(tuned, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("evaluated")
    evaluate.run(evaluation_of(tuned, SETS), str(workdir))
    return workdir


def metrics(workdir) -> dict:
    return json.loads((workdir / "metrics.json").read_text())


def test_predictions_hold_every_frame_once_and_metrics_are_those_of_them(evaluated, tuned):
    rows = list(csv.DictReader((evaluated / "predictions" / "CDFv2.csv").read_text().splitlines()))
    source = ForgedSource(["blend"], 18, 2)
    assert [row["source"] for row in rows] == [source[index]["source"] for index in range(18)]
    assert [int(row["label"]) for row in rows] == list(source.labels)
    assert [row["class"] for row in rows] == [("fake", "real")[label] for label in source.labels]
    content = metrics(evaluated)
    frame, video = (content["data"]["CDFv2"][level] for level in ("frame", "video"))
    assert frame["examples"] == 18 and video["examples"] == 5
    rows = list(csv.DictReader((evaluated / "predictions" / "CDFv2.csv").read_text().splitlines()))
    scores, labels = (np.array([float(row[name]) for row in rows]) for name in ("score", "label"))
    assert frame["metrics"]["auc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    # A single manipulation is the whole set.
    blend = content["data"]["CDFv2"]["methods"]["blend"]
    for level, whole in (("frame", frame), ("video", video)):
        assert blend[level]["metrics"]["auc"] == whole["metrics"]["auc"]
        assert [blend[level][name] for name in ("positives", "negatives")] == [whole["positives"], whole["negatives"]]
    row = f"| CDFv2 | blend | {video['negatives']} | {video['positives']} | {100 * frame['metrics']['auc']:.2f} |"
    assert row in (evaluated / "table.md").read_text()
    assert content["checkpoint"] == tuned and content["detector"]["class_names"] == ["fake", "real"]
    assert "seen" not in content["detector"] and content["transform"] == "resize_center"


def test_thresholds_say_where_they_come_from(evaluated, tuned):
    video = metrics(evaluated)["data"]["CDFv2"]["video"]
    found = [(t["rule"], t["chosen_on"], t["oracle"]) for t in video["thresholds"]]
    assert found == [
        ("fixed at 0.5", None, False),
        ("equal error", "forged:blend:16:1:0", False),
        ("false negative rate <= 0.01", "forged:blend:16:1:0", False),
        ("least |FRR - FAR| on the grid k/10000", "forged:blend:18:2:0", True),
    ]
    kept = open_saved(tuned).thresholds("video")[1].value
    assert video["thresholds"][2]["threshold"] == kept


def test_a_named_split_can_choose_the_threshold_and_attacks_count_as_forgeries_if_one_says_so(tuned, tmp_path):
    sets = "a=forged:blend:8:3,b=fake=forged:print:8:9"
    evaluate.run(evaluation_of(tuned, sets, data__threshold="forged:blend:16:4"), str(tmp_path))
    assert metrics(tmp_path)["data"]["b"]["frame"]["positives"] == 4
    thresholds = metrics(tmp_path)["data"]["a"]["video"]["thresholds"]
    assert [t["chosen_on"] for t in thresholds] == [None, "forged:blend:16:4:0", "forged:blend:8:3:0"]


def test_the_table_has_ours_beside_the_published_and_figures_are_drawn(evaluated):
    table = (evaluated / "table.md").read_text()
    assert "| 85.05 | 91.44 |" in table and "- scored: CDFv2: 5 videos, 18 frames; other: 2 videos, 8 frames\n" in table
    assert "the lowest loss (" in table and "chosen on forged:blend:16:1:0" in table
    for name in ("CDFv2", "other"):
        for kind in ("", "_calibration"):
            assert cv2.imread(str(evaluated / "figures" / f"{name}{kind}.png")).std() > 10


def drawn_detector(workdir, **config) -> str:
    """The workdir of a detector with drawn parameters, not calibrated."""
    made = serialized.detector(**config)
    save_detector(str(workdir), 7, made.params, made.card | {"calibration": None})
    return str(workdir)


def test_the_transform_is_that_of_the_detector_and_another_is_said(tmp_path):
    """A detector that was selected on whole crops scores whole crops, unless it is told otherwise."""
    workdir, said = drawn_detector(tmp_path / "run", evaluation__transform="resize"), {}
    for chosen in ("", "resize_center"):
        folder = tmp_path / f"evaluated{chosen}"
        folder.mkdir()
        evaluate.run(evaluation_of(workdir, "a=forged:blend:8:2", evaluation__transform=chosen), str(folder))
        found = json.loads((folder / "metrics.json").read_text())
        (said[found["transform"]],) = (
            line for line in (folder / "table.md").read_text().splitlines() if line.startswith("- picture that")
        )
    told = "- picture that the network sees: {} to 32 pixels"
    another = "; the detector was selected and calibrated with resize"
    assert said == {"resize": told.format("resize"), "resize_center": told.format("resize_center") + another}


def test_an_evaluation_does_not_replace_another(evaluated, tuned, tmp_path):
    before = {name: (evaluated / name).read_bytes() for name in ("metrics.json", "table.md")}
    for detector, sets, fields, text in (
        (tuned, "CDFv2=forged:blend:18:2", {}, "holds the results of another evaluation: the data sets CDFv2, other"),
        (tuned, SETS.replace("18:2", "14:2"), {}, "the data sets CDFv2, other. Take another --workdir, or remove"),
        (tuned, SETS, {"evaluation__transform": "resize"}, "evaluation: transform resize_center, not resize"),
        (drawn_detector(tmp_path / "run"), SETS, {}, f"evaluation: checkpoint {tuned}, not {tmp_path}/run"),
    ):
        with pytest.raises(ValueError, match=text):
            evaluate.run(evaluation_of(detector, sets, **fields), str(evaluated))
    config = tabulation.tabulate()
    config.runs = str(evaluated)
    with pytest.raises(ValueError, match="holds the results of an evaluation"):
        tabulate.run(config, str(evaluated))
    # The same again, and with another set, loses nothing.
    evaluate.run(evaluation_of(tuned, SETS), str(evaluated))
    assert before == {name: (evaluated / name).read_bytes() for name in before}
    (tmp_path / "table.md").write_text("of a comparison")
    with pytest.raises(ValueError, match="holds a table.md without metrics.json"):
        evaluate.run(evaluation_of(tuned, SETS), str(tmp_path))


def test_abstention_and_sets_are_fitted_on_the_threshold_split_alone(tuned, tmp_path):
    """What is fitted on the split of the thresholds is what the other set is judged by, from its predictions."""
    fields = {f"report__selective__{name}": value for name, value in (("calibration", "isotonic"), ("alpha", 0.4))}
    config = evaluation_of(tuned, "A=forged:blend:64:2", data__threshold="forged:blend:64:4", **fields)
    evaluate.run(config, str(tmp_path))
    found = metrics(tmp_path)["data"]["A"]["selective"]
    split = tmp_path / "split"
    evaluate.run(evaluation_of(tuned, "S=forged:blend:64:4,A=forged:blend:64:2"), str(split))
    scores, labels = {}, {}
    for name in "SA":
        table = read_predictions(split / "predictions" / f"{name}.csv")
        videos = np.unique(table["video"])
        scores[name] = np.array([table["score"][table["video"] == video].mean() for video in videos])
        labels[name] = np.array([table["label"][table["video"] == video][0] for video in videos])
    rule = IsotonicRegression(out_of_bounds="clip").fit(scores["S"], labels["S"])
    likely = rule.predict(scores["A"])
    kept = np.maximum(likely, 1 - likely) >= (found["abstention"]["confidence"] or np.inf)
    wrong = (likely >= 0.5) != labels["A"]
    abstention = found["abstention"]["metrics"]
    assert abstention["coverage"] == kept.mean()
    assert abstention["risk"] == (pytest.approx(wrong[kept].mean()) if kept.any() else None)
    assert found["probabilities"]["isotonic"]["errors"] == pytest.approx(wrong.mean())
    held = np.where(labels["A"], 1 - likely <= found["conformal"]["thresholds"]["real"],
                    likely <= found["conformal"]["thresholds"]["forged"])  # fmt: skip
    assert found["conformal"]["metrics"]["coverage"] == pytest.approx(held.mean()) and found["fitted_videos"] == 16
    assert found["conformal"]["chosen_on"] == {"real": 8, "forged": 8} and found["conformal"]["bound"] == 0.6
    table = (tmp_path / "table.md").read_text()
    assert "Fitted on forged:blend:64:4:0, 16 videos (calibration: isotonic)" in table
    assert f"| A | {100 * wrong.mean():.2f} |" in table
    assert "selective" not in metrics(split)["data"]["A"] and "Abstention" not in (split / "table.md").read_text()
    for changed, text in (
        ({"data__threshold": ""}, "report.selective: it is fitted on data.threshold, which is empty"),
        ({"data__threshold": "forged:blend:64:2"}, "no common videos, found 16"),
        ({"report__selective__calibration": "platt"}, "calibration: expected one of none, temperature"),
        ({"report__selective__alpha": 0.0}, "report.selective.alpha: expected more than 0"),
    ):
        asked = {"data__threshold": "forged:blend:64:4", **fields, **changed}
        with pytest.raises(ValueError, match=text):
            evaluate.run(evaluation_of(tuned, "A=forged:blend:64:2", **asked), str(tmp_path / "refused"))


def test_a_detector_without_temperature_says_so(tmp_path):
    """Not at the end of a long training with an error, but in the table."""
    workdir, asked = drawn_detector(tmp_path / "run"), {"data__threshold": "forged:blend:16:4"}
    config = evaluation_of(workdir, "A=forged:blend:8:2", report__selective__calibration="temperature", **asked)
    evaluate.run(config, str(tmp_path))
    assert "A: undefined, the detector has no temperature; set" in (tmp_path / "table.md").read_text()


def test_calibration_is_shown_before_and_after(evaluated, tuned):
    detector = open_saved(tuned)
    calibration = metrics(evaluated)["data"]["CDFv2"]["calibration"]
    assert calibration["raw"]["temperature"] == 1 and calibration["calibrated"]["temperature"] == detector.temperature
    found = read_predictions(evaluated / "predictions" / "CDFv2.csv")
    odds = np.log(found["score"] / (1 - found["score"])) / detector.temperature
    np.testing.assert_allclose(found["calibrated"], 1 / (1 + np.exp(-odds)), rtol=1e-6)


def test_parquet_holds_the_same(evaluated, tuned, tmp_path):
    evaluate.run(evaluation_of(tuned, "CDFv2=forged:blend:18:2", report__predictions="parquet"), str(tmp_path))
    one = read_predictions(tmp_path / "predictions" / "CDFv2.parquet")
    other = read_predictions(evaluated / "predictions" / "CDFv2.csv")
    assert list(one) == list(other)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_a_set_of_one_class_is_undefined_with_the_reason(tuned, tmp_path):
    # The first four frames are one video.
    evaluate.run(evaluation_of(tuned, "few=forged:blend:4:2"), str(tmp_path))
    content = metrics(tmp_path)["data"]["few"]
    assert content["video"]["metrics"]["auc"] is None and content["video"]["undefined"]["auc"]
    assert "| few | undefined | undefined | undefined |" in (tmp_path / "table.md").read_text()


def test_exports_are_evaluated_as_the_run_they_came_from(evaluated, tuned, tmp_path):
    exported, *_ = to_torch.convert(tuned, "official", str(tmp_path / "official"))
    serialize.serialize(open_saved(tuned), str(tmp_path / "detector.jax"), platforms=("cpu",))
    wanted = read_predictions(evaluated / "predictions" / "CDFv2.csv")
    for path, bound in ((exported, 0), (str(tmp_path / "detector.jax"), 1e-6)):  # another order of summation
        workdir = tmp_path / f"evaluated_{path[-4:]}"
        evaluate.run(evaluation_of(path, SETS), str(workdir))
        found = read_predictions(workdir / "predictions" / "CDFv2.csv")
        for column in ("score", "calibrated"):
            np.testing.assert_allclose(found[column], wanted[column], rtol=0, atol=bound)
        for name in ("frame", "video"):
            one, other = (metrics(place)["data"]["CDFv2"][name]["thresholds"] for place in (workdir, evaluated))
            assert [t["threshold"] for t in one[:3]] == [t["threshold"] for t in other[:3]]
        # Weights have one digest wherever they lie; a serialized detector has that of its file.
        known, of_run = (metrics(place)["facts"]["detector"] for place in (workdir, evaluated))
        assert (of_run["seed"], of_run["trained_on"]) == (0, "forged:blend:24")
        assert (known["seed"], known["trained_on"]) == ((None, None) if bound else (0, "forged:blend:24"))
        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest() if bound else of_run["weights_sha256"]
        assert known["weights_sha256"] == digest
        # What it was trained on cannot judge it, in whatever form.
        with pytest.raises(ValueError, match="2 of its 2 videos were used to train .*. Training videos"):
            evaluate.run(evaluation_of(path, "a=forged:blend:8"), str(workdir))
        with pytest.raises(ValueError, match="official.classes: expected fake,real, as .* says; found real,fake"):
            evaluate.run(evaluation_of(path, SETS, official__classes="real,fake"), str(workdir))


def test_an_official_file_scores_as_the_run_it_came_from(evaluated, tuned, tmp_path):
    detector = open_saved(tuned)
    state = finetuned_to_official(detector.params, CLASSIFIER, 16)
    path = tmp_path / "checkpoint-min_val_loss.pth"
    path = official_weights.write(path, {name: np.ascontiguousarray(array) for name, array in state.items()})
    (tmp_path / "pretrain_ds_mean_std.txt").write_text(json.dumps(detector.card["statistics"]))
    fields = dict(official__classes="fake,real", official__dtype="float32")
    evaluate.run(evaluation_of(path, SETS, **fields), str(tmp_path))
    one, other = (read_predictions(folder / "predictions" / "CDFv2.csv") for folder in (tmp_path, evaluated))
    np.testing.assert_array_equal(one["score"], other["score"])
    text = (tmp_path / "table.md").read_text()
    assert "calibrated" not in one and "- selection: An official file" in text and "far below" not in text
    assert "- trained on: not known\n- seed of the training: not known\n" in text
    assert f"- weights, SHA-256: {digest_parameters(detector.params)[:12]}\n" in text
    # Named in the other order, the same file is a detector of the opposite.
    swapped = {**fields, "official__classes": "real,fake"}
    with pytest.raises(ValueError, match="expected the detector's classes real, fake with real as real"):
        evaluate.run(evaluation_of(path, SETS, **swapped), str(tmp_path))


# Of 9 real and 9 forged frames, an AUC of 1/2 has the deviation sqrt(19 / 972) = 0.14.
@pytest.mark.parametrize(("area", "examples", "positives", "warned"), [
    (0.05, 18, 9, True), (0.22, 18, 9, True), (0.23, 18, 9, False), (0.39, 2000, 1000, True),
    (0.41, 2000, 1000, False), (0.95, 18, 9, False), (0.0, 3, 1, False), (None, 4, 4, False),
])  # fmt: skip
def test_an_evaluation_far_below_chance_is_noticed(area, examples, positives, warned):
    summary = {"metrics": {"auc": area}, "examples": examples, "positives": positives}
    nothing = {"metrics": {"auc": None}, "examples": 1, "positives": 1}
    for levels in ({"video": nothing, "frame": summary}, {"video": summary, "frame": nothing}):
        text = warn_inverted("A", levels, True)
        assert text.startswith(f"A: AUC of {'frames' if levels['frame'] is summary else 'videos'} ") == warned
        assert ("not in the order of the outputs (check --classes" in text) == warned
        assert ("labels of this set" in warn_inverted("A", levels, False)) == warned


def test_classes_in_the_wrong_order_are_warned_of(tuned, tmp_path, monkeypatch, caplog):
    detector = open_saved(tuned)
    state = finetuned_to_official(detector.params, CLASSIFIER, 16)
    path = official_weights.write(tmp_path / "a.pth", {n: np.ascontiguousarray(a) for n, a in state.items()})
    (tmp_path / "pretrain_ds_mean_std.txt").write_text(json.dumps(detector.card["statistics"]))
    # So that of the two orders of a detector that has hardly learnt, one is below.
    monkeypatch.setattr("fsfm_jax.detection.inversion.FAR_BELOW", 0.5)
    monkeypatch.setattr("fsfm_jax.detection.inversion.DEVIATIONS", 0.0)
    below = {}
    for classes in ("fake,real", "real,fake"):
        caplog.clear()
        workdir = tmp_path / classes
        evaluate.run(evaluation_of(path, "A=fake=forged:blend:24:2", official__classes=classes), str(workdir))
        warned = "class names are probably not in the order" in caplog.text
        assert warned == ("Warning: A: AUC of" in (workdir / "table.md").read_text())
        below[classes] = warned, metrics(workdir)["data"]["A"]["frame"]["metrics"]["auc"] < 0.5
    assert [warned for warned, _ in below.values()] == [below_half for _, below_half in below.values()]
    assert sum(warned for warned, _ in below.values()) == 1


def test_several_results_become_one_table(evaluated, pretrained, tmp_path):
    config = tabulation.tabulate()
    config.runs = f"{evaluated},{evaluated}"
    tabulate.run(config, str(tmp_path))
    assert (tmp_path / "table.md").read_text().endswith(facts.block(facts.read(metrics(evaluated))))
    frame = metrics(evaluated)["data"]["CDFv2"]["frame"]["metrics"]["auc"]
    text = (tmp_path / "table.md").read_text()
    assert f"| CDFv2 | 2 | {100 * frame:.2f} ± 0.00 |" in text and "| mean | 4 |" in text and "85.05" in text
    rows = list(csv.DictReader((tmp_path / "table.csv").read_text().splitlines()))
    assert float(rows[0]["frame AUC"]) == pytest.approx(100 * frame) and rows[0]["frame AUC deviation"] == "0.0"
    # A number of the paper is a number; others keep their marks, and no mean is taken of them.
    titles = ("published video AUC", "FS-VFM ViT-L video AUC")
    assert [rows[0][title] for title in titles] == ["91.44", "95.17ᵃ, 94.42ᵗ, 91.99ᵗ"]
    assert [row[title] for row in rows[1:] for title in titles] == [""] * 4 and rows[2]["data set"] == "mean"
    assert "| 91.44 | 87.64ᵃ, 86.13ᵗ | 95.17ᵃ, 94.42ᵗ, 91.99ᵗ |" in text and "\nᵃ The authors' number" in text
    summary = metrics(evaluated)["data"]["CDFv2"]
    head, (*_, means) = tabulate.numbers({"CDFv2": [summary], "DFD": [summary]}, "dfd")
    assert dict(zip(head, means, strict=True))["FS-VFM ViT-L video AUC"] is None
    empty = pretrained
    for runs, error, message in (
        ("", ValueError, "runs: expected workdirs with commas, found none"),
        (empty, FileNotFoundError, f"runs: no metrics.json in {empty}/, {empty}/test, {empty}/seed_"),
    ):
        config.runs = runs
        with pytest.raises(error, match=message):
            tabulate.run(config, str(tmp_path))
    config.layout = "dfg"
    with pytest.raises(ValueError, match="layout: expected one of dfd, .*'dfg'; did you mean 'dfd'"):
        tabulate.run(config, str(tmp_path))


@pytest.mark.parametrize("fields, error, text", [
        ({"data.sets": "forged:blend:8"}, ValueError, "data.sets: expected NAME=SPEC,NAME=SPEC with each name once"),
        ({"data.sets": "a=forged:print:8"}, ValueError, "expected the detector's classes fake, real with real as"),
        ({"data.sets": "a=forged:blend:8"}, ValueError, "2 of its 2 videos were used to train .*. Training videos"),
        ({"data.threshold": "forged:blend:4:9"}, ValueError, "data.threshold: no face of class (fake|real)"),
        ({"checkpoint": ""}, FileNotFoundError, "checkpoint: no run at an empty path"),
        ({"checkpoint": "model.pth"}, FileNotFoundError, "checkpoint: model.pth is not there"),
        ({"checkpoint": "hf://a/b"}, ValueError, "hf://a/b: expected hf://OWNER/.*, found no @REVISION"),
        ({"official.classes": "fake,real"}, ValueError, "official.classes: .* is a run, which stores it"),
        ({"official.dtype": "nonsense"}, ValueError, "official.dtype: expected one of .*found 'nonsense'"),
        ({"official.norm_over": "nonsense"}, ValueError, "official.norm_over: expected one of .*found 'nonsense'"),
        ({"official.statistics": "imagenet"}, ValueError, "official.statistics: .* is a run, which stores it"),
        ({"evaluation.transform": "crop"}, ValueError, "evaluation.transform: expected one of resize, resize_center"),
        ({"evaluation.batch": 12}, ValueError, "evaluation.batch: 12 images do not divide among 8 devices"),
    ])  # fmt: skip
def test_what_does_not_fit_is_refused(tuned, tmp_path, fields, error, text):
    config = evaluation_of(tuned, "a=forged:blend:8:9")
    config.update_from_flattened_dict(fields)
    with pytest.raises(error, match=text):
        evaluate.run(config, str(tmp_path))


def test_a_pretraining_run_and_one_that_was_stopped_are_no_detectors(pretrained, tmp_path):
    with pytest.raises(ValueError, match="holds a run of job 'pretrain'; expected one of finetune"):
        evaluate.run(evaluation_of(pretrained, "a=forged:blend:8"), str(tmp_path))
    finetune.run(tiny(init=pretrained, data__validation="", selection__rule="last"), str(tmp_path / "run"), "2")
    with pytest.raises(FileNotFoundError, match="has not finished, it is at step 2. Run its command again to resume"):
        evaluate.run(evaluation_of(str(tmp_path / "run"), "a=forged:blend:8"), str(tmp_path))
