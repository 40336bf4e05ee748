"""Runtimes of detectors in ONNX, with stand-ins for their libraries; `tests/parity` has the real ones."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import serialized

from fsfm_jax.detection import predictor
from fsfm_jax.detection.opener import Unsaid, open_scorer
from fsfm_jax.export.serialize import write_serialized
from fsfm_jax.weights.runtime import open_runtime

SIDE, CONTENT = serialized.SIDE, b"\x08\x0a"  # a model that says its version and no more


def scores(images):
    """Says P(real) = exp(-1 - mean / 255), which is never 1."""
    p = np.exp(-1 - images.astype(np.float64).mean(axis=(1, 2, 3)) / 255)
    return np.log(np.stack([1 - p, p], axis=1)).astype(np.float32)


class Session:
    """Stands for a session of ONNX Runtime; notes what it was made of."""

    made: list = []

    def __init__(self, content, options, providers):
        self.made.append(content)

    def get_inputs(self):
        return [types.SimpleNamespace(name="images", type="tensor(uint8)", shape=["b", SIDE, SIDE, 3])]

    def get_outputs(self):
        return [types.SimpleNamespace(name="log_probabilities", type="tensor(float)", shape=["b", 2])]

    def run(self, names, feed):
        return [scores(feed["images"])]


class Core:
    """Stands for that of OpenVINO on a processor without bfloat16."""

    made: list = []

    def get_property(self, device, name):
        return ["FP32", "INT8"]

    def read_model(self, content):
        return content

    def compile_model(self, model, device, settings):
        self.made.append((model, device, settings["INFERENCE_PRECISION_HINT"]))

        def port(name, dtype, *shape):
            sides = [types.SimpleNamespace(is_static=side > 0, get_length=lambda side=side: side) for side in shape]
            kind = types.SimpleNamespace(get_type_name=lambda: dtype)
            return types.SimpleNamespace(
                get_any_name=lambda: name, get_element_type=lambda: kind, get_partial_shape=lambda: sides
            )

        class Compiled:
            inputs = [port("images", "u8", -1, SIDE, SIDE, 3)]
            outputs = [port("log_probabilities", "f32", -1, 2)]

            def __call__(self, arrays):
                return [scores(arrays[0])]

        return Compiled()


@pytest.fixture
def libraries(monkeypatch):
    fake = types.SimpleNamespace(
        SessionOptions=types.SimpleNamespace, InferenceSession=Session, get_available_providers=lambda: ["CPU"],
        __version__="0",
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    monkeypatch.setitem(sys.modules, "openvino", types.SimpleNamespace(Core=Core, __version__="0"))
    monkeypatch.setattr(Session, "made", [])
    monkeypatch.setattr(Core, "made", [])


@pytest.fixture
def path(tmp_path) -> Path:
    written = tmp_path / "detector.onnx"
    about = {"kind": "onnx", "platforms": ["onnxruntime"], "dtype": "float32"}
    write_serialized(serialized.detector(), str(written), CONTENT, about)
    return written


def test_each_runtime_is_given_the_bytes_that_the_card_names_and_scores_alike(path, libraries):
    pixels = serialized.images(5)
    for runtime, name in (("", "onnx"), ("onnx", "onnx"), ("openvino", "openvino")):
        opened = predictor.open_predictor(str(path), Unsaid(), batch=4, runtime=runtime)
        assert (opened.runtime, opened.explains, opened.temperature) == (name, False, 1.5)
        np.testing.assert_array_equal(opened.log_probabilities(pixels), scores(pixels))
    # By itself OpenVINO would take bfloat16 where the processor has it.
    assert Session.made == [CONTENT] * 2 and Core.made == [(CONTENT, "CPU", "f32")]
    path.write_bytes(b"\x08\x0b")
    with pytest.raises(ValueError, match="expected the SHA-256 .* of its sidecar"):
        open_scorer(str(path), Unsaid(), runtime="openvino")
    assert len(Core.made) == 1
    serialized.replace(path, b"\x08\x0b", image_size=SIDE * 2)
    for runtime in ("onnx", "openvino"):
        with pytest.raises(ValueError, match="its sidecar says 64 pixels and 2 classes.*They do not belong together"):
            open_scorer(str(path), Unsaid(), runtime=runtime)
    serialized.replace(path, b"\xa2\x01\x00", image_size=SIDE)  # training information
    with pytest.raises(ValueError, match="found field 20 in a model"):
        open_scorer(str(path), Unsaid())


def test_a_detector_with_parameters_is_converted_and_keeps_its_digest_and_heat_maps(libraries, monkeypatch):
    asked = []
    monkeypatch.setattr(
        predictor.onnx_file, "convert", lambda task, params: (asked.append(task.model.dtype), (CONTENT, {}))[1]
    )
    detector, pixels = serialized.detector(), serialized.images(3)
    opened = predictor.predictor_of(detector, 4, "openvino")
    np.testing.assert_array_equal(opened.log_probabilities(pixels), scores(pixels))
    assert opened.explains and opened.weights_sha256 == predictor.digest_parameters(detector.params)
    with pytest.raises(ValueError, match="--dtype=bfloat16: this processor has no products in bfloat16"):
        predictor.predictor_of(serialized.detector(model__dtype="bfloat16"), 4, "openvino")
    with pytest.raises(ValueError, match="--runtime=onnx: expected float32, found bfloat16"):
        predictor.predictor_of(serialized.detector(model__dtype="bfloat16"), 4, "onnx")
    assert asked == [np.float32]  # refused before anything is converted


def test_what_cannot_run_a_file_or_is_not_installed_is_named(path, libraries, monkeypatch):
    with pytest.raises(ValueError, match="--runtime: .*detector.onnx is for onnx or openvino; found jax"):
        open_scorer(str(path), Unsaid(), runtime="jax")
    with pytest.raises(ValueError, match="--runtime: expected one of jax, onnx, openvino; found 'onyx'"):
        open_scorer(str(path), Unsaid(), runtime="onyx")
    serialized.replace(path, b"", artifact__kind="jax.export")
    with pytest.raises(ValueError, match="is for jax; found openvino.*or export it with --format=onnx"):
        open_scorer(str(path), Unsaid(), runtime="openvino")
    for runtime, library, text in (
        ("onnx", "onnxruntime", "needs ONNX Runtime, which is not installed.*extra onnx"),
        ("openvino", "openvino", "needs OpenVINO, which is not installed.*extra openvino"),
    ):
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(ValueError, match=text):
            open_runtime(runtime, "x")
