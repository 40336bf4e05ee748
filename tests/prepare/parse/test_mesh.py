import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import fsfm_jax
from fsfm_jax.prepare.crop import Detection, NoFace
from fsfm_jax.prepare.parse import mesh
from fsfm_jax.prepare.parse.mesh import FaceMesh, Window, fill

OUTLINES = (
    "FACE_OVAL", "RIGHT_BROW", "LEFT_BROW", "RIGHT_EYE", "LEFT_EYE", "NOSE", "UPPER_LIP", "INNER_MOUTH", "LOWER_LIP",
)  # fmt: skip

ASTRONAUT = Path(fsfm_jax.__file__).parent / "data" / "samples" / "pd_nasa_astronaut.jpg"
ASTRONAUT_BOX = Detection(175, 76, 265, 166, 1.0)


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return np.asarray(Image.open(ASTRONAUT).convert("RGB"))


@pytest.fixture(scope="module")
def face_mesh() -> FaceMesh:
    return FaceMesh()


def rows(*lines: str) -> np.ndarray:
    return np.array([[character == "#" for character in line] for line in lines])


def test_a_pixel_is_filled_when_its_centre_is_inside():
    rectangle = np.array([[0.5, 0.9], [3.4, 0.9], [3.4, 2.1], [0.5, 2.1]])
    expected = rows(".....", ".###.", ".###.", ".....")
    np.testing.assert_array_equal(fill(rectangle, 4, 5), expected)
    np.testing.assert_array_equal(fill(rectangle[::-1], 4, 5), expected)
    triangle = np.array([[0.6, 0.1], [9.5, 0.1], [9.5, 9.0]])  # the long side is y = x - 0.5
    np.testing.assert_array_equal(fill(triangle, 3, 4), rows("....", "..##", "...#"))
    left = np.array([[-5.0, 0.5], [1.5, 0.5], [1.5, 1.5], [-5.0, 1.5]])
    np.testing.assert_array_equal(fill(left, 3, 4), rows("....", "##..", "...."))
    right = np.array([[2.5, -5.0], [50.0, -5.0], [50.0, 50.0], [2.5, 50.0]])
    np.testing.assert_array_equal(fill(right, 3, 4), rows("...#", "...#", "...#"))
    notched = np.array([[0.5, 0.5], [5.5, 0.5], [5.5, 2.5], [3.5, 2.5], [3.5, 1.5], [2.5, 1.5], [2.5, 2.5], [0.5, 2.5]])
    np.testing.assert_array_equal(fill(notched, 4, 7), rows(".......", ".#####.", ".##.##.", "......."))
    assert not fill(np.array([[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8]]), 3, 3).any()


def test_window_places_centres_of_pixels_and_turned_shows_the_picture_upright():
    window = Window((10.0, 20.0), span=8.0, size=4)
    # Four pixels over eight: the middle of the window is between its pixels 1 and 2, each two wide.
    np.testing.assert_allclose(window.place(np.array([[10.0, 20.0], [12.0, 20.0]])), [[1.5, 1.5], [2.5, 1.5]])
    np.testing.assert_allclose(window.place_back(np.array([[0.0, 0.0]])), [[7.0, 17.0]])
    window = Window((5.0, 5.0), span=9.0, size=9, angle=np.pi / 2)
    # With the eye line running down, what is below the centre comes to its right.
    np.testing.assert_allclose(window.place(np.array([[5.0, 8.0]])), [[7.0, 4.0]], atol=1e-12)
    image = np.zeros((11, 11, 3), np.uint8)
    image[8, 5] = 255
    shown = window.show(image)[..., 0]
    assert np.unravel_index(shown.argmax(), shown.shape) == (4, 7)
    assert shown.max() == 255


def test_window_of_equal_scale_is_a_cut_and_mirrors_beyond_the_border():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    np.testing.assert_array_equal(Window((11.5, 9.5), 8.0, 8).show(image), image[6:14, 8:16])
    at_corner = Window((1.5, 1.5), 8.0, 8)  # pixels -2 to 5
    np.testing.assert_array_equal(
        at_corner.show(image), np.pad(image, ((2, 0), (2, 0), (0, 0)), mode="reflect")[:8, :8]
    )
    expected = np.zeros((8, 8), bool)
    expected[2:, 2:] = True
    np.testing.assert_array_equal(at_corner.inside(20, 30), expected)


@pytest.mark.parametrize("factor", [3, 8])
def test_reduced_window_averages(factor):
    """A ramp tells where each pixel comes from: its average over a pixel is its value at the centre."""
    ramp = np.repeat(np.repeat(np.arange(240, dtype=np.uint8)[None, :, None], 240, axis=0), 3, axis=2)
    window = Window((119.5, 119.5), 16.0 * factor, 16)
    columns = window.place_back(np.stack([np.arange(16), np.zeros(16)], 1))[:, 0]
    # Two roundings to whole values: of the average and of the warp.
    np.testing.assert_allclose(window.show(ramp)[5, :, 0], columns, atol=1.01)
    # Stripes finer than a pixel leave an even grey: 3 and 8 of them hold 1:2 or 4:4 white.
    stripes = np.zeros((240, 240, 3), np.uint8)
    stripes[:, ::2] = 240
    assert np.ptp(window.show(stripes)[..., 0].astype(int)) <= 240 / factor + 1


def test_window_reads_no_more_than_it_shows():
    """A poisoned picture: reading all of it would show."""
    image = np.random.default_rng(1).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    canvas = np.zeros((900, 800, 3), np.uint8)
    canvas[300:360, 200:260] = image
    inner = Window((30.0, 31.0), 20.0, 15, 0.3)
    outer = Window((230.0, 331.0), 20.0, 15, 0.3)
    np.testing.assert_array_equal(outer.show(canvas), inner.show(image))


def test_sides_are_mirror_images():
    known = np.flatnonzero(mesh.MIRROR >= 0)
    used = {point for name in OUTLINES for point in getattr(mesh, name)} | {mesh.NOSE_TIP}
    assert set(known.tolist()) == used
    np.testing.assert_array_equal(mesh.MIRROR[mesh.MIRROR[known]], known)
    # Points in the middle of the face: forehead, chin, nose, lips.
    middle = [10, 152, 168, 2, 1, 0, 13, 14, 17]
    np.testing.assert_array_equal(mesh.MIRROR[middle], middle)
    assert {(a, mesh.MIRROR[a]) for a in (33, 234, 61, 78, 129, 55)} == {
        (33, 263), (234, 454), (61, 291), (78, 308), (129, 358), (55, 285),
    }  # fmt: skip
    for name in OUTLINES:
        side, _, part = name.partition("_")
        partner = {"RIGHT": f"LEFT_{part}", "LEFT": f"RIGHT_{part}"}.get(side, name)
        assert {mesh.MIRROR[point] for point in getattr(mesh, name)} == set(getattr(mesh, partner))


def test_mesh_follows_a_turned_face(face_mesh, astronaut):
    """The points of a turned picture are the turned points."""
    straight = face_mesh(astronaut, ASTRONAUT_BOX)
    angle = np.deg2rad(25)
    turned = Window((256.0, 256.0), 512.0, 512, angle)
    # The box stays around the middle of the face, as a detector's would.
    middle = turned.place(np.array([[(ASTRONAUT_BOX.left + ASTRONAUT_BOX.right) / 2, 121.0]]))[0].round().astype(int)
    box = Detection(*(middle - 45).tolist(), *(middle + 45).tolist(), 1.0)
    known = mesh.MIRROR >= 0
    found = face_mesh(turned.show(astronaut), box)
    width = np.ptp(straight[known, 0])
    distance = np.linalg.norm(found - turned.place(straight), axis=1)[known]
    # Another pass moves points by up to 1.5 % of the width of the face; both pictures and the warp have that.
    assert distance.max() < 0.05 * width
    assert abs(mesh.eye_angle(found) - mesh.eye_angle(straight) + angle) < np.deg2rad(2)


def test_picture_without_a_face_has_none(face_mesh):
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    with pytest.raises(NoFace, match=re.escape("no face under the box Detection(left=50, top=50")):
        face_mesh(noise, Detection(50, 50, 150, 150, 1.0))


def test_points_are_those_of_the_picture(face_mesh, astronaut):
    """Twice the picture, twice the points; the centre of pixel 0 goes to 0.5."""
    known = mesh.MIRROR >= 0
    points = face_mesh(astronaut, ASTRONAUT_BOX)[known]
    double = cv2.resize(astronaut, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    edges = (ASTRONAUT_BOX.left, ASTRONAUT_BOX.top, ASTRONAUT_BOX.right, ASTRONAUT_BOX.bottom)
    box = Detection(*(2 * edge for edge in edges), 1.0)
    doubled = face_mesh(double, box)[known]
    # The model sees both at its own size. Interpolating twice costs less than a quarter of a pixel.
    offset = (doubled - 2 * points).mean(0)
    np.testing.assert_allclose(offset, [0.5, 0.5], atol=0.25)


def test_model_counts_from_the_edge_of_its_input(face_mesh, monkeypatch):
    """The middle of the input, 96 of 192, is the middle of the window, which is that of the box."""
    middle = {
        mesh.POINTS_OUTPUT: np.full((1, 1, 1, 3 * mesh.POINTS), mesh.INPUT_SIZE / 2, np.float32),
        mesh.SCORE_OUTPUT: np.full((1, 1, 1, 1), 9.0, np.float32),
    }
    monkeypatch.setattr(face_mesh, "_model", lambda image: middle)
    points = face_mesh(np.zeros((50, 60, 3), np.uint8), Detection(20, 10, 31, 21, 1.0))
    np.testing.assert_allclose(points[mesh.MIRROR >= 0], [[25.5, 15.5]] * 151, atol=1e-9)
