"""The fine-tuning job on drawn forgeries: what it leaves, goes on from, starts from and refuses."""

import csv
import hashlib
import json
from pathlib import Path

import jax
import numpy as np
import official_weights
import pytest
from event_files import read_events
from flax.traverse_util import flatten_dict
from tuning import STEPS, TEST_SET, TESTED, looks, tiny, tiny_pretraining, tuned_run

from fsfm_jax.detection.encoder import open_encoder
from fsfm_jax.detection.opener import Unsaid
from fsfm_jax.detection.saved import Kept, open_saved
from fsfm_jax.jobs import finetune, pretrain
from fsfm_jax.jobs.finetune_inputs import open_inputs
from fsfm_jax.models.layers import sincos_positions
from fsfm_jax.resolve.finetune import resolve_finetuning
from fsfm_jax.run.checkpoint import Checkpoints, Retention, read_parameters, read_parts
from fsfm_jax.tasks.normalisation import STATISTICS
from fsfm_jax.train.program import Program
from fsfm_jax.weights.names import PRETRAINING, official_name, to_official_array


def parameters(workdir: str, folder: str = "checkpoints") -> dict:
    return read_parameters(f"{workdir}/{folder}")[0]


def same(one: dict, other: dict) -> bool:
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, one, other)))


def test_a_run_leaves_checkpoint_metrics_looks_and_an_account_of_every_array(tuned, pretrained):
    params, saved = read_parameters(f"{tuned}/checkpoints")
    assert saved["step"] == STEPS and saved["class_names"] == ["fake", "real"] and saved["real"] == 1
    assert params["head"]["kernel"].shape == (48, 2) and "pos_embed" in params["encoder"]
    lines = looks(tuned)
    assert [line["step"] for line in lines] == [3, 6] and lines == saved["evaluated"]
    found = [line["splits"]["source-validation"] for line in lines]
    assert all(look["dataset"] == "forged:blend:16:1:0" for look in found)
    assert all(0 <= look[name] <= 1 for look in found for name in ("auc", "frame_auc", "hter"))
    with open(f"{tuned}/metrics.jsonl") as file:
        assert [json.loads(line)["step"] for line in file] == list(range(1, STEPS + 1))
    account = json.loads(Path(tuned, "initialisation.json").read_text())
    before, after = (set(flatten_dict(parameters(workdir), sep="/")) for workdir in (pretrained, tuned))
    network = account["network"]
    assert sorted(network["loaded"] + network["resized"] + network["new"]) == sorted(after)
    # Positions are fixed in pretraining: they are computed.
    assert set(network["loaded"]) - {"encoder/pos_embed"} | network["dropped"].keys() == before
    assert sorted([*account["file"]["loaded"], *account["file"]["skipped"]]) == sorted(before)


def test_a_run_ends_with_a_detector_that_knows_what_its_scores_mean_and_is_tested(tuned, pretrained):
    detector = open_saved(tuned)
    card = detector.card
    best = min(looks(tuned), key=lambda line: line["splits"]["source-validation"]["loss"])["step"]
    assert card["step"] == best and f"Step {best}, one of 2 evaluated: the lowest loss (" in card["selection"]["label"]
    assert card["selection"]["label"].endswith("Evaluated on: forged:blend:16:1:0.") and not card["selection"]["oracle"]
    assert (detector.class_names, detector.real) == (("fake", "real"), 1)
    assert card["statistics"] == read_parameters(f"{pretrained}/checkpoints")[1]["statistics"]
    assert card["origin"]["kind"] == "run" and card["origin"]["path"] == pretrained
    kept = {level: [t.rule for t in detector.thresholds(level)] for level in ("frame", "video")}
    assert kept == {level: ["equal error", "false negative rate <= 0.01"] for level in kept}
    assert card["calibration"]["split"] == "forged:blend:16:1:0"
    if best == STEPS:
        assert same(detector.params, parameters(tuned))
    content = json.loads(Path(tuned, "test", "metrics.json").read_text())
    assert content["data"]["A"]["frame"]["examples"] == 16 and content["data"]["A"]["video"]["examples"] == 4
    assert content["selection"]["label"] in Path(tuned, "test", "table.md").read_text()
    assert Path(tuned, "test", "predictions", "A.csv").exists() and Path(tuned, "test", "figures", "A.png").exists()


def test_interrupted_and_continued_it_is_the_undisturbed_run(tuned, pretrained, tmp_path):
    # 3 steps are at a look, and the run stops before it looks; 4 are between two looks.
    for stop in ("3", "4", ""):
        finetune.run(tiny(init=pretrained, **TESTED), str(tmp_path), stop)
    for folder in ("checkpoints", "detector"):
        assert same(parameters(tuned, folder), parameters(str(tmp_path), folder))
    assert looks(str(tmp_path)) == looks(tuned)
    (before, _), (after, _) = (read_events(Path(folder, "tensorboard")) for folder in (tuned, tmp_path))
    assert [step for step, _ in after["learning_rate"]] == list(range(1, STEPS + 1))
    assert after["loss"] == before["loss"] and [step for step, _ in after["validation/auc"]] == [3, 6]
    found = [line["splits"]["source-validation"] for line in looks(tuned)]
    for name in ("auc", "loss", "hter", "frame_auc"):
        np.testing.assert_allclose([v for _, v in after[f"validation/{name}"]], [f[name] for f in found], rtol=1e-6)
    cards = [open_saved(workdir).card for workdir in (tuned, str(tmp_path))]
    assert cards[0] == cards[1]
    for name in ("predictions/A.csv", "figures/A.png", "figures/A_calibration.png"):
        assert Path(tmp_path, "test", name).read_bytes() == Path(tuned, "test", name).read_bytes()
    # Only the folder's own name differs.
    one, other = (json.loads(Path(folder, "test", "metrics.json").read_text()) for folder in (tuned, tmp_path))
    for found, folder in ((one, tuned), (other, str(tmp_path))):
        assert (found.pop("checkpoint"), found["facts"]["detector"].pop("name")) == (folder, folder)
    assert one == other


@pytest.mark.usefixtures("undrawn")
def test_a_finished_run_ends_again_without_training(tuned, pretrained):
    before = Path(tuned, "metrics.jsonl").read_bytes()
    card = open_saved(tuned).card
    # What is done after training may change.
    more = f"{TEST_SET},B=forged:blend:8:3"
    finetune.run(tiny(init=pretrained, data__test=more, calibration__false_alarm_rate=0.5), tuned)
    again = open_saved(tuned).card
    assert Path(tuned, "metrics.jsonl").read_bytes() == before
    assert again["calibration"]["false_alarm_rate"] == 0.5 and again["step"] == card["step"]
    assert list(json.loads(Path(tuned, "test", "metrics.json").read_text())["data"]) == ["A", "B"]
    # A table is not replaced by one that lacks a set of it.
    with pytest.raises(ValueError, match="test: holds the results of another evaluation: the data sets A, B"):
        finetune.run(tiny(init=pretrained, data__test=TEST_SET), tuned)
    Path(tuned, "test", "metrics.json").unlink()
    Path(tuned, "test", "table.md").unlink()
    finetune.run(tiny(init=pretrained, **TESTED), tuned)
    assert open_saved(tuned).card == card


@pytest.mark.usefixtures("undrawn")
def test_an_adapter_in_the_blocks_is_trained_opened_and_looked_at(pretrained, tmp_path):
    fields = {"tuning__method": "fs_adapter", "tuning__insertion": "parallel", "loss__contrast": 0.5}
    fields |= {"loss__contrast_kind": "real_fake", "duration": "2 steps", "checkpoint__every": "2 steps"}
    workdir = tuned_run(tmp_path, pretrained, optimizer__warmup="0 steps", **fields)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert all(row["real_fake"] > 0 and "open_units" not in row for row in rows)
    before, detector = parameters(pretrained), open_saved(workdir)
    block = detector.params["encoder"]["block_01"]
    assert np.any(block["adapter"]["linear2"]["kernel"])
    assert same(before["encoder"]["block_01"], {name: block[name] for name in block if name != "adapter"})
    # What is looked at is what is scored: the encoder with its adapters; the norm behind it stays at 1 and 0.
    faces = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    features = open_encoder(workdir, Unsaid()).features(faces)
    scaled = (features - features.mean(1, keepdims=True)) / np.sqrt(features.var(1, keepdims=True) + 1e-6)
    pooled = jax.jit(detector.task.pool_images)(detector.params, faces)
    np.testing.assert_allclose(scaled, pooled, rtol=0, atol=2e-5)


def test_the_average_of_the_weights_is_what_is_looked_at_saved_and_resumed(pretrained, tmp_path):
    # Steps see images of two sizes, each with a program of its own.
    fields = {"tuning__method": "linear_probe", "average__decay": 0.8, "duration": "3 steps"}
    fields |= {"augment__sizes": "224,112"}
    fields |= {"optimizer__warmup": "0 steps", "checkpoint__every": "1 steps", "checkpoint__keep_latest": 3}
    straight, resumed = (str(tmp_path / name) for name in ("straight", "resumed"))
    tuned_run(straight, pretrained, **fields)
    # The recursion by hand, on the weights of each step: the decay is min(0.8, (1 + t) / (10 + t)).
    steps = [read_parameters(f"{straight}/checkpoints", step)[0] for step in (1, 2, 3)]
    average = {"kernel": initial_head(pretrained, fields, tmp_path), "bias": np.zeros(2)}
    averages = []
    for step, decay in zip(steps, (1 / 10, 2 / 11, 3 / 12), strict=True):
        average = {name: decay * average[name] + (1 - decay) * step["head"][name] for name in average}
        averages.append(average)
    detector = open_saved(straight)
    number = detector.card["step"]
    for name, expected in averages[number - 1].items():
        np.testing.assert_allclose(detector.params["head"][name], expected, rtol=0, atol=1e-7)  # a head is below 0.01
    assert not same(detector.params["head"], steps[number - 1]["head"])
    assert same(detector.params["encoder"], steps[0]["encoder"])
    for stop in ("2", ""):
        finetune.run(tiny(init=pretrained, **fields), resumed, stop)
    config = tiny(init=pretrained, **fields)
    resolved = resolve_finetuning(config, 24, 2, 1, STATISTICS["vggface2"], 8)
    assert {resolved.stream.size_of(step) for step in range(3)} == {224, 112}
    one, other = (read_parts(f"{run}/checkpoints", ("params", "target"))[0] for run in (straight, resumed))
    assert same(one, other) and looks(straight) == looks(resumed) and same(detector.params, open_saved(resumed).params)
    # The look at that step saw these weights: its loss is that of the detector.
    look = next(line for line in looks(straight) if line["step"] == number)["splits"]["source-validation"]
    assert detector.card["calibration"]["log_loss"]["before"] == pytest.approx(look["loss"], rel=1e-9)


def initial_head(pretrained: str, fields: dict, folder: Path) -> np.ndarray:
    """The head's kernel before the first step; the average of all that is trained starts there, as pretrained."""
    config = tiny(init=pretrained, **fields | {"tuning__method": "full"})
    state, _ = initial(config, folder)
    assert same(state.target.params, state.params)
    return np.asarray(state.params["head"]["kernel"])


@pytest.mark.parametrize("side", [224, 112])
def test_a_run_starts_as_pretrained_with_the_positions_of_its_own_grid(pretrained, tmp_path, side):
    """A pretraining on images of 112 pixels has 7 rows of patches where a detector has 14."""
    params, saved = read_parameters(f"{pretrained}/checkpoints")
    assert saved["image_size"] == 224 and "pos_embed" not in params["encoder"]
    init = str(tmp_path / "pretrained")
    checkpoints = Checkpoints(f"{init}/checkpoints", Retention(1, 0), asynchronous=False)
    checkpoints.save(Kept(np.int32(2), params, {}), saved | {"image_size": side})
    checkpoints.close()
    config = tiny(init=init, data__validation="", selection__rule="last")
    state, _ = initial(config, tmp_path)
    blocks = [name for name in params["encoder"] if name.startswith("block_")]
    assert len(blocks) == 2
    for name in (*blocks, "patch_embed", "cls_token"):
        assert same(params["encoder"][name], state.params["encoder"][name])
    account = json.loads((tmp_path / "initialisation.json").read_text())["network"]
    assert ("encoder/pos_embed" in account["resized"]) == (side == 112)
    table = sincos_positions(48, side // 16)[1:].reshape(side // 16, side // 16, 48)
    found = np.asarray(state.params["encoder"]["pos_embed"])[0, 1:].reshape(14, 14, 48)[8, 8]
    expected = table[8 * side // 224, 8 * side // 224]
    if side == 112:
        # Bicubic with cell centres at halves, by hand for places inside: weights at distances 1.25, 0.25, 0.75, 1.75.
        near, far = np.array([-0.03515625, 0.26171875, 0.87890625, -0.10546875]), np.arange(2, 6)
        expected = np.einsum("r,c,rcd->d", near, near, table[np.ix_(far, far)])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_an_official_file_starts_the_same_run(pretrained, tmp_path):
    params, saved = read_parameters(f"{pretrained}/checkpoints")
    path = official_weights.write(tmp_path / "checkpoint-599.pth", official_state(params))
    Path(tmp_path, "pretrain_ds_mean_std.txt").write_text(json.dumps(saved["statistics"]))
    ours, theirs = (initial(tiny(init=init), tmp_path) for init in (path, pretrained))
    assert ours[1] == theirs[1] and same(ours[0].params, theirs[0].params)
    origin = open_inputs(tiny(init=path)).pretrained.origin
    assert origin["sha256"] == hashlib.sha256(Path(path).read_bytes()).hexdigest() and origin["size"] == "tiny16"


def initial(config, folder: Path):
    """The state before the first step, and the statistics of the pixels."""
    inputs = open_inputs(config)
    job = finetune._Finetuning(config, inputs, str(folder), "")
    return job.initial_state(job.spec(()).program), inputs.statistics


def official_state(params: dict) -> dict:
    """The official names of a tree, without the position tables, which are computed."""
    return {
        official_name(path, PRETRAINING): np.ascontiguousarray(to_official_array(path, value, 16))
        for path, value in flatten_dict(params, sep="/").items()
    }


def test_from_scratch_is_the_released_initialisation(tmp_path):
    fields = dict(init="scratch", data__statistics="vggface2", data__validation="", selection__rule="last")
    finetune.run(tiny(**fields), str(tmp_path), "1")
    params = parameters(str(tmp_path))
    kernel = params["encoder"]["block_00"]["mlp"]["fc1"]["kernel"]
    # Normal with deviation 0.02: the standard error of the deviation of n draws is 0.02 / sqrt(2 n).
    assert abs(kernel.std() - 0.02) < 5 * 0.02 / np.sqrt(2 * kernel.size)
    bound = 1 / np.sqrt(3 * 16**2)
    patch = params["encoder"]["patch_embed"]["kernel"]
    assert 0.99 * bound < np.abs(patch).max() <= bound
    assert read_parameters(f"{tmp_path}/checkpoints")[1]["origin"] is None


@pytest.mark.usefixtures("undrawn")
def test_several_seeds_go_on_where_they_were_stopped_and_end_in_mean_and_deviation(
    tuned, pretrained, tmp_path, monkeypatch
):
    lowered, lower = [], Program.lower_step
    monkeypatch.setattr(Program, "lower_step", lambda program: lowered.append(program) or lower(program))
    config = tiny(init=pretrained, repeats=2, data__test=TEST_SET)
    finetune.run(config, str(tmp_path), "2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seed_0"]
    finetune.run(config, str(tmp_path))
    assert len(lowered) <= 1  # one program serves all seeds; that of `tuned` may still be there
    assert same(parameters(f"{tmp_path}/seed_0"), parameters(tuned))
    assert not same(parameters(f"{tmp_path}/seed_1"), parameters(tuned))
    rows = list(csv.DictReader((tmp_path / "repeats.csv").read_text().splitlines()))
    assert [row["seed"] for row in rows] == ["0", "1", "mean", "std"]
    values = [float(row["frame AUC"]) for row in rows]
    assert values[2] == pytest.approx(np.mean(values[:2])) and values[3] == pytest.approx(np.std(values[:2]))
    with pytest.raises(ValueError, match=r"holds 2 runs; name one of them, such as .*seed_0"):
        open_saved(str(tmp_path))


def test_another_seed_begins_with_other_networks_in_the_same_program():
    def tuning(seed):
        config = tiny(init="scratch", data__statistics="vggface2", seed=seed)
        return finetune._Finetuning(config, open_inputs(config), "", "")

    for make in (tuning, lambda seed: pretrain._Pretraining(tiny_pretraining(seed=seed), "", "")):
        jobs = [make(seed) for seed in (0, 1, 0)]
        programs = [job.spec(()).program for job in jobs]
        assert programs[0] is programs[1]
        states = [job.initial_state(program) for job, program in zip(jobs, programs, strict=True)]
        assert same(states[0].params, states[2].params) and not same(states[0].params, states[1].params)
        keys = [jax.random.key_data(state.key).tolist() for state in states]
        assert keys[0] == keys[2] != keys[1]


@pytest.mark.usefixtures("undrawn")
def test_an_oracle_is_called_one_everywhere(pretrained, tmp_path):
    fields = dict(selection__rule="oracle", selection__metric="hter", selection__ties="later", data__test=TEST_SET)
    finetune.run(tiny(init=pretrained, **fields), str(tmp_path))
    assert set(looks(str(tmp_path))[0]["splits"]) == {"source-validation", "target-test"}
    content = json.loads((tmp_path / "test" / "metrics.json").read_text())
    assert content["selection"]["oracle"] and content["detector"]["selection"] == content["selection"]
    for text in (content["selection"]["label"], (tmp_path / "test" / "table.md").read_text()):
        assert "an oracle: these numbers are optimistic" in text and "forged:blend:16:2:1" in text


@pytest.mark.usefixtures("undrawn")
def test_one_detector_of_four_classes(pretrained, tmp_path):
    fields = {
        "data__classes": "real,deepfake,diffusion,spoof", "data__balanced": True, "batch__size": 48,
        "data__train": "deepfake=forged:blend:16,diffusion=forged:diffusion:16:1,spoof=forged:print:16:2",
        "data__validation": "deepfake=forged:blend:8:3,spoof=forged:print:8:4", "duration": "2 steps",
        "data__test": "A=deepfake=forged:blend:8:5,B=spoof=forged:replay:8:6", "report__layout": "classes",
    }  # fmt: skip
    finetune.run(tiny(init=pretrained, **fields), str(tmp_path))
    assert parameters(str(tmp_path), "detector")["head"]["bias"].shape == (4,)
    data = json.loads((tmp_path / "test" / "metrics.json").read_text())["data"]
    assert data["A"]["classes"]["classes"]["deepfake"]["examples"] == 4
    assert (data["A"]["positive"], data["A"]["negative"]) == ("real", "forged")
    assert data["A"]["frame"]["metrics"]["auc"] is not None
    table = (tmp_path / "test" / "table.md").read_text()
    assert "recall of spoof" in table and "- scored: 2 videos, 8 frames\n" in table
    row = next(csv.DictReader((tmp_path / "test" / "predictions" / "B.csv").read_text().splitlines()))
    each = [float(row[f"probability/{name}"]) for name in ("real", "deepfake", "diffusion", "spoof")]
    assert sum(each) == pytest.approx(1) and float(row["score"]) == each[0]


@pytest.mark.parametrize("fields, error, text", [
        ({"init": ""}, FileNotFoundError, "init: no run at an empty path; expected the --workdir of a run"),
        ({"init": "/nowhere"}, FileNotFoundError, "init: no run at /nowhere"),
        ({"init": "scratch"}, ValueError, "data.statistics: there is no pretraining run to take them from"),
        ({"data.validation": "forged:print:8"}, ValueError, "has the classes fake, real with real as real, forged:pri"),
        ({"data.validation": "forged:blend:8"}, ValueError, "no common videos, found 2"),
        ({"data.test": "A=forged:blend:8"}, ValueError, "forged:blend:8:0:0: expected no common videos, found 2"),
        ({"data.test": "A=forged:blend:8:1:2"}, ValueError, "16:1:0 and forged:blend:8:1:2: expected no common"),
        ({"data.test": "forged:blend:8:1:2"}, ValueError, "data.test: expected NAME=SPEC,NAME=SPEC"),
        ({"data.train": "forged:blend:4"}, ValueError, "data.train: no face of class (fake|real) in forged:blend:4"),
        ({"data.validation": "forged:blend:4:1"}, ValueError, "data.validation: no face of class (fake|real) in"),
        ({"data.classes": "real,fake,spoof"}, ValueError, "name the class of its forgeries, such as fake=forged:blend"),
        ({"data.validation": ""}, ValueError, "source-validation chooses on data.validation, which is empty"),
        ({"selection.rule": "oracle"}, ValueError, "oracle chooses on the one test set of data.test; found 'none'"),
        ({"selection.rule": "orakel"}, ValueError, "selection.rule: expected one of .*did you mean 'oracle'"),
        ({"selection.metric": "acer"}, ValueError, "selection.metric: expected one of loss, auc, hter; found 'acer'"),
        ({"report.layout": "table"}, ValueError, "report.layout: expected one of dfd, diff, fas, classes"),
        ({"report.predictions": "xls"}, ValueError, "report.predictions: expected one of csv, parquet; found 'xls'"),
        ({"model.network": "antispof"}, ValueError, "model.network: .*did you mean 'antispoof'"),
        ({"augment.flip": 2.0}, ValueError, "augment.flip: expected at least 0 and at most 1; found 2.0"),
        ({"batch.size": 2048}, ValueError, "batch.size: 2048 images per step, but the training data has 24"),
        ({"optimizer.warmup": "9 steps"}, ValueError, "optimizer.warmup: '9 steps' is not shorter than the run"),
        ({"model.size": "vit_b16"}, ValueError, "init: .* is tiny16, 4 heads; model.size asks for vit_b16, 12 heads"),
    ])  # fmt: skip
def test_what_does_not_fit_is_refused(pretrained, tmp_path, fields, error, text):
    config = tiny(init=pretrained)
    config.update_from_flattened_dict(fields)
    with pytest.raises(error, match=text):
        finetune.run(config, str(tmp_path))


def test_other_statistics_are_said_loudly_and_a_detector_is_no_pretraining_run(pretrained, caplog, tuned, tmp_path):
    inputs = open_inputs(tiny(init=pretrained, data__statistics="imagenet"))
    assert "data.statistics: imagenet, but the pretraining saw pixels normalised otherwise" in caplog.text
    assert inputs.statistics == STATISTICS["imagenet"]
    with pytest.raises(ValueError, match="holds a run of job 'finetune'; expected one of pretrain"):
        finetune.run(tiny(init=tuned), str(tmp_path))


@pytest.mark.parametrize("fields, text", [
        ({"loss__smoothing": 0.2}, "of a different run:\n  loss.smoothing: 0.1 saved, 0.2 asked for"),
        ({"data__validation": "forged:blend:16:7"}, "of a different run:\n  looked_at: .* saved, .* asked for"),
    ])  # fmt: skip
def test_another_recipe_does_not_go_on_with_a_run(tuned, pretrained, fields, text):
    with pytest.raises(ValueError, match=text):
        finetune.run(tiny(init=pretrained, **fields), tuned)
