"""Artifacts of strangers: what is read of them, and a sentence for everything that is not as it should be."""

import json
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import serialized
from serialized import SIDE, TOLERANCE, replace
from traced_once import traced_once  # noqa: F401, a fixture that is used by itself

from fsfm_jax.detection.opener import Unsaid, open_scorer
from fsfm_jax.export import serialize
from fsfm_jax.weights import artifact, sidecar_file


@pytest.fixture(scope="module")
def detector():
    return serialized.detector()


@pytest.fixture(scope="module")
def written(detector, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("written") / "detector.jax"
    serialize.serialize(detector, str(path))
    return path


@pytest.fixture
def copied(written, tmp_path) -> Path:
    """An artifact to damage."""
    for name in (written.name, f"{written.name}.json"):
        shutil.copy(written.parent / name, tmp_path / name)
    return tmp_path / written.name


def exported(function, *shape) -> bytes:
    """The bytes of another function of images."""
    pixels = jax.ShapeDtypeStruct((*jax.export.symbolic_shape("b"), *shape), jnp.uint8)
    return bytes(jax.export.export(jax.jit(function), platforms=("cpu", "cuda", "tpu"))(pixels).serialize())


def test_what_is_read_scores_as_the_detector_with_the_names_of_its_sidecar(written, detector):
    found = artifact.read(written)
    pixels = serialized.images(3)
    scores = np.asarray(found.log_probabilities(pixels))
    np.testing.assert_allclose(scores, serialized.live(detector, pixels), rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1, rtol=1e-6)
    assert (found.class_names, found.real, found.image_size) == (("fake", "real"), 1, SIDE)
    assert found.temperature == 1.5 and [t.value for t in found.thresholds("video")] == [0.25, 0.25]
    assert found.thresholds("frame")[0].chosen_on == "equal error, chosen on val"
    assert found.card == json.loads(Path(f"{written}.json").read_text())


def test_onnx_without_its_runtime_says_what_to_install(copied, monkeypatch):
    replace(copied, b"onnx", artifact__kind="onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match="ONNX needs ONNX Runtime, which is not installed here: pip install --no-deps"):
        open_scorer(str(copied), Unsaid())


def test_without_calibration_there_is_neither_temperature_nor_threshold(copied):
    replace(copied, copied.read_bytes(), calibration=None)
    found = artifact.read(copied)
    assert found.temperature is None and found.thresholds("frame") == []


@pytest.mark.parametrize("pixels, text", [
        (np.zeros((2, 64, 64, 3), np.uint8), r"expected \[n, 32, 32, 3\] uint8 .*; found \[2, 64, 64, 3\] uint8"),
        (np.zeros((2, 32, 32, 3), np.float32), r"found \[2, 32, 32, 3\] float32. Resize face crops .* leave them as"),
        (np.zeros((32, 32, 3), np.uint8), r"found \[32, 32, 3\] uint8"),
        (np.zeros((2, 3, 32, 32), np.uint8), r"found \[2, 3, 32, 32\] uint8"),
        (np.zeros((0, 32, 32, 3), np.uint8), r"with n of at least 1; found \[0, 32, 32, 3\] uint8"),
    ])  # fmt: skip
def test_other_images_are_refused(written, pixels, text):
    with pytest.raises(ValueError, match=text):
        artifact.read(written).log_probabilities(pixels)


def test_a_damaged_or_missing_file_is_found(copied):
    content = bytearray(copied.read_bytes())
    copied.write_bytes(content[:-100])
    with pytest.raises(ValueError, match=rf"expected {len(content)} bytes, .* found {len(content) - 100}. It is trunc"):
        artifact.read(copied)
    content[len(content) // 2] ^= 1
    copied.write_bytes(content)
    with pytest.raises(ValueError, match="expected the SHA-256 [0-9a-f]{64} of its sidecar; found .* copy both files"):
        artifact.read(copied)
    moved = copied.rename(copied.with_name("other"))
    with pytest.raises(FileNotFoundError, match="there is no sidecar .*other.json; .* copy it with the file"):
        artifact.read(moved)
    with pytest.raises(FileNotFoundError, match="there is no such file, only its sidecar"):
        artifact.read(copied)


@pytest.mark.parametrize("garbage", [b"", b"\0" * 4000, bytes(range(256)) * 40], ids=["empty", "zeros", "bytes"])
def test_another_file_with_the_right_digest_cannot_be_read(copied, garbage):
    replace(copied, garbage)
    with pytest.raises(ValueError, match="expected what jax.export writes; it cannot be read .* or of a newer JAX"):
        artifact.read(copied)


@pytest.mark.parametrize("changes, text", [
        ({"image_size": 64}, r"says 64 pixels and 2 classes, so \[b, 64, 64, 3\] uint8 .*; found \[b, 32, 32, 3\]"),
        ({"class_names": ["a", "b", "c"]}, r"\[b, 3\] float32 is expected; found .* -> \[b, 2\] float32"),
        ({"artifact__platforms": ["cpu"]}, "says the platforms cpu; found cpu, cuda, tpu. They do not belong"),
        ({"artifact__kind": "onnx"}, "expected an artifact of jax.export; its sidecar says 'onnx'"),
        ({"format": "other"}, "expected the format 'fsfm_jax detector', version 1"),
        ({"format_version": 2}, "expected the format 'fsfm_jax detector', version 1"),
        ({"class_names": ["real", "real"]}, "class_names: expected from 2 to 1000 names that differ"),
        ({"class_names": "fake,real"}, "class_names: expected list; found 'fake,real'"),
        ({"real": 2}, "real: expected the index of one of 2 classes; found '2'"),
        ({"real": True}, "real: expected int; found 'True'"),
        ({"image_size": 0}, "image_size: expected from 1 to 4096 pixels; found '0'"),
        ({"artifact__sha256": None}, "artifact.sha256: expected str; found 'None'"),
        ({"calibration__temperature": -1.0}, "calibration.temperature: expected a positive number or null; found '-1"),
        ({"statistics__mean": [float("nan")] * 3}, "expected a table in JSON: the number NaN is none of JSON"),
        ({"calibration__thresholds": {"frame": []}}, "calibration.thresholds: expected those of frame and video"),
    ])  # fmt: skip
def test_a_sidecar_that_lies_is_refused(copied, changes, text):
    replace(copied, copied.read_bytes(), **changes)
    with pytest.raises(ValueError, match=text):
        artifact.read(copied)


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000], ids=["empty", "list", "deep"])
def test_a_sidecar_that_is_no_table_is_refused(copied, text):
    Path(f"{copied}.json").write_text(text)
    with pytest.raises(ValueError, match=r"\.json: expected (a table in JSON|the format)"):
        artifact.read(copied)


def test_a_sidecar_has_a_bounded_size(copied):
    with open(f"{copied}.json", "ab") as file:
        file.truncate(sidecar_file.MAX_SIDECAR + 1)  # a hole, no bytes on the disk
    with pytest.raises(ValueError, match="expected at most 16777216 bytes; found 16777217"):
        artifact.read(copied)


def test_composites_are_looked_at_by_name(copied, monkeypatch):
    monkeypatch.setattr(artifact, "COMPOSITES", frozenset({"somebody.else"}))
    with pytest.raises(ValueError, match="found composite chlo.erf. Do not run this file"):
        artifact.read(copied)


@pytest.mark.parametrize("function, text", [
        (lambda pixels: jnp.linalg.cholesky(jnp.eye(2))[:1] + 0 * pixels, "found .*custom call "),  # of LAPACK
        (lambda pixels: jax.lax.while_loop(lambda x: x.sum() < 0, lambda x: x, pixels), "found stablehlo.while"),
    ])  # fmt: skip
def test_operations_that_no_detector_has_are_refused(copied, function, text):
    replace(copied, exported(lambda pixels: function(pixels[:, 0, 0, :2].astype(jnp.float32)), SIDE, SIDE, 3))
    with pytest.raises(ValueError, match=rf"{text}.*Do not run this file unless you know who made it"):
        artifact.read(copied)


def test_a_function_of_something_else_is_refused(copied):
    replace(copied, exported(lambda pixels: pixels[:, 0, 0, :2] * 2, SIDE, SIDE, 3))
    with pytest.raises(ValueError, match=r"found \[b, 32, 32, 3\] uint8 -> \[b, 2\] uint8. They do not belong"):
        artifact.read(copied)
