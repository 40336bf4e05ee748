"""The analyses from their command line, on tiny runs: what is written, and what is refused."""

import csv
import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import serialized
from absl import app
from tuning import pretrained_run

from fsfm_jax.analyze import __main__ as command
from fsfm_jax.analyze import features, galleries, heads
from fsfm_jax.detection.encoder import open_encoder
from fsfm_jax.detection.opener import Unsaid
from fsfm_jax.figures.faces import open_faces
from fsfm_jax.figures.gallery import CELL, GAP, Row, write_gallery
from fsfm_jax.models.vit import Encoder

DEFAULTS = dict(
    checkpoint=[], data="samples", images=None, strategies=None, ratio=0.75, rolls=1, seed=0, method="pca",
    colour="label", base="fsfm", classes="", statistics="", norm_over="",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> str:
    """A pretraining with CRFR-P masks."""
    return pretrained_run(tmp_path_factory.mktemp("runs") / "crfr_p")


@pytest.fixture(scope="module")
def detector(tmp_path_factory) -> str:
    return serialized.run(tmp_path_factory.mktemp("detector"))


def analysed(what, folder, **fields):
    command.analyse(what, SimpleNamespace(**DEFAULTS | {"output": str(folder)} | fields))


def written(folder, name):
    return json.loads((folder / name).read_text())


def test_attention_of_two_networks_side_by_side(run, detector, tmp_path):
    analysed("attention", tmp_path, checkpoint=[run, detector], images=5)
    found = written(tmp_path, "attention.json")
    assert list(found) == [run, detector] and found[run]["images"] == 5
    for one, side, grid in ((found[run], 16, 14), (found[detector], 16, 2)):
        distance, divergence = np.array(one["distance_in_pixels"]), np.array(one["divergence_in_nats"])
        assert distance.shape == divergence.shape == (one["blocks"], one["heads"])
        assert (distance > 0).all() and distance.max() < side * np.hypot(grid - 1, grid - 1)
        assert (divergence >= -1e-6).all()
    assert cv2.imread(str(tmp_path / "attention.png")).std() > 10


def test_the_faces_of_a_batch_that_is_not_full_count_once(run, tmp_path):
    opened, faces = open_encoder(run, Unsaid()), np.stack(open_faces("samples", 5).images)
    together, first, rest = (
        np.array(heads.compare_heads([opened], part, str(tmp_path))[run]["distance_in_pixels"])
        for part in (faces, faces[:4], faces[4:])
    )
    # Five faces are a full batch and a padded one.
    np.testing.assert_allclose(together, (4 * first + rest) / 5, rtol=1e-6)
    assert np.abs(first - rest).max() > 1e-3


def test_maps_of_the_last_block(run, tmp_path):
    analysed("maps", tmp_path, checkpoint=[run], images=3)
    maps = np.load(tmp_path / "maps.npz", allow_pickle=False)["maps"]
    assert maps.shape[0] == 3 and maps.shape[2:] == (14, 14) and (maps.sum(axis=(2, 3)) < 1).all()


def test_reconstructions_with_other_masks_than_in_training(run, tmp_path):
    analysed("reconstruction", tmp_path, checkpoint=[run], images=2, strategies=["crfr_p", "random"], ratio=0.5)
    found = written(tmp_path, "reconstruction.json")
    assert set(found["masked_loss"]) == {"crfr_p", "random"} and found["masked_loss"]["random"][run] > 0
    picture = cv2.imread(str(tmp_path / "reconstruction.png"))[..., ::-1]
    # Visible patches of the last column are the photo's: half of them in each of four rows.
    same = (picture[34:258, GAP : GAP + CELL] == picture[34:258, 3 * (CELL + GAP) + GAP :][:, :CELL]).all(axis=-1)
    assert same.reshape(14, 16, 14, 16).all(axis=(1, 3)).sum() in (98, 99, 100)


def test_masks_of_all_strategies(tmp_path):
    analysed("masking", tmp_path, images=2, rolls=2)
    masks = written(tmp_path, "masking.json")["masks"]
    assert len(masks) == 2 * 2 * 5 and {one["hidden"] for one in masks} == {147}
    assert all(one["covered"] == 0 for one in masks if not one["strategy"].startswith("crfr"))
    assert any(one["covered"] for one in masks)


def test_the_covered_region_is_named_below_a_strategy_that_covers_it(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(galleries, "write_gallery", lambda path, titles, rows, note: written.append((titles, rows[0])))
    for strategies in (["random", "frp", "crfr_p"], ["random"]):
        analysed("masking", tmp_path, images=1, strategies=strategies)
    (titles, covering), (_, nothing) = written
    assert titles[covering.under] == "crfr_p" and covering.label.startswith("covered: ")
    assert nothing.label == ""


def test_heat_beside_each_face(detector, tmp_path):
    analysed("cam", tmp_path, checkpoint=[detector], data="forged:blend:8", images=2)
    faces = written(tmp_path, "cam.json")["faces"]
    assert len(faces) == 2 and {face["label"] for face in faces} <= {"fake", "real"}
    assert all(0 < face["real"] < 1 and np.shape(face["heat"]) == (2, 2) for face in faces)


def test_features_in_the_plane(detector, tmp_path):
    analysed("features", tmp_path, checkpoint=[detector], data="forged:blend:8", images=8)
    with open(tmp_path / "features.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8 and {row["group"] for row in rows} == {"fake", "real"}
    assert cv2.imread(str(tmp_path / "features.png")).std() > 10


def test_an_encoder_gives_the_pooled_features_of_its_detector(detector):
    opened = open_encoder(detector, Unsaid())
    pixels = serialized.images(3)
    made = serialized.detector()
    tokens = Encoder(
        made.task.model.size, 2, np.float32, "none", learnt_positions=True, final_norm=False
    ).apply({"params": made.params["encoder"]}, opened.patches(pixels))  # fmt: skip
    np.testing.assert_allclose(opened.features(pixels, 2), np.asarray(tokens)[:, 1:].mean(axis=1), rtol=1e-5, atol=1e-5)


def test_principal_components_by_hand_and_clusters_in_t_sne():
    # On a line with slope 1/2 in a plane of 3: the first component is all there is.
    along = np.array([-3.0, -1.0, 1.0, 3.0])
    rows = np.stack([2 * along, along, np.zeros(4)], axis=1) / np.sqrt(5) + 7
    np.testing.assert_allclose(features.principal_components(rows), np.stack([along, np.zeros(4)], 1), atol=1e-9)
    random = np.random.default_rng(0)
    rows = np.concatenate([random.normal(size=(12, 5)), random.normal(size=(12, 5)) + 20]).astype(np.float32)
    found = features.embed(rows, "tsne")
    centres = found[:12].mean(axis=0), found[12:].mean(axis=0)
    nearer = [np.argmin([np.linalg.norm(place - centre) for centre in centres]) for place in found]
    assert nearer == [0] * 12 + [1] * 12
    np.testing.assert_array_equal(found, features.embed(rows, "tsne"))


@pytest.mark.parametrize("what, fields, text", [
        ("cam", {}, "--checkpoint: cam takes 1 to 1, found 0"),
        ("masking", {"checkpoint": ["a"]}, "--checkpoint: masking takes none, found 1"),
        ("masking", {"strategies": ["crfr"]}, "--strategies: expected some of random, .*; found 'crfr'"),
        ("masking", {"data": "forged:blend:8"}, "--data: forged:blend:8 has no parsing maps, from which masks"),
        ("masking", {"images": 0}, "--images: expected at least 1, found 0"),
    ])  # fmt: skip
def test_what_cannot_be_analysed_says_so(what, fields, text, tmp_path):
    with pytest.raises(ValueError, match=text):
        analysed(what, tmp_path, **fields)


def test_an_output_is_tried_before_the_work_and_stays_as_it_was_if_that_fails(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(command, "open_faces", None)  # not to be reached
    with pytest.raises(ValueError, match="--output=.*file: expected a folder to write to: File exists"):
        analysed("masking", tmp_path / "file")
    with pytest.raises(ValueError, match="--method: expected one of tsne, pca; found 'umap'"):
        analysed("features", tmp_path / "new", checkpoint=["a"], method="umap")
    monkeypatch.undo()
    folder, other = tmp_path / "folder", tmp_path / "other"
    folder.mkdir()
    other.write_text("theirs")
    (folder / "masking.png").symlink_to(other)  # planted
    with monkeypatch.context() as failing:
        failing.setattr(galleries, "write_gallery", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            analysed("masking", folder, images=1)
    assert [path.name for path in folder.iterdir()] == ["masking.png"]
    analysed("masking", folder, images=1)
    assert sorted(path.name for path in folder.iterdir()) == ["masking.json", "masking.png"]
    assert other.read_text() == "theirs" and not (folder / "masking.png").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "other"]


def test_a_command_that_fails_ends_with_a_sentence_and_says_how_it_is_used(monkeypatch, capsys, tmp_path):
    flags = SimpleNamespace(FLAGS=SimpleNamespace(**DEFAULTS | {"images": 0}, output=str(tmp_path)))
    monkeypatch.setattr(command, "flags", flags)
    with pytest.raises(SystemExit) as ended:
        command.main(["analyze", "masking"])
    assert (ended.value.code, capsys.readouterr().err) == (1, "error: --images: expected at least 1, found 0\n")
    monkeypatch.setattr(command, "flags", SimpleNamespace(FLAGS=SimpleNamespace(**DEFAULTS, output=None)))
    with pytest.raises(app.UsageError, match="expected one of attention, maps, reconstruction, cam, masking, features"):
        command.main(["analyze", "heat"])


def test_runs_and_features_that_cannot_be_shown_say_why(detector, tmp_path):
    with pytest.raises(ValueError, match="runs/x has no pixel decoder"):
        galleries.task_of(SimpleNamespace(params={}), "runs/x", 0.75)
    run = SimpleNamespace(params={"pixel_decoder": {}}, statistics=None)
    with pytest.raises(ValueError, match="nothing says the channel statistics of runs/x"):
        galleries.task_of(run, "runs/x", 0.75)
    with pytest.raises(ValueError, match="--images: expected at least 4 faces to compare, found 3"):
        features.embed(np.zeros((3, 2)), "pca")
    with pytest.raises(ValueError, match="--method: expected one of tsne, pca; found 'umap'"):
        features.embed(np.zeros((5, 2)), "umap")
    with pytest.raises(ValueError, match="is a detector without pixel decoder; name its pretraining"):
        analysed("reconstruction", tmp_path, checkpoint=[detector], images=1)


def test_a_gallery_has_a_picture_for_each_title(tmp_path):
    with pytest.raises(ValueError, match="shorter|longer"):
        write_gallery(str(tmp_path / "a.png"), ["one", "two"], [Row([np.zeros((CELL, CELL, 3), np.uint8)], "")])
    with pytest.raises(ValueError, match="expected .S, S, 3., found .2, 3, 3."):
        write_gallery(str(tmp_path / "a.png"), ["one"], [Row([np.zeros((2, 3, 3), np.uint8)], "")])
