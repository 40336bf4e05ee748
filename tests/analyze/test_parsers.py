"""The comparison of parsers: agreement by hand, what is left out, and what is written of the bundled faces."""

import dataclasses
import json

import cv2
import numpy as np
import pytest

from fsfm_jax import records
from fsfm_jax.analyze import parsers
from fsfm_jax.analyze.agreement import class_overlaps, mask_agreement, overlap, region_overlaps
from fsfm_jax.figures import faces as faces_module
from fsfm_jax.figures.faces import open_faces
from fsfm_jax.prepare.crop import NoFace
from fsfm_jax.regions import CLASSES, patch_bits

NOSE, SKIN = CLASSES.index("nose"), CLASSES.index("skin")


def compared(folder, faces=None, names=("stored", "boxes"), weights=None, against=(), rolls=2):
    faces = open_faces("samples", 3) if faces is None else faces
    return parsers.compare_parsers(
        faces, names, weights or {}, against, ["random", "crfr_p"], 0.75, rolls, 0, str(folder)
    )


def test_overlaps_by_hand():
    one, other = np.full((1, 32, 32), SKIN, np.uint8), np.full((1, 32, 32), SKIN, np.uint8)
    one[0, :16, :16] = NOSE  # a patch of 16 pixels
    other[0, :16, :20] = NOSE  # that patch, and four columns of the next
    found = class_overlaps(one, other)
    assert (found["nose"], found["hair"]) == (16 / 20, None)
    assert found["skin"] == (1024 - 320) / (1024 - 256)
    bits = [np.stack([patch_bits(each[0], 16)]) for each in (one, other)]
    # Nose: 1 patch of 2. Skin: all but the first patch in both.
    regions = region_overlaps(*bits)
    assert (regions["nose"], regions["skin"], regions["mouth"]) == (0.5, 1.0, None)
    assert overlap(np.zeros(2, bool), np.zeros(2, bool)) is None


def test_masks_of_equal_maps_are_equal_and_random_ones_do_not_know_the_map():
    bits = np.stack([patch_bits(one, 16) for one in open_faces("samples", 4).maps])
    assert mask_agreement("crfr_p", 0.75, bits, bits, 3, 0) == {"hidden": 1.0, "covered": 1.0, "identical": 1.0}
    other = bits[::-1]
    assert mask_agreement("random", 0.75, bits, other, 3, 0) == {"hidden": 1.0, "covered": None, "identical": 1.0}
    found = mask_agreement("crfr_p", 0.75, bits, other, 3, 0)
    assert 0.75 < found["hidden"] < 1 and 0 < found["covered"] < 1 and found["identical"] == 0


def test_every_roll_of_a_face_has_its_own_mask(monkeypatch):
    positions = []
    masks = np.ones((4, 4), bool), np.zeros((4, 4), bool)
    monkeypatch.setattr("fsfm_jax.analyze.agreement.draw_masks", lambda _, bits, at, *__: positions.append(at) or masks)
    mask_agreement("random", 0.75, np.zeros((2, 4), np.uint16), np.zeros((2, 4), np.uint16), 2, 0)
    assert [each.tolist() for each in positions] == [[0, 1, 2, 3]] * 2


def test_the_bundled_faces_end_to_end(tmp_path):
    found = compared(tmp_path, names=parsers.DEFAULT)
    assert found["faces"] == 3 and [pair["parsers"] for pair in found["pairs"]] == [
        ["stored", "embedded"], ["stored", "boxes"], ["embedded", "boxes"],
    ]  # fmt: skip
    # The bundled maps are of the embedded parser, which saw the whole photo; boxes are much coarser.
    near, far = found["pairs"][0]["pixels"]["nose"], found["pairs"][1]["pixels"]["nose"]
    assert 0.8 < near <= 1 and 0.3 < far < near
    assert [*found["absent"]] == ["farl"] and "--farl_weights=FILE" in found["absent"]["farl"]
    assert json.loads((tmp_path / "parsers.json").read_text()) == found
    text = (tmp_path / "parsers.md").read_text()
    assert f"| nose | {near:.3f} | {far:.3f} |" in text and "Absent, so not compared: farl." in text
    assert cv2.imread(str(tmp_path / "parsers.png")).shape[1] > 4 * 224


def test_a_data_set_of_the_same_faces_is_matched_by_source(tmp_path, monkeypatch):
    faces = open_faces("samples", 3)
    shuffled = [
        {records.SOURCE: source, records.PARSING_MAP: one}
        for source, one in list(zip(faces.sources, faces.maps, strict=True))[:0:-1]
    ]
    monkeypatch.setattr(faces_module, "open_source", lambda spec: shuffled)
    found = compared(tmp_path, faces, ["stored"], against=["data/farl"])
    # The first face is not in the other set; the others have the same maps, whatever their order.
    assert (found["faces"], found["left_out"]) == (2, {"stored": 0, "data/farl": 1})
    assert found["pairs"][0]["masks"]["crfr_p"]["identical"] == 1
    assert "Faces left out because a parser found none in them: data/farl 1." in (tmp_path / "parsers.md").read_text()


@pytest.mark.parametrize("names, weights, error, text", [
        (["stored"], {}, ValueError, "at least two sets of maps to compare, found stored"),
        (["stored", "farl"], {}, ValueError, "found stored; farl is absent: parser farl: expected the weights"),
        (["farl", "boxes"], {"farl": "missing"}, FileNotFoundError, "parser farl: .* found no file 'missing'"),
        (["stored", "mesh"], {}, ValueError, "--parsers: expected some of stored, embedded, farl, .*; found 'mesh'"),
    ])  # fmt: skip
def test_what_cannot_be_compared_says_so(names, weights, error, text, tmp_path):
    with pytest.raises(error, match=text):
        compared(tmp_path, names=names, weights=weights)


def test_faces_that_nobody_parses_are_no_comparison(tmp_path, monkeypatch):
    def refuse(*_):
        raise NoFace("none")

    monkeypatch.setattr(parsers, "make_parser", lambda name, weights: refuse)
    with pytest.raises(ValueError, match="--data: expected a face that all of stored, boxes can parse; found none"):
        compared(tmp_path)
    bare = dataclasses.replace(open_faces("samples", 1), maps=None)
    with pytest.raises(ValueError, match="found boxes; stored is absent: samples has no parsing maps"):
        compared(tmp_path, bare)
