"""Exports brought back, every format and kind: the same scores, the same card; and what does not belong together."""

import functools
import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
import serialized
from flax.traverse_util import flatten_dict
from traced_once import traced_once  # noqa: F401, a fixture that is used by itself

from fsfm_jax.detection.detector import digest_parameters
from fsfm_jax.detection.opener import Unsaid, open_detector, open_scorer
from fsfm_jax.detection.saved import open_saved, save_detector
from fsfm_jax.export import from_torch, serialize, to_torch
from fsfm_jax.models.classifier import POOLINGS, initialise
from fsfm_jax.resolve.task import task_of
from fsfm_jax.weights import artifact, safetensors_file
from fsfm_jax.weights.init import open_pretrained
from fsfm_jax.weights.rounding import round_arrays, widen_arrays
from fsfm_jax.weights.run_import import open_imported, save_imported
from fsfm_jax.weights.run_reader import open_reconstruction, open_run

GOLDEN = Path(__file__).parents[1] / "golden"
PAIR = [str(GOLDEN / "checkpoint-599.pth"), str(GOLDEN / "checkpoint-te-599.pth")]
ANTISPOOF = {"model__network": "antispoof", "evaluation__transform": "resize"}
KINDS = {
    "detector": {"evaluation__transform": "resize"},
    "detector of the class token": {"model__pooling": "cls"},
    "LoRA": {"tuning__method": "lora"},
    "FS-Adapter": {"tuning__method": "fs_adapter"},
    "anti-spoofing": ANTISPOOF,
    "anti-spoofing of features": ANTISPOOF | {"model__norm_over": "features"},
    "anti-spoofing with FS-Adapter": ANTISPOOF | {"model__norm_over": "features", "tuning__method": "fs_adapter"},
    "clip": {"model__base": "clip", "model__pooling": "cls"},
    "FS-Adapter in blocks": {"tuning__method": "fs_adapter", "tuning__insertion": "parallel"},
    "FS-Adapter that is added": {"tuning__method": "fs_adapter", "tuning__insertion": "add"},
    "unit features": {"model__unit_features": True},
}
INSERTED = {"FS-Adapter in blocks", "FS-Adapter that is added"}
OURS = {*INSERTED, "unit features"}  # no other project has such a network
WITHOUT = {  # what a format does not have
    "official": {"anti-spoofing of features", "clip", *OURS},
    "timm": {name for name in KINDS if "FS-Adapter" in name or "spoofing" in name or name in OURS},
    "huggingface": {name for name in KINDS if "FS-Adapter" in name or "spoofing" in name} | {"clip", *OURS},
    "safetensors": OURS,
    "jax": set(),
}
CASES = [(format, kind) for format, without in WITHOUT.items() for kind in KINDS if kind not in without]
# Arrays that are folded into others: updates into their matrices, a bias before CLIP's first norm into the positions,
# the bias of keys into nothing, since attention does not change by it.
FOLDED = {(format, "LoRA") for format in ("official", "timm", "huggingface", "safetensors")}
FOLDED |= {("timm", "clip"), ("safetensors", "clip"), ("huggingface", "detector")}
# Everything that gives scores a meaning.
MEANING = ("class_names", "real", "statistics", "image_size", "selection", "calibration", "seen")


def written(detector, workdir: Path, format: str, output: Path) -> str:
    """Writes an export; its path, as somebody would name it."""
    if format == "jax":
        serialize.serialize(detector, f"{output}.jax", platforms=("cpu",))
        return f"{output}.jax"
    return str(output) if format == "huggingface" else to_torch.convert(str(workdir), format, str(output))[0]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Working directories by kind, made when they are asked for, with what the detector says of five images."""
    made = {}

    def of(kind: str):
        if kind not in made:
            workdir = tmp_path_factory.mktemp("runs") / "run"
            fresh = serialized.detector(**KINDS[kind])
            save_detector(str(workdir), 7, fresh.params, fresh.card | {"seen": "AAAAAAAAAAA="})
            detector = open_saved(str(workdir))
            made[kind] = workdir, detector, functools.cache(lambda: serialized.live(detector, serialized.images(5)))
        return made[kind]

    return of


@pytest.mark.parametrize(("format", "kind"), CASES)
def test_an_exported_detector_comes_back_with_its_scores_and_its_card(runs, tmp_path, format, kind):
    workdir, detector, scores = runs(kind)
    if format == "huggingface":
        to_torch.convert(str(workdir), format, str(tmp_path / "out"))
    path = written(detector, workdir, format, tmp_path / "out")
    found = open_scorer(path, Unsaid())
    assert {name: found.card[name] for name in MEANING} == {name: detector.card[name] for name in MEANING}
    assert found.own_transform == detector.own_transform == KINDS[kind].get("evaluation__transform", "resize_center")
    if format == "jax":
        again = np.asarray(found.log_probabilities(serialized.images(5)))
        np.testing.assert_allclose(again, scores(), rtol=0, atol=serialized.TOLERANCE)
        return
    assert found.card["config"] == detector.card["config"] and found.task.model.dtype == detector.task.model.dtype
    # The same network with the same numbers has the same scores.
    if (digest := digest_parameters(found.params)) == digest_parameters(detector.params):
        assert found.task == detector.task
    else:
        assert (format, kind) in FOLDED
        again = serialized.live(found, serialized.images(5))
        np.testing.assert_allclose(again, scores(), rtol=0, atol=serialized.TOLERANCE)
    # The folder is as good as the file, and a working directory of it is the same detector.
    from_torch.convert([str(Path(path).parent if format in ("official", "timm") else path)], str(tmp_path / "again"))
    imported = open_saved(str(tmp_path / "again"))
    assert imported.task == found.task and digest_parameters(imported.params) == digest
    assert {name: imported.card[name] for name in MEANING} == {name: detector.card[name] for name in MEANING}


@pytest.mark.parametrize("format", ["official", "safetensors", "timm", "huggingface"])
@pytest.mark.parametrize("kind", sorted(OURS))
def test_a_network_that_no_other_project_has_is_refused(runs, tmp_path, format, kind):
    if kind not in INSERTED:
        message = r"to length 1.*\(model.unit_features\): (use export.serialize|timm has no|transformers has no)"
    elif format == "huggingface":
        message = "transformers has no network with a bottleneck; serialize it"
    else:
        message = f"this one has tuning.insertion {KINDS[kind]['tuning__insertion']}: use export.serialize"
    with pytest.raises(ValueError, match=message):
        to_torch.convert(str(runs(kind)[0]), format, str(tmp_path / "out"))


@pytest.fixture(scope="module")
def pretraining(tmp_path_factory) -> str:
    """The working directory of the official pair."""
    workdir = str(tmp_path_factory.mktemp("pretrained") / "run")
    from_torch.convert(PAIR, workdir, "vggface2", pixel_heads=4, rep_heads=4)
    return workdir


@pytest.fixture(scope="module", params=["FSFM", "masked autoencoder"])
def encoder(request, pretraining):
    """The working directory of a pretraining, and what fine-tuning starts with from it."""
    workdir = pretraining
    if request.param != "FSFM":
        state, item = open_imported(workdir)
        params = {name: state.params[name] for name in ("encoder", "pixel_decoder", "mask_token")}
        item["config"]["model.instance_discrimination"] = False
        workdir = f"{workdir}_plain"
        save_imported(workdir, params, None, None, {}, item | {"official": {}})
    return workdir, {pooling: started(workdir, pooling) for pooling in POOLINGS}


def started(path: str, pooling: str) -> dict:
    """The encoder that fine-tuning starts with, by path, and its statistics."""
    found, task = open_pretrained(path), task_of(serialized.card(model__size="tiny8", model__pooling=pooling))
    fresh = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(task.init, jax.random.key(0)))
    params, _ = initialise(found.params, fresh, task.model.grid)
    return {"statistics": found.statistics} | flatten_dict(jax.tree.map(np.asarray, params["encoder"]), sep="/")


@pytest.mark.parametrize("format", ["official", "timm", "safetensors", "huggingface"])
def test_an_exported_encoder_starts_fine_tuning_as_its_run_does(encoder, tmp_path, format):
    workdir, wanted = encoder
    for pooling, theirs in zip(POOLINGS, ("avg", "token"), strict=True):
        output = str(tmp_path / pooling)
        path, *_ = to_torch.convert(workdir, format, output, pooling=theirs)
        # The file by its name, and the folder.
        found = started(output if format == "huggingface" or pooling == "cls" else path, pooling)
        assert found.pop("statistics") == wanted[pooling]["statistics"] is not None
        assert found.keys() == wanted[pooling].keys() - {"statistics"}
        for name, array in found.items():
            np.testing.assert_array_equal(array, wanted[pooling][name], err_msg=name)
    with pytest.raises(ValueError, match="says pretrained: an encoder without a classifier. Fine-tune it"):
        open_detector(output, Unsaid())
    with pytest.raises(ValueError, match="says model.base fsfm; found mae"):
        open_pretrained(output, "mae")
    if format == "timm":
        for name, text in (("mean_patches", "an encoder without a head"), ("cls", "no network of FSFM")):
            (tmp_path / name / "model.pth.json").unlink()
            with pytest.raises(ValueError, match=f"{text}.* copy (its )?model.pth.json next to it"):
                open_pretrained(str(tmp_path / name / "model.pth"))


@pytest.mark.parametrize("format", ["official", "timm", "safetensors", "huggingface"])
def test_a_detector_is_no_start_whatever_the_format(runs, tmp_path, format):
    workdir, _, _ = runs("detector")
    to_torch.convert(str(workdir), format, str(tmp_path / "out"))
    with pytest.raises(ValueError, match="init: .* holds a fine-tuned detector, as .*json says; fine-tuning starts"):
        open_pretrained(str(tmp_path / "out"))


@pytest.fixture
def official(runs, tmp_path) -> Path:
    workdir, _, _ = runs("detector")
    return Path(to_torch.convert(str(workdir), "official", str(tmp_path / "out"))[0])


def test_what_is_given_has_to_agree_with_an_export_and_a_file_with_its_sidecar(official):
    path = str(official)
    assert open_detector(path, Unsaid("fake, real")).card["calibration"] == serialized.CALIBRATION
    for unsaid, text in (
        (Unsaid("real,fake"), "--classes: expected fake,real, as .* says; found real,fake. Leave --classes out"),
        (Unsaid(statistics="vggface2"), "--statistics: expected .*, as .* says"),
    ):
        with pytest.raises(ValueError, match=text):
            open_detector(path, unsaid)
    with pytest.raises(ValueError, match="--classes: expected fake,real, as .* says; found real,fake"):
        from_torch.convert([path], str(official.parent / "run"), classes="real,fake")
    said = json.loads((official.parent / "fsfm_jax.json").read_text())
    said["files"][official.name]["sha256"] = "0" * 64
    (official.parent / "fsfm_jax.json").write_text(json.dumps(said))
    with pytest.raises(ValueError, match="expected the SHA-256 0{64} of .*fsfm_jax.json; found .* do not belong"):
        open_detector(str(official), Unsaid())
    # A file that it does not name is none of its business.
    shutil.copy(official, official.parent / "other.pth")
    with pytest.raises(ValueError, match="--classes: .*other.pth does not store its class names"):
        open_detector(str(official.parent / "other.pth"), Unsaid())


@pytest.mark.parametrize(("field", "value", "text"), [
    ("kind", "painter", "kind: expected pretrained, classifier or antispoof; found 'painter'"),
    ("size", "vit_x", "size: expected one of .*; found 'vit_x'"),
    ("base", [], "base: expected one of .*"),
    ("class_names", ["a", "a"], "class_names: expected from 2 to 1000 names that differ"),
    ("calibration", {"thresholds": {}}, "calibration.thresholds: expected those of frame and video"),
    ("statistics", {"mean": [0, 0], "std": [1, 1, 1]}, "statistics.mean: expected three numbers"),
    ("config", {"model.size": 7}, "config: not a network of fsfm_jax"),
    ("image_size", 2, "config: not a network of fsfm_jax"),
    ("demonstration", {"trained_on": "faces", "licence": "MIT"}, "demonstration: measured: expected at most 32 tables"),
    ("demonstration", {"trained_on": "", "licence": "MIT", "measured": []}, "demonstration: trained_on: expected a te"),
    ("demonstration", {"trained_on": "a", "licence": "b", "measured": [{"auc": 7}]}, "measured.auc: expected a share"),
    ("config", {"model.size": "demo16"}, "arrays are not those of the network"),
    ("files", [], "files: expected dict; found"),
])  # fmt: skip
def test_a_sidecar_that_lies_is_refused(official, field, value, text):
    beside = official.parent / "fsfm_jax.json"
    beside.write_text(json.dumps(json.loads(beside.read_text()) | {field: value}))
    with pytest.raises(ValueError, match=text):
        open_detector(str(official), Unsaid())


def test_a_sidecar_from_before_has_its_thresholds(official):
    beside = official.parent / "fsfm_jax.json"
    said = json.loads(beside.read_text())
    for name in ("calibration", "seen", "transform", "base"):
        del said[name]
    beside.write_text(json.dumps(said))
    found = open_detector(str(official), Unsaid())
    assert found.temperature == 1.5 and [t.value for t in found.thresholds("video")] == [0.25, 0.25]


def test_a_serialized_detector_without_its_sidecar_asks_for_it(runs, tmp_path):
    _, detector, _ = runs("detector")
    path = Path(written(detector, None, "jax", tmp_path / "a"))
    Path(artifact.sidecar_of(path)).unlink()
    with pytest.raises(FileNotFoundError, match="there is no sidecar .*a.jax.json; it says what the scores are of"):
        open_scorer(str(path), Unsaid())


def test_an_export_with_its_pixel_decoder_reconstructs_as_its_run_does_and_starts_fine_tuning(pretraining, tmp_path):
    workdir, run = pretraining, open_run(pretraining)
    path, beside = to_torch.convert(workdir, "safetensors", str(tmp_path / "out"), decoder=True)
    for checkpoint in (path, str(tmp_path / "out")):
        found = open_reconstruction(checkpoint)
        parts = {name: run.params[name] for name in ("encoder", "mask_token", "pixel_decoder")}
        jax.tree.map(np.testing.assert_array_equal, found.params, parts)
        assert (found.spec, found.statistics) == (replace(run.spec, instance_discrimination=False), run.statistics)
    assert open_reconstruction(workdir).params.keys() == run.params.keys()
    for name, array in (theirs := started(workdir, "mean_patches")).items():
        np.testing.assert_array_equal(started(path, "mean_patches")[name], array, err_msg=name)
    # Positions are those of its image size.
    assert open_pretrained(path).grid == open_pretrained(workdir).grid == 4 and len(theirs) > 10
    said = json.loads(Path(beside).read_text())
    for field, value, text in (
        ("config", said["config"] | {"model.pixel_width": 1 << 40}, r"pixel_decoder/embed/kernel: expected \[48, 1099"),
        ("config", said["config"] | {"model.pixel_depth": 1}, "arrays are not those of the network"),
        ("config", {"model.size": 7}, "config: not a network of fsfm_jax"),
        ("image_size", 1 << 20, "image_size: expected from 1 to 4096 pixels"),
        ("image_size", 33, "config: not a network of fsfm_jax"),
    ):
        Path(beside).write_text(json.dumps(said | {field: value}))
        with pytest.raises(ValueError, match=text):
            open_reconstruction(path)
    timm = to_torch.convert(workdir, "timm", str(tmp_path / "timm"))[0]
    with pytest.raises(ValueError, match="an export without pixel decoder; write one with --format=safetensors --deco"):
        open_reconstruction(timm)
    with pytest.raises(ValueError, match="--decoder: expected with --format=safetensors or huggingface; found timm"):
        to_torch.convert(workdir, "timm", str(tmp_path / "again"), decoder=True)
    with pytest.raises(ValueError, match="--dtype=int8: expected with --format=safetensors alone; timm is written in"):
        to_torch.convert(workdir, "timm", str(tmp_path / "again"), dtype="int8")


def test_a_detector_stored_in_int8_scores_alike_and_whole_numbers_without_their_scales_are_refused(runs, tmp_path):
    workdir, detector, scores = runs("detector")
    path, beside = to_torch.convert(str(workdir), "safetensors", str(tmp_path / "out"), dtype="int8")
    pixels = serialized.images(5)
    again = serialized.live(open_scorer(path, Unsaid()), pixels)
    assert 0 < np.abs(again - scores()).max() < 0.1 < np.ptp(scores())
    tensors, _ = safetensors_file.read(path)
    assert {array.dtype.name for array in tensors.values()} == {"int8", "float16", "float32"}
    name, said = "blocks.0.mlp.fc1.weight", json.loads(Path(beside).read_text())
    for changes, text in (
        ({f"{name}.scale": None}, f"a scale for each array of int8 and for no other; found {name}"),
        (
            {f"{name}.scale": np.ones(3, np.float32)},
            rf"{name}.scale: expected \[192\] float32, .*; found \[3\] fl",
        ),
        ({f"{name}.scale": np.full(192, np.inf, np.float32)}, f"{name} has .* values that are not finite"),
        ({"norm.scale": np.ones(3, np.float32)}, "and for no other; found norm"),
    ):
        changed = {key: array for key, array in (tensors | changes).items() if array is not None}
        safetensors_file.write(path, {key: np.array(array) for key, array in changed.items()}, {"format": "pt"})
        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        Path(beside).write_text(json.dumps(said | {"files": {Path(path).name: {"sha256": digest}}}))
        with pytest.raises(ValueError, match=text):
            open_scorer(path, Unsaid())


def test_numbers_that_a_dtype_cannot_hold_are_named():
    tensors = {"a": np.float32([[1, -65504], [0, 2**-25]]), "b": np.float32([[0, 0], [7e4, 1]])}
    for dtype in ("bfloat16", "float32", "int8"):  # of int8 the scales are float32
        found = widen_arrays("x", round_arrays(tensors, dtype))["b"].astype(np.float32)
        assert np.isfinite(found).all() and found[1, 0] == pytest.approx(7e4, rel=2**-8)
    assert round_arrays({"a": tensors["a"]}, "float16")["a"].tolist() == [[1, -65504], [0, 0]]  # to even
    with pytest.raises(ValueError, match="dtype: float16 holds finite numbers, up to 65504; found others in b. Take"):
        round_arrays(tensors, "float16")
    with pytest.raises(ValueError, match="dtype: int8 holds finite numbers, any; found others in c. Take"):
        round_arrays({"c": np.float32([[np.nan], [1]])}, "int8")
