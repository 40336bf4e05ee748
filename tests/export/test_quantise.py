"""Which quantised detector is written, with stand-ins for the networks; `tests/parity` has real ones."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import serialized

from fsfm_jax.apps.found_faces import Crop, Reading
from fsfm_jax.apps.outputs import explanation, meaning
from fsfm_jax.apps.verdict import choose_rule, decide
from fsfm_jax.data.forgery import ForgedSource
from fsfm_jax.detection.acceptance import Agreement
from fsfm_jax.detection.calibrate import calibrate
from fsfm_jax.detection.prediction import predictions_of
from fsfm_jax.detection.predictor import Predictor
from fsfm_jax.export import quantise
from fsfm_jax.weights.artifact import read_card
from fsfm_jax.weights.onnx_int8 import LARGEST, Measured, choose_steps, quantise_matrix

SIDE = serialized.SIDE
# By the name of each product, the error that int8 makes of it.
MEASURED = {f"p{place}": Measured(-1.0, 1.0, error) for place, error in enumerate([0.1, 0.4, 0.2, 0.3])}


def test_a_matrix_is_rounded_by_columns_and_an_activation_to_steps_that_hit_zero():
    whole, scale = quantise_matrix(np.float32([[1, -128, 0], [-2, 64, 0]]))
    assert whole.tolist() == [[32, -LARGEST, 0], [-LARGEST, 32, 0]] and scale.tolist() == [2 / 64, 2, 1]
    assert whole.dtype == np.int8
    assert choose_steps(-51.0, 204.0) == (1.0, 51)
    assert choose_steps(2.0, 510.0) == (2.0, 0)  # zero is within reach though no activation is
    assert choose_steps(0.0, 0.0) == (1.0, 0)
    # What processors without VNNI add up in 16 bits: two products of the largest numbers.
    assert 2 * 255 * LARGEST < 2**15 <= 2 * 255 * 127


def test_products_with_the_largest_errors_stay_in_float32_first():
    assert quantise.choose_kept(MEASURED) == [(), ("p1",), ("p1",)]
    many = {f"p{place:02d}": Measured(0, 1, place / 100) for place in range(20)}
    assert quantise.choose_kept(many)[1:] == [("p19", "p18"), ("p19", "p18", "p17", "p16", "p15")]


@pytest.fixture
def networks(monkeypatch):
    """Networks by their content; the fewer products are in float32, the more the scores are off."""
    monkeypatch.setattr(quantise.onnx_file, "convert", lambda task, params: (b"float", {}))
    monkeypatch.setattr(quantise, "fuse", lambda content: b"fused")
    monkeypatch.setattr(quantise, "measure", lambda content, images: MEASURED)
    monkeypatch.setattr(quantise, "quantise", lambda content, measured: ",".join(sorted(measured)).encode())

    def load(detector, content):
        return SimpleNamespace(
            content=content, log_probabilities=lambda images: np.zeros((len(images), 2), np.float32)
        )

    monkeypatch.setattr(quantise, "load", load)


def scorer(right: bytes):
    """Scores 40 examples well; all but the float network and `right` take a real and a forged one for each other."""

    class Scorer:
        def __init__(self, network, spec):
            self.content = network.content

        def __call__(self, params, source):
            p = np.where(source.labels == source.real, 0.9, 0.1) + np.arange(len(source)) / 1000
            if self.content == right:
                p = p - 0.05
            elif self.content != b"fused":
                pair = [int(np.argmax(source.labels == label)) for label in (0, 1)]
                p[pair] = p[pair[::-1]]
            details = {k: (label, str(k), 0, "", str(k)) for k, label in enumerate(source.labels)}
            return predictions_of(source, np.log(np.stack([1 - p, p], axis=1)), details)

    return Scorer


def test_the_first_attempt_that_judges_as_before_is_taken_with_thresholds_of_its_own(networks, monkeypatch):
    source, detector = ForgedSource(["blend"], 40, 2), serialized.detector()
    monkeypatch.setattr(quantise, "SerializedScorer", scorer(b"p0,p2,p3"))
    made = quantise.quantise_detector(detector, source, 3, 8, 0.1)
    assert (made.content, made.kept, made.products) == (b"p0,p2,p3", ("p1",), 4)
    assert made.agreement == Agreement(source.name, 40, 1.0, 1.0, 0.0)
    found = scorer(b"p0,p2,p3")(SimpleNamespace(content=made.content), None)(None, source)
    assert made.calibration == calibrate(found, 0.1) and made.calibration["split"] == source.name
    # All scores fell by 0.05, so the threshold did as well.
    before = calibrate(scorer(b"")(SimpleNamespace(content=b"fused"), None)(None, source), 0.1)
    fallen = [one["thresholds"]["frame"][1]["value"] for one in (before, made.calibration)]
    assert fallen[0] - fallen[1] == pytest.approx(0.05, abs=1e-6)
    monkeypatch.setattr(quantise, "SerializedScorer", scorer(b"none"))
    with pytest.raises(ValueError, match="no int8 file is written.*0 of 4 products.*1 of 4 products.*verdicts changed"):
        quantise.quantise_detector(detector, source, 3, 8, 0.1)


def test_the_card_and_each_verdict_say_int8(tmp_path: Path):
    detector = serialized.detector()
    calibration = json.loads(json.dumps(serialized.CALIBRATION)) | {"temperature": 0.75, "split": "again"}
    made = quantise.Quantised(b"", Agreement("again", 200, 0.9, 0.899, 0.005), calibration, ("p1",), 4)
    path = str(tmp_path / "detector.onnx")
    card = quantise.write(detector, path, made, 64)
    assert card == read_card(path) and card["artifact"]["dtype"] == "int8"
    said = card["artifact"]["quantised"]
    assert (said["split"], said["auc_after"], said["flips"]) == ("again", 0.899, 0.005)
    assert (said["products"], said["products_in_float32"]) == (4, ["p1"])
    assert card["calibration"] == calibration and "fitted to the scores of this file" in card["precision"]
    opened = Predictor("x", card, SIDE, "resize", lambda crops: crops, None, 4, lambda: "", "onnx")
    assert opened.quantised and not detector.quantised
    rule = choose_rule(opened)
    crop = Crop(0, 0, (0, 0, 9, 9), (0, 0, 10), 1.0, np.zeros((SIDE, SIDE, 3), np.uint8))
    reading = Reading("a.jpg", "photo", (crop,))
    verdict = decide(opened, rule, reading, np.log([[0.1, 0.9]]))
    assert "scored in int8" in verdict.as_json()["notes"]
    assert meaning(opened, rule, "x")["quantised"] == "int8" and meaning(detector, rule, "x")["quantised"] is None
    assert any(line.startswith("int8:") and "on again" in line for line in explanation(opened, rule))


def test_a_split_may_have_several_sources_in_the_classes_of_the_detector():
    detector = serialized.detector()
    fake = detector.class_names[1 - detector.real]
    split = quantise.open_split(detector, f"{fake}=forged:blend:8:1,{fake}=forged:print:4:2")
    assert [len(part) for part in split.parts] == [8, 4] and split.class_names == detector.class_names
    with pytest.raises(ValueError, match="nothing"):
        quantise.open_split(detector, f"{fake}=forged:blend:8:1,nothing=forged:print:4:2")


def test_a_detector_that_keeps_no_rate_asks_for_one():
    assert quantise.choose_rate(serialized.detector(), 0.2) == 0.2
    with pytest.raises(ValueError, match="--false_alarm_rate: drawn keeps none; say the share of real faces"):
        quantise.choose_rate(serialized.detector(), None)
