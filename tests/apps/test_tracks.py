"""Faces of people who move, cross a cut, leave and come back."""

import numpy as np
import pytest

from fsfm_jax.apps.tracks import GAP, describe_colours, follow, group


def face(x: float, side: float = 100, y: float = 0) -> tuple[int, int, int, int]:
    """The box of a face whose centre is at (x, y)."""
    return tuple(round(value) for value in (x - side / 2, y - side / 2, x + side / 2, y + side / 2))


RED, BLUE = np.eye(2, dtype=np.float32)


@pytest.mark.parametrize("frames, persons", [
        # Two people walk to the right while the order of detection changes.
        ([[face(0), face(200)], [face(260), face(60)], [face(120), face(320)]], [[0, 1], [1, 0], [0, 1]]),
        # The left one leaves and somebody comes in on the right: the distances are least if one face has not moved.
        ([[face(0), face(90)], [face(90), face(180)]], [[0, 1], [1, 2]]),
        # A head's width is too far, less is not; twice the size is somebody else's head.
        ([[face(0)], [face(99)], [face(199)], [face(199, 210)]], [[0], [0], [1], [2]]),
        ([[], [face(0)], *[[]] * GAP, [face(50)], *[[]] * (GAP + 1), [face(50)], []],
         [[], [0], *[[]] * GAP, [0], *[[]] * (GAP + 1), [1], []]),
        ([], []),
    ])  # fmt: skip
def test_a_person_keeps_the_number_and_what_is_doubtful_gets_a_new_one(frames, persons):
    assert follow(frames) == persons


def test_at_a_cut_the_same_place_is_another_person_who_is_known_when_the_shot_comes_back():
    frames = [[face(0)]] * 4
    assert follow(frames) == [[0]] * 4
    assert follow(frames, [[RED], [BLUE], [RED], [BLUE]]) == [[0], [1], [0], [1]]
    # Of two near tracks the one of the same colour continues, though the other is nearer.
    assert follow([[face(0), face(80)], [face(50)]], [[RED, BLUE], [RED]]) == [[0, 1], [0]]


def test_colours_are_those_of_the_pixels():
    dark, light = np.full((9, 9, 3), 10, np.uint8), np.full((9, 9, 3), 240, np.uint8)
    mixed = np.concatenate([dark, light, light, light], axis=1)
    vectors = [describe_colours(np.ascontiguousarray(one)) for one in (dark, light, mixed)]
    # The shares are 1/4 and 3/4, so the Bhattacharyya coefficients are their roots.
    np.testing.assert_allclose(np.array(vectors) @ vectors[2], [0.5, 0.75**0.5, 1], rtol=1e-6)
    assert vectors[0] @ vectors[1] == 0


def test_faces_are_grouped_by_person():
    assert group([1, 0, 1]) == {0: [1], 1: [0, 2]}
