"""Detectors as ONNX: ONNX Runtime finds our scores, for any batch.

Needs the packages of requirements/onnx.txt, which are not among those of `make test`.
"""

import collections
import json
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import serialized

WHY = "jax2onnx and onnxruntime are needed: pip install --no-deps --require-hashes --requirement requirements/onnx.lock"
pytest.importorskip("jax2onnx", reason=WHY)
onnxruntime = pytest.importorskip("onnxruntime", reason=WHY)

from fsfm_jax.data.forgery import ForgedSource  # noqa: E402
from fsfm_jax.data.photo import decode_image  # noqa: E402
from fsfm_jax.data.resizing import for_evaluation  # noqa: E402
from fsfm_jax.detection.opener import Unsaid, open_scorer  # noqa: E402
from fsfm_jax.detection.predictor import open_predictor  # noqa: E402
from fsfm_jax.detection.serialized_scorer import SerializedScorer  # noqa: E402
from fsfm_jax.export import serialize  # noqa: E402
from fsfm_jax.resolve.report import EvaluationSpec  # noqa: E402
from fsfm_jax.tasks.classify import ClassifyTask  # noqa: E402
from fsfm_jax.weights import artifact, onnx_file  # noqa: E402
from fsfm_jax.weights.onnx_fusion import fuse  # noqa: E402
from fsfm_jax.weights.onnx_int8 import measure, quantise  # noqa: E402
from fsfm_jax.weights.onnx_structure import check_structure  # noqa: E402
from fsfm_jax.weights.runtime import open_runtime  # noqa: E402

# What somebody does who has the two files and ONNX Runtime.
STRANGER = """
import json, sys
import numpy as np
FILE = sys.argv[1]
for count in (1, 5):
    images = np.load(sys.argv[2])[:count]
    for line in json.load(open(FILE + ".json"))["how_to_use"]:
        exec(line)
    np.save(sys.argv[3] + str(count), log_probabilities)
assert not {"fsfm_jax", "jax", "flax"} & set(sys.modules), sorted(sys.modules)
"""


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"model__network": "antispoof"},
        {"model__network": "antispoof", "model__norm_over": "features", "tuning__method": "fs_adapter"},
        {"model__base": "clip", "tuning__method": "lora", "model__pooling": "cls"},
        {"model__base": "marlin", "model__remat": "full"},
        {"model__base": "dinov2_reg", "model__pooling": "cls"},
        {"model__base": "dinov3_plus"},
        {"model__base": "beitv2", "tuning__method": "fs_adapter"},
        {"model__base": "pe_core", "model__pooling": "cls"},
    ],
)
def test_onnx_runtime_finds_our_scores(config, tmp_path):
    detector, pixels = serialized.detector(**config), serialized.images(5)
    path = tmp_path / "detector.onnx"
    card = serialize.serialize(detector, str(path), "onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.type, taken.shape) == ("images", "tensor(uint8)", ["b", 32, 32, 3])
    assert (given.name, given.type, given.shape) == ("log_probabilities", "tensor(float)", ["b", 2])
    want = serialized.live(detector, pixels)
    assert want.std(axis=0).min() > 0.01
    for count in (1, 5):
        (found,) = session.run(None, {"images": pixels[:count]})
        np.testing.assert_allclose(found, want[:count], rtol=0, atol=serialized.TOLERANCE)
    assert card["artifact"]["largest_difference_of_log_probabilities"] < serialized.TOLERANCE
    # As prediction and evaluation open it: with the card.
    opened = open_predictor(str(path), Unsaid(), batch=4)
    np.testing.assert_allclose(opened.log_probabilities(pixels), want, rtol=0, atol=serialized.TOLERANCE)
    assert opened.card["calibration"] == detector.card["calibration"] and opened.class_names == detector.class_names
    assert (opened.transform, opened.real, opened.image_size) == (detector.own_transform, 1, 32)
    source = ForgedSource(["blend"], 6, 2)
    spec = EvaluationSpec("resize", 4, 1)
    found = SerializedScorer(open_scorer(str(path), Unsaid()), spec)(None, source)
    photos = [decode_image(source[index]["image"], "face") for index in range(6)]
    images = np.stack([for_evaluation("resize", photo, 32) for photo in photos])
    live = serialized.live(detector, images)
    np.testing.assert_allclose(found.log_probabilities, live, rtol=0, atol=serialized.TOLERANCE)
    assert list(found.labels) == list(source.labels)


def test_onnx_that_is_another_function_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx", reason=WHY)
    path = tmp_path / "detector.onnx"
    serialize.serialize(serialized.detector(), str(path), "onnx")
    content = path.read_bytes()
    model = onnx.load_from_string(content)
    model.graph.output[0].name = "probabilities"
    node = next(node for node in model.graph.node if "log_probabilities" in node.output)
    node.output[list(node.output).index("log_probabilities")] = "probabilities"
    elsewhere = onnx.load_from_string(content)
    onnx.external_data_helper.set_external_data(elsewhere.graph.initializer[0], "/etc/passwd")
    for other, text in (
        (model.SerializeToString(), "so .*log_probabilities.* is expected; found .*'probabilities'"),
        (elsewhere.SerializeToString(), "found numbers in another file in a tensor"),
        (content[:-100], "expected ONNX; a model in it is cut off or damaged"),
    ):
        serialized.replace(path, other)
        with pytest.raises(ValueError, match=text):
            open_scorer(str(path), Unsaid())


def test_each_softmax_of_attention_is_an_operation(tmp_path):
    onnx = pytest.importorskip("onnx", reason=WHY)
    detector = serialized.detector()
    serialize.serialize(detector, str(tmp_path / "detector.onnx"), "onnx")
    model = onnx.load(tmp_path / "detector.onnx")
    graphs = [model.graph.node, *(function.node for function in model.functions)]
    kinds = collections.Counter(node.op_type for nodes in graphs for node in nodes)
    assert kinds["Softmax"] == detector.task.model.size.depth


def test_the_sidecar_is_enough_for_a_stranger(tmp_path):
    detector, pixels = serialized.detector(), serialized.images(5)
    path = tmp_path / "detector.onnx"
    serialize.serialize(detector, str(path), "onnx")
    np.save(tmp_path / "images.npy", pixels)
    places = [str(path), str(tmp_path / "images.npy"), str(tmp_path / "scores")]
    subprocess.run([sys.executable, "-I", "-c", STRANGER, *places], cwd=tmp_path, check=True)
    want = serialized.live(detector, pixels)
    for count in (1, 5):
        found = np.load(tmp_path / f"scores{count}.npy")
        np.testing.assert_allclose(found, want[:count], rtol=0, atol=serialized.TOLERANCE)
    assert json.loads((tmp_path / "detector.onnx.json").read_text())["artifact"]["opset"] == onnx_file.OPSET
    with pytest.raises(ValueError, match="expected an artifact of jax.export; its sidecar says 'onnx'"):
        artifact.read(path)


def test_a_conversion_with_other_scores_is_refused(tmp_path, monkeypatch):
    calls, own = [], ClassifyTask.log_probabilities

    def first_right(task, params, images):
        # As if the converter had read the network wrongly: what it traces is not what is run afterwards.
        calls.append(images)
        return own(task, params, images) + jnp.float32(len(calls) > 1) * 1e-3

    monkeypatch.setattr(ClassifyTask, "log_probabilities", first_right)
    with pytest.raises(ValueError, match="of 3 random images within 0.0001; found a difference of 0.001"):
        serialize.serialize(serialized.detector(), str(tmp_path / "detector.onnx"), "onnx")
    assert not list(tmp_path.iterdir())


def test_fused_and_quantised_networks_score_alike_whatever_else_is_in_the_batch():
    onnx = pytest.importorskip("onnx", reason=WHY)
    detector, pixels = serialized.detector(), serialized.images(12)
    whole, _ = onnx_file.convert(detector.task, detector.params)
    fused, live = fuse(whole), serialized.live(detector, pixels)
    kinds = collections.Counter(node.op_type for node in onnx.load_from_string(fused).graph.node)
    depth = detector.task.model.size.depth
    assert (kinds["LayerNormalization"], kinds["Gelu"], kinds["Erf"], kinds["Gemm"]) == (2 * depth + 1, depth, 0, 0)
    np.testing.assert_allclose(open_runtime("onnx", "x")(fused)(pixels), live, rtol=0, atol=serialized.TOLERANCE)
    measured = measure(fused, pixels)
    assert len(measured) == 4 * depth and all(0 < one.error < 0.1 for one in measured.values())
    content = quantise(fused, measured)
    check_structure("x", content)
    kinds = collections.Counter(node.op_type for node in onnx.load_from_string(content).graph.node)
    assert kinds["MatMulInteger"] == 4 * depth
    score = open_runtime("onnx", "x")(content)
    found = score(pixels)
    assert 0 < np.abs(found - live).max() < 0.1 < np.ptp(live)
    for place in (0, 7):
        np.testing.assert_allclose(score(pixels[place : place + 1])[0], found[place], rtol=0, atol=1e-6)
    some = dict(list(measured.items())[:3])
    assert onnx.load_from_string(quantise(fused, some)).SerializeToString().count(b"MatMulInteger") == 3


def test_openvino_finds_the_scores_of_onnx_runtime(tmp_path):
    pytest.importorskip("openvino", reason="OpenVINO is needed: the extra openvino")
    detector, pixels = serialized.detector(), serialized.images(5)
    serialize.serialize(detector, str(tmp_path / "detector.onnx"), "onnx")
    opened = open_predictor(str(tmp_path / "detector.onnx"), Unsaid(), batch=4, runtime="openvino")
    live = serialized.live(detector, pixels)
    np.testing.assert_allclose(opened.log_probabilities(pixels), live, rtol=0, atol=serialized.TOLERANCE)
    with pytest.raises(ValueError, match="OpenVINO .* cannot read it"):
        open_runtime("openvino", "x")(b"no model")
