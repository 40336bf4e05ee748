"""The boxes that stand for a parser: where they lie, and that they turn with the face."""

import numpy as np
import pytest

from fsfm_jax.prepare.crop import Detection, NoFace, Square
from fsfm_jax.prepare.parse.boxes import paint_boxes
from fsfm_jax.prepare.parse.parser import make_parser
from fsfm_jax.regions import CLASSES, flip_map

# Eyes 100 pixels apart, on whole numbers and half pixels so that no edge goes through the centre of a pixel.
POINTS = np.array([[99.5, 99.5], [199.5, 99.5], [149.5, 149.5], [149.5, 199.5], [60, 99], [240, 99]])


def box_of(parsing_map, name):
    rows, columns = (parsing_map == CLASSES.index(name)).nonzero()
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_boxes_by_hand():
    found = paint_boxes(POINTS, 400)
    # 0.28 and 0.14 distances around the eyes of the person's right, which is on the left.
    assert box_of(found, "right_eye") == (72, 86, 128, 114) and box_of(found, "left_eye") == (172, 86, 228, 114)
    assert box_of(found, "skin") == (45, 20, 255, 275)  # 1.05 to the sides, 0.8 up, 1.75 down
    assert box_of(found, "lower_lip") == (108, 203, 192, 220)
    assert set(np.unique(found)) == {*range(len(CLASSES))}


def test_a_mirrored_face_has_mirrored_boxes():
    mirrored = np.array([399.0, 0]) + POINTS[[1, 0, 2, 3, 5, 4]] * [-1, 1]
    different = paint_boxes(mirrored, 400) != flip_map(paint_boxes(POINTS, 400))
    assert different.mean() < 0.002  # pixels on an edge: `fill` has the left of an interval and not its right


def test_boxes_turn_with_the_eyes():
    # A quarter turn clockwise of a square picture: (x, y) goes to (399 - y, x).
    turned = np.stack([399 - POINTS[:, 1], POINTS[:, 0]], axis=1)
    different = paint_boxes(turned, 400) != np.rot90(paint_boxes(POINTS, 400), -1)
    assert different.mean() < 0.01


def test_what_has_no_face_has_no_boxes():
    parser = make_parser("boxes")
    blank = np.full((64, 64, 3), 128, np.uint8)
    with pytest.raises(NoFace, match="parser boxes: BlazeFace sees no face in"):
        parser(blank, Detection(0, 0, 63, 63, 1.0), Square(0, 0, 64), 64)
    with pytest.raises(NoFace, match="both eyes are in one place"):
        paint_boxes(np.ones((6, 2)), 8)
    with pytest.raises(ValueError, match="parser boxes: has no weights of its own, found weights 'file'"):
        make_parser("boxes", "file")
