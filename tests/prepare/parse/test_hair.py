import cv2
import numpy as np
import pytest

from fsfm_jax.prepare.parse import mesh
from fsfm_jax.prepare.parse.colour import colours_of
from fsfm_jax.prepare.parse.hair import HAIR_DISTANCE, scalp_of, texture
from fsfm_jax.prepare.parse.head import SPAN, head_of, head_window
from fsfm_jax.prepare.parse.skin import skin_of
from fsfm_jax.prepare.parse.smooth import guided_filter, mean_field

SIZE = 256
UNIT = SIZE / SPAN
EYES = np.array([128.0, 136.0])  # between the eyes of the drawn head, in the window
SKIN, GREY, DARK, BLUE = (205, 150, 125), (150, 150, 152), (45, 35, 30), (40, 60, 160)

# Where the parts of a drawn face lie, in head units from the eyes: centre across and up, half axes.
DRAWN = {
    "FACE_OVAL": (0, -0.22, 0.62, 0.78), "NOSE": (0, -0.2, 0.12, 0.22),
    "RIGHT_EYE": (-0.3, 0, 0.12, 0.05), "LEFT_EYE": (0.3, 0, 0.12, 0.05),
    "RIGHT_BROW": (-0.3, 0.18, 0.16, 0.03), "LEFT_BROW": (0.3, 0.18, 0.16, 0.03),
    "UPPER_LIP": (0, -0.58, 0.2, 0.03), "INNER_MOUTH": (0, -0.61, 0.15, 0.01), "LOWER_LIP": (0, -0.65, 0.2, 0.04),
}  # fmt: skip


def drawn_points() -> np.ndarray:
    """Mesh points of a face made of ellipses, in the window."""
    points = np.full((mesh.POINTS, 2), np.nan)
    for name, (across, up, wide, high) in DRAWN.items():
        outline = list(getattr(mesh, name))
        turn = np.arange(len(outline)) * 2 * np.pi / len(outline)
        ring = np.stack([across + wide * np.sin(turn), up + high * np.cos(turn)], 1)  # from the top, clockwise
        points[outline] = EYES + UNIT * ring * [1, -1]
    points[mesh.RIGHT_EYE_CORNER], points[mesh.LEFT_EYE_CORNER] = EYES - [0.4 * UNIT, 0], EYES + [0.4 * UNIT, 0]
    points[mesh.CHIN] = EYES + [0, UNIT]
    points[mesh.NOSE_TIP] = EYES + [0, 0.35 * UNIT]
    points[mesh.RIGHT_SIDE], points[mesh.LEFT_SIDE] = EYES - [0.62 * UNIT, 0], EYES + [0.62 * UNIT, 0]
    return points


@pytest.fixture(scope="module")
def head():
    return head_of(drawn_points(), SIZE)


def ellipse(head, up: float, wide: float, high: float) -> np.ndarray:
    return (head.across / wide) ** 2 + ((head.up - up) / high) ** 2 < 1


def drawn(head, hair: np.ndarray, colour, light=(0.0, 0.0)) -> tuple[np.ndarray, np.ndarray]:
    """A head with hair of one colour before a blue wall, lit from a side: the window twice its size and its matte."""
    skull = ellipse(head, -0.05, 0.75, 1.05)
    shade = 1 + light[0] * head.across[..., None] + light[1] * head.up[..., None]
    image = np.where(skull[..., None], np.array(SKIN) * shade, BLUE)
    strands = np.random.default_rng(0).normal(0, 6, (SIZE, SIZE, 1))
    image = np.where(hair[..., None], np.array(colour) * shade + strands, image)
    image = image + np.random.default_rng(1).normal(0, 1, image.shape)
    image = np.clip(image, 0, 255).astype(np.uint8)
    fine = cv2.resize(image, (2 * SIZE, 2 * SIZE), interpolation=cv2.INTER_NEAREST)
    return fine, (skull | hair).astype(np.float32)


def parse(head, hair, colour, light=(0.0, 0.0)):
    fine, matte = drawn(head, hair, colour, light)
    return scalp_of(fine, matte, np.ones((SIZE, SIZE), bool), head), matte > 0


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def test_head_units_and_the_sign_of_its_turn():
    """From the mesh to numbers a hand can compute."""
    head = head_of(drawn_points(), SIZE)
    assert head.unit == SIZE / 3
    np.testing.assert_allclose(head.up[136, 128], 0, atol=1e-6)
    np.testing.assert_allclose(head.across[136, 128 + 64], 0.75, atol=1e-6)  # 64 pixels of 256 / 3
    np.testing.assert_allclose(head.up[136 - 64, 128], 0.75, atol=1e-6)
    # The oval ends at 0.56 above the eyes; its drawn top is pixel row 88.2.
    np.testing.assert_allclose(head.outside[136 - 64, 128], 0.75 - 0.56, atol=1.5 / UNIT)
    assert head.outside[136, 128] == 0
    assert head.centre_across == pytest.approx(0, abs=1e-9)
    assert head.turn == pytest.approx(0, abs=1e-9)
    assert head.bare[136 + 21, 128]  # on the nose
    assert not head.bare[136, 128 + 26]  # in the left eye
    assert not head.bare[90, 128]  # at the edge of the oval
    points = drawn_points()
    points[mesh.NOSE_TIP, 0] += 0.31 * UNIT  # a quarter of the width, half of the way to the side
    assert head_of(points, SIZE).turn == pytest.approx(0.5)


def test_window_of_a_head_is_upright_and_three_units_wide():
    points = drawn_points()
    turn = np.deg2rad(30)
    turned = (points - EYES) @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + [400.0, 300.0]
    window = head_window(turned, 300)
    assert window.span == pytest.approx(3 * UNIT)
    placed = window.place(turned)
    # 100 pixels a unit, the middle of the window a tenth above the eyes.
    middle = (placed[mesh.RIGHT_EYE_CORNER] + placed[mesh.LEFT_EYE_CORNER]) / 2
    np.testing.assert_allclose(middle, [149.5, 149.5 + 10])
    np.testing.assert_allclose(placed[mesh.CHIN], [149.5, 149.5 + 110])


@pytest.mark.parametrize("light", [(0.0, 0.0), (0.35, 0.1), (-0.35, 0.2)])
def test_bald_head_has_no_hair_in_any_light(head, light):
    scalp, person = parse(head, np.zeros((SIZE, SIZE), bool), DARK, light)
    assert not scalp.hair.any()
    crown = person & (head.up > 0.45)
    assert (scalp.skin & crown).sum() > 0.95 * crown.sum()


def test_gloss_on_a_bald_head_is_skin(head):
    fine, matte = drawn(head, np.zeros((SIZE, SIZE), bool), DARK)
    spot = cv2.resize(ellipse(head, 0.75, 0.2, 0.12).astype(np.float32), (2 * SIZE, 2 * SIZE))
    spot = cv2.GaussianBlur(spot, (0, 0), 10)[..., None] * 0.5
    glossy = (fine * (1 - spot) + 255 * spot).astype(np.uint8)
    assert not scalp_of(glossy, matte, np.ones((SIZE, SIZE), bool), head).hair.any()


@pytest.mark.parametrize(
    "colour",
    [DARK, GREY, (120, 75, 45), (240, 240, 240), (238, 212, 198)],
    ids=["dark", "grey", "brown", "white", "fair"],
)
@pytest.mark.parametrize("light", [(0.0, 0.0), (0.3, 0.0)])
def test_hair_of_any_colour_is_found(head, colour, light):
    hair = ellipse(head, -0.05, 0.8, 1.1) & (head.up > 0.5)
    scalp, _ = parse(head, hair, colour, light)
    # An outline may be off by a pixel or two: 2 of a band of about 45.
    assert overlap(scalp.hair, hair) > 0.85
    assert not (scalp.hair & scalp.skin).any()


def test_long_hair_goes_down_beside_the_face_and_may_change_its_colour(head):
    hair = (np.abs(head.across) < 0.95) & (head.up > -1.1) & (head.up < 0.9) & (head.outside > 0.02)
    scalp, _ = parse(head, hair, DARK)
    beside = hair & (head.up < -0.2) & (head.up > -0.7)
    assert (scalp.hair & beside).sum() > 0.9 * beside.sum()
    # Its lower half is as light as the face; what it looks like is learnt beside the face.
    hair = (np.abs(head.across) < 0.95) & (head.up > -1.1) & (head.up < 0.9) & (head.outside > 0.02)
    colour = np.where(head.up[..., None] > 0, DARK, (215, 175, 125))
    scalp, _ = parse(head, hair, colour)
    beside = hair & (head.up < -0.2) & (head.up > -0.6) & (head.outside > 0.1)
    assert (scalp.hair & beside).sum() > 0.9 * beside.sum()


def test_locks_apart_from_the_other_hair(head):
    crown = ellipse(head, -0.05, 0.8, 1.1) & (head.up > 0.5)
    locks = (np.abs(head.across) < 1.1) & (head.up > -0.9) & (head.up < -0.05) & (head.outside > 0.1)
    scalp, _ = parse(head, crown | locks, DARK)
    there = locks & (head.up > -0.7)
    assert (scalp.hair & there).sum() > 0.85 * there.sum()


def test_dark_glasses_are_not_hair(head):
    fine, matte = drawn(head, ellipse(head, -0.05, 0.8, 1.1) & (head.up > 0.5), DARK)
    glasses = head.oval & (np.abs(head.up) < 0.12)
    fine[cv2.resize(glasses.astype(np.uint8), (2 * SIZE, 2 * SIZE)) > 0] = DARK
    scalp = scalp_of(fine, matte, np.ones((SIZE, SIZE), bool), head)
    assert scalp.hair.any()
    assert not (scalp.hair & glasses).any()


def test_hair_ends_above_the_brows(head):
    """A dark scar from the hair over an eye down to the cheek."""
    fine, matte = drawn(head, ellipse(head, -0.05, 0.8, 1.1) & (head.up > 0.4), DARK)
    scar = (np.abs(head.across - 0.3) < 0.1) & (head.up < 0.45) & (head.up > -0.3)
    fine[cv2.resize(scar.astype(np.uint8), (2 * SIZE, 2 * SIZE)) > 0] = DARK
    scalp = scalp_of(fine, matte, np.ones((SIZE, SIZE), bool), head)
    assert (scalp.hair & scar & (head.up > 0.35)).any()
    assert not (scalp.hair & (head.up < 0.1) & head.oval).any()


def test_ears_below_short_hair_are_not_hair(head):
    """Ears in the shadow that touch the hair: by their colour they could be hair, but nothing is behind them."""
    skull = ellipse(head, -0.05, 0.78, 1.1)
    hair = skull & (head.up > 0.15) & (head.outside > 0.03)
    ears = skull & (head.up <= 0.15) & (head.up > -0.4) & (head.outside > 0.03)
    scalp, _ = parse(head, hair | ears, np.where(ears[..., None], (110, 60, 50), DARK))
    assert (scalp.hair & hair).sum() > 0.85 * hair.sum()
    low = ears & (head.up < 0.05)
    assert (scalp.hair & low).sum() < 0.1 * low.sum()


def test_covered_face_leaves_nothing_to_learn_from(head):
    narrow = drawn_points()
    narrow[:, 0] = EYES[0] + 0.02 * (narrow[:, 0] - EYES[0])
    thin = head_of(narrow, SIZE)
    fine, matte = drawn(head, np.zeros((SIZE, SIZE), bool), DARK)
    scalp = scalp_of(fine, matte, np.ones((SIZE, SIZE), bool), thin)
    assert not scalp.hair.any()
    np.testing.assert_array_equal(scalp.skin, thin.oval)


def test_lit_skin_is_near_and_dark_hair_far(head):
    """Colours that are linear in the normals are explained wholly, also where no sample was taken."""
    across, up = head.across / 0.85, (head.up + 0.05) / 1.15
    forward = np.sqrt(np.clip(1 - across**2 - up**2, 0, 1))
    lab = np.stack([60 + 8 * across + 5 * up + 10 * forward, 14 + 0 * up, 18 - 3 * across], -1).astype(np.float32)
    skin = skin_of(lab, head)
    on_head = ellipse(head, -0.05, 0.8, 1.1)
    # The ridge keeps the light from following fully, but skin stays nearer than where hair begins.
    assert np.sqrt(skin.distance[on_head]).max() < HAIR_DISTANCE
    assert skin.brighter[on_head].std() < lab[on_head, 0].std() * 2 / 3
    lab[head.up > 0.8] = (15, 3, 3)
    assert np.sqrt(skin_of(lab, head).distance[(head.up > 0.8) & on_head]).min() > 6


def test_skin_is_learnt_beside_what_covers_a_quarter_of_the_face(head):
    lab = np.full((SIZE, SIZE, 3), (65, 14, 18), np.float32)
    lab += np.random.default_rng(0).normal(0, 1.5, lab.shape).astype(np.float32)
    glasses = np.abs(head.up) < 0.1
    lab[glasses] = (20, 2, 2)
    skin = skin_of(lab, head)
    np.testing.assert_allclose(skin.mean, (65, 14, 18), atol=1)
    assert np.sqrt(skin.distance[glasses & head.oval]).min() > HAIR_DISTANCE


def test_texture_of_stripes_and_of_a_ramp():
    ramp = np.repeat(np.linspace(50, 200, 128)[None, :, None], 128, axis=0).repeat(3, axis=2).astype(np.uint8)
    striped = ramp.copy()
    striped[:, ::2] += 40
    assert texture(ramp).shape == (64, 64)
    assert np.median(texture(ramp)) < np.log1p(1.0)
    # The lightness goes up and down by half of about 40.
    assert np.log1p(10) < np.median(texture(striped)) < np.log1p(30)


def test_colours_cost_least_at_their_centres():
    random = np.random.default_rng(0)
    first, second = np.array([20.0, 0, 0]), np.array([80.0, 10, 20])
    samples = np.concatenate([random.normal(first, 1, (300, 3)), random.normal(second, 1, (300, 3))]).astype(np.float32)
    costs = colours_of(samples).cost(np.array([[first, second, (first + second) / 2]], np.float32))[0]
    assert max(costs[:2]) + 5 < costs[2]
    # One Gaussian of few samples: the cost grows by d^2 / 2 over variance 1 + 16.
    few = colours_of(random.normal(first, 1, (150, 3)).astype(np.float32))
    near, far = few.cost(np.array([[first, first + [17, 0, 0]]], np.float32))[0]
    assert far - near == pytest.approx(17**2 / 2 / 17, rel=0.1)


def test_neighbours_outvote_a_single_pixel_and_a_guided_mean_stops_at_edges():
    evidence = np.full((21, 21), 2.0, np.float32)
    evidence[10, 10] = -2
    assert (mean_field(evidence, np.zeros_like(evidence), 3) > 0).all()
    # Where the lightness differs, neighbours have no say.
    evidence[:, 10:] = -2
    guide = (evidence < 0).astype(np.float32)
    np.testing.assert_array_equal(mean_field(evidence, guide, 3) > 0, evidence > 0)
    guide = np.zeros((20, 20), np.float32)
    guide[:, 10:] = 1
    values = guide.copy()
    np.testing.assert_allclose(guided_filter(values, guide, 3), values, atol=0.02)
    assert np.abs(guided_filter(values, np.zeros_like(guide), 3)[:, 9:11] - 0.5).max() < 0.1
    constant = np.full((20, 20), 0.3, np.float32)
    np.testing.assert_allclose(guided_filter(constant, guide, 3), 0.3, atol=1e-5)
