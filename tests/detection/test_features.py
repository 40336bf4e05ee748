"""Features on disk: what is computed, what is believed, and that a run learns from them as from photos."""

import dataclasses
import io
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import light_compiling
import numpy as np
import portpicker
import pytest
from flax.traverse_util import flatten_dict
from noise import Noise
from tuning import draw_nothing, looks, tiny

from fsfm_jax import partition, records
from fsfm_jax.data.label_stream import evaluation_batches
from fsfm_jax.detection.features import FeatureCache, FeatureScorer
from fsfm_jax.detection.prediction import Scorer
from fsfm_jax.detection.prediction_file import read_predictions
from fsfm_jax.jobs import finetune, finetune_inputs
from fsfm_jax.models.antispoof import AntiSpoofSpec
from fsfm_jax.models.bases import BASES
from fsfm_jax.models.classifier import Classifier, ClassifierSpec
from fsfm_jax.models.vit import SIZES, Size
from fsfm_jax.resolve.report import EvaluationSpec
from fsfm_jax.run.checkpoint import read_parameters
from fsfm_jax.tasks.classify import ClassifyTask
from fsfm_jax.tasks.normalisation import Statistics, normalise
from fsfm_jax.weights.init import Pretrained
from fsfm_jax.weights.key_report import KeyReport

ROOT = Path(__file__).parents[2]
SIZE, COUNT = Size(16, 1, 2, 8), 19
MODEL = ClassifierSpec(SIZE, 16, 2, "mean_patches", 0.0, jnp.float32, "none", reduction=4)
TASK = ClassifyTask(MODEL, 2, 0.0, False, Statistics((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)))
SPEC = EvaluationSpec("resize", 8, 2)
# One pass through two blocks in float32, its sums in the order of another batch shape: some 1e-7 of features of size 1.
ROUNDING = 1e-5


@pytest.fixture(scope="module")
def params() -> dict:
    tree = jax.jit(TASK.init)(jax.random.key(0))
    # The fresh head is so small that all scores are one half.
    return {**tree, "head": jax.tree.map(lambda x: 1e4 * x, tree["head"])}


def opened(folder, params, task=TASK, spec=SPEC, devices: int = 8) -> FeatureCache:
    return FeatureCache(str(folder), task, params, spec, partition.make_mesh(jax.devices()[:devices]))


def computed(folder, params, source=None, transform: str = "resize", **changes) -> tuple[np.ndarray, int]:
    """Features by a fresh cache, and how many photos were read for them."""
    source = source or Noise(COUNT)
    before = source.read
    return opened(folder, params, **changes).of(source, transform), source.read - before


@pytest.fixture(scope="module")
def kept(params, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    computed(folder, params)
    return folder


@pytest.fixture
def copy(kept, tmp_path) -> Path:
    """A folder with the two files of one set."""
    for path in kept.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def only(folder, ending: str) -> Path:
    (path,) = folder.glob(f"*.{ending}")
    return path


def test_every_row_is_what_the_encoder_makes_of_its_photo_and_a_text_says_what_they_are(params, kept):
    found, read = computed(kept, params)
    assert read == 0 and found.shape == (COUNT, 16) and found.dtype == np.float32 and isinstance(found, np.memmap)
    (images,) = (batch[records.IMAGE] for batch in evaluation_batches(Noise(COUNT), "resize", 16, COUNT, 1, 0, 1))
    whole = jax.jit(lambda p, x: Classifier(MODEL).apply({"params": p}, normalise(x, TASK.statistics), False).features)
    np.testing.assert_allclose(found, whole(params, images), rtol=0, atol=ROUNDING)
    assert np.ptp(found, axis=0).min() > 100 * ROUNDING
    card = json.loads(only(kept, "json").read_text())
    assert card["what"].startswith("Pooled features of a frozen encoder, [examples, width] float32")
    assert (card["data"], card["examples"], card["transform"]) == ("noise:test", COUNT, "resize")
    assert card["statistics"] == {"mean": [0.5] * 3, "std": [0.25] * 3} and card["dtype"] == "float32"
    assert sorted(path.suffix for path in kept.iterdir()) == [".json", ".npy"]
    # Fields of later wirings would make it another file, and features that are there unknown.
    assert card["style"] == {"class_token": True, "pre_norm": False, "gelu": "erf", "epsilon": 1e-6}


def test_batch_devices_and_what_is_behind_the_encoder_play_no_part(params, kept):
    other = {**params, "head": jax.tree.map(lambda x: x + 1, params["head"])}
    spoof = dataclasses.replace(TASK, model=AntiSpoofSpec(SIZE, 16, "features", 0.0, 0.5, jnp.float32, "none"))
    for changes in ({"spec": EvaluationSpec("resize_center", 16, 1)}, {"devices": 1}, {"task": spoof}):
        found, read = computed(kept, other, **changes)
        assert read == 0 and len(found) == COUNT


def encoder(**changes) -> ClassifyTask:
    return dataclasses.replace(TASK, model=dataclasses.replace(MODEL, **changes))


@pytest.mark.parametrize("changes", [
    {"transform": "resize_center"},
    {"source": Noise(COUNT, "other")},
    {"source": Noise(7)},
    {"task": encoder(dtype=jnp.bfloat16)},
    {"task": encoder(style=dataclasses.replace(MODEL.style, gelu="quick"))},
    {"task": encoder(style=dataclasses.replace(MODEL.style, rotary=BASES["dinov3"].style.rotary))},
    {"task": dataclasses.replace(TASK, statistics=Statistics((0.5, 0.5, 0.4), (0.25, 0.25, 0.25)))},
])  # fmt: skip
def test_what_changes_features_is_another_file(params, copy, changes):
    path = only(copy, "npy")
    before = path.read_bytes()
    found, read = computed(copy, params, **changes)
    assert read == len(found) and len(list(copy.glob("*.npy"))) == 2 and path.read_bytes() == before


def test_another_encoder_is_another_file(params, copy):
    for files, (part, name) in enumerate((("encoder", "pos_embed"), ("fc_norm", "bias")), 2):
        moved = {**params, part: {**params[part], name: params[part][name].at[..., 3].add(1e-3)}}
        _, read = computed(copy, moved)
        assert read == COUNT and len(list(copy.glob("*.npy"))) == files


def flipped(data: bytes) -> bytes:
    return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]


def saved(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


@pytest.mark.parametrize(("ending", "damage", "text"), [
    ("npy", lambda data: data[:-64], "cannot be read"),
    ("npy", lambda data: b"", "cannot be read"),
    ("npy", lambda data: b"words", "cannot be read"),
    ("npy", flipped, "its description or its checksum does not match"),
    ("npy", lambda data: saved(np.zeros((COUNT, 8), np.float32)), r"found \[19, 8\] float32"),
    ("npy", lambda data: saved(np.zeros((COUNT, 16))), r"expected \[19, 16\] float32, found \[19, 16\] float64"),
    ("json", lambda data: data[:40], "cannot be read"),
    ("json", lambda data: data.replace(b"noise:test", b"noise:else"), "its description or its checksum does not match"),
])  # fmt: skip
def test_a_damaged_file_is_computed_again_and_said(params, kept, copy, caplog, ending, damage, text):
    path = only(copy, ending)
    path.write_bytes(damage(path.read_bytes()))
    found, read = computed(copy, params)
    assert read == COUNT and "it is computed again" in caplog.text
    assert re.search(text, caplog.text)
    np.testing.assert_array_equal(found, np.load(only(kept, "npy")))
    assert computed(copy, params)[1] == 0


@pytest.mark.parametrize("finished", [0, 1])
def test_killed_while_writing_it_leaves_nothing_that_is_believed(params, tmp_path, monkeypatch, finished):
    replaced = []

    def replace(part, path, real=os.replace):
        if len(replaced) == finished:
            raise KeyboardInterrupt
        replaced.append(path)
        real(part, path)

    with monkeypatch.context() as killed:
        killed.setattr(os, "replace", replace)
        killed.setattr(os, "unlink", lambda path: None)  # nothing is cleaned up
        with pytest.raises(KeyboardInterrupt):
            computed(tmp_path, params)
    assert len(list(tmp_path.glob("*.tmp"))) == 1 and len(list(tmp_path.glob("*.npy"))) == finished
    assert computed(tmp_path, params)[1] == COUNT
    assert computed(tmp_path, params)[1] == 0


def test_an_error_or_no_numbers_leave_no_file(params, tmp_path, monkeypatch):
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", lambda file: (_ for _ in ()).throw(OSError("no space left")))
        with pytest.raises(OSError, match="no space left"):
            computed(tmp_path, params)
    assert list(tmp_path.iterdir()) == []
    broken = {**params, "fc_norm": jax.tree.map(lambda x: x * np.nan, params["fc_norm"])}
    message = "noise:test: 19 of 19 features are non-finite, the first for 0.png. Check the encoder's"
    with pytest.raises(ValueError, match=message):
        computed(tmp_path, broken)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_mapped_is_refused(params):
    with pytest.raises(ValueError, match="features.cache: expected a local folder, .*; found gs://bucket"):
        opened("gs://bucket", params)


def test_the_encoder_is_a_copy_that_outlives_the_state(params, tmp_path):
    given = jax.tree.map(jnp.array, params)
    cache = opened(tmp_path, given)
    jax.tree.map(lambda x: x.delete(), given)  # as the first step of training does
    found = cache.of(Noise(COUNT), "resize")
    np.testing.assert_allclose(found, computed(tmp_path / "b", params)[0], rtol=0, atol=ROUNDING)


def test_the_start_says_how_many_are_found(params, copy, caplog):
    cache, more = opened(copy, params), Noise(7, "more")
    with caplog.at_level(logging.INFO, "fsfm_jax"):
        # A set that is asked for twice is one set.
        cache.prepare([(Noise(COUNT), "resize"), (more, "resize"), (Noise(COUNT), "resize")])
    said = "features of 26 images, computed once: no augmentation, mixing or drop path; 19 of them found in"
    assert said in caplog.text and "features of noise:test: 7 images in" in caplog.text and more.read == 7
    cache.of(more, "resize")
    assert more.read == 7


def test_scores_and_columns_are_those_of_the_photos(params, kept):
    mesh = partition.make_mesh()
    plain = Scorer(TASK, SPEC, mesh)
    expected = plain(plain.place(params), Noise(COUNT))
    source, scorer = Noise(COUNT), FeatureScorer(TASK, SPEC, mesh, opened(kept, params))
    found = scorer(scorer.place(params), source)
    # Logits of a head that was made 1e4 times as large.
    np.testing.assert_allclose(found.log_probabilities, expected.log_probabilities, rtol=0, atol=10 * ROUNDING)
    assert np.ptp(expected.log_probabilities) > 0.1
    ours, theirs = found.columns(2.0), expected.columns(2.0)
    assert list(ours) == list(theirs) and found.dataset == expected.dataset
    for name in ("video", "frame", "label", "class", "method", "source"):
        np.testing.assert_array_equal(ours[name], theirs[name])
        assert ours[name].dtype == theirs[name].dtype
    scorer(scorer.place(params), source)
    assert source.read == COUNT  # its texts, once


JOB = """
import json, sys
import jax
from absl import flags
sys.path.insert(0, sys.argv[3])
flags.FLAGS.mark_as_parsed()  # grain reads a flag
port, host, folders = json.loads(sys.argv[1])
jax.distributed.initialize(f"localhost:{port}", 2, host)
import numpy as np
from flax.traverse_util import unflatten_dict
import test_features as shared
with np.load(f"{sys.argv[2]}/params.npz") as file:
    params = unflatten_dict(dict(file), sep="/")
mesh = shared.partition.make_mesh()
for number, folder in enumerate(folders[host]):
    source = shared.Noise(shared.COUNT)
    cache = shared.FeatureCache(folder, shared.TASK, params, shared.SPEC, mesh)
    found = cache.of(source, "resize")
    read = source.read
    scorer = shared.FeatureScorer(shared.TASK, shared.SPEC, mesh, cache)
    scores = scorer(scorer.place(params), source)
    np.savez(f"{sys.argv[2]}/{host}_{number}.npz", found=found, read=read, scores=scores.log_probabilities)
"""


def test_two_hosts_compute_together_and_agree_on_what_is_there(tmp_path):
    params = jax.tree.map(np.array, jax.jit(TASK.init)(jax.random.key(0)))
    np.savez(tmp_path / "params.npz", **flatten_dict(params, sep="/"))
    shared, theirs, empty = (str(tmp_path / name) for name in ("shared", "full", "empty"))
    whole, _ = computed(theirs, params)
    # In turn: nothing is there, all is there, and one of two folders that are not shared has it.
    folders = [[shared, shared, theirs], [shared, shared, empty]]
    port, path = portpicker.pick_unused_port(), str(ROOT / "tests")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", JOB, json.dumps([port, host, folders]), str(tmp_path), str(Path(__file__).parent)],
            cwd=ROOT, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path, **light_compiling.ENVIRONMENT},
        )
        for host in range(2)
    ]  # fmt: skip
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors[-3000:]
    for host, shares in enumerate(((10, 0, 10), (9, 0, 9))):  # 19 photos, every other one
        for number, read in enumerate(shares):
            with np.load(tmp_path / f"{host}_{number}.npz") as file:
                np.testing.assert_allclose(file["found"], whole, rtol=0, atol=ROUNDING)
                assert file["read"] == read and file["scores"].shape == (COUNT, 2)
    for folder in (shared, theirs):
        assert sorted(path.suffix for path in Path(folder).iterdir()) == [".json", ".npy"]
    assert not Path(empty).exists()


FIXED = {
    "augment__crop": False, "augment__flip": 0.0, "augment__erase": 0.0, "mix__probability": 0.0,
    "model__drop_path": 0.0, "data__balanced": True, "duration": "4 steps", "checkpoint__every": "2 steps",
    # Two parts of 8 images a step, one on each device; where features are computed, two are.
    "batch__per_device": 1, "evaluation__batch": 16,
    # So large that the losses of different images differ.
    "optimizer__base_learning_rate": 0.1, "optimizer__weight_decay": 0.1, "optimizer__layer_decay": 1.0,
}  # fmt: skip
TESTED = "A=forged:blend:8:2:1"
RUNS = {
    "fs_adapter": {"tuning__method": "fs_adapter", "loss__contrast": 0.5, "data__test": TESTED},
    # Another network, tuning and seed with the same encoder; its dropout is behind the features.
    "antispoof": {
        "model__network": "antispoof", "model__norm_over": "features", "tuning__method": "linear_probe", "seed": 1,
        "model__dropout": 0.5,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Workdirs of each of `RUNS`, from photos and from features, and the sets that were computed; the `encoder`."""
    cache, found, computing, said = tmp_path_factory.mktemp("cache"), {}, [], []
    encoder = ClassifierSpec(SIZES["tiny16"], records.IMAGE_SIZE, 2, "mean_patches", 0.0, jnp.float32, "none")
    fresh = jax.jit(ClassifyTask(encoder, 2, 0.0, False, TASK.statistics).init)(jax.random.key(3))
    # A pretraining that was never trained: it would take longer than all that is looked at here.
    origin = {"path": "fresh", "size": "tiny16", "notes": []}
    pretrained = Pretrained(
        {"encoder": jax.tree.map(np.array, fresh["encoder"])}, TASK.statistics, origin, KeyReport((), {}, {}), 14
    )

    def compute(self, name, about, source, real=FeatureCache._compute):
        computing.append((about["data"], about["transform"]))
        real(self, name, about, source)

    with pytest.MonkeyPatch.context() as counted:
        draw_nothing(counted)
        counted.setattr(FeatureCache, "_compute", compute)
        counted.setattr(finetune.LOG, "warning", lambda text, *_: said.append(text))
        counted.setattr(finetune_inputs, "open_pretrained", lambda *arguments: pretrained)
        for name, fields in RUNS.items():
            config = tiny(init="fresh", data__statistics="init", **FIXED, **fields)
            photos, features = (str(tmp_path_factory.mktemp(name)) for _ in range(2))
            finetune.run(config, photos)
            assert not computing
            config.features.cache = str(cache)
            with counted.context() as blind:
                for kind in ("LabelledStream", "Scorer"):  # what would look at photos
                    blind.setattr(finetune, kind, None)
                if name == "fs_adapter":  # stopped once, and gone on with
                    finetune.run(config, features, "1")
                finetune.run(config, features)
            found[name] = photos, features, tuple(computing)
            computing.clear()
        yield found | {"encoder": pretrained.params["encoder"], "cache": str(cache), "said": said}


def steps(workdir: str) -> list[dict]:
    return [json.loads(line) for line in Path(workdir, "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", RUNS)
def test_a_run_from_features_is_the_run_from_photos(runs, name):
    photos, features, _ = runs[name]
    ours, theirs = steps(features), steps(photos)
    assert [line["step"] for line in ours] == [line["step"] for line in theirs] == [1, 2, 3, 4]
    for key in ("loss", "gradient_norm"):
        a, b = (np.array([line[key] for line in lines]) for lines in (ours, theirs))
        np.testing.assert_allclose(a, b, rtol=10 * ROUNDING, atol=10 * ROUNDING)
        assert np.ptp(b) > 0.01
    for a, b in zip(looks(features), looks(photos), strict=True):
        a, b = (line["splits"]["source-validation"] for line in (a, b))
        assert a["dataset"] == b["dataset"] and (a["auc"], a["hter"]) == (b["auc"], b["hter"])
        assert a["loss"] == pytest.approx(b["loss"], abs=10 * ROUNDING)


def test_the_detector_from_features_scores_as_the_one_from_photos(runs):
    photos, features, _ = runs["fs_adapter"]
    a, b = (read_predictions(Path(workdir, "test", "predictions", "A.csv")) for workdir in (features, photos))
    assert list(a) == list(b)
    np.testing.assert_allclose(a["score"], b["score"], rtol=0, atol=10 * ROUNDING)
    np.testing.assert_array_equal(a["source"], b["source"])


@pytest.mark.parametrize("name", RUNS)
def test_what_is_frozen_keeps_every_bit(runs, name):
    at_first = flatten_dict({"encoder": runs["encoder"]}, sep="/")
    photos, features = (
        flatten_dict(read_parameters(f"{workdir}/checkpoints")[0], sep="/") for workdir in runs[name][:2]
    )
    assert photos.keys() == features.keys()
    frozen = {path: photos[path] for path in photos if path.startswith("encoder/")}
    assert frozen.keys() == at_first.keys() and len(frozen) > 20
    for path, value in at_first.items():
        np.testing.assert_array_equal(photos[path], value)
        np.testing.assert_array_equal(features[path], value)
    for tree in (photos, features):
        assert (tree["fc_norm/scale"] == 1).all() and (tree["fc_norm/bias"] == 0).all()


def test_each_image_is_computed_once_for_all_runs(runs):
    first, second = runs["fs_adapter"][2], runs["antispoof"][2]
    transform = tiny().evaluation.transform
    assert sorted(first) == [
        ("forged:blend:16:1:0", transform), ("forged:blend:24:0:0", "resize"), ("forged:blend:8:2:1", transform),
    ]  # fmt: skip
    assert second == ()


def test_a_closed_bottleneck_is_said_at_the_end(runs, tmp_path, monkeypatch):
    def closed(*arguments, real=finetune.initialise):
        params, report = real(*arguments)
        params["adapter"]["linear1"]["kernel"] = 0 * params["adapter"]["linear1"]["kernel"]  # a ReLU's slope at 0 is 0
        return params, report

    config = tiny(init="fresh", **FIXED, **RUNS["fs_adapter"] | {"data__test": ""})
    config.features.cache = runs["cache"]
    text = "bottleneck let no face of the last step pass"
    assert not any(text in line for line in runs["said"])
    assert all(line["open_units"] > 0 for line in steps(runs["fs_adapter"][1]))
    monkeypatch.setattr(finetune, "initialise", closed)
    finetune.run(config, str(tmp_path))
    assert sum(text in line for line in runs["said"]) == 1
    assert [line["open_units"] for line in steps(tmp_path)] == [0] * 4
