"""Serialized detectors: the scores of the live one in a process with JAX alone, the sidecar, what is refused."""

import dataclasses
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import official_weights
import pytest
import serialized
from absl import app
from serialized import SIDE, TOLERANCE

from fsfm_jax.detection.opener import Unsaid, open_detector
from fsfm_jax.export import serialize
from fsfm_jax.models.classifier import ClassifierSpec
from fsfm_jax.models.vit import SIZES
from fsfm_jax.weights import artifact
from fsfm_jax.weights.names import CLASSIFIER, finetuned_to_official

ROOT = Path(__file__).parents[2]
BATCHES = (1, 64)
# What somebody does who has the two files and JAX.
STRANGER = """
import json, sys
import numpy as np
FILE = sys.argv[1]
images = np.load(sys.argv[2])
for line in json.load(open(FILE + ".json"))["how_to_use"][:-1]:
    exec(line)
found = {str(count): np.asarray(score(images[:count])) for count in map(int, sys.argv[4:])}
assert not {"fsfm_jax", "flax", "configs", "tests"} & set(sys.modules), sorted(sys.modules)
np.savez(sys.argv[3], **found)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> str:
    return serialized.run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def written(run, tmp_path_factory) -> Path:
    """An artifact that the command line wrote."""
    path = tmp_path_factory.mktemp("written") / "detector.jax"
    command = [sys.executable, "-m", "fsfm_jax.export.serialize", f"--checkpoint={run}", f"--output={path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"{path}: {path.stat().st_size:,} bytes, jax.export, float32, for cpu, cuda, tpu" in done.stdout
    return path


def sidecar(path: Path) -> dict:
    return json.loads(Path(f"{path}.json").read_text())


def test_jax_alone_finds_the_scores_of_the_live_detector(written, run, tmp_path):
    pixels = serialized.images(max(BATCHES))
    np.save(tmp_path / "images.npy", pixels)
    places = [str(written), str(tmp_path / "images.npy"), str(tmp_path / "scores.npz"), *map(str, BATCHES)]
    # -I: neither the folder it runs in nor the environment lead to the project.
    subprocess.run([sys.executable, "-I", "-c", STRANGER, *places], cwd=tmp_path, check=True)
    want = serialized.live(open_detector(run, Unsaid()), pixels)
    assert want.std(axis=0).min() > 0.05  # else any constant would do
    with np.load(tmp_path / "scores.npz") as found:
        for count in BATCHES:
            assert found[str(count)].dtype == np.float32
            np.testing.assert_allclose(found[str(count)], want[:count], rtol=0, atol=TOLERANCE)


def test_the_file_is_for_three_platforms_and_any_batch(written):
    exported = jax.export.deserialize(bytearray(written.read_bytes()))
    assert exported.platforms == ("cpu", "cuda", "tpu") == tuple(sidecar(written)["artifact"]["platforms"])
    (taken,), (given,) = exported.in_avals, exported.out_avals
    assert jax.export.is_symbolic_dim(taken.shape[0]) and taken.shape[1:] == (SIDE, SIDE, 3)
    assert given.shape == (taken.shape[0], 2) and (taken.dtype, given.dtype) == (jnp.uint8, jnp.float32)


def test_each_platform_runs_its_own_form_wherever_the_file_was_written(written):
    """Of the form for TPUs are a barrier behind the patches, and queries, keys and values as products of their own."""

    def products(*platforms):
        text = serialize._export(serialized.detector(), platforms).mlir_module()
        return text.count("stablehlo.dot_general"), text.count("stablehlo.optimization_barrier")

    alone = {platform: products(platform) for platform in ("cpu", "cuda", "tpu")}
    assert alone["tpu"][0] > alone["cuda"][0] == alone["cpu"][0]
    assert [barriers > 0 for _, barriers in alone.values()] == [False, False, True]
    text = jax.export.deserialize(bytearray(written.read_bytes())).mlir_module()
    # For several platforms JAX itself writes every product as a case of one for each.
    assert text.count("stablehlo.dot_general") == 3 * sum(count for count, _ in alone.values())
    assert text.count("stablehlo.optimization_barrier") == alone["tpu"][1]


def test_the_sidecar_says_what_the_scores_mean_and_where_they_come_from(written, run):
    card, content = sidecar(written), written.read_bytes()
    assert card["artifact"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert card["artifact"]["bytes"] == len(content) and card["artifact"]["file"] == "detector.jax"
    assert (card["class_names"], card["real"], card["image_size"]) == (["fake", "real"], 1, SIDE)
    assert card["calibration"] == serialized.CALIBRATION and card["selection"] == serialized.SELECTION
    assert card["statistics"] == {"mean": [0.55, 0.42, 0.37], "std": [0.28, 0.24, 0.23]}
    assert card["input"]["shape"] == ["b", SIDE, SIDE, 3] and card["output"]["shape"] == ["b", 2]
    assert card["input"]["transform"] == "resize_center" and "shorter side to 36 pixels" in card["input"]["preparation"]
    assert card["origin"]["checkpoint"] == run and card["origin"]["started_from"]["path"] == "runs/pretraining"
    assert card["versions"]["training"] == {"jax": "0.1"}
    assert card["versions"]["serialization"]["jax"] == jax.__version__
    text = json.dumps(serialized.card()["config"], sort_keys=True, separators=(",", ":"))
    assert card["config_sha256"] == hashlib.sha256(text.encode()).hexdigest()


def test_the_same_detector_gives_the_same_bytes_without_paths_and_bfloat16_half_of_them(written, run, tmp_path):
    serialize.serialize(open_detector(run, Unsaid()), str(tmp_path / "again"))
    content = (tmp_path / "again").read_bytes()
    assert content == written.read_bytes()
    assert str(ROOT).encode() not in content and b"classify.py" not in content
    card = serialize.serialize(open_detector(run, Unsaid(), "bfloat16"), str(tmp_path / "half"))
    assert (tmp_path / "half").stat().st_size < 0.65 * written.stat().st_size
    assert card["artifact"]["dtype"] == "bfloat16" and "calibrated in float32" in card["precision"]


def test_an_official_file_gives_the_bytes_of_the_run_it_came_from(written, run, tmp_path):
    state = finetuned_to_official(open_detector(run, Unsaid()).params, CLASSIFIER, 16)
    state = {name: np.ascontiguousarray(array) for name, array in state.items()}
    path = official_weights.write(tmp_path / "checkpoint-min_val_loss.pth", state)
    statistics = {"mean": serialized.STATISTICS.mean, "std": serialized.STATISTICS.std}
    (tmp_path / "pretrain_ds_mean_std.txt").write_text(json.dumps(statistics))
    card = serialize.serialize(open_detector(path, Unsaid("fake,real"), "float32"), str(tmp_path / "official"))
    assert (tmp_path / "official").read_bytes() == written.read_bytes()
    assert card["config_sha256"] is None and card["calibration"] is None and card["versions"]["training"] is None
    assert card["origin"]["started_from"]["sha256"] == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert open_detector(path, Unsaid("fake,real")).task.model.dtype == jnp.bfloat16  # as evaluated
    with pytest.raises(ValueError, match="--classes: .*val_loss.pth does not store its class names; give them"):
        open_detector(path, Unsaid())


@pytest.mark.parametrize("config", [
        {"model__network": "antispoof"},
        {"model__network": "antispoof", "model__norm_over": "features", "tuning__method": "fs_adapter"},
        {"model__base": "clip", "tuning__method": "lora", "model__pooling": "cls"},
        {"model__base": "marlin", "model__dtype": "bfloat16", "model__remat": "full"},
    ])  # fmt: skip
def test_every_network_is_made_of_operations_that_are_read_again(config, tmp_path):
    detector = serialized.detector(**config)
    serialize.serialize(detector, str(tmp_path / "network"), platforms=("cpu", "tpu"))
    found = artifact.read(tmp_path / "network")
    assert found.class_names == detector.class_names and found.card["artifact"]["platforms"] == ["cpu", "tpu"]


def test_what_one_file_cannot_hold_is_refused_before_any_work(tmp_path):
    detector = serialized.detector()

    def huge(dtype):
        model = ClassifierSpec(SIZES["vit_h14"], 224, 2, "mean_patches", 0.0, dtype, "none")
        task = dataclasses.replace(detector.task, model=model)
        shapes = jax.eval_shape(task.init, jax.random.key(0))
        params = jax.tree.map(lambda leaf: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape), shapes)
        return dataclasses.replace(detector, task=task, params=params)  # without memory

    with pytest.raises(ValueError, match=r"at most 2,147,483,647 bytes.*in float32 are 2,523,\d{3},\d{3}; --dtype=bf"):
        serialize.serialize(huge(jnp.float32), str(tmp_path / "huge"))
    assert not list(tmp_path.iterdir())
    serialize.check_size(huge(jnp.bfloat16))


@pytest.mark.parametrize("arguments, text", [
        ({"platforms": ("cpu", "gpu")}, "--platforms: expected one of cpu, cuda, tpu, rocm; found 'gpu'"),
        ({"platforms": ("cpu", "cpu")}, "--platforms: expected some that differ, such as cpu,cuda; found 'cpu,cpu'"),
        ({"form": "tflite"}, "--format: expected one of jax, onnx; found 'tflite'"),
        ({"form": "onnx", "platforms": ("cpu",)}, "--platforms: ONNX has none"),
    ])  # fmt: skip
def test_what_cannot_be_written_is_refused(arguments, text, tmp_path):
    with pytest.raises(ValueError, match=text):
        serialize.serialize(serialized.detector(), str(tmp_path / "file"), **arguments)


def test_onnx_needs_its_packages_and_float32(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(ModuleNotFoundError, match="pip install --no-deps --require-hashes .* requirements/onnx.lock"):
        serialize.serialize(serialized.detector(), str(tmp_path / "file"), "onnx")
    with pytest.raises(ValueError, match="expected float32, found bfloat16, .* say --dtype=float32"):
        serialize.serialize(serialized.detector(model__dtype="bfloat16"), str(tmp_path / "file"), "onnx")


def test_flags_are_for_one_kind_of_checkpoint_and_end_with_a_sentence(run, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="--classes, --norm_over: expected for official files only, but .* is a run"):
        open_detector(run, Unsaid("fake,real", norm_over="tokens"))
    with pytest.raises(FileNotFoundError, match="checkpoint: model.pth is not there"):
        open_detector("model.pth", Unsaid())
    with pytest.raises(ValueError, match="--dtype: expected one of bfloat16, float32; found 'float16'"):
        open_detector(run, Unsaid(), "float16")
    chosen = dict(checkpoint=run, output=str(tmp_path / "no" / "file"), format="jax", platforms=None, dtype="")
    chosen |= dict(classes="", statistics="", norm_over="", sign=None)
    monkeypatch.setattr(serialize, "flags", SimpleNamespace(FLAGS=SimpleNamespace(**chosen)))
    with pytest.raises(SystemExit, match="error: --output: there is no folder .*no"):
        serialize.main(["serialize"])
    with pytest.raises(app.UsageError, match="expected --checkpoint=WORKDIR_OR_FILE and --output=FILE"):
        serialize.main(["serialize", run])
