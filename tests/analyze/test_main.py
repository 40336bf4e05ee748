"""The analyses from their command line, on tiny runs: what is written, and what is refused."""

import csv
import dataclasses
import json
import re
import tempfile
from types import SimpleNamespace
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import serialized
from absl import app

from fsfm_jax.analyze import __main__ as command
from fsfm_jax.analyze import features, galleries, heads, localisation, papers
from fsfm_jax.data.self_blended import SelfBlendSpec, self_blend
from fsfm_jax.detection.encoder import open_encoder
from fsfm_jax.detection.opener import Unsaid
from fsfm_jax.figures.faces import open_faces, open_methods
from fsfm_jax.figures.gallery import CELL, GAP, HEADER, LABEL, Row, write_gallery
from fsfm_jax.models.vit import Encoder
from fsfm_jax.weights.run_reader import open_run

DEFAULTS = dict(
    checkpoint=[], data="samples", images=None, strategies=None, ratio=0.75, rolls=1, seed=0, method="pca",
    colour="label", base="fsfm", classes="", statistics="", norm_over="", by=None, heads=None, table="", paper="",
    number="", list=False, parsers=["stored", "boxes"], farl_weights="", bisenet_weights="", against=[],
    corruptions=None, strengths=None, batch=64,
)  # fmt: skip


@pytest.fixture(scope="module")
def detector(tmp_path_factory) -> str:
    return serialized.run(tmp_path_factory.mktemp("detector"))


def analysed(what, folder, **fields):
    command.analyse(what, SimpleNamespace(**DEFAULTS | {"output": str(folder)} | fields))


def written(folder, name):
    return json.loads((folder / name).read_text())


def test_attention_of_two_networks_side_by_side(pretrained, detector, tmp_path):
    analysed("attention", tmp_path, checkpoint=[pretrained, detector], images=5)
    found = written(tmp_path, "attention.json")
    assert list(found) == [pretrained, detector] and found[pretrained]["images"] == 5
    for one, side, grid in ((found[pretrained], 16, 14), (found[detector], 16, 2)):
        distance, divergence = np.array(one["distance_in_pixels"]), np.array(one["divergence_in_nats"])
        assert distance.shape == divergence.shape == (one["blocks"], one["heads"])
        assert (distance > 0).all() and distance.max() < side * np.hypot(grid - 1, grid - 1)
        assert (divergence >= -1e-6).all()
    assert cv2.imread(str(tmp_path / "attention.png")).std() > 10


def test_the_faces_of_a_batch_that_is_not_full_count_once(pretrained, tmp_path):
    opened, faces = open_encoder(pretrained, Unsaid()), np.stack(open_faces("samples", 5).images)
    together, first, rest = (
        np.array(heads.compare_heads([opened], part, str(tmp_path))[pretrained]["distance_in_pixels"])
        for part in (faces, faces[:4], faces[4:])
    )
    # Five faces are a full batch and a padded one.
    np.testing.assert_allclose(together, (4 * first + rest) / 5, rtol=1e-6)
    assert np.abs(first - rest).max() > 1e-3


def test_maps_of_the_last_block(pretrained, tmp_path):
    analysed("maps", tmp_path, checkpoint=[pretrained], images=3)
    maps = np.load(tmp_path / "maps.npz", allow_pickle=False)["maps"]
    assert maps.shape[0] == 3 and maps.shape[2:] == (14, 14) and (maps.sum(axis=(2, 3)) < 1).all()


def test_maps_of_several_networks_side_by_side(pretrained, detector, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(heads, "write_gallery", lambda path, titles, rows, note: drawn.append((titles, rows, note)))
    for checkpoints, number in (([pretrained, detector], None), ([pretrained], 2)):
        analysed("maps", tmp_path, checkpoint=checkpoints, images=2, heads=number)
    (several, rows, note), (single, *_) = drawn
    assert several == ["photo", "crfr_p", "detector0"] and note.startswith("mean of the heads, ")
    assert single == ["photo", "mean of the heads", "head 1", "head 2"]
    assert [len(row.pictures) for row in rows] == [3, 3]
    analysed("maps", tmp_path, checkpoint=[pretrained, detector], images=2)
    with np.load(tmp_path / "maps.npz", allow_pickle=False) as found:
        assert found["names"].tolist() == [pretrained, detector]
        assert (found["maps_0"].shape[2:], found["maps_1"].shape[2:]) == ((14, 14), (2, 2))
        faces = np.stack(open_faces("samples", 2).images)
        alone = heads.draw_maps([open_encoder(pretrained, Unsaid())], faces, tempfile.mkdtemp(dir=tmp_path))
        np.testing.assert_allclose(found["maps_0"], alone[0], rtol=1e-6)


def test_reconstructions_with_other_masks_than_in_training(pretrained, tmp_path):
    analysed("reconstruction", tmp_path, checkpoint=[pretrained], images=2, strategies=["crfr_p", "random"], ratio=0.5)
    found = written(tmp_path, "reconstruction.json")
    assert set(found["masked_loss"]) == {"crfr_p", "random"} and found["masked_loss"]["random"][pretrained] > 0
    picture = cv2.imread(str(tmp_path / "reconstruction.png"))[..., ::-1]
    # Visible patches of the last column are the photo's: half of them in each of four rows.
    same = (picture[34:258, GAP : GAP + CELL] == picture[34:258, 3 * (CELL + GAP) + GAP :][:, :CELL]).all(axis=-1)
    assert same.reshape(14, 16, 14, 16).all(axis=(1, 3)).sum() in (98, 99, 100)


def test_the_caption_says_whose_patches_have_the_statistics_of_the_photo(pretrained, tmp_path, monkeypatch):
    notes = []
    monkeypatch.setattr(galleries, "write_gallery", lambda path, titles, rows, note: notes.append(note))
    monkeypatch.setattr(galleries, "reconstruct", lambda params, images, mask, task: (task.patches(images), 0.0))
    task_of = galleries.task_of
    for relative in ((), ("other",), ("crfr_p", "other")):

        def changed(opened, name, ratio, relative=relative):
            task = task_of(opened, pretrained, ratio)
            spec = dataclasses.replace(task.loss_spec, normalise_pixels=name.split("/")[-1] in relative)
            return dataclasses.replace(task, loss_spec=spec)

        monkeypatch.setattr(galleries, "task_of", changed)
        opened = [open_run(pretrained, moments=False)] * 2
        faces = open_faces("samples", 1)
        galleries.draw_reconstructions(opened, [pretrained, "runs/other"], faces, ["random"], 0.75, 0, str(tmp_path))
    end = "is shown with each patch's true mean and contrast."
    assert notes[0].endswith("visible patches are from the photo.")
    assert notes[1].endswith(f"; predicted texture of other {end}")
    assert notes[2].endswith(f"; predicted texture {end}")


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


def test_self_blended_faces_and_what_changed_in_them(tmp_path):
    analysed("self-blended", tmp_path, images=2, rolls=3, seed=1)
    found = written(tmp_path, "self-blended.json")
    assert [(one["face"], one["roll"]) for one in found["blends"]] == [(row // 3, row % 3) for row in range(6)]
    assert all(0 < one["covered"] < 1 and one["ratio"] in (0.25, 0.5, 0.75, 1) for one in found["blends"])
    # The picture shows what the numbers say.
    picture = cv2.imread(str(tmp_path / "self-blended.png"))[..., ::-1]
    for number, one in enumerate(found["blends"]):
        photo, _, mask, blended, shown = (
            picture[HEADER + number * (CELL + LABEL) :, GAP + column * (CELL + GAP) :][:CELL, :CELL].astype(int)
            for column in range(5)
        )
        assert (mask[..., 0] > mask.max() / 2).mean() == pytest.approx(one["covered"], abs=0.005)
        assert mask.max() == round(255 * one["ratio"])
        np.testing.assert_array_equal(shown, np.minimum(4 * np.abs(blended - photo), 255))
        outside = np.abs(blended - photo)[mask[..., 0] == 0]
        assert outside.mean() == pytest.approx(one["difference_outside"], abs=0.2)
    with pytest.raises(ValueError, match="--data: forged:blend:8 has no parsing maps"):
        analysed("self-blended", tmp_path, data="forged:blend:8")


def test_localisation_is_measured_on_the_masks_of_the_blends(detector, tmp_path):
    analysed("localisation", tmp_path, checkpoint=[detector], images=3, rolls=2, seed=1)
    found = written(tmp_path, "localisation.json")
    assert [(one["face"], one["roll"]) for one in found["blends"]] == [(row // 2, row % 2) for row in range(6)]
    text = (tmp_path / "localisation.md").read_text()
    for name, one in found["maps"].items():
        for key, said in one.items():
            faces = np.reshape([blend[f"{name}/{key}"] for blend in found["blends"]], (3, 2)).mean(axis=1)
            assert said["mean"] == pytest.approx(faces.mean())
            assert said["standard_error"] == pytest.approx(faces.std(ddof=1) / 3**0.5)
        shown = " | ".join(
            f"{100 * one[k]['mean']:.1f} ± {100 * one[k]['standard_error']:.1f}" for k in ("iou", "pointing")
        )
        assert f"| {name} | {shown} |" in text
    assert found["maps"]["centre"]["pointing"]["mean"] > found["maps"]["random"]["pointing"]["mean"]
    assert f"- weights, SHA-256: {found['facts']['detector']['weights_sha256'][:12]}\n" in text
    with pytest.raises(ValueError, match="--data: forged:blend:8 has no parsing maps"):
        analysed("localisation", tmp_path, checkpoint=[detector], data="forged:blend:8")


def test_a_map_that_is_the_mask_is_perfect_and_one_that_is_everywhere_has_its_share(tmp_path):
    faces, about, spec = open_faces("samples", 2), serialized.detector(), SelfBlendSpec()
    about = dataclasses.replace(
        about, task=dataclasses.replace(about.task, model=dataclasses.replace(about.task.model, image_size=CELL))
    )
    images, maps = galleries.parse_faces(faces)
    masks = [self_blend(spec, *pair, number, 5)[1] for number, pair in enumerate(zip(images, maps, strict=True))]
    regions = np.stack([mask >= mask.max() / 2 for mask in masks])

    def measured(heat):
        said = localisation.measure_localisation(
            about, "resize", lambda crops: heat, lambda crops: np.log(np.full((2, 2), 0.5)), faces, 1, 5, str(tmp_path)
        )
        return [[blend[f"heat map/{key}"] for blend in said["blends"]] for key in ("iou", "pointing")]

    assert measured(regions.astype(np.float32)) == [[1, 1], [1, 1]]
    assert measured((~regions).astype(np.float32)) == [[0, 0], [0, 0]]
    assert measured(np.ones((2, 14, 14), np.float32)) == [pytest.approx(regions.mean(axis=(1, 2)).tolist())] * 2


def test_heat_beside_each_face(detector, tmp_path):
    analysed("cam", tmp_path, checkpoint=[detector], data="forged:blend:8", images=2)
    faces = written(tmp_path, "cam.json")["faces"]
    assert len(faces) == 2 and {face["label"] for face in faces} <= {"fake", "real"}
    assert all(0 < face["real"] < 1 and np.shape(face["heat"]) == (2, 2) for face in faces)


def test_a_row_of_heat_maps_for_each_manipulation(detector, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(galleries, "write_gallery", lambda path, titles, rows, note: drawn.append((titles, rows)))
    analysed("cam", tmp_path, checkpoint=[detector], data="forged:blend+diffusion:20", images=3, by="method")
    faces = written(tmp_path, "cam.json")["faces"]
    assert [face["method"] or face["label"] for face in faces] == ["blend"] * 3 + ["diffusion"] * 3 + ["real"] * 3
    ((titles, rows),) = drawn
    assert titles == ["photo", "heat map"] * 3 and [row.label.split(";")[0] for row in rows] == [
        "blend", "diffusion", "real",
    ]  # fmt: skip
    assert rows[1].label.endswith(", ".join(f"{face['real']:.3f}" for face in faces[3:6]))
    with pytest.raises(ValueError, match="--data: samples has no labels and no methods"):
        analysed("cam", tmp_path, checkpoint=[detector], by="method")


def test_a_method_with_fewer_faces_has_an_empty_place(detector, tmp_path, monkeypatch):
    few = open_methods("forged:blend:8", 2)
    assert (few.methods, few.labels) == (["blend", "blend", "", ""], ["fake", "fake", "real", "real"])
    fields = ("images", "labels", "videos", "methods")
    short = dataclasses.replace(few, **{name: getattr(few, name)[:3] for name in fields})
    monkeypatch.setattr(command, "open_methods", lambda spec, count: short)
    drawn = []
    monkeypatch.setattr(galleries, "write_gallery", lambda path, titles, rows, note: drawn.append(rows))
    analysed("cam", tmp_path, checkpoint=[detector], data="forged:blend:8", by="method")
    assert [len(row.pictures) for row in drawn[0]] == [4, 4] and (drawn[0][1].pictures[2] == 255).all()


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
        ("masking", {"data": "forged:blend:8"}, "--data: forged:blend:8 has no parsing maps, which masks need"),
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


# The papers' figures


def test_a_figure_of_a_paper_is_an_analysis_with_settings(pretrained, detector, tmp_path):
    analysed("figure", tmp_path, paper="fsfm-supp", number="1", images=1)
    assert (tmp_path / "masking.png").exists()
    analysed("figure", tmp_path, paper="fsfm-supp", number="3", checkpoint=[pretrained, detector], images=1)
    assert "names" in np.load(tmp_path / "maps.npz", allow_pickle=False).files
    analysed("figure", tmp_path, paper="fsfm-supp", number="7", checkpoint=[detector], data="forged:blend:8", images=1)
    assert [face["method"] for face in written(tmp_path, "cam.json")["faces"]] == ["blend", ""]
    options = SimpleNamespace(**DEFAULTS | {"output": "", "paper": "fsfm-supp", "number": "6"})
    assert command.as_in_paper(options)[1].strategies == ["random", "crfr_p"]
    options.strategies = ["frp"]  # what is said goes before what the paper has
    assert command.as_in_paper(options)[1].strategies == ["frp"]


def test_every_figure_of_the_table_can_be_drawn():
    assert set(command.IMAGES) == set(command.MOST)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "flags", flags := Mock())
        command.define_flags()
    options = {call.args[0]: call.args[1] for kind in (flags.DEFINE_list, flags.DEFINE_string, flags.DEFINE_integer,
               flags.DEFINE_enum, flags.DEFINE_float) for call in kind.call_args_list}  # fmt: skip
    assert set(command.SETTINGS) <= set(options)
    for figure in papers.FIGURES.values():
        assert figure.what in command.IMAGES
        # A setting fills an option that was left open, so its default has to be None.
        assert all(options[name] is None for name in figure.settings)


def test_a_figure_that_there_is_not_says_what_there_is(tmp_path):
    with pytest.raises(ValueError, match="--number: .* of fsfm-supp, one of 1, 2, 3, 5, 6, 7, tab6; found '4'"):
        analysed("figure", tmp_path, paper="fsfm-supp", number="4")
    with pytest.raises(ValueError, match="--paper: expected one of fsfm, fsfm-supp, fs-vfm; found 'fsvfm'; did you"):
        analysed("figure", tmp_path, paper="fsvfm", number="1")
    with pytest.raises(ValueError, match="--table: expected the table.csv of an ablation, found nothing"):
        analysed("figure", tmp_path, paper="fsfm-supp", number="5")


def test_the_list_has_a_line_for_each_figure(monkeypatch, capsys):
    monkeypatch.setattr(command, "flags", SimpleNamespace(FLAGS=SimpleNamespace(list=True)))
    command.main(["analyze", "figure"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(papers.FIGURES) and lines[0].split()[:3] == ["paper", "number", "analysis"]
    needed = {tuple(line.split()[:2]): re.findall("ablate_fsfm:([a-z]+)", line) for line in lines}
    assert {figure: tables for figure, tables in needed.items() if tables} == {
        ("fsfm", "data"): ["data"], ("fsfm-supp", "5"): ["weights"], ("fsfm-supp", "tab6"): ["ratio", "size"],
    }  # fmt: skip


def test_parsers_are_an_analysis(tmp_path):
    analysed("parsers", tmp_path, images=1, strategies=["frp"])
    assert [*written(tmp_path, "parsers.json")["pairs"][0]["masks"]] == ["frp"]


def test_runs_and_features_that_cannot_be_shown_say_why(detector, tmp_path):
    with pytest.raises(ValueError, match="expected a pretraining with pixel decoder; runs/x has none"):
        galleries.task_of(SimpleNamespace(params={}), "runs/x", 0.75)
    run = SimpleNamespace(params={"pixel_decoder": {}}, statistics=None)
    with pytest.raises(ValueError, match="the channel statistics of runs/x are unknown; import"):
        galleries.task_of(run, "runs/x", 0.75)
    with pytest.raises(ValueError, match="--images: expected at least 4 faces to compare, found 3"):
        features.embed(np.zeros((3, 2)), "pca")
    with pytest.raises(ValueError, match="--method: expected one of tsne, pca; found 'umap'"):
        features.embed(np.zeros((5, 2)), "umap")
    with pytest.raises(ValueError, match="is a detector without pixel decoder; use its pretraining run"):
        analysed("reconstruction", tmp_path, checkpoint=[detector], images=1)


def test_a_gallery_has_a_picture_for_each_title(tmp_path):
    with pytest.raises(ValueError, match="shorter|longer"):
        write_gallery(str(tmp_path / "a.png"), ["one", "two"], [Row([np.zeros((CELL, CELL, 3), np.uint8)], "")])
    with pytest.raises(ValueError, match="expected .S, S, 3., found .2, 3, 3."):
        write_gallery(str(tmp_path / "a.png"), ["one"], [Row([np.zeros((2, 3, 3), np.uint8)], "")])
