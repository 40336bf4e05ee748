"""The study: a small one from end to end, its tasks, its numbers by hand, and what it refuses."""

import csv
import json
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from prepared import records_of_faces
from tuning import FINETUNING, PRETRAINING, changed, draw_nothing

from fsfm_jax.config import study as template
from fsfm_jax.data.photo import encode_png
from fsfm_jax.data.synthetic import synthetic_face
from fsfm_jax.detection import study as numbers
from fsfm_jax.detection.prediction_file import read_predictions
from fsfm_jax.jobs import study
from fsfm_jax.metrics.area import mean_area
from fsfm_jax.resolve.study import Cell, Task, find_sources, plan_study

LEFT_OUT = ("data.train", "data.validation")
TUNED = {f"finetune.{name}": value for name, value in FINETUNING.items() if name not in LEFT_OUT}
TUNED |= {"finetune.duration": "2 steps", "finetune.checkpoint.every": "2 steps"}
MADE = {name: value for name, value in PRETRAINING.items() if name not in LEFT_OUT}
TASKS = "swaps: real=a; fake=b; test=b,x_fake; against=a,x_real; control=c | blends: real=a; fake=blended; test=b"
PLACES = ("real/a", "real/c", "forged/b", "x/real", "x/fake")


def texts(fields):
    return "; ".join(f"{name}={value}" for name, value in fields.items())


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Folders of pictures that nothing opens."""
    root = tmp_path_factory.mktemp("pictures")
    for place in PLACES:
        (root / place).mkdir(parents=True)
        (root / place / "1.png").write_bytes(b"")
    return root


def config_of(pictures: Path, **fields):
    arms = f"scratch: init=scratch; {texts(TUNED)} | FSFM: {texts(MADE | TUNED)} | again: init=FSFM; {texts(TUNED)}"
    base = {"folder": str(pictures), "arms": arms, "tasks": TASKS, "seeds": 2, "pretraining": "pretrain_demo"}
    base |= {"finetuning": "finetune_demo", "groups": r"c=(?P<age>\d+)_(?P<kind>\w)", "pretrain_on": "a"}
    return changed(template.study(), base | fields)


def make_records(source, config, workdir):
    """Drawn faces in the place of those of `source`; `b` is dark, so that it can be told."""
    def faces(split, start, count):
        for number in range(start, start + count):
            image, parsing_map = synthetic_face(len(source.name), number, 224)
            yield encode_png(image // (1 + (source.name == "b")), 1), parsing_map, f"{split}{20 + number}_m.png"

    splits = {"train": [*faces("t", 0, 8)], "val": [*faces("v", 8, 4)], "test": [*faces("e", 12, 4)]}
    records_of_faces(Path(workdir, "records", source.name), splits, 8, source.name)


@pytest.fixture(scope="module")
def studied(pictures, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("studied")
    with pytest.MonkeyPatch.context() as patch:
        draw_nothing(patch)
        patch.setattr(study, "_prepare", make_records)
        arms = config_of(pictures).arms.partition(" | again")[0]
        study.run(config_of(pictures, tasks=TASKS.partition(" | ")[0], arms=arms), str(workdir))
    return workdir


def test_a_study_says_what_every_arm_finds(studied):
    content = json.loads((studied / "study.json").read_text())
    found = {(one["arm"], one["source"]): one for one in content["areas"]}
    assert [*found] == [(arm, source) for arm in ("scratch", "FSFM") for source in ("b", "x_fake", "c")]
    # b is learnt from, so its test share alone judges; x_fake is not, so all of its pictures do.
    assert [found["FSFM", name]["forged"] for name in ("b", "x_fake", "c")] == [4, 16, 4]
    assert {one["real"] for one in found.values()} == {4 + 16} and {one["seeds"] for one in found.values()} == {2}
    assert [one["control"] for one in content["areas"][:3]] == [False, False, True]
    seeds = [read_predictions(studied / f"runs/swaps/fsfm/seed_{seed}/test/predictions/forged.csv") for seed in (0, 1)]
    real, dark = seeds[0]["class"] == "real", seeds[0]["method"] == "b"
    areas = [np.mean(one["score"][real][:, None] > one["score"][dark]) for one in seeds]
    assert found["FSFM", "b"]["auc"] == pytest.approx(np.mean(areas), abs=1e-12)
    groups = {one["group"]: one["faces"] for one in content["alarms"] if one["arm"] == "FSFM" and one["source"] == "c"}
    assert groups == {"all": 8, "age 30-44": 8, "kind m": 8}
    (alarms,) = (one for one in content["alarms"] if one["arm"] == "FSFM" and one["source"] == "a")
    called = 0
    for seed, table in enumerate(seeds):
        card = json.loads((studied / f"runs/swaps/fsfm/seed_{seed}/test/metrics.json").read_text())["detector"]
        own = np.char.startswith(table["video"], "a/") & real
        called += int((table["score"][own] < card["calibration"]["thresholds"]["frame"][-1]["value"]).sum())
    assert (alarms["called"], alarms["faces"]) == (called, 8)
    text = (studied / "table.md").read_text()
    assert "| arm | b | x_fake | control: c | minutes a seed |" in text and "Pretraining of FSFM" in text
    one = content["facts"]["detectors"]["swaps, FSFM, seed 1"]
    own = json.loads((studied / "runs/swaps/fsfm/seed_1/test/metrics.json").read_text())["facts"]["detector"]
    assert one == own and own["seed"] == 1 and f"swaps, FSFM, seed 1: {own['weights_sha256'][:12]}" in text
    rows = list(csv.DictReader((studied / "table.csv").read_text().splitlines()))
    assert float(rows[3]["auc"]) == found["FSFM", "b"]["auc"]
    assert all(cv2.imread(str(studied / name)) is not None for name in ("study.png", "curves.png"))


def test_a_study_that_has_ended_runs_nothing_again(studied, pictures, monkeypatch):
    before = {path: path.read_bytes() for path in studied.glob("*.*")}
    monkeypatch.setattr(study, "_prepare", lambda *_: None)
    monkeypatch.setattr(study, "_timed", lambda start: pytest.fail)
    arms = config_of(pictures).arms.partition(" | again")[0]
    study.run(config_of(pictures, tasks=TASKS.partition(" | ")[0], arms=arms), str(studied))
    assert {path: path.read_bytes() for path in studied.glob("*.*")} == before


def test_the_plan_has_every_arm_of_every_task(pictures):
    planned = plan_study(config_of(pictures), "W")
    assert [str(cell) for cell in planned.cells] == [
        f"{task}, {arm}" for task in ("swaps", "blends") for arm in ("scratch", "FSFM", "again")
    ]
    assert [cell.needs for cell in planned.cells] == ["", "FSFM", "FSFM"] * 2
    assert {cell.config.init for cell in planned.cells if cell.arm != "scratch"} == {"W/pretraining/fsfm"}
    swaps, blends = planned.cells[1].config, planned.cells[4].config
    assert swaps.data.train == "real=W/records/a:train@0.5,fake=W/records/b:train@0.5"
    assert swaps.data.test.startswith("forged=real=W/records/a:test+real=W/records/x_real:train+")
    assert swaps.data.test.endswith(",control=real=W/records/a:test+real=W/records/x_real:train+real=W/records/x_real:"
                                    "val+real=W/records/x_real:test+fake=W/records/c:test")  # fmt: skip
    assert (blends.data.train, blends.data.validation) == ("blended:W/records/a:train@1", "blended:W/records/a:val")
    assert {name for name, source in planned.sources.items() if source.parsed} == {"a"}
    assert [*planned.sources] == ["a", "b", "c", "x_real", "x_fake"]


def test_the_time_is_told_from_the_number_of_pictures(pictures, tmp_path):
    planned = plan_study(config_of(pictures, tasks="swaps: real=a; fake=b; test=b"), str(tmp_path))
    prepare, train = study.estimate(planned, str(tmp_path))
    # One picture a folder: a is parsed, b is not; 2 steps of 8 once, and 2 of 16 for two seeds of three arms.
    assert prepare == pytest.approx(1 / study.PARSED + 1 / study.PREPARED)
    assert train == pytest.approx(16 / study.PRETRAINED + 3 * 2 * (32 / study.FINETUNED + 2 / study.SCORED))
    (tmp_path / "pretraining/fsfm").mkdir(parents=True)
    (tmp_path / "pretraining/fsfm/cell.json").touch()
    assert study.estimate(planned, str(tmp_path))[1] == pytest.approx(train - 16 / study.PRETRAINED)
    # With kept features the encoder sees the two pictures of training and test once, for all seeds.
    planned.cells[0].config.features.cache = "kept"
    saved = 2 * (32 / study.FINETUNED + 2 / study.SCORED) - (2 + 2) / study.SCORED
    assert study.estimate(planned, str(tmp_path))[1] == pytest.approx(train - 16 / study.PRETRAINED - saved)


def test_without_tasks_every_folder_is_one(pictures):
    planned = plan_study(config_of(pictures, tasks="", controls="c"), "W")
    assert [(task.name, task.real, task.fake, task.test) for task in planned.tasks] == [
        ("x", ("x_real",), ("x_fake",), ("x_fake",)),
        ("b", ("a", "x_real"), ("b",), ("b", "x_fake")),
        ("blended", ("a", "x_real"), ("blended",), ("b", "x_fake")),
    ]
    assert {task.control for task in planned.tasks} == {("c",)}


@pytest.mark.parametrize("fields, message", [
    ({"tasks": "t: real=a; fake=b"}, "t: expected sources of test; found none"),
    ({"tasks": "t: real=a; fake=bb; test=b"}, "t: fake: .*found 'bb'; did you mean 'b'"),
    ({"tasks": "t: real=b; fake=b; test=b"}, "t: real: b cannot be real"),
    ({"tasks": "t: real=a; fake=b; test=b; control=a"}, "nothing may learn from a control; found a in both"),
    ({"tasks": "t: real=a; fake=blended,b; test=b"}, "blended stands alone"),
    ({"tasks": "t: real=a; fake=b; test=blended"}, "test: blended cannot be test"),
    ({"pretrain_on": "b"}, "pretrain_on: expected real faces, found b"),
    ({"arms": "x: init=scratch; mask.ratio=0.5"}, "x: nothing is pretrained that mask.ratio could change"),
    ({"arms": "x: finetune.data.train=b"}, "finetune.data.train is decided by the study itself"),
    ({"folder": ""}, "expected a folder of pictures, found nothing"),
])  # fmt: skip
def test_a_study_that_cannot_be_is_refused(pictures, fields, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        plan_study(config_of(pictures, **fields), "W")


def test_another_layout_is_refused(tmp_path):
    (tmp_path / "photos/deep").mkdir(parents=True)
    said = "expected real/NAME, forged/NAME, or NAME/real next to NAME/fake; found .*photos"
    with pytest.raises(ValueError, match=said):
        find_sources(str(tmp_path))
    for place in ("real/x_real", "x/real", "x/fake"):
        (tmp_path / "two" / place).mkdir(parents=True)
    with pytest.raises(ValueError, match="have the same name x_real; rename one"):
        find_sources(str(tmp_path / "two"))


def test_pictures_that_cannot_be_prepared_end_the_study(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess((), 1))
    with pytest.raises(ValueError, match="a: .*real/a was not prepared"):
        study.run(config_of(pictures, arms="x: init=scratch; " + texts(TUNED)), str(tmp_path))


def test_faces_below_the_threshold_are_alarms_of_their_group():
    # Of the real faces 0.2 and 0.4 lie below their seeds' thresholds; the forged one is none of them.
    seed = {"class": np.array(["real", "real", "fake"]), "video": np.array(["c/20_m", "c/50_m", "c/20_f"])}
    seeds = [seed | {"score": np.array(scores)} for scores in ([0.2, 0.9, 0.1], [0.4, 0.8, 0.3])]
    cell = Cell(Task("t", *[()] * 6), "arm", "", None, "")
    found = numbers._alarms(cell, seeds, [0.3, 0.5], numbers.parse_groups(r"c=(?P<age>\d+)_"), "forged")
    counts = [(one.group, one.called, one.faces) for one in found]
    assert counts == [("all", 2, 4), ("age -29", 2, 2), ("age 45-59", 0, 2)]


def test_the_seconds_of_all_attempts_add_up(tmp_path, monkeypatch):
    clock = iter([10.0, 12.0, 20.0, 25.0])
    monkeypatch.setattr(study.time, "monotonic", lambda: next(clock))
    for _ in range(2):
        study._timed(lambda config, folder: None)(None, str(tmp_path))
    assert study.seconds_of(str(tmp_path)) == 7.0


def test_the_area_of_several_detectors_is_their_mean():
    labels = np.array([True, True, False, False])
    scores = [np.array([0.9, 0.8, 0.1, 0.2]), np.array([0.1, 0.8, 0.5, 0.2])]
    mean, low, high, deviation = mean_area(scores, labels)
    # 1 and 2 of 4 pairs in order.
    assert (mean, deviation) == pytest.approx((0.75, 0.25)) and low <= mean <= high
    assert mean_area([scores[0]] * 3, labels) == (1.0, 1.0, 1.0, 0.0)


def test_shares_have_the_interval_of_wilson():
    # Brown, Cai and DasGupta (2001) give it for 0 of 10: 0 to z**2 / (n + z**2).
    assert numbers.wilson(0, 10) == pytest.approx((0.0, 1.959964**2 / (10 + 1.959964**2)))
    low, high = numbers.wilson(5, 10)
    assert low + high == pytest.approx(1.0)


def test_groups_are_named_parts_of_a_pattern():
    patterns = numbers.parse_groups(r"c=(?P<age>\d+)_(?P<sex>\d)")
    assert [numbers._groups_of(name, patterns["c"]) for name in ("18_1.jpg", "60_0.jpg", "x.jpg")] == [
        ["age -29", "sex 1"], ["age 60-", "sex 0"], [],
    ]  # fmt: skip
    for text in ("c=(", "c=x"):
        with pytest.raises(ValueError, match="groups: "):
            numbers.parse_groups(text)
