"""Every recipe and variant loads and resolves to the published numbers; every mistake is named."""

import ast
import dataclasses
import functools
import re
from pathlib import Path

import pytest
import tuning
from networks import WIRINGS
from traced_once import traced_once  # noqa: F401, a fixture that is used by itself

from fsfm_jax.config import ablate, compare, evaluate, protocols, recipes
from fsfm_jax.config import finetune as finetuning
from fsfm_jax.config import pretrain as common
from fsfm_jax.config.recipes import load_recipe
from fsfm_jax.data.masking import MaskSpec
from fsfm_jax.data.views import WHOLE, ViewSpec
from fsfm_jax.detection.sets import open_sets
from fsfm_jax.jobs import finetune, pretrain
from fsfm_jax.jobs.recipe_check import check_recipe
from fsfm_jax.metrics.selection import SelectionRule
from fsfm_jax.models import vit
from fsfm_jax.optim.tuning import TUNINGS
from fsfm_jax.prepare.manifests import registry
from fsfm_jax.prepare.manifests.faceforensics import MANIPULATIONS
from fsfm_jax.resolve import finetune as finetune_config
from fsfm_jax.resolve import pretrain as config
from fsfm_jax.resolve.ablate import plan_ablation
from fsfm_jax.resolve.compare import plan
from fsfm_jax.resolve.report import resolve_report
from fsfm_jax.tasks.classify import ContrastSpec
from fsfm_jax.tasks.normalisation import STATISTICS

ROOT = Path(__file__).parent.parent
RECIPES = sorted(
    f"{name}:{size}" if size else name
    for name in recipes.list_shipped()
    for size in (recipes.SIZES if name in recipes.FAMILIES else [""])
)
SIZED = ("pretrain_vits", "pretrain_vitb", "pretrain_vitl", "pretrain_vith")
EXAMPLES = 3_000_000


def load(name, variant=""):
    return load_recipe(f"{name}{',' if ':' in name else ':'}{variant}" if variant else name)


def change(c, fields):
    """Sets fields by dotted name; without type checks, as an unlucky script would."""
    with c.ignore_type():
        for name, value in fields.items():
            *parents, leaf = name.split(".")
            node = c
            for parent in parents:
                node = node[parent]
            node[leaf] = value
    return c


def resolve(fields=(), examples=EXAMPLES, devices=8, stop_after=""):
    return config.resolve_pretraining(change(common.pretrain(), dict(fields)), examples, devices, stop_after)


@pytest.mark.parametrize("devices", [1, 8, 32])
@pytest.mark.parametrize("variant", ["", *common.VARIANTS, "fsfm400,released"])
@pytest.mark.parametrize("name", SIZED)
def test_sized_recipes_resolve(name, variant, devices):
    c = load(name, variant)
    config.check_fields(c, common.pretrain())
    resolved = config.resolve_pretraining(c, EXAMPLES, devices)
    share = 4096 // devices // resolved.step.accumulation
    assert share * devices * resolved.step.accumulation == 4096
    if c.batch.accumulation is None:
        assert share <= c.batch.per_device


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("pretrain_") and name not in SIZED])
def test_other_recipes_resolve(name):
    c = load(name)
    config.check_fields(c, common.pretrain())
    devices = [count for count in (1, 8, 32) if c.batch.size % count == 0]
    assert devices[0] == 1
    for count in devices:
        config.resolve_pretraining(c, 512, count)


TUNED = [name for name in RECIPES if name.startswith("finetune_")]


def tuned(c, examples=200_000, devices=1):
    return finetune_config.resolve_finetuning(c, examples, 2, 1, STATISTICS["vggface2"], devices)


@pytest.mark.parametrize("name", TUNED)
def test_fine_tuning_recipes_resolve(name):
    c = load(name)
    for devices in (1, 2, 8):
        r = tuned(c, devices=devices)
        assert r.stream.global_batch == c.batch.size and r.loop.steps > r.schedule.warmup


# Released scripts: peak rate, floor, decay of the first and of the last layer's rate, weight decay, steps of an epoch.
@pytest.mark.parametrize(
    "name, peak, layer_decay, depth, weight_decay",
    [
        ("finetune_dfd:vits", 5e-5, 0.65, 12, 0.03),
        ("finetune_dfd:vitb", 5e-5, 0.60, 12, 0.03),
        ("finetune_dfd:vitl", 1.25e-5, 0.90, 24, 0.01),
        ("finetune_diff:vits", 1.25e-5, 0.95, 12, 0.05),
        ("finetune_diff:vitb", 1.25e-5, 0.90, 12, 0.03),
        ("finetune_diff:vitl", 1.25e-5, 0.90, 24, 0.05),
    ],
)
def test_fine_tuning_recipes_are_the_released_ones(name, peak, layer_decay, depth, weight_decay):
    r = tuned(load(name), examples=64_000)
    assert r.schedule.kind == "cosine" and r.schedule.peak == pytest.approx(peak) and r.schedule.floor == 1e-6
    assert (r.schedule.warmup, r.schedule.total) == (5_000, 10_000)
    assert r.optimizer.rate_rules[0][1] == pytest.approx(layer_decay ** (depth + 1))
    assert r.optimizer.weight_decay_rules[-1] == (".*", weight_decay) and r.optimizer.clip_norm is None
    assert (r.optimizer.beta1, r.optimizer.beta2, r.optimizer.decay) == (0.9, 0.999, "decoupled")
    assert r.task.model.drop_path == 0.1 and r.task.smoothing == 0.1 and r.task.mixed
    assert r.stream.augment.interpolation == "bicubic" and r.stream.augment.erase.probability == 0.25


def test_the_recipe_of_self_blended_faces_meets_no_forgery_before_its_tests():
    c = load("finetune_sbi:vitl", "fsvfm")
    assert c.data.train == "blended:data/ffpp_real:train" and c.evaluation.transform == "resize"
    assert c.data.validation == c.data.train.replace("train", "val") and len(c.data.test.split(",")) == 8
    r = tuned(c, examples=6_400)
    assert r.loop.steps == 25 * 100 and not r.task.mixed and r.task.smoothing == 0
    plain = r.stream.augment
    assert plain.crop is plain.rand_augment is plain.erase is None and plain.flip == 0.5
    scratch = load("finetune_sbi:vits", "scratch")
    assert scratch.init == "scratch" and len(scratch.data.test.split(",")) == 5
    with pytest.raises(ValueError, match="c40"):
        load("finetune_sbi:vitb", "c40")


@pytest.mark.parametrize(
    "name, variant, peak, epochs, layer_decay, weight_decay, batch",
    [
        # FSFM, README of the released code: 2.5e-4 and 5e-4 for 256 images.
        ("finetune_dfd:vitb", "fsfm400", 6.25e-5, 10, 0.65, 0.05, 64),
        ("finetune_diff:vitb", "fsfm400", 2.5e-5, 10, 0.90, 0.03, 64),
        ("finetune_diff:vitb", "cvpr", 5e-4, 50, 0.65, 0.05, 256),
        ("finetune_dfd:vitb", "scratch", 5e-5, 50, None, 0.03, 64),
    ],
)
def test_fine_tuning_variants(name, variant, peak, epochs, layer_decay, weight_decay, batch):
    c = load(name, variant)
    r = tuned(c, examples=100 * batch)
    assert r.schedule.peak == pytest.approx(peak) and r.loop.steps == 100 * epochs and r.stream.global_batch == batch
    assert r.optimizer.weight_decay_rules[-1] == (".*", weight_decay)
    if layer_decay is None:
        assert c.init == "scratch" and r.optimizer.rate_rules == ()
    else:
        assert r.optimizer.rate_rules[0][1] == pytest.approx(layer_decay**13)
    assert (c.data.statistics == "imagenet") == (variant == "cvpr")


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith(("finetune_dfd", "finetune_diff"))])
def test_released_fine_tuning_resamples_bilinearly_and_nothing_else(name):
    plain, released = (config.flat(load(name, variant)) for variant in ("", "released"))
    assert {key for key in plain if plain[key] != released[key]} == {"augment.interpolation"}
    assert released["augment.interpolation"] == "bilinear"
    with pytest.raises(ValueError, match="variant: expected one of scratch, released.*'scrach'; did you mean"):
        load(name, "scrach")


# Words, folders of training and validation, test sets by name.
PROTOCOLS = {
    "fsvfm": (["ffpp_all"], {
        "CDFv2": "celebdf_v2", "DFDC": "dfdc", "DFDCp": "dfdcp", "WDF": "wilddeepfake", "DFD": "dfd",
        "CDFv1": "celebdf_v1", "CDFpp": "celebdf_pp",
    }),
    "c40": (["ffpp_all_c40"], {"FFpp_c40": "ffpp_all_c40"}),
    "only-neuraltextures": (["ffpp_neuraltextures"], {
        "FFpp_DF": "ffpp_deepfakes", "FFpp_F2F": "ffpp_face2face", "FFpp_FS": "ffpp_faceswap",
    }),
    "all-but-face2face": (["ffpp_deepfakes", "ffpp_faceswap", "ffpp_neuraltextures"], {"FFpp_F2F": "ffpp_face2face"}),
    "all-but-deepfakes,c40": (
        ["ffpp_face2face_c40", "ffpp_faceswap_c40", "ffpp_neuraltextures_c40"], {"FFpp_DF_c40": "ffpp_deepfakes_c40"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["finetune_dfd", "adapter_dfd"])
@pytest.mark.parametrize("words", PROTOCOLS)
def test_protocols_change_what_is_trained_and_tested_on_alone(kind, words):
    folders, tests = PROTOCOLS[words]
    plain, c = config.flat(load(kind)), load(kind, words)
    assert splits(c.data.train) == [f"{folder}:train" for folder in folders]
    assert splits(c.data.validation) == [f"{folder}:val" for folder in folders]
    assert open_sets(c.data.test, "data.test", str) == {name: f"data/{folder}:test" for name, folder in tests.items()}
    changed = {name for name, value in config.flat(c).items() if value != plain[name]}
    assert changed <= {"data.train", "data.validation", "data.test"} and "data.test" in changed
    tuned(c)
    # They go with the other words of a recipe, in any order.
    both = config.flat(load(f"{kind}:vits", f"{words},released"))
    assert both == config.flat(load(f"{kind}:vits", f"released,{words}"))
    assert both["augment.interpolation"] == "bilinear" and both["data.test"] == c.data.test


def test_data_sets_of_protocols_are_those_that_can_be_prepared():
    for words in (*protocols.WORDS, "c40,only-deepfakes"):
        found, rest = protocols.find_protocol(words)
        tested = {spec.partition(":")[0] for spec in found.tests.values()}
        assert rest == "" and tested
        for folder in tested | {*found.train}:
            registry.find(folder.replace("_c40", ":c40"))
        # No manipulation is tested on itself.
        assert words == "c40" or not tested & {*found.train}
    assert set(protocols.MANIPULATIONS) == {name.lower() for name in MANIPULATIONS}
    with pytest.raises(ValueError, match="variant: expected one of the words only-... and all-but-..., found only-fa"):
        load("finetune_dfd:vitb", "only-faceswap,all-but-deepfakes")
    with pytest.raises(ValueError, match="variant: expected one of scratch, .*'only-shifter'"):
        load("finetune_dfd:vitb", "only-shifter")
    with pytest.raises(ValueError, match="variant: expected one of linear-probe, .* c40, .*'c41'; did you mean 'c40'"):
        load("adapter_dfd:vitb", "c41")
    with pytest.raises(ValueError, match="variant: expected one of scratch, released, .*'c40'"):
        load("finetune_diff:vitb", "c40")


@functools.cache
def planned_cells(name):
    """The cells of a comparison, which nobody changes."""
    return plan(load(name)).cells


def splits(text):
    return [spec.partition("data/")[2] for spec in text.split(",")]


@pytest.mark.parametrize(
    "variant, sources, judges, test",
    [
        ("O", ["msu", "casia", "replay", "celeb"], ["msu", "casia", "replay"], "ICM2O=mcio_frames:oulu_test"),
        ("M", ["casia", "replay", "oulu", "celeb"], ["casia", "replay", "oulu"], "OCI2M=mcio_frames:msu_test"),
        ("C,no-celeb", ["msu", "replay", "oulu"], ["msu", "replay", "oulu"], "OMI2C_no_celeb=mcio_frames:casia_test"),
        ("I,5-shot", ["msu", "casia", "oulu", "celeb", "replay_shot"], ["msu", "casia", "oulu"],
         "OCM2I_5_shot=mcio_frames:replay_test"),
        ("wmca", ["cefa", "surf"], ["cefa", "surf"], "CS2W=wcs_frames:wmca_test"),
        ("surf,5-shot", ["wmca", "cefa", "surf_shot"], ["wmca", "cefa"], "CW2S_5_shot=wcs_frames:surf_test"),
        ("surf,celeb", ["wmca", "cefa", "celeb"], ["wmca", "cefa"], "CW2S_celeb=wcs_frames:surf_test"),
        ("wmca,5-shot,celeb", ["cefa", "surf", "celeb", "wmca_shot"], ["cefa", "surf"],
         "CS2W_celeb_5_shot=wcs_frames:wmca_test"),
        ("MI2C", ["msu", "replay"], ["msu", "replay"], "MI2C=mcio_frames:casia_test"),
        ("MI2O,oracle", ["msu", "replay"], ["msu", "replay"], "MI2O=mcio_frames:oulu_test"),
        ("C2O", ["casia"], ["casia"], "C2O=mcio_frames:oulu_test"),
        ("O2M,celeb", ["oulu", "celeb"], ["oulu"], "O2M_celeb=mcio_frames:msu_test"),
    ],
)  # fmt: skip
def test_anti_spoofing_protocols(variant, sources, judges, test):
    c = load("finetune_fas:vits", variant)
    folder = test.partition("=")[2].partition(":")[0]
    expected = [f"{folder}:{name if '_' in name else f'{name}_train'}" for name in sources]
    assert splits(c.data.train) == [name.replace("wcs_frames:celeb", "mcio_frames:celeb") for name in expected]
    assert splits(c.data.validation) == [f"{folder}:{name}_test" for name in judges]
    assert c.data.test.replace("data/", "") == test
    # The target's test faces are nowhere else.
    assert test.partition("=")[2] not in splits(c.data.train) + splits(c.data.validation)
    rule = "oracle" if "oracle" in variant else "source-validation"
    assert tuned(c).stream.global_batch == 24 * len(sources) and c.selection.rule == rule
    # An evaluation by the same words names the same set.
    assert load_recipe(f"eval_fas:{variant}").data.sets == c.data.test


def test_protocols_of_fewer_sources_are_those_of_the_literature():
    pairs = {f"{one}2{other}" for one in "MCIO" for other in "MCIO" if one != other}
    assert len(finetuning.ONE_TO_ONE) == 12 and {*finetuning.ONE_TO_ONE} == pairs
    plain = config.flat(load("finetune_fas:vitb", "O"))
    for name in finetuning.FEWER:
        sources, target = name.split("2")
        c = config.flat(load("finetune_fas:vitb", name))
        changed = {field for field in c if c[field] != plain[field]}
        assert changed <= {"data.train", "data.validation", "data.test", "batch.size", "batch.per_device"}
        assert splits(c["data.train"]) == [f"mcio_frames:{finetuning.MCIO[letter]}_train" for letter in sources]
        assert c["data.test"] == f"{name}=data/mcio_frames:{finetuning.MCIO[target]}_test"


def test_anti_spoofing_recipes_are_the_released_ones():
    c = load("finetune_fas:vitb", "O")
    r = tuned(c)
    assert r.stream.balanced and r.loop.steps == 4000 and r.loop.save_every == 100 and c.repeats == 5
    assert r.schedule.kind == "constant" and r.schedule.peak == 2.5e-5
    assert tuned(load("finetune_fas:vitb", "O,fsfm400")).schedule.peak == 1e-4
    assert r.optimizer.decay == "coupled" and r.optimizer.weight_decay_rules == ((".*", 1e-6),)
    assert r.optimizer.rate_rules == () and r.task.model.norm_over == "tokens" and r.task.model.dropout == 0.5
    assert not r.task.mixed and r.task.smoothing == 0 and r.stream.augment.crop is None
    assert r.stream.augment.saturation.overflow == "clip"
    assert (r.selection.kind, r.selection.metric, r.selection.ties) == ("source-validation", "hter", "later")
    # Lowest HTER on the target's own test set, a later equal one wins.
    oracle = SelectionRule("oracle", "hter", "lower", "later")
    released = tuned(load("finetune_fas:vitb", "O,released"))
    assert released.selection == oracle and released.stream.augment.saturation.overflow == "wrap"
    assert tuned(load("finetune_fas:vitb", "O,oracle")).selection == oracle
    for variant in ("X", "O,celeb", "wmca,no-celeb", "", "O,fsfm", "MI2M", "M2M", "IM2C", "MI2C,no-celeb"):
        with pytest.raises(ValueError, match="variant: expected one of"):
            finetuning.antispoof(variant)


ADAPTED = [name for name in RECIPES if name.startswith("adapter_")]


@pytest.mark.parametrize("name", ADAPTED)
def test_adapter_recipes_and_their_comparators_resolve(name):
    target = "O," if "_fas" in name else ""
    for variant, method in {
        "": "fs_adapter", "linear-probe": "linear_probe", "layer-norm": "layer_norm", "bias": "bias", "lora": "lora",
    }.items():  # fmt: skip
        c = load(name, f"{target}{variant}".strip(","))
        for devices in (1, 2, 8):
            r = tuned(c, devices=devices)
        assert c.tuning.method == method and r.trained == TUNINGS[method]
        assert (r.task.contrast is None) == (method != "fs_adapter") == (r.task.model.reduction is None)
        assert (r.task.model.lora is None) == (method != "lora") and r.optimizer.rate_rules == ()
    with pytest.raises(ValueError, match="variant: expected one of .*'lorra'; did you mean 'lora'"):
        load(name, f"{target}lorra")


# Released scripts: rate, steps of 256,000 images, batch, weight of the real-anchor loss.
@pytest.mark.parametrize(
    "name, peak, steps, batch, contrast",
    [
        ("adapter_dfd:vits", 2e-3, 30_000, 512, 0.01),
        ("adapter_dfd:vitb", 5e-3, 50_000, 256, 0.01),
        ("adapter_dfd:vitl", 1e-2, 50_000, 256, 0.1),
        ("adapter_diff:vits", 1e-2, 60_000, 256, 0.01),
        ("adapter_diff:vitb", 1e-2, 50_000, 256, 0.05),
        ("adapter_diff:vitl", 2e-2, 12_500, 1024, 0.1),
    ],
)
def test_adapter_recipes_are_the_released_ones(name, peak, steps, batch, contrast):
    c = load(name)
    r = tuned(c, examples=256_000)
    assert r.schedule.peak == pytest.approx(peak) and r.schedule.floor == 1e-6 and r.schedule.kind == "cosine"
    epochs = 60 if name.endswith("vits") else 50
    assert (r.loop.steps, r.stream.global_batch) == (steps, batch) and r.schedule.warmup == 5 * steps / epochs
    assert r.task.contrast == ContrastSpec(contrast, 0.07, 1) and r.task.model.reduction == 4
    assert r.task.model.drop_path == 0.1 and r.task.mixed and r.task.smoothing == 0.1
    assert r.optimizer.weight_decay_rules[-1] == (".*", 0.0) and r.step.accumulation == 1
    plain, released = config.flat(c), config.flat(load(name, "released"))
    changed = {key: released[key] for key in plain if plain[key] != released[key]}
    # Two GPUs, each with its own pairs.
    assert changed == {"augment.interpolation": "bilinear", "nonfinite": "skip", "batch.accumulation": 2}


@pytest.mark.parametrize("name", ["adapter_dfd", "adapter_diff"])
def test_the_linear_probe_of_the_branch_r1_is_of_vit_l(name):
    """Two GPUs with 128 images, 50 epochs, 1e-2 for 256 images, no weight decay, one rate for what is trained."""
    c = load(name, "vitl,linear-probe-r1")
    r = tuned(c, examples=256_000)
    assert (r.loop.steps, r.stream.global_batch, r.schedule.peak) == (50_000, 256, pytest.approx(1e-2))
    assert r.trained == TUNINGS["linear_probe"] and r.optimizer.rate_rules == () and r.task.contrast is None
    assert r.optimizer.weight_decay_rules[-1] == (".*", 0.0) and r.task.model.drop_path == 0.1
    assert r.stream.augment.erase.probability == 0.25 and (c.mix.mixup, c.mix.cutmix) == (0.8, 1.0) and r.task.mixed
    ours, probe = config.flat(load(name, "vitl,linear-probe")), config.flat(c)
    changed = {field for field in ours if ours[field] != probe[field]}
    own = {"batch.size", "batch.per_device", "optimizer.base_learning_rate"}
    assert changed == (own if name == "adapter_diff" else set())
    assert load(name, "vitl,linear-probe-r1,released").augment.interpolation == "bilinear"
    for size in ("vits", "vitb"):
        with pytest.raises(ValueError, match="linear-probe-r1 is of vitl alone, .* not known. linear-probe has ours"):
            load(name, f"{size},linear-probe-r1")
    with pytest.raises(ValueError, match="expected one of .*'linear-probe-r2'; did you mean 'linear-probe-r1'"):
        load(name, "linear-probe-r2")
    with pytest.raises(ValueError, match="variant: expected one of"):
        load("adapter_fas", "vitl,O,linear-probe-r1")


@pytest.mark.parametrize(
    "name, peak, decay, contrast",
    [
        ("adapter_fas:vits", 5e-2, 1e-6, 0.1),
        ("adapter_fas:vitb", 5e-2, 5e-5, 0.1),
        ("adapter_fas:vitl", 1e-3, 1e-7, 0.2),
    ],
)
def test_anti_spoofing_adapters_are_the_released_ones(name, peak, decay, contrast):
    c = load(name, "O")
    r = tuned(c)
    assert (r.schedule.kind, r.schedule.peak) == ("constant", peak) and c.repeats == 3 and r.loop.steps == 4000
    assert r.optimizer.weight_decay_rules == ((".*", decay),) and r.optimizer.decay == "coupled"
    assert r.stream.global_batch == 192 and r.stream.balanced and not r.task.mixed
    assert r.task.contrast == ContrastSpec(contrast, 0.07, 1) and r.task.model.norm_over == "features"
    assert tuned(load(name, "O,no-celeb,oracle,bias")).stream.global_batch == 144


@pytest.mark.parametrize("name", ADAPTED)
def test_cached_recipes_leave_every_image_as_it_is(name):
    c = load(name, "O,cached" if "_fas" in name else "cached")
    assert tuned(c).cache == "runs/features"
    for field, value in {
        "augment.crop": True, "augment.flip": 0.5, "augment.rand_augment": "rand-m9-mstd0.5-inc1", "augment.erase": 0.1,
        "augment.saturation": 0.5, "model.drop_path": 0.1, "tuning.method": "lora",
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=f"features.cache: .*{value if field == 'tuning.method' else field}"):
            tuned(change(c.copy_and_resolve_references(), {field: value, "loss.contrast": 0.0}))


# Rules go by the names of parameters, so that one base of each wiring will do.
@pytest.mark.parametrize("base", WIRINGS)
@pytest.mark.parametrize("network", ["classifier", "antispoof"])
def test_every_base_goes_with_every_recipe_and_tuning(monkeypatch, base, network):
    monkeypatch.setitem(vit.SIZES, "tiny16", vit.Size(48, 1, 4, 16))  # blocks are alike
    c = load("finetune_dfd:vitb") if network == "classifier" else load("finetune_fas:vitb", "O")
    change(c, {"model.base": base, "model.size": "tiny16"})
    for method in TUNINGS:
        # What LoRA and adapters add does not depend on the pooling.
        both = network == "classifier" and base != "marlin" and method not in ("lora", "fs_adapter")
        for pooling in ("mean_patches", "cls") if both else ("mean_patches",):
            check_recipe(change(c, {"tuning.method": method, "model.pooling": pooling, "model.norm_over": "features"}))
    check_recipe(change(c, {"init": "scratch", "tuning.method": "full"}))


def test_what_does_not_go_together_is_said_before_any_data_is_opened(tmp_path, monkeypatch):
    c = change(load("finetune_dfd:vitb"), {"model.size": "tiny16", "data.train": "no/such/data", "init": "no/such/run"})
    for fields, text in (
        ({"model.base": "marlin", "model.pooling": "cls"}, "model.base=marlin, .*: model.pooling: .* no class token"),
        ({"features.cache": "somewhere"}, "features.cache: full changes the encoder"),
        ({"loss.contrast": 0.1}, "loss.contrast: only FS-Adapter has features for it"),
    ):
        with pytest.raises(ValueError, match=text):
            finetune.run(change(c.copy_and_resolve_references(), fields), str(tmp_path))
    monkeypatch.setattr(finetune_config, "layer_rate_rules", lambda depth, decay: (("encoder/.*", 1.0),))
    with pytest.raises(ValueError, match="model.base=fsfm, .* tuning.method=full: .* matches fc_norm/bias"):
        finetune.run(c, str(tmp_path))


def test_tunings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="features.cache: model.norm_over: tokens needs every token"):
        tuned(change(load("adapter_fas:vitb", "O,cached,linear-probe"), {"model.norm_over": "tokens"}))
    with pytest.raises(ValueError, match="tuning.method: bias keeps the encoder frozen, and from scratch"):
        tuned(change(load("adapter_dfd:vitb", "bias"), {"init": "scratch"}))
    with pytest.raises(ValueError, match="loss.contrast: only FS-Adapter has features for it"):
        tuned(change(load("adapter_dfd:vitb"), {"tuning.method": "bias"}))
    with pytest.raises(ValueError, match="tuning.method: expected one of full, .*'adapter'"):
        tuned(change(load("adapter_dfd:vitb"), {"tuning.method": "adapter"}))
    with pytest.raises(ValueError, match="model.base: expected one of fsfm, .*'dyno'; did you mean 'dino'"):
        tuned(change(load("adapter_dfd:vitb"), {"model.base": "dyno"}))


@pytest.mark.parametrize(("fields", "text"), [
    ({"loss.focusing": 2.0}, "loss.focusing: the focal loss is of .*set loss.smoothing and mix.probability to 0, or"),
    ({"loss.alpha": 0.3, "mix.probability": 0.0}, "loss.alpha: the focal loss is of .*; set loss.smoothing to 0, or"),
    ({"data.balanced": True, "data.sampling": "methods"}, "data.sampling: methods and data.balanced are two ways of"),
    ({"tuning.method": "linear_probe", "tuning.projections": "qkv,mlp"}, "tuning.projections: only lora has it, and"),
    ({"tuning.blocks": "0-3"}, "tuning.blocks: only lora has it, and tuning.method is full; leave it at '' .found '0"),
    ({"tuning.method": "lora", "tuning.blocks": "3-12"}, "tuning.blocks: expected blocks from 0 to 11, .*found '3-12"),
    ({"loss.uniformity": 0.5}, "loss.uniformity: it is of features of length 1; set model.unit_features to True"),
    ({"loss.alignment": 0.1, "model.unit_features": True}, "loss.alignment: a mixed image is of no single class; set"),
    ({"tuning.method": "fs_adapter", "model.unit_features": True}, "model.unit_features: the features of an adapter"),
    ({"augment.sizes": "224,230"}, "augment.sizes: image size: expected a multiple of the patch size 16; found 230"),
    ({"augment.sizes": "224, big"}, 'augment.sizes: expected different sizes from 1 to 4096, such as "224,320,384"'),
    ({"augment.sizes": "224", "model.base": "beitv2"}, "augment.sizes: beitv2 has relative positions of one size"),
    ({"average.decay": 1.0}, "average.decay: expected at least 0 and at most 0.99"),
])  # fmt: skip
def test_habits_that_do_not_go_together_are_refused(fields, text):
    with pytest.raises(ValueError, match=text):
        tuned(change(load("finetune_dfd:vitb"), fields))


def test_the_recipe_of_gend_trains_norms_on_unit_features():
    r = tuned(load("finetune_gend:vitl", "clip,fsvfm"), examples=512_000)
    assert r.task.term_weights == {"cross_entropy": 1.0, "uniformity": 0.5, "alignment": 0.1}
    assert r.task.model.unit_features and r.task.model.pooling == "cls" and r.trained == TUNINGS["layer_norm"]
    assert (r.schedule.peak, r.schedule.floor, r.schedule.warmup, r.schedule.total) == (3e-4, 1e-6, 0, 30_000)
    assert r.optimizer.weight_decay_rules[-1] == (".*", 0.0) and not r.task.mixed and r.task.smoothing == 0
    with pytest.raises(ValueError, match="variant: expected one of .*'clip'"):
        load("finetune_gend:vitb", "clip")


@pytest.mark.parametrize("place", ["concat", "add", "parallel", "sequential"])
def test_fs_adapter_stands_where_it_is_asked_for(place):
    c = change(load("adapter_dfd:vitb"), {"tuning.insertion": place, "loss.contrast_kind": "real_fake"})
    r = tuned(c)
    assert (r.task.model.insertion, r.task.contrast.kind) == (place, "real_fake")
    check_recipe(change(c.copy_and_resolve_references(), {"model.size": "tiny16"}))
    cached = change(load("adapter_dfd:vitb", "cached"), {"tuning.insertion": place})
    if place in ("concat", "add"):
        assert tuned(cached).cache
    else:
        with pytest.raises(ValueError, match=f"features.cache: tuning.insertion {place} changes the encoder; expected"):
            tuned(cached)
    # Nothing of it reaches a network without an adapter, nor a loss that is none.
    assert tuned(change(c.copy_and_resolve_references(), {"loss.contrast_kind": "none"})).task.contrast is None
    plain = change(load("finetune_dfd:vitb"), {"tuning.insertion": place})
    assert tuned(plain) == tuned(load("finetune_dfd:vitb"))


# Layout, and the sets of each variant.
EVALUATIONS = {
    "eval_dfd": ("dfd", {
        "": ["CDFv2", "DFDC", "DFDCp", "WDF"], "intra": ["FFpp"], "c40": ["FFpp_c40"],
        "fsvfm": ["CDFv2", "DFDC", "DFDCp", "WDF", "DFD", "CDFv1", "CDFpp"],
        "only-faceswap": ["FFpp_DF", "FFpp_F2F", "FFpp_NT"], "all-but-faceswap": ["FFpp_FS"],
    }),
    "eval_diff": ("diff", {"": ["FF_DF", "T2I", "I2I", "FS", "FE"]}),
    "eval_fas": ("fas", {"M": ["OCI2M"], "wmca": ["CS2W"]}),
    "eval_unified": ("classes", {"": ["CDFv2", "T2I", "FE", "OULU"]}),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "variant"), [(name, words) for name, (_, sets) in EVALUATIONS.items() for words in sets]
)
def test_evaluation_recipes(name, variant):
    layout, sets = EVALUATIONS[name]
    c = load(name, variant)
    config.check_fields(c, evaluate.evaluate())
    assert list(open_sets(c.data.sets, "data.sets", str)) == sets[variant]
    assert resolve_report(c, "resize").layout == layout and c.evaluation.transform == ""
    if name in ("eval_dfd", "eval_fas"):
        with pytest.raises(ValueError, match="variant: expected one of"):
            load(name, "everything")


COMPARISONS = {
    "compare_dfd": (62, ["vit_b16"]), "compare_dfd:fsvfm": (31, ["vit_b16"]), "compare_dfd:c40": (31, ["vit_b16"]),
    "compare_dfd:only-deepfakes": (31, ["vit_b16"]), "compare_fas": (76, ["vit_b16"]),
    "compare_fas:limited": (38, ["vit_b16"]), "compare_fas:one-to-one": (228, ["vit_b16"]),
    "compare_fas:wcs": (57, ["vit_b16"]), "compare_fas:wcs,celeb": (57, ["vit_b16"]), "compare_demo": (4, ["demo16"]),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPARISONS)
def test_every_cell_of_a_comparison_resolves(name):
    cells, sizes = COMPARISONS[name]
    planned = planned_cells(name)
    # From scratch there is full tuning alone, once for each task; all others have every tuning.
    assert len(planned) == cells and sorted({cell.config.model.size for cell in planned}) == sizes
    for cell in planned:
        resolved = tuned(cell.config)
        assert resolved.loop.steps > resolved.schedule.warmup and cell.config.data.test, cell
    assert len({cell.folder("") for cell in planned}) == cells


def test_comparisons_of_a_protocol_have_its_test_sets():
    suite = ["CDFv2", "DFDC", "DFDCp", "WDF", "DFD", "CDFv1", "CDFpp"]
    for name, sets in (("fsvfm", suite), ("c40", ["FFpp_c40"]), ("all-but-deepfakes", ["FFpp_DF"])):
        for cell in plan(load(f"compare_dfd:{name}")).cells:
            assert cell.task == "dfd" and list(open_sets(cell.config.data.test, "data.test", str)) == sets
            # What is trained on, and everything else, is as the recipe's word has it.
            assert ("c40" in cell.config.data.train) == (name == "c40")
    with pytest.raises(ValueError, match="variant: expected one of fsvfm, c40, only-deepfakes, .*'c41'; did you mean"):
        load_recipe("compare_dfd:c41")


def test_comparisons_of_anti_spoofing_protocols_have_their_sets():
    for name, sets in {
        "": ["OCI2M", "OMI2C", "OCM2I", "ICM2O"], "limited": ["MI2C", "MI2O"], "one-to-one": [*finetuning.ONE_TO_ONE],
        "wcs": ["CS2W", "SW2C", "CW2S"], "wcs,celeb": ["CS2W_celeb", "SW2C_celeb", "CW2S_celeb"],
    }.items():  # fmt: skip
        cells = planned_cells(f"compare_fas:{name}".strip(":"))
        assert [*dict.fromkeys(cell.config.data.test.partition("=")[0] for cell in cells)] == sets
    for variant in ("celeb", ",celeb", "wcs,no-celeb", "wcs,"):
        with pytest.raises(ValueError, match="expected one of limited, limited,celeb, one-.*, wcs,celeb; found"):
            load_recipe(f"compare_fas:{variant}")


def test_the_demo_s_tunings_learn_as_their_recipes_say():
    c = change(load("compare_demo"), {"tunings": "full,fs_adapter,linear_probe,bias"})
    lengths = {cell.tuning: (cell.config.duration, cell.config.optimizer.base_learning_rate) for cell in plan(c).cells}
    assert lengths == {"full": ("10 epochs", 0.01), "fs_adapter": ("150 epochs", 0.01),
                       "linear_probe": ("60 epochs", 0.3), "bias": ("10 epochs", 0.001)}  # fmt: skip
    assert not re.findall(r"(?i)\d+ epochs", (ROOT / "fsfm_jax" / "resolve" / "compare.py").read_text())


ABLATIONS = {
    "ablate_fsfm:masking": 5, "ablate_fsfm:ratio": 5, "ablate_fsfm:components": 5, "ablate_fsfm:id-loss": 5,
    "ablate_fsfm:target-view": 5, "ablate_fsfm:augmentation": 5, "ablate_fsfm:weights": 7, "ablate_fsfm:data": 3,
    "ablate_fsfm:size": 3, "ablate_demo": 2, "ablate_adapter:insertion": 4, "ablate_adapter:reduction": 4,
    "ablate_adapter:contrast": 4, "ablate_adapter:weight": 5, "ablate_adapter:temperature": 5,
}  # fmt: skip


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_trial_of_an_ablation_resolves(name):
    trials = plan_ablation(load(name), "w").trials
    assert len(trials) == ABLATIONS[name]
    made = [
        config.resolve_pretraining(trial.pretrain, EXAMPLES, 1) if trial.pretrain else tuned(trial.cells[0].config)
        for trial in trials
    ]
    if name != "ablate_fsfm:data":  # which differ in what they read
        assert all(one != other for number, one in enumerate(made) for other in made[:number])
    assert all(trial.cells and all(cell.config.data.test for cell in trial.cells) for trial in trials)
    # Most cells differ in the pretraining that they start from alone, which is not opened here.
    cells = {str(config.flat(cell.config) | {"init": ""}): cell for trial in trials for cell in trial.cells}
    assert all(tuned(cell.config).loop.steps for cell in cells.values())


def test_every_recipe_of_evaluations_comparisons_and_ablations_was_looked_at():
    looked_at = {*EVALUATIONS, *(name.partition(":")[0] for name in [*COMPARISONS, *ABLATIONS])}
    assert looked_at == {name for name in RECIPES if name.startswith(("eval_", "compare_", "ablate_"))}


# Model size, patches that stay visible, micro-batches of the released script on its four GPUs.
TABLE = {
    "pretrain_vits": ((384, 12, 12, 16), 49, 2),
    "pretrain_vitb": ((768, 12, 12, 16), 49, 4),
    "pretrain_vitl": ((1024, 24, 16, 16), 49, 4),
    "pretrain_vith": ((1280, 32, 16, 14), 64, 4),
}


@pytest.mark.parametrize("variant,epochs", [("", 600), ("fsfm400", 400), ("ffpp", 400), ("mae", 600)])
@pytest.mark.parametrize("name", SIZED)
def test_recipe_numbers(name, variant, epochs):
    """The published table, written out; 3,000,000 images are 732.421875 steps an epoch."""
    c = load(name, variant)
    assert c.data.train == ("data/ffpp_originals" if variant == "ffpp" else "data/vggface2")
    r = config.resolve_pretraining(c, EXAMPLES, 8)
    size, seen, _ = TABLE[name]
    assert (r.model.size.width, r.model.size.depth, r.model.size.heads, r.model.size.patch_size) == size
    assert r.model.seen == seen
    assert (r.model.pixel_width, r.model.pixel_depth, r.model.pixel_heads) == (512, 8, 16)
    assert (r.model.rep_depth, r.model.rep_heads) == (2, 16)
    assert (r.model.projection_hidden, r.model.projection_features) == (4096, 256)
    assert r.stream.global_batch == 4096 and (r.stream.online, r.stream.target) == (WHOLE, None)
    assert r.loop.steps == {600: 439_453, 400: 292_968}[epochs]
    assert r.schedule.total == r.loop.steps == r.schedule.target_total
    assert r.schedule.warmup == 40 * EXAMPLES / 4096
    assert r.schedule.peak == pytest.approx(2.4e-3, rel=1e-12)
    assert r.schedule.floor == 0
    assert r.schedule.momentum == 0.996 and not r.schedule.target_frozen
    assert (r.optimizer.beta1, r.optimizer.beta2, r.optimizer.epsilon) == (0.9, 0.95, 1e-8)
    assert r.optimizer.clip_norm == 1.0
    assert {decay for _, decay in r.optimizer.weight_decay_rules} == {0.0, 0.05}
    assert (r.loss.region_weight, r.loss.instance_weight) == (0.007, 0.1)
    assert (r.loss.kind, r.loss.ncs_scale, r.loss.normalise_pixels) == ("ncs", 1.0, True)
    strategy = "random" if variant == "mae" else "crfr_p"
    assert r.stream.mask == MaskSpec(strategy, 0.75, "image", "exact")
    assert r.model.instance_discrimination == (variant != "mae")
    assert (r.step.ratio_over, r.step.target_cadence) == ("global_batch", "optimizer_step")
    assert r.step.nonfinite == r.loop.nonfinite == "stop"


@pytest.mark.parametrize("name", SIZED)
def test_a_naive_mae_differs_from_the_recipe_in_the_mask_and_in_what_mae_has_not(name):
    plain, naive, mae = (config.flat(load(name, variant)) for variant in ("", "naive-mae", "mae"))
    own = {"model.instance_discrimination": False, "mask.strategy": "random", "loss.region_weight": 0.0}
    assert {key: naive[key] for key in plain if plain[key] != naive[key]} == own
    assert {key for key in mae if mae[key] != naive[key]} == {"loss.region_weight"}
    c = load(name, "ffpp,naive-mae")
    assert (c.data.train, c.duration) == ("data/ffpp_originals", "400 epochs")
    # With another mask nothing but the mask is another.
    before = config.resolve_pretraining(c, EXAMPLES, 8)
    c.mask.strategy = "crfr_p"
    after = config.resolve_pretraining(c, EXAMPLES, 8)
    mask = before.stream.mask
    assert after.stream.mask != mask and dataclasses.replace(after.stream, mask=mask) == before.stream
    assert (after.model, after.loss, after.schedule) == (before.model, before.loss, before.schedule)


@pytest.mark.parametrize("name", SIZED)
def test_a_snapshot_ends_before_its_schedule(name):
    plain, r = (config.resolve_pretraining(load(name, variant), EXAMPLES, 8) for variant in ("", "snapshot"))
    assert (r.loop.steps, r.schedule.total, r.schedule.target_total) == (439_453, 585_937, 585_937)
    one, other = (float(pretrain.learning_rate_of(x.schedule, 439_453)) / x.schedule.peak for x in (plain, r))
    # Half of 1 + cos(pi 560 / 760): what the learning rate of the released ViT-L was when it was saved.
    assert one < 1e-6 and other == pytest.approx(0.1614, abs=1e-4)
    assert r.loop.steps == plain.loop.steps and r.stream == plain.stream and r.optimizer == plain.optimizer


@pytest.mark.parametrize(
    ("design", "view", "decoded"),
    [
        ("4a", "other_visible", "neither"),
        ("4b", "masked", "regressed"),
        ("4c-free", "full", "neither"),
        ("4c-online", "full", "online"),
        ("4c-siamese", "full", "both"),
    ],
)
def test_the_designs_of_the_supplement_have_names(design, view, decoded):
    r = resolve({"model.target_view": design})
    assert (r.model.target_view, r.model.rep_decoded) == (view, decoded)
    assert r.stream.other_mask == (design == "4a")
    if decoded != "regressed":
        parts = {"model.target_view": view, "model.rep_decoded": decoded}
        assert r == resolve(parts)
        # A run may go on under either name.
        names = (config.binding_fields(change(common.pretrain(), f), 4) for f in ({"model.target_view": design}, parts))
        assert next(names) == next(names)
    contrary = "online" if decoded != "online" else "neither"
    with pytest.raises(ValueError, match=f"model.rep_decoded: model.target_view {design} decides it; leave it at both"):
        resolve({"model.target_view": design, "model.rep_decoded": contrary})


@pytest.mark.parametrize(
    ("fields", "online", "target"),
    [
        ({}, "", None),
        ({"data.augment": True}, "crop flip", None),
        ({"data.augment_online": "simple"}, "crop flip", None),
        ({"data.augment_target": "strong"}, "", "crop flip colour"),
        ({"data.augment_target": "simple", "data.augment": True}, "crop flip", "crop flip"),
        ({"data.augment_target": "none", "data.augment_online": "flip, colour"}, "flip colour", ""),
        ({"data.augment_target": "none"}, "", None),  # both see the photo as it is: one is enough
        ({"data.augment_target": "colour", "model.target_view": "4b"}, "", "colour"),
        ({"data.augment_online": "simple", "model.target_view": "4b"}, "crop flip", None),
    ],
)
def test_each_network_has_the_view_that_is_asked_for(fields, online, target):
    stream = resolve(fields).stream
    expected = [None if words is None else ViewSpec(**dict.fromkeys(words.split(), True)) for words in (online, target)]
    assert [stream.online, stream.target] == expected


@pytest.mark.parametrize("variant,rule", [("released", "ema"), ("released-multi-gpu", "frozen")])
@pytest.mark.parametrize("name", SIZED)
def test_released_sets_every_switch(name, variant, rule):
    plain, c = config.flat(load(name)), config.flat(load(name, variant))
    parts = TABLE[name][2]
    switches = {
        "batch.accumulation": parts,
        "model.rep_positions": "zeros",
        "target.rule": rule,
        "target.cadence": "micro_step",
        "mask.region_draw": "batch",
        "mask.draw_group": 1024 // parts,
        "mask.count": "released",
        "loss.ncs_scale": 0.5,
        "loss.ratio_over": "micro_batch",
        "nonfinite": "skip",
    }
    assert {key: c[key] for key in switches} == switches
    # Nothing else differs from the recipe.
    assert {key for key in c if c[key] != plain[key]} <= switches.keys()
    resolved = config.resolve_pretraining(load(name, variant), EXAMPLES, 8)
    assert resolved.schedule.target_total == parts * resolved.schedule.total
    assert resolved.schedule.target_frozen == (rule == "frozen")


def test_variants_add_up():
    c = load("pretrain_vitb", "fsfm400,released")
    assert (c.duration, c.target.cadence) == ("400 epochs", "micro_step")


@pytest.mark.parametrize("name", SIZED)
def test_unknown_variant_is_named(name):
    with pytest.raises(ValueError, match="fsfm400, ffpp, mae, naive-mae, .*'fsfm40'; did you mean 'fsfm400'"):
        load(name, "fsfm40")


@pytest.mark.parametrize("name", RECIPES)
def test_docstrings_say_command_and_measurement(name):
    file = recipes.find_recipe(name.partition(":")[0])
    text = ast.get_docstring(ast.parse(file.read_text()))
    assert re.search(rf"python -m fsfm_jax.main --config=configs/{file.name}(:[\w,]+)? --workdir=", text)
    assert "Measured" in text


# Field changes and what the error must say: the field, what was found, what to do.
MISTAKES = {
    "typo": ({"model.sise": "vit_b16"}, r"model\.sise is unknown; did you mean 'model\.size'\?"),
    "size": ({"model.size": "vit_b61"}, r"model\.size: .* vit_b16, .*'vit_b61'; did you mean 'vit_b16'\?"),
    "loss": ({"loss.kind": "bylo"}, r"loss\.kind: expected one of ncs, .*'bylo'; did you mean 'byol'\?"),
    "rule": ({"target.rule": "frozn"}, r"target\.rule: .*'frozn'; did you mean 'frozen'\?"),
    "view": ({"model.target_view": "mask"}, r"model\.target_view: .*'mask'; did you mean 'masked'\?"),
    "dtype": ({"model.dtype": "bfloat61"}, r"model\.dtype: .*did you mean 'bfloat16'\?"),
    "strategy": ({"mask.strategy": "crfrp"}, r"mask\.strategy: expected one of random, .*crfr_p.*'crfrp'"),
    "too much data": ({"batch.size": 4_000_000}, r"batch\.size: 4000000 images .* training data has 3000000"),
    "empty batch": ({"batch.size": 0}, r"batch\.size: expected at least 1; found 0"),
    "devices": ({"batch.size": 100}, r"batch\.size: 100 images do not divide among 8 devices; use 104 or 96"),
    "few": ({"batch.size": 4}, r"batch\.size: 4 images do not divide among 8 devices; use 8$"),
    "accumulation": (
        {"batch.accumulation": 3},
        r"batch\.accumulation: 3 .* 512 images of a device .*8 devices",
    ),
    "no parts": ({"batch.accumulation": 0}, r"batch\.accumulation: 0 micro-batches"),
    "per device": ({"batch.per_device": 0}, r"batch\.per_device: expected at least 1; found 0"),
    "prime share": ({"batch.size": 8168}, r"batch\.size: the 1021 images of a device divide into 1021 parts"),
    "warm-up": ({"duration": "40 epochs"}, r"optimizer\.warmup: '40 epochs' is not shorter than the run"),
    "never saved": ({"checkpoint.every": "0 steps"}, r"checkpoint\.every: expected more than nothing"),
    "momentum": ({"target.momentum": 1.5}, r"target\.momentum: expected at least 0 and at most 1; found 1\.5"),
    "temperature": ({"loss.temperature": 0.0}, r"loss\.temperature: expected more than 0; found 0\.0"),
    "rate": ({"optimizer.base_learning_rate": float("nan")}, r"base_learning_rate: .*found nan"),
    "width": ({"model.pixel_width": 510, "model.pixel_heads": 2}, r"model\.pixel_width: 510 is not divisible by 4"),
    "no heads": ({"model.rep_heads": 0}, r"model\.rep_heads: expected at least 1; found 0"),
    "unit": ({"duration": "600 epocks"}, r"duration: expected .*\"NUMBER epochs\".*found '600 epocks'"),
    "no unit": ({"duration": "5k"}, r"duration: expected .*found '5k'"),
    "percent": ({"optimizer.warmup": "5%"}, r"optimizer\.warmup: expected .*found '5%'"),
    "no number": ({"duration": "epochs"}, r"duration: expected .*found 'epochs'"),
    "horizon": ({"horizon": "500 epochs"}, r"horizon: '500 epochs' is shorter than the run of '600 epochs'"),
    "not a kind": ({"batch.size": "4096"}, r"batch\.size: expected a number; found '4096'"),
    "none": ({"optimizer.beta1": None}, r"optimizer\.beta1: expected a number; found None"),
    "clipping": ({"optimizer.clip_norm": -1.0}, r"optimizer\.clip_norm: expected at least 0; found -1"),
    "number": ({"optimizer.warmup": "many epochs"}, r"optimizer\.warmup: .*'many epochs'"),
    "negative": ({"checkpoint.every": "-1 epochs"}, r"checkpoint\.every: .*'-1 epochs'"),
    "not a number": ({"target.warmup": "nan steps"}, r"target\.warmup: .*'nan steps'"),
    "plain number": ({"duration": 600}, r"duration: .*found 600"),
    "nothing to do": ({"duration": "100 examples"}, r"duration: '100 examples' is less than one step"),
    "ratio 1": ({"mask.ratio": 1.0}, r"mask\.ratio: expected a number between 0 and 1, found 1\.0"),
    "ratio 0": ({"mask.ratio": 0.0}, r"mask\.ratio: expected a number between 0 and 1, found 0\.0"),
    "ratio": ({"mask.ratio": 0.999}, r"mask\.ratio 0\.999 leaves 0 of 196 patches visible"),
    "pixel heads": ({"model.pixel_heads": 7}, r"model\.pixel_heads: 7 heads do not divide the width 512"),
    "word": ({"data.augment_target": "crop,colours"}, r"augment_target: expected one of crop, .*mean 'colour'"),
    "word twice": ({"data.augment_online": "crop,crop"}, r"augment_online: expected each word once; found 'crop,crop'"),
    "two fields": (
        {"data.augment_online": "flip", "data.augment": True}, r"augment_online: data\.augment decides it as well",
    ),
    "no target": (
        {"data.augment_target": "flip", "model.instance_discrimination": False},
        r"augment_target: without model\.instance_discrimination there is no target network",
    ),
    "other crop": (
        {"data.augment_target": "crop", "model.target_view": "4b"},
        r"augment_target: model\.target_view 4b .* both have to see one crop of the face; leave crop and flip out",
    ),
    "no term": (
        {"loss.masked_weight": 0.0, "loss.region_weight": 0.0, "loss.instance_weight": 0.0},
        r"loss: nothing would be trained with loss\.masked_weight, .* and loss\.instance_weight 0; give one of them",
    ),
    "no branch": (
        {"loss.masked_weight": 0.0, "loss.region_weight": 0.0, "model.instance_discrimination": False},
        r"loss: nothing would be trained .* and model\.instance_discrimination False; give one",
    ),
    "no region": (
        {"loss.masked_weight": 0.0, "mask.strategy": "frp"},
        r"loss\.masked_weight: 0 leaves .* mask\.strategy frp covers none; set loss\.region_weight to 0 as well",
    ),
    "rep heads": ({"model.rep_heads": 9}, r"model\.rep_heads: 9 heads do not divide the width 768"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(mistake):
    fields, message = MISTAKES[mistake]
    with pytest.raises(ValueError, match=message):
        resolve(fields)


def test_missing_field_is_named():
    c = common.pretrain()
    del c.mask.ratio
    with pytest.raises(
        ValueError, match=r"mask\.ratio is missing; start from a shipped recipe of the job"
    ):
        config.resolve_pretraining(c, EXAMPLES, 8)


@pytest.mark.parametrize("text", ["sixty", "inf", "0", "-5", "101%", "nan", "%", "60 %x"])
def test_bad_stop_after_is_named(text):
    with pytest.raises(ValueError, match="--stop_after: expected"):
        resolve(stop_after=text)


@pytest.mark.parametrize("off", [0.0, None])
def test_clipping_can_be_switched_off(off):
    assert resolve({"optimizer.clip_norm": off}).optimizer.clip_norm is None


@pytest.mark.parametrize(
    "text,step",
    [("", 1000), ("1", 1), ("250", 250), ("60%", 600), ("0.01%", 1), ("100%", 1000), ("9e3", 1000),
     ("60 %", 600), ("250 steps", 250), ("1 step", 1)],
)  # fmt: skip
def test_stop_after(text, step):
    assert resolve({"duration": "1000 steps", "optimizer.warmup": "9 steps"}, stop_after=text).loop.stop_after == step


@pytest.mark.parametrize(
    "text,steps",
    [("3 epochs", 30), ("30 steps", 30), ("300 examples", 30), ("0.5 epochs", 5), (" 9 steps", 9),
     ("1 epoch", 10), ("10epochs", 100), ("1 step", 1), ("2Steps ", 2), ("1e2  examples", 10), (".5epoch", 5)],
)  # fmt: skip
def test_durations(text, steps):
    assert config.to_steps(text, "duration", examples=100, batch=10) == steps


@pytest.mark.parametrize(
    "size,per_device,devices,parts",
    [(4096, 128, 1, 32), (4096, 128, 8, 4), (4096, 128, 32, 1), (4096, 100, 8, 8), (12, 5, 1, 3)],
)
def test_accumulation_is_the_fewest_parts_that_fit(size, per_device, devices, parts):
    assert config.accumulation(size, per_device, devices, None) == parts


def test_what_a_continuation_may_change():
    """Where and how fast a run goes is free; what it computes is not."""
    binding = config.binding_fields(common.pretrain(), 4).keys()
    assert {"model.size", "batch.size", "mask.ratio", "duration", "seed", "target.rule"} <= binding
    assert not binding & {
        "data.workers",
        "batch.per_device",
        "model.remat",
        "checkpoint.every",
        "partition.fsdp",
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"loss.kind": "infonce"},
        {"loss.ratio_over": "micro_batch"},
        {"target.cadence": "micro_step"},
        {"nonfinite": "skip"},
    ],
)
def test_micro_batches_bind_where_they_change_the_method(fields):
    """Other devices may divide a batch otherwise, unless the loss or the target sees the parts."""
    assert "batch.accumulation" not in config.binding_fields(common.pretrain(), 4)
    assert config.binding_fields(change(common.pretrain(), fields), 4)["batch.accumulation"] == 4


# Fields that count only where another has a certain value, with that value.
WHERE = {
    "augment.overflow": {"augment.saturation": 0.5}, "loss.contrast": {"tuning.method": "fs_adapter"},
    "loss.temperature": {"loss.contrast": 0.1, "tuning.method": "fs_adapter"}, "tuning.rank": {"tuning.method": "lora"},
    "tuning.alpha": {"tuning.method": "lora"}, "tuning.reduction": {"tuning.method": "fs_adapter"},
    "tuning.insertion": {"tuning.method": "fs_adapter"},
    "loss.contrast_kind": {"loss.contrast": 0.1, "tuning.method": "fs_adapter"},
    **{f"tuning.{name}": {"tuning.method": "lora"} for name in ("projections", "blocks")},
    **{f"loss.{name}": {"loss.smoothing": 0.0, "mix.probability": 0.0} for name in ("focusing", "alpha")},
    "loss.uniformity": {"model.unit_features": True},
    "loss.alignment": {"model.unit_features": True, "mix.probability": 0.0},
    "model.dropout": {"model.network": "antispoof"}, "model.norm_over": {"model.network": "antispoof"},
    "optimizer.options": {"optimizer.name": "muon"},
    **{f"report.selective.{name}": {"report.selective.calibration": "none"} for name in ("risk", "alpha", "by_class")},
}  # fmt: skip
# Fields that are read before anything is resolved: nonsense in them is refused below, in test_evaluate and by main.
READ_EARLY = {
    "pretrain": ["data.train", "data.statistics"],
    "finetune": ["init", "data.train", "data.validation", "data.test", "data.classes", "data.statistics"],
}
READ_ELSEWHERE = {
    "pretrain": {"job", "data.repeat_batch", *READ_EARLY["pretrain"]},
    "finetune": {"job", "repeats", "features.cache", *READ_EARLY["finetune"]},
    "evaluate": {"job", "checkpoint", "data.sets", "data.threshold", "official.classes", "official.statistics",
                 "official.norm_over", "official.dtype", "official.transform"},
    "compare": {"job"},
    "ablate": {"job", "published"},
}  # fmt: skip
TEMPLATES = {
    "pretrain": common.pretrain, "finetune": finetuning.finetune, "evaluate": evaluate.evaluate,
    "compare": compare.compare, "ablate": ablate.ablate,
}  # fmt: skip


def planned(c):
    found = plan(c)
    return [(cell.folder(""), config.flat(cell.config)) for cell in found.cells], found.scores


def ablated(c):
    trials = plan_ablation(c, "").trials
    cells = [[config.flat(cell.config) for cell in trial.cells] for trial in trials]
    return [(trial.name, trial.pretrain and config.flat(trial.pretrain)) for trial in trials], cells


RESOLVED = {
    "pretrain": lambda c: config.resolve_pretraining(c, EXAMPLES, 1), "finetune": tuned,
    "evaluate": lambda c: resolve_report(c, "resize_center"), "compare": planned,
    "ablate": ablated,
}  # fmt: skip
# Other values of texts whose refusal does not list them; the rest are durations and names.
OTHERS = {
    "duration": ["100 epochs"], "horizon": ["800 epochs"], "augment.rand_augment": ["none"],
    "models": ["A=scratch"], "tasks": ["diff"],
    "changes": ["seed=7"], "variant": ["released"], "figure.data": ["samples"], "size": ["vits"],
    "optimizer.options": ["momentum=0.9"], "tuning.blocks": ["0-3, 11"], "augment.sizes": ["224, 384"],
    "settings": ["a: seed=3"], "recipe": ["pretrain_vits"],
    "pretrain": ["seed=4"], "tuning": ["linear_probe"], "init": ["runs/a"], "scores": ["nonsense", "A=scores.csv"],
}  # fmt: skip


def other_values(field, old):
    if field in OTHERS:
        return list(OTHERS[field])
    if isinstance(old, bool):
        return [not old]
    if isinstance(old, float):
        return [0.9 * old, old + 0.25]
    if isinstance(old, int) or old is None:
        return [2 * (old or 1), (old or 1) + 1, max(1, (old or 1) // 2)]
    return ["3 steps"] if re.search(r"\d (epochs|steps)$", old) else ["nonsense"]


FIELDS_OF = [(job, field) for job, make in TEMPLATES.items() for field in config.flat(make())]


@pytest.mark.parametrize(("job", "field"), [(job, name) for job, name in FIELDS_OF if name not in READ_ELSEWHERE[job]])
def test_every_field_has_an_effect(job, field):
    where = WHERE.get(field, {}) if job in ("pretrain", "finetune", "evaluate") else {}
    if (job, field) in (("ablate", "init"), ("ablate", "size")):
        where = {"recipe": "none", "init": "runs/b", "size": "vitb"}
    where = {name: value for name, value in where.items() if name in config.flat(TEMPLATES[job]())}

    def result(value):
        return RESOLVED[job](change(TEMPLATES[job](), where | {field: value}))

    old = config.flat(change(TEMPLATES[job](), where))[field]
    before, todo, refused = result(old), other_values(field, old), []
    while todo:
        value = todo.pop(0)
        try:
            after = result(value)
        except ValueError as error:
            refused.append(str(error))
            listed = re.search(f"{field}: expected one of (.*?); found", str(error))
            todo += listed[1].split(", ") if value == "nonsense" and listed else []
            continue
        assert value != "nonsense", f"{job}, {field}: nonsense passes"
        if after != before:
            return
    raise AssertionError(f"{job}, {field}: no other value changes anything; refused: {refused}")


@pytest.mark.parametrize(("job", "field"), [(job, field) for job, fields in READ_EARLY.items() for field in fields])
def test_nonsense_is_refused_before_anything_is_trained(job, field, tmp_path):
    base = tuning.FINETUNING | {"init": "scratch", "data.statistics": "vggface2"}
    c = change(finetuning.finetune(), base) if job == "finetune" else change(common.pretrain(), tuning.PRETRAINING)
    run = finetune.run if job == "finetune" else pretrain.run
    with pytest.raises((ValueError, FileNotFoundError), match="nonsense"):
        run(change(c, {field: "nonsense"}), str(tmp_path))
