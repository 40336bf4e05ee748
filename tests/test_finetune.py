"""Fine-tuning and evaluation on drawn forgeries, from a pretraining run, and what both jobs refuse."""

import csv
import json

import cv2
import jax
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from configs import evaluation as evaluation_fields
from configs import finetuning, pretrain_demo
from fsfm_jax import evaluate, finetune, pretrain
from fsfm_jax.checkpoint import saved_parameters
from fsfm_jax.data.forgery import ForgedSource
from fsfm_jax.detection.validation import FILE as VALIDATION_FILE

STEPS = 6


def changed(config, fields: dict):
    for name, value in fields.items():
        *parents, leaf = name.split(".")
        node = config
        for parent in parents:
            node = node[parent]
        node[leaf] = value
    return config


PRETRAINING = {
    "data.train": "samples:train", "data.statistics": "vggface2", "data.threads": 1, "batch.size": 8,
    "batch.per_device": 1, "model.size": "tiny16", "model.pixel_width": 16, "model.pixel_depth": 1,
    "model.rep_depth": 1, "model.projection_hidden": 16, "model.projection_features": 8, "duration": "2 steps",
    "optimizer.warmup": "0 steps", "checkpoint.every": "2 steps", "figure.faces": 1,
}  # fmt: skip
FINETUNING = {
    "data.train": "forged:blend:24", "data.validation": "forged:blend:16:1", "data.threads": 1,
    "batch.size": 16, "batch.per_device": 2, "model.size": "tiny16", "model.dtype": "float32",
    "augment.rand_augment": "none", "duration": f"{STEPS} steps", "optimizer.warmup": "1 steps",
    "checkpoint.every": "3 steps", "evaluation.batch": 8,
}  # fmt: skip


def tiny(**fields):
    fields = {name.replace("__", "."): value for name, value in fields.items()}
    return changed(finetuning.finetune(), {**FINETUNING, **fields})


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> str:
    workdir = str(tmp_path_factory.mktemp("pretrained"))
    pretrain.run(changed(pretrain_demo.get_config(), PRETRAINING), workdir)
    return workdir


@pytest.fixture(scope="module")
def tuned(pretrained, tmp_path_factory) -> str:
    workdir = str(tmp_path_factory.mktemp("tuned"))
    finetune.run(tiny(init=pretrained), workdir)
    return workdir


def validation(workdir: str) -> list[dict]:
    with open(f"{workdir}/{VALIDATION_FILE}") as file:
        return [json.loads(line) for line in file]


def test_a_run_leaves_checkpoint_metrics_and_validation(tuned):
    params, saved = saved_parameters(f"{tuned}/checkpoints")
    assert saved["step"] == STEPS and saved["class_names"] == ["fake", "real"] and saved["real"] == 1
    assert params["head"]["kernel"].shape == (48, 2) and "pos_embed" in params["encoder"]
    lines = validation(tuned)
    assert [line["step"] for line in lines] == [3, 6]
    looks = [line["splits"]["source-validation"] for line in lines]
    assert all(look["dataset"] == "forged:blend:16:1:0" for look in looks)
    assert all(0 <= look[name] <= 1 for look in looks for name in ("auc", "frame_auc", "hter"))
    with open(f"{tuned}/metrics.jsonl") as file:
        assert [json.loads(line)["step"] for line in file] == list(range(1, STEPS + 1))


def test_statistics_are_those_of_pretraining(tuned, pretrained):
    ours, theirs = (saved_parameters(f"{workdir}/checkpoints")[1]["statistics"] for workdir in (tuned, pretrained))
    assert ours == theirs


def test_interrupted_and_continued_it_is_the_undisturbed_run(tuned, pretrained, tmp_path):
    for stop_after in ("4", ""):
        finetune.run(tiny(init=pretrained), str(tmp_path), stop_after)
    one, other = (saved_parameters(f"{workdir}/checkpoints")[0] for workdir in (tuned, str(tmp_path)))
    jax.tree.map(np.testing.assert_array_equal, one, other)
    assert validation(str(tmp_path)) == validation(tuned)


def test_the_encoder_starts_as_it_was_pretrained(pretrained, tmp_path):
    # One step of rate 0: the warm-up begins there.
    finetune.run(tiny(init=pretrained, data__validation="", selection__rule="last"), str(tmp_path), "1")
    before, after = (saved_parameters(f"{workdir}/checkpoints")[0] for workdir in (pretrained, str(tmp_path)))
    blocks = [name for name in before["encoder"] if name.startswith("block_")]
    assert len(blocks) == 2
    for name in (*blocks, "patch_embed", "cls_token"):
        jax.tree.map(np.testing.assert_array_equal, before["encoder"][name], after["encoder"][name])


@pytest.mark.parametrize(
    "fields, error, text",
    [
        (
            {"init": ""},
            FileNotFoundError,
            "init: no run at an empty path; expected the --workdir of a run",
        ),
        ({"init": "/nowhere"}, FileNotFoundError, "init: no run at /nowhere"),
        ({"init": "scratch"}, ValueError, "data.statistics: there is no pretraining run to take them from"),
        ({"data.validation": "forged:print:8"}, ValueError, "has the classes fake, real with real as real, forged:pri"),
        ({"data.validation": "forged:blend:8"}, ValueError, "share 2 videos"),
        ({"model.network": "antispof"}, ValueError, "model.network: .*did you mean 'antispoof'"),
        ({"augment.flip": 2.0}, ValueError, "augment.flip: expected at least 0 and at most 1; found 2.0"),
        ({"batch.size": 2048}, ValueError, "batch.size: 2048 images per step, but the training data has 24"),
        ({"optimizer.warmup": "9 steps"}, ValueError, "optimizer.warmup: '9 steps' is not shorter than the run"),
        ({"model.size": "vit_b16"}, ValueError, "the pretrained parameters do not fit the network"),
    ],
)
def test_what_does_not_fit_is_refused(pretrained, tmp_path, fields, error, text):
    with pytest.raises(error, match=text):
        finetune.run(changed(tiny(init=pretrained), fields), str(tmp_path))


def test_a_detector_is_no_pretraining_run(tuned, tmp_path):
    with pytest.raises(ValueError, match="holds a run of job 'finetune'; expected one of pretrain"):
        finetune.run(tiny(init=tuned), str(tmp_path))


def test_another_recipe_does_not_go_on_with_a_run(tuned, pretrained):
    with pytest.raises(ValueError, match="of a different run:\n  loss.smoothing: 0.1 saved, 0.2 asked for"):
        finetune.run(tiny(init=pretrained, loss__smoothing=0.2), tuned)


def test_videos_of_drawn_faces_are_told_apart():
    source = ForgedSource(["blend"], 10)
    assert [str(video) for video in source.videos] == [source[index]["video"] for index in range(10)]
    assert len(set(source.videos)) == 3


def evaluation(detector: str, sets: str, **fields):
    fields = {"checkpoint": detector, "data.sets": sets, "evaluation.batch": 16, "bootstrap.resamples": 20, **fields}
    return changed(evaluation_fields.evaluate(), fields)


def test_evaluation_writes_predictions_metrics_table_and_figures(tuned, tmp_path):
    sets = "CDFv2=forged:blend:18:2,other=forged:blend:8:3:1"
    evaluate.run(evaluation(tuned, sets, **{"data.threshold": "forged:blend:16:1"}), str(tmp_path))
    rows = list(csv.DictReader((tmp_path / "predictions" / "CDFv2.csv").read_text().splitlines()))
    source = ForgedSource(["blend"], 18, 2)
    assert [row["source"] for row in rows] == [source[index]["source"] for index in range(18)]
    assert [int(row["label"]) for row in rows] == list(source.labels)
    content = json.loads((tmp_path / "metrics.json").read_text())
    frame, video = (content["data"]["CDFv2"][level] for level in ("frame", "video"))
    assert frame["examples"] == 18 and video["examples"] == 5
    scores = np.array([float(row["score"]) for row in rows])
    assert frame["metrics"]["auc"] == pytest.approx(roc_auc_score(source.labels, scores), abs=1e-12)
    chosen = [threshold["chosen_on"] for threshold in video["thresholds"]]
    assert chosen == [None, "forged:blend:16:1:0"] and not video["thresholds"][1]["oracle"]
    table = (tmp_path / "table.md").read_text()
    assert "| CDFv2 | 18 | 5 |" in table and "| 85.05 | 91.44 |" in table and "| other | 8 | 2 |" in table
    assert content["detector"]["step"] == STEPS and "no score was looked at" in content["selection"]
    for name in ("CDFv2", "other"):
        picture = cv2.imread(str(tmp_path / "figures" / f"{name}.png"))
        assert picture.shape[1] == 3 * picture.shape[0] and picture.std() > 10


def test_a_set_of_one_class_is_undefined_with_the_reason(tuned, tmp_path):
    # The first four frames are one video.
    evaluate.run(evaluation(tuned, "few=forged:blend:4:2"), str(tmp_path))
    content = json.loads((tmp_path / "metrics.json").read_text())["data"]["few"]
    assert content["video"]["metrics"]["auc"] is None and content["video"]["undefined"]["auc"]
    assert "| few | 4 | 1 | undefined | undefined | undefined |" in (tmp_path / "table.md").read_text()


@pytest.mark.parametrize(
    "fields, error, text",
    [
        ({"data.sets": "forged:blend:8"}, ValueError, "data.sets: expected NAME=SPEC,NAME=SPEC with each name once"),
        ({"data.sets": "a=forged:blend:8,a=forged:blend:8"}, ValueError, "with each name once; found 'a=forged"),
        ({"data.sets": "a=forged:print:8"}, ValueError, "the detector was trained on fake, real with real as real"),
        ({"checkpoint": ""}, FileNotFoundError, "checkpoint: no run at an empty path"),
        ({"evaluation.transform": "crop"}, ValueError, "evaluation.transform: expected one of resize, resize_center"),
        ({"evaluation.batch": 12}, ValueError, "evaluation.batch: 12 images do not divide among 8 devices"),
    ],
)
def test_evaluation_refuses_what_does_not_fit(tuned, tmp_path, fields, error, text):
    with pytest.raises(error, match=text):
        evaluate.run(evaluation(tuned, "a=forged:blend:8", **fields), str(tmp_path))


def test_a_pretraining_run_is_no_detector(pretrained, tmp_path):
    with pytest.raises(ValueError, match="holds a run of job 'pretrain'; expected one of finetune"):
        evaluate.run(evaluation(pretrained, "a=forged:blend:8"), str(tmp_path))
