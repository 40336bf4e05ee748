"""Both directions through the command lines' functions: official files, runs of ours, and what goes on from them."""

import dataclasses
import hashlib
import json
import logging
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import official_weights
import pytest
import reference
import serialized
from flax.traverse_util import flatten_dict
from test_end_to_end import stored, tiny_config

from fsfm_jax.config.fields import flat
from fsfm_jax.detection.saved import open_saved
from fsfm_jax.export import from_torch, to_torch
from fsfm_jax.export.official_content import pack_finetuned, pretraining_contents
from fsfm_jax.jobs import pretrain
from fsfm_jax.models.bases import BASES
from fsfm_jax.models.lora import merge
from fsfm_jax.resolve.pretrain import resolve_pretraining
from fsfm_jax.tasks.normalisation import STATISTICS
from fsfm_jax.weights import safetensors_file, torch_file
from fsfm_jax.weights.init import open_pretrained
from fsfm_jax.weights.names import official_order, to_official
from fsfm_jax.weights.run_import import adopt_state, open_imported
from fsfm_jax.weights.run_reader import open_run

GOLDEN = Path(__file__).parents[1] / "golden"
PAIR = [str(GOLDEN / "checkpoint-599.pth"), str(GOLDEN / "checkpoint-te-599.pth")]


GOLDEN_SHAPE = {
    "model__size": "tiny8", "model__pixel_width": 32, "model__pixel_depth": 2, "model__pixel_heads": 4,
    "model__rep_depth": 2, "model__rep_heads": 4, "model__projection_hidden": 64, "model__projection_features": 16,
}  # fmt: skip


def leaves(value, place=""):
    """Everything in the content of a file, by place."""
    if isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {name: leaf for key, item in items for name, leaf in leaves(item, f"{place}/{key}").items()}
    return {place: np.asarray(value) if isinstance(value, torch_file.Tensor) else value}


def assert_same_bits(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape, name
        assert found[name].tobytes() == array.tobytes(), name


def arrays(path):
    return {name: leaf for name, leaf in leaves(torch_file.read(path)).items() if isinstance(leaf, np.ndarray)}


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """The working directory of the golden pair."""
    workdir = str(tmp_path_factory.mktemp("golden") / "run")
    said = from_torch.convert(PAIR, workdir, "vggface2", pixel_heads=4, rep_heads=4)
    assert said[0] == f"{workdir}: tiny8, online and target network, moments after 1 steps, 600 epochs done"
    return workdir


def test_every_tensor_of_the_golden_pair_is_there(imported, golden):
    expect, (state, run) = golden("checkpoint_expect"), open_imported(imported)
    for network, params in (("online", state.params), ("target", state.target)):
        names = [str(name) for name in expect[f"{network}/__names__"]]
        found = reference_state(params, network, state.carried)
        assert official_order(found) == names == list(found)
        sums = np.array([float(np.sum(found[name], dtype=np.float64)) for name in names])
        norms = np.array([float(np.linalg.norm(found[name].astype(np.float64))) for name in names])
        # Their sums are of float32 in another order: n terms of about 1 each round by at most n * 6e-8 of the largest.
        np.testing.assert_allclose(sums, expect[f"{network}/__sum__"], rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(norms, expect[f"{network}/__norm__"], rtol=1e-5)
        assert ["x".join(map(str, found[name].shape)) for name in names] == list(expect[f"{network}/__shapes__"])
        whole = {name: expect[f"{network}/{name}"] for name in names if f"{network}/{name}" in expect}
        assert_same_bits({name: found[name] for name in whole}, whole)
        assert len(whole) > 40
    assert run["epochs"] == 600 and run["config"]["loss.kind"] == "ncs" and "mask.ratio" in run["known"]


def reference_state(params, network, carried):
    """The official state dict of one of the two networks."""
    state = to_official(params, reference.model_spec()) | carried[network]
    return {name: state[name] for name in official_order(state)}


def test_the_moments_of_the_golden_optimizer_are_mapped(imported, golden):
    expect, (state, _) = golden("checkpoint_expect"), open_imported(imported)
    assert int(state.moments["count"]) == 1
    order = [str(name) for name in expect["optimizer_param_order"]]
    mu, nu = (to_official(state.moments[key], reference.model_spec()) for key in ("mu", "nu"))
    norms = [np.linalg.norm(mu[name].astype(np.float64)) for name in order]
    sums = [np.sum(nu[name], dtype=np.float64) for name in order]
    np.testing.assert_allclose(norms, expect["optimizer_exp_avg_norm"], rtol=1e-5)
    np.testing.assert_allclose(sums, expect["optimizer_exp_avg_sq_sum"], rtol=1e-5)


def test_official_files_come_back_bit_for_bit(imported, tmp_path):
    paths = to_torch.convert(imported, "official", str(tmp_path))
    assert [Path(path).name for path in paths] == [
        "checkpoint-599.pth", "checkpoint-te-599.pth", "pretrain_ds_mean_std.txt", "fsfm_jax.json",
    ]  # fmt: skip
    for path, original in zip(paths, PAIR, strict=False):
        assert_same_bits(arrays(path), arrays(original))
        again, before = torch_file.read(path), torch_file.read(original)
        assert list(again["model"]) == list(before["model"]) and list(again) == list(before)
        assert again["args"] == before["args"] and again["epoch"] == before["epoch"]
        for group, old in zip(again["optimizer"]["param_groups"], before["optimizer"]["param_groups"], strict=True):
            assert group == {name: old[name] for name in group}


def test_the_imported_network_gives_the_golden_numbers(tmp_path, golden):
    arrays_ = golden("pretrain_tiny")
    path = tmp_path / "checkpoint-0.pth"
    official_weights.write(path, reference.state_dict(arrays_, "online/"), epoch=0)
    target = tmp_path / "checkpoint-te-0.pth"
    official_weights.write(target, reference.state_dict(arrays_, "target/"), epoch=0)
    from_torch.convert([str(path), str(target)], str(tmp_path / "run"), "vggface2", pixel_heads=4, rep_heads=4)
    state, _ = open_imported(str(tmp_path / "run"))
    task, batch = reference.task(), reference.batch(arrays_)
    params, target = (jax.tree.map(jnp.asarray, tree) for tree in (state.params, state.target))
    total, terms = jax.jit(task.loss)(params, target, batch, task.denominators(batch), jax.random.key(0))
    np.testing.assert_allclose(total, arrays_["out/loss_total_SimSiam"], rtol=1e-5)
    np.testing.assert_allclose(terms["masked"], arrays_["out/loss_rec_all"], rtol=1e-5)


def run_config(**changes):
    fixed = {"duration": "6 steps", "batch__per_device": 1, "checkpoint__every": "2 steps"}
    return tiny_config(**fixed | changes)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of ours of six steps, stopped at the fourth, with a checkpoint at every second one."""
    workdir = tmp_path_factory.mktemp("ours")
    pretrain.run(run_config(), str(workdir), stop_after="4")  # no picture is drawn then
    return workdir


def test_a_run_that_went_through_official_files_ends_as_if_nothing_had_been(run, tmp_path):
    official, again = tmp_path / "official", tmp_path / "again"
    paths = to_torch.convert(str(run), "official", str(official), step=2)
    epoch = json.loads(Path(paths[-1]).read_text())["epochs"]
    from_torch.convert(paths[:2], str(again))
    assert_same_bits(
        {name: leaf for name, leaf in leaves_of(open_imported(str(again))[0]).items()},
        {name: leaf for name, leaf in parts_of(stored(run, 2)).items()},
    )
    assert epoch == open_imported(str(again))[1]["epochs"]
    # What an optimizer of PyTorch holds after a step is the rate of that step.
    reported = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (used,) = [line["learning_rate"] for line in reported if line["step"] == 2]
    groups = torch_file.read(paths[0])["optimizer"]["param_groups"]
    assert used > 0 and [group["lr"] for group in groups] == [pytest.approx(used, rel=1e-6)] * 2
    pretrain.run(run_config(), str(again), stop_after="4")
    assert_same_bits(stored(again, 4), stored(run, 4))
    for item in (json.loads((again / "import.json").read_text()), open_run(str(again)).item["imported"]):
        assert {network: file["path"] for network, file in item["files"].items()} == {
            "online": paths[0], "target": paths[1],
        }  # fmt: skip


def test_weights_of_an_optimizer_that_official_code_lacks_are_exported_and_its_moments_are_not(run, caplog):
    opened = open_run(str(run), 2)
    opened.config.optimizer.name = "lion"
    _, online, target = pretraining_contents(dataclasses.replace(opened, moments=None))
    (warning,) = [record.message for record in caplog.records if record.name == "fsfm_jax"]
    assert "official training uses AdamW and cannot resume with those of lion" in warning
    # Without the key official code starts an optimizer of its own; with one of AdamW it would take lion's numbers.
    assert "optimizer" not in online and "optimizer" not in target
    opened.config.optimizer.name = "adamw"
    assert_same_bits(
        {name: np.asarray(array) for name, array in online["model"].items()},
        {name: np.asarray(array) for name, array in pretraining_contents(opened)[1]["model"].items()},
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rep_decoded": "regressed"}, "the official network has no latent regressor .model.target_view 4b.; export"),
        ({"reconstructs": False}, "the official network has a pixel decoder, and this run, .* has none; export"),
    ],
)
def test_networks_that_official_files_cannot_hold_are_refused(run, changes, message):
    opened = open_run(str(run), 2)
    other = dataclasses.replace(opened, spec=dataclasses.replace(opened.spec, **changes))
    with pytest.raises(ValueError, match=f"--format=official: {message} its encoder with another format"):
        pretraining_contents(other)


def test_moments_of_adamw_do_not_become_those_of_another_optimizer(run, tmp_path, caplog):
    paths = to_torch.convert(str(run), "official", str(tmp_path / "official"), step=2)
    from_torch.convert(paths[:2], str(tmp_path / "again"))
    found = {}
    for name in ("adamw", "lion"):
        c = run_config(optimizer__name=name)
        resolved = resolve_pretraining(c, 19, jax.device_count())
        statistics = STATISTICS["vggface2"]
        program = pretrain.make_program(resolved, statistics)
        found[name] = adopt_state(str(tmp_path / "again"), program, flat(c), statistics, 19, 8, 6, 1)
    (warning,) = [record.message for record in caplog.records if "imported moments" in record.message]
    assert "The imported moments are of AdamW and not used: lion starts with its own at zero" in warning
    for a, b in zip(*(jax.tree.leaves(found[name].params) for name in found), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    size = {name: max(float(abs(x).max()) for x in jax.tree.leaves(state.optimizer)) for name, state in found.items()}
    assert size["adamw"] == 2 and size["lion"] == 0  # the count of AdamW


def leaves_of(state):
    flat = jax.tree_util.tree_flatten_with_path({"params": state.params, "target": state.target})[0]
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in flat}


def parts_of(whole):
    return {
        name.replace("['target']['params']", "['target']"): leaf
        for name, leaf in whole.items()
        if name.startswith("['params']") or name.startswith("['target']['params']")
    }


def test_fine_tuning_can_start_from_an_imported_run(imported):
    found = open_pretrained(imported)
    assert found.origin["size"] == "tiny8" and found.statistics.mean[0] == 0.5482207536697388
    assert_same_bits(
        dict(jax.tree_util.tree_leaves_with_path(found.params)),
        dict(jax.tree_util.tree_leaves_with_path(open_imported(imported)[0].params)),
    )


@pytest.mark.parametrize(("file", "prefix", "key"), [
    ("finetune_tiny", "plain_gp/state/", "model"),
    ("finetune_tiny", "plain_cls/state/", "model"),
    ("finetune_tiny", "adapter/state/", "model"),
    ("fas_tiny", "fas_plain/state_before/", "state_dict"),
    ("fas_tiny", "fas_adapter/state_before/", "state_dict"),
])  # fmt: skip
def test_fine_tuned_files_become_detectors_and_come_back_bit_for_bit(tmp_path, golden, file, prefix, key):
    state = reference.state_dict(golden(file), prefix)
    path = tmp_path / ("checkpoint_run_0.pth.tar" if key == "state_dict" else "checkpoint-min_val_loss.pth")
    official_weights.write(path, state, key, epoch=7, **({"threshold": 0.25} if key == "state_dict" else {}))
    said = from_torch.convert([str(path)], str(tmp_path / "run"), "vggface2")
    assert "its outputs are taken for fake, real, real being real; the file does not say it" in said
    detector = open_saved(str(tmp_path / "run"))
    assert detector.task.model.image_size == 32 and detector.real == 1
    paths = to_torch.convert(str(tmp_path / "run"), "official", str(tmp_path / "back"))
    assert Path(paths[0]).name == path.name
    content = torch_file.read(paths[0])
    assert_same_bits({name: np.asarray(tensor) for name, tensor in content[key].items()}, state)
    assert list(content[key]) == list(state) and content["epoch"] == 7
    card = json.loads(Path(paths[-1]).read_text())
    assert (card["class_names"], card["real"]) == (["fake", "real"], 1)
    if key == "state_dict":
        assert content["threshold"] == card["threshold"]["value"] == 0.25
    else:
        assert card["threshold"] is None
    assert card["pooling"] == ("cls" if "plain_cls" in prefix else "mean_patches") and len(card["config_sha256"]) == 64


@pytest.mark.parametrize(("options", "rate"), [({"drop_path": 0.2}, 0.2), ({"drop_path": "many"}, 0.0), (None, 0.0)])
def test_an_imported_detector_has_what_its_file_says(tmp_path, golden, options, rate):
    state = reference.state_dict(golden("finetune_tiny"), "adapter/state/")
    path = official_weights.write(tmp_path / "a.pth", state, **({} if options is None else {"args": options}))
    said = from_torch.convert([path], str(tmp_path / "run"), "vggface2")
    detector = open_saved(str(tmp_path / "run"))
    assert detector.task.model.drop_path == detector.card["config"]["model.drop_path"] == rate
    assert any("does not store its rate of stochastic depth" in line for line in said) == (rate == 0)
    # Its recipe is not known, so nothing of one is there.
    assert detector.card["config"].keys() == {
        "job", "init", "model.size", "model.dtype", "model.drop_path", "model.pooling", "tuning.method",
        "tuning.reduction",
    }  # fmt: skip
    assert detector.own_transform is None


def masked_autoencoder(path, golden):
    online = reference.state_dict(golden("pretrain_tiny"), "online/")
    parts = ("cls_token", "pos_embed", "patch_embed.", "blocks.", "norm.", "mask_token", "decoder_")
    state = {name: array for name, array in online.items() if name.startswith(parts)}
    official_weights.write(path, state)
    return state


@pytest.mark.parametrize("what", ["detector", "pair", "encoder"])
def test_a_file_is_read_once(tmp_path, golden, monkeypatch, what):
    read, hashed = [], []
    original, digest = torch_file.read, hashlib.file_digest
    monkeypatch.setattr(torch_file, "read", lambda path: (read.append(path), original(path))[1])
    monkeypatch.setattr(hashlib, "file_digest", lambda file, name: (hashed.append(file.name), digest(file, name))[1])
    paths = PAIR if what == "pair" else [str(tmp_path / "a.pth")]
    if what == "detector":
        official_weights.write(tmp_path / "a.pth", reference.state_dict(golden("finetune_tiny"), "adapter/state/"))
    elif what == "encoder":
        masked_autoencoder(tmp_path / "a.pth", golden)
        monkeypatch.setattr("fsfm_jax.weights.init.BASES", {"mae": dataclasses.replace(BASES["mae"], sizes=("tiny8",))})
    from_torch.convert(paths, str(tmp_path / "run"), "vggface2", pixel_heads=4, rep_heads=4)
    assert sorted(read) == sorted(hashed) == sorted(paths)


def test_the_encoder_of_a_masked_autoencoder_is_recognised_and_fine_tuned_from(tmp_path, golden):
    state = masked_autoencoder(tmp_path / "mae.pth", golden)
    sizes = {**BASES, "mae": dataclasses.replace(BASES["mae"], sizes=("tiny8",))}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fsfm_jax.weights.init.BASES", sizes)
        said = from_torch.convert([str(tmp_path / "mae.pth")], str(tmp_path / "run"))
    wanted = f"fine-tune with --config.init={tmp_path}/run --config.model.base=mae"
    assert said[0] == f"{tmp_path}/run: the encoder of mae, tiny8; {wanted}"
    found = open_pretrained(str(tmp_path / "run"), "mae")
    np.testing.assert_array_equal(found.params["encoder"]["norm"]["bias"], state["norm.bias"])
    assert found.statistics.mean == (0.485, 0.456, 0.406)
    with pytest.raises(ValueError, match="a run with model.base mae; found fsfm"):
        open_pretrained(str(tmp_path / "run"))
    with pytest.raises(ValueError, match="do not say how far they were"):
        pretrain.run(run_config(), str(tmp_path / "run"))
    with pytest.raises(ValueError, match="--format=official: an encoder of mae is none of FSFM"):
        to_torch.convert(str(tmp_path / "run"), "official", str(tmp_path / "out"))


REFUSED = {
    "swapped": (PAIR[::-1], {}, "checkpoint-te-599.pth holds a pretrained network without a predictor.*the first file"),
    "twice": ([PAIR[0]] * 2, {}, "checkpoint-599.pth holds a pretrained network with a predictor.*the second file"),
    "statistics": (PAIR, {"statistics": "vgface2"}, "--statistics: expected one of .*; did you mean 'vggface2'"),
    "base": (PAIR[:1], {"base": "may"}, "--base: expected one of"),
    "heads": (PAIR, {"pixel_heads": 5}, "model.pixel_heads: 5 heads do not divide the width 32"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_files_that_do_not_fit_are_refused_and_nothing_is_left(tmp_path, case):
    paths, settings, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        from_torch.convert(paths, str(tmp_path / "run"), **settings)
    assert not (tmp_path / "run").exists()


def test_pairs_of_two_epochs_sizes_and_positions_are_refused(tmp_path, golden):
    online, target = (reference.state_dict(golden("pretrain_tiny"), f"{n}/") for n in ("online", "target"))

    def pair(online, target, epoch=3):
        official_weights.write(tmp_path / "a.pth", online, epoch=3)
        official_weights.write(tmp_path / "b.pth", target, epoch=epoch)
        from_torch.convert([str(tmp_path / "a.pth"), str(tmp_path / "b.pth")], str(tmp_path / "run"))

    with pytest.raises(ValueError, match="b.pth is of epoch 4, .*a.pth of epoch 3; expected the pair"):
        pair(online, target, 4)
    with pytest.raises(ValueError, match="projector/fc1/bias: nothing found"):
        pair(online, {name: array for name, array in target.items() if name != "projector.projection_head.0.bias"})
    with pytest.raises(ValueError, match="decoder_pos_embed: expected sine and cosine of a grid of 4 by 4"):
        pair(online | {"decoder_pos_embed": online["decoder_pos_embed"] + 1}, target)


def test_a_network_alone_is_used_with_a_word_about_it(tmp_path):
    said = from_torch.convert(PAIR[:1], str(tmp_path / "run"))
    assert "it would start as a copy of the online one" in said[1]
    assert said[2] == f"{PAIR[1]} is in the same folder; name it as the second file to resume the run"
    assert "nothing says how its pixels were normalised" in said[3]
    assert open_pretrained(str(tmp_path / "run")).statistics is None
    with pytest.raises(ValueError, match="has a folder imported already"):
        from_torch.convert(PAIR, str(tmp_path / "run"))


def test_a_schedule_that_was_not_run_to_its_end_is_told_and_gone_on_with(tmp_path, golden, caplog):
    options = {"epochs": 800, "warmup_epochs": 40, "lr": 2.4e-3, "blr": 1.5e-4, "mask_ratio": 0.75}
    path = tmp_path / "checkpoint-599.pth"
    official_weights.write(path, reference.state_dict(golden("pretrain_tiny"), "online/"), epoch=599, args=options)
    workdir = str(tmp_path / "run")
    said = from_torch.convert([str(path)], workdir, "vggface2", pixel_heads=4, rep_heads=4)
    # Half of 1 + cos(pi 560 / 760).
    assert "its schedule is over 800 epochs, 600 are done: the learning rate is at 16% of its peak" in said
    found = {}
    for duration, horizon in (("600 epochs", ""), ("600 epochs", "800 epochs")):
        c = run_config(**GOLDEN_SHAPE, duration=duration, horizon=horizon, optimizer__warmup="40 epochs")
        resolved = resolve_pretraining(c, 19, jax.device_count())
        program = pretrain.make_program(resolved, STATISTICS["vggface2"])
        caplog.clear()
        state = adopt_state(workdir, program, flat(c), STATISTICS["vggface2"], 19, 8, resolved.loop.steps, 1)
        assert int(state.step) == 1425  # 600 epochs of 19 images in batches of 8
        rate = float(pretrain.learning_rate_of(resolved.schedule, state.step)) / resolved.schedule.peak
        found[duration, horizon] = round(rate, 2), "800 epochs there, 600 epochs here" in caplog.text
    assert [*found.values()] == [(0, True), (0.16, False)]


def test_going_on_says_what_differs_and_refuses_another_network(imported, tmp_path, caplog):
    workdir = tmp_path / "run"
    shutil.copytree(imported, workdir)
    with pytest.raises(ValueError, match="imported, for model.size tiny16: .* arrays are not those of the network"):
        pretrain.run(run_config(), str(workdir))
    shape = GOLDEN_SHAPE
    with pytest.raises(ValueError, match="duration: '6 steps' is 6 steps, but the imported run has done 600 epochs"):
        pretrain.run(run_config(**shape), str(workdir))
    shorter = {"duration": "500 epochs", "horizon": "700 epochs", "optimizer__warmup": "40 epochs"}
    with pytest.raises(ValueError, match="duration: '500 epochs' is 1187 steps, but the imported run has done 600"):
        pretrain.run(run_config(**shape | shorter), str(workdir))
    with pytest.raises(ValueError, match="model.rep_positions: expected zeros, as in .*; found sincos"):
        pretrain.run(run_config(**shape, model__rep_positions="sincos"), str(workdir))
    caplog.set_level(logging.INFO, "fsfm_jax")
    longer = run_config(**shape | {"duration": "700 epochs", "optimizer__warmup": "40 epochs"})
    pretrain.run(longer, str(workdir), stop_after="1")  # it is beyond that already
    (warning,) = [record.message for record in caplog.records if "other settings" in record.message]
    assert "\n  duration: 2 epochs there, 700 epochs here" in warning and "mask.ratio" not in warning
    step = 600 * 19 // 8  # 19 bundled images in batches of 8
    assert f"600 epochs done, which is step {step}" in caplog.text
    kept = stored(workdir, step)  # from now on it is a run of ours
    np.testing.assert_array_equal(kept["['target']['count']"], step)
    np.testing.assert_array_equal(kept["['params']['mask_token']"], open_imported(imported)[0].params["mask_token"])


def test_exports_do_not_overwrite_and_say_what_a_format_lacks(imported, tmp_path, golden):
    state = reference.state_dict(golden("finetune_tiny"), "adapter/state/")
    official_weights.write(tmp_path / "adapter.pth", state)
    adapter = str(tmp_path / "adapter")
    from_torch.convert([str(tmp_path / "adapter.pth")], adapter, "vggface2")
    with pytest.raises(ValueError, match="timm has no such network as an FS-Adapter; use --format=official or safe"):
        to_torch.convert(adapter, "timm", str(tmp_path / "a.pth"))
    path, card = to_torch.convert(adapter, "safetensors", str(tmp_path / "a.safetensors"))
    assert_same_bits(dict(safetensors_file.read(path)[0]), dict(sorted(state.items())))
    said = json.loads(Path(card).read_text())
    assert said["sha256"] == hashlib.sha256(Path(path).read_bytes()).hexdigest() and said["timm"] is None
    assert said["reduction"] == 4 and said["statistics"]["mean"][0] == 0.5482207536697388
    with pytest.raises(ValueError, match=r"a.safetensors\S* is there already"):
        to_torch.convert(adapter, "safetensors", str(tmp_path / "a.safetensors"))
    with pytest.raises(ValueError, match="--step: .* holds a detector"):
        to_torch.convert(adapter, "official", str(tmp_path / "b"), step=3)
    with pytest.raises(FileNotFoundError, match="--checkpoint: no run at .*nowhere"):
        to_torch.convert(str(tmp_path / "nowhere"), "official", str(tmp_path / "b"))


@pytest.mark.parametrize("network", ["online", "target"])
def test_the_encoder_of_a_run_in_the_formats_of_others(imported, tmp_path, network):
    state = open_imported(imported)[0]
    params = state.params if network == "online" else state.target
    path, card = to_torch.convert(imported, "timm", str(tmp_path / "folder"), network=network, pooling="token")
    assert path == str(tmp_path / "folder" / "model.pth")
    found = torch_file.read(path)
    np.testing.assert_array_equal(np.asarray(found["norm.weight"]), params["encoder"]["norm"]["scale"])
    said = json.loads(Path(card).read_text())
    assert (said["network"], said["pooling"], said["timm"]["num_classes"]) == (network, "cls", 0)
    decoder = network == "online"
    paths = to_torch.convert(imported, "huggingface", str(tmp_path / "hf"), network=network, decoder=decoder)
    said = json.loads(Path(paths[-1]).read_text())
    assert said["architecture"] == {"online": "ViTMAEForPreTraining", "target": "ViTModel"}[network]
    assert set(said["files"]) == {"config.json", "preprocessor_config.json", "model.safetensors", "README.md"}


def test_a_masked_autoencoder_of_ours_comes_back(tmp_path):
    config = run_config(model__instance_discrimination=False, mask__strategy="random", optimizer__warmup="1 steps")
    pretrain.run(config, str(tmp_path / "run"), stop_after="2")
    path, *_ = to_torch.convert(str(tmp_path / "run"), "official", str(tmp_path / "out"))
    assert "checkpoint-te-" not in "".join(name.name for name in (tmp_path / "out").iterdir())
    said = from_torch.convert([path], str(tmp_path / "again"))
    assert said[0].startswith(f"{tmp_path}/again: tiny16, masked autoencoder, moments after 2 steps")
    assert_same_bits(leaves_of(open_imported(str(tmp_path / "again"))[0]), parts_of(stored(tmp_path / "run", 2)))
    with pytest.raises(ValueError, match="is a masked autoencoder, which has no target"):
        from_torch.convert([path, PAIR[1]], str(tmp_path / "third"))
    found = to_torch.convert(str(tmp_path / "run"), "huggingface", str(tmp_path / "hf"))
    assert json.loads(Path(found[-1]).read_text())["architecture"] == "ViTMAEForPreTraining"


@pytest.mark.parametrize("fields", [
    {}, {"model__pooling": "cls"}, {"tuning__method": "fs_adapter"}, {"tuning__method": "lora"},
    {"model__network": "antispoof"},
    {"model__network": "antispoof", "model__norm_over": "features", "tuning__method": "fs_adapter"},
])  # fmt: skip
def test_a_detector_of_ours_comes_back_from_its_official_file(tmp_path, fields):
    workdir = serialized.run(tmp_path / "run", **fields)
    ours = open_saved(workdir)
    path, _, card = to_torch.convert(workdir, "official", str(tmp_path / "official"))
    from_torch.convert([path], str(tmp_path / "again"))
    again = open_saved(str(tmp_path / "again"))
    wanted = ours.params if ours.task.model.lora is None else merge(ours.params, ours.task.model.lora)
    plain = jax.tree.map(np.asarray, wanted)
    assert_same_bits(flatten_dict(again.params, sep="/"), flatten_dict(plain, sep="/"))
    assert again.task.statistics == ours.task.statistics and again.task.model.reduction == ours.task.model.reduction
    said = json.loads(Path(card).read_text())
    assert said["threshold"] == serialized.THRESHOLD and said["temperature"] == 1.5
    names = list(torch_file.read(path)["state_dict" if "model__network" in fields else "model"])
    # What a strict load of the official network needs beside what it uses.
    assert ("backbone.vit.head.weight" in names) == (len(fields) == 3)


def test_a_network_that_official_code_would_compute_otherwise_is_refused(tmp_path):
    workdir = serialized.run(tmp_path / "run", model__network="antispoof", model__norm_over="features")
    with pytest.raises(ValueError, match="scales over tokens, this one has model.norm_over: features"):
        to_torch.convert(workdir, "official", str(tmp_path / "official"))
    assert to_torch.convert(workdir, "safetensors", str(tmp_path / "safe"))


def test_an_official_file_says_the_epoch_of_its_step():
    detector = serialized.detector()
    size = detector.card["config"]["batch.size"]
    for step, epoch in ((1, 0), (10, 0), (11, 1), (20, 1)):
        card = detector.card | {"step": step, "data": [{"examples": 4 * size}, {"examples": 6 * size}]}
        assert pack_finetuned(dataclasses.replace(detector, card=card))[1]["epoch"] == epoch
