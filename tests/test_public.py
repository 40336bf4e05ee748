"""The public interface: the page about it is executed, and runs and exports of the version before are opened."""

import json
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

import fsfm_jax
from fsfm_jax import regions
from fsfm_jax.config import pretrain as pretrain_config
from fsfm_jax.detection.opener import Unsaid
from fsfm_jax.detection.predictor import open_predictor
from fsfm_jax.jobs import pretrain
from fsfm_jax.run.checkpoint import read_parts

ROOT = Path(__file__).parents[1]
FORMER = Path(__file__).parent / "golden" / "former"
ASTRONAUT = ROOT / "fsfm_jax" / "data" / "samples" / "pd_nasa_astronaut.jpg"
# Of scores that are a rounding apart between processors; between the three pictures they differ by 2e-5.
ROUNDING = 1e-6


@pytest.fixture(scope="module")
def former(tmp_path_factory) -> Path:
    """A pretraining run that was stopped, a finished detector, records and exports, all made by version 0.1."""
    folder = tmp_path_factory.mktemp("former")
    for name in ("runs", "exports"):
        with tarfile.open(FORMER / f"{name}.tar.xz") as archive:
            archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)


def test_the_page_about_python_runs_with_the_weights_of_the_package(tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
    assert len(blocks) == 4
    shutil.copy(ASTRONAUT, tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    space: dict = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"docs/python.md, example {number}", "exec"), space)
    width = space["encoder"].width
    assert (space["features"].shape, space["tokens"].shape) == ((3, width), (3, 197, width))
    np.testing.assert_allclose(space["tokens"][:, 1:].mean(axis=1), space["features"], atol=1e-5)
    assert space["verdict"].verdict in ("real", "forged") and len(space["verdict"].faces) == 1


@pytest.mark.parametrize(
    "name", ["finetune_whole", "detector.jax", "export_official", "export_timm.pth", "export_safetensors.safetensors",
             "export_huggingface"],
)  # fmt: skip
def test_detectors_of_the_version_before_give_their_scores(former, crops, name):
    expected = json.loads((former / "expected.json").read_text())["finetune_whole"]
    path = former / name
    if name == "export_official":
        (path,) = path.glob("*.pth")
    np.testing.assert_allclose(open_predictor(str(path), Unsaid()).log_probabilities(crops), expected, atol=ROUNDING)
    detector = fsfm_jax.load_detector(path)
    np.testing.assert_array_equal(detector.score(crops), detector.probabilities(crops)[:, detector.real])


def test_a_run_of_the_version_before_resumes_to_the_losses_of_its_end(former, tmp_path, monkeypatch):
    shutil.copytree(former / "pretrain", tmp_path / "run")
    monkeypatch.chdir(former)
    config = pretrain_config.pretrain()
    stored = read_parts(str(tmp_path / "run" / "checkpoints"), ("step",))[1]["all_fields"]
    config.update_from_flattened_dict(stored)
    pretrain.run(config, str(tmp_path / "run"))
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    expected = json.loads((former / "expected.json").read_text())["pretrain"]
    # Steps differ by 0.1; sums over 1e5 pixels on other processors by some of float32's 1.2e-7.
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_images_of_any_number_and_size_give_the_features_of_each(former, crops):
    encoder = fsfm_jax.load_encoder(former / "pretrain", batch=2)
    together, alone = encoder(crops), np.concatenate([encoder(crop[None]) for crop in crops])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert encoder(crops[:0]).shape == (0, encoder.width)
    larger = np.stack([cv2.resize(crop, (448, 448), interpolation=cv2.INTER_NEAREST) for crop in crops])
    assert encoder(larger).shape == together.shape


@pytest.mark.parametrize("call", [lambda e, d, x: e(x), lambda e, d, x: e.tokens(x), lambda e, d, x: d.score(x)])
def test_images_of_another_kind_are_refused(former, crops, call):
    encoder, detector = fsfm_jax.load_encoder(former / "pretrain"), fsfm_jax.load_detector(former / "finetune_whole")
    for wrong in (crops / np.float32(255), crops[0], crops[..., :2], crops.astype(np.int64)):
        with pytest.raises(ValueError, match=r"expected \[n, H, W, 3\] uint8"):
            call(encoder, detector, wrong)


def test_masks_of_ones_own_maps_and_a_parser_that_finds_no_face():
    maps = np.zeros((2, 224, 224), np.int64)
    maps[:, 48:96, 48:96] = regions.NOSE
    for strategy in (fsfm_jax.crfr_p, fsfm_jax.crfr_r, fsfm_jax.frp, fsfm_jax.fasking_i, fsfm_jax.random):
        drawn = strategy(maps, ratio=0.75, seed=3)
        assert drawn.mask.shape == (2, 196) and (drawn.mask.sum(axis=1) == 147).all()
        assert not (drawn.region_mask & ~drawn.mask).any()
        # A mask depends on seed and position alone.
        np.testing.assert_array_equal(strategy(maps[1:], ratio=0.75, seed=3, first=1).mask, drawn.mask[1:])
        assert (strategy(maps, ratio=0.75, seed=4).mask != drawn.mask).any()
    for wrong in (maps[0], maps + 11, maps / 1.0, maps[:, :100, :100]):
        with pytest.raises(ValueError, match="expected"):
            fsfm_jax.crfr_p(wrong)
    with pytest.raises(ValueError, match="expected a face, found none in a photo of 64x80"):
        fsfm_jax.load_parser()(np.full((64, 80, 3), 127, np.uint8))


def test_importing_the_package_starts_nothing():
    code = "import sys, fsfm_jax; print(sorted({'jax', 'numpy', 'cv2', 'grain'} & {*sys.modules}), *dir(fsfm_jax))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[] ") and {*fsfm_jax.__all__} <= {*done.stdout.split()}
    stub = (ROOT / "fsfm_jax" / "__init__.pyi").read_text()
    assert {*re.findall(r"import (\w+) as \1\n", stub)} == {*fsfm_jax.__all__}
    with pytest.raises(AttributeError, match="no attribute 'load_encodr'; it has .*load_encoder"):
        fsfm_jax.load_encodr  # noqa: B018
