"""Hair and bare head: which pixels of an upright head window are hair, and which are skin above the face oval.

The matte says what belongs to the person and the mesh where the face is. Above the face, hair is left to be told from
skin; next to and below it from ears, neck and clothes. Seeds are pixels around the upper head that are far from lit
skin. The colours of hair (learnt from the seeds), skin and clothes then compete for each pixel, with what is known
of heads as prior. The evidence is smoothed along the edges of the picture, and pieces without seeds are dropped.

Beards and moustaches count as skin, ears and neck as background. A hat or a scarf is taken for hair.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from fsfm_jax.prepare.parse.colour import colours_of
from fsfm_jax.prepare.parse.head import Head, grow, open_mask, shrunk
from fsfm_jax.prepare.parse.skin import CORE_UP, Skin, skin_of
from fsfm_jax.prepare.parse.smooth import mean_field

# Lengths and areas are in head units (head.py), evidence is in nats. The values were set by eye on portraits.
PERSON = 0.5  # matte
SURE_PERSON, RIM = 0.85, 0.035  # matte of samples, and how far they stay off its edge, where colours mix
ENOUGH = 40  # pixels, of anything to learn from

HAIR_DISTANCE = 3.2  # Mahalanobis distance from lit skin where hair and skin are equally likely
SEED_DISTANCE = 1.0  # seeds are that much further
TEXTURE_WEIGHT, TEXTURE_RANGE = 1.2, (-1.0, 1.5)  # weight of texture as a distance, and its range above noise
CROWN_UP, FRINGE_UP = 0.3, 0.38  # seeds lie above the oval, from `FRINGE_UP` also in it,
TEMPLE_UP, TEMPLE_GAP = 0.0, 0.05  # or beside its upper part
SEED_REACH = 0.6  # and no further from it
THIN = 0.025  # radius; thinner seeds are shadows, thinner hair is noise
FAIR, FAIR_TEXTURE = 0.0, 0.25  # lightness over that of lit skin, and texture, from which hair is white or fair

# Beside a face with short hair there is an ear and then nothing. If the person continues there, the hair is long.
BESIDE_UP, BESIDE_GAP, BESIDE_REACH = (-0.65, 0.35), 0.17, 0.7
EAR_UP, EARS_TOP = (-0.5, -0.1), 0.12
COVERED, COVERED_RANGE = 0.4, 0.2  # share of the place beyond the ear: where long and short are equal, and their span
LONG_HAIR = 5.0  # log odds, at most
TURNED = 0.3  # a head turned further shows ear and neck beyond its mesh on one side, and its profile on the other

COLOUR_LIMIT = 6.0  # evidence of colour, so that no colour beats every prior
NEVER = -9.0
CLOTHES_UP = -1.3  # samples of clothes lie below
SMOOTHING_RADIUS = 0.06
NECK_UP, BROWS_COST = -0.8, 60.0  # top of the neck; log odds against hair per unit that it comes down the face

SMALLEST, SEEDED = 0.03, 0.1  # area of a piece of hair, and the share of seeds in it,
MANY_SEEDS = 0.004  # or their area
LOCK = 0.1  # area of a lock beside the face without seeds

SKIN_UP, SKIN_SLOPE, SKIN_REACH = 0.12, 1.2, 0.9  # bare head begins above the ears, the higher the further out
SLIVER = 0.04  # radius of what is left between hair and the edge of the matte


@dataclass(frozen=True)
class Scalp:
    """What lies on a head besides the parts of the face; both `[H, W] bool`."""

    hair: np.ndarray
    skin: np.ndarray  # the face oval and the bare head above it, less the hair


@dataclass(frozen=True)
class _View:
    """What is known of a head window before hair is looked for; arrays are `[H, W]`."""

    head: Head
    skin: Skin
    lab: np.ndarray  # [H, W, 3] float32: CIE Lab, L in 0..100
    strands: np.ndarray  # float32: texture over that of the cheeks, in powers of e
    person: np.ndarray  # bool
    inside: np.ndarray  # bool: in the picture
    sure: np.ndarray  # bool: surely person, and in the picture


def scalp_of(fine: np.ndarray, matte: np.ndarray, inside: np.ndarray, head: Head) -> Scalp:
    """Find hair and skin of a head window.

    `fine` is the window at twice its size `[2H, 2W, 3] uint8` RGB, `matte` `[H, W] float32` the person in it, `inside`
    `[H, W] bool`, its part inside the picture.
    """
    image = cv2.resize(fine, matte.shape[::-1], interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(cv2.GaussianBlur(image, (0, 0), 1.0).astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    skin = skin_of(lab, head)
    if skin is None:
        return Scalp(np.zeros_like(head.oval), head.oval)
    strands = texture(fine)
    cheeks = head.bare & (head.up > CORE_UP[0]) & (head.up < FRINGE_UP)
    strands = np.clip(strands - np.median(strands[cheeks]), *TEXTURE_RANGE)
    sure = inside & shrunk(matte > SURE_PERSON, RIM * head.unit)
    view = _View(head, skin, lab, strands, matte > PERSON, inside, sure)
    return _with_bare_head(_hair(view), view.person, head)


def texture(fine: np.ndarray) -> np.ndarray:
    """Log of how much the lightness changes over a pixel or two.

    `fine` is the window at twice its size, `[2H, 2W, 3] uint8` RGB, as strands of hair are thin; the result is
    `[H, W] float32`.
    """
    light = cv2.cvtColor(fine, cv2.COLOR_RGB2LAB)[..., 0].astype(np.float32)
    detail = np.abs(light - cv2.GaussianBlur(light, (0, 0), 2.5))
    half = cv2.resize(detail, (fine.shape[1] // 2, fine.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return np.log1p(cv2.GaussianBlur(half, (0, 0), 1.5))


def _hair(view: _View) -> np.ndarray:
    head = view.head
    distance, seeds = _seeds(view)
    if seeds.sum() < ENOUGH:
        return np.zeros_like(head.oval)
    long = _long_hair(view)
    beside = _beside(head) & view.sure & (_excess(distance, view.strands) > -SEED_DISTANCE)
    evidence = _evidence(view, distance, seeds | (beside & (long > 0))) + _prior(head)
    ears = ~head.oval & (head.up < EARS_TOP)
    evidence += ears * np.minimum(long, 0)
    evidence[~view.person] = NEVER
    belief = mean_field(evidence, view.lab[..., 0] / 100, max(1, round(SMOOTHING_RADIUS * head.unit)))
    return _pieces(belief > 0, seeds, beside & (long >= 0), head)


def _excess(distance: np.ndarray, strands: np.ndarray) -> np.ndarray:
    """Return how far a pixel at a squared distance from skin is on the side of hair."""
    return np.sqrt(distance) - HAIR_DISTANCE + TEXTURE_WEIGHT * strands


def _seeds(view: _View) -> tuple[np.ndarray, np.ndarray]:
    """Return the squared distance from skin, with gloss allowed for, and the seeds of hair."""
    head, skin = view.head, view.skin
    crown = (head.up > CROWN_UP) & (~head.oval | (head.up > FRINGE_UP))
    temples = (head.up > TEMPLE_UP) & (head.outside > TEMPLE_GAP) & ~_profile(head)
    zone = view.sure & (crown | temples) & (head.outside < SEED_REACH)
    outer = zone & (head.outside > 2 * TEMPLE_GAP) & (_excess(skin.distance, view.strands) > SEED_DISTANCE)
    fair = outer.any() and np.median(skin.brighter[outer]) > FAIR and np.median(view.strands[outer]) > FAIR_TEXTURE
    # What is brighter than lit skin may be gloss: on the face always, on the head unless the hair is fair.
    glossy = (skin.brighter > 0) & (head.oval | (not fair))
    distance = np.where(glossy, np.minimum(skin.distance, skin.matte_distance), skin.distance)
    return distance, open_mask(zone & (_excess(distance, view.strands) > SEED_DISTANCE), THIN * head.unit)


def _beside(head: Head) -> np.ndarray:
    """Return where long hair falls, `[H, W] bool`."""
    low, high = BESIDE_UP
    zone = (head.up > low) & (head.up < high) & (head.outside > BESIDE_GAP) & (head.outside < BESIDE_REACH)
    return zone & ~_profile(head)


def _profile(head: Head) -> np.ndarray:
    """Return the side to which a head is turned, `[H, W] bool`: there nose and mouth may lie beyond the face oval."""
    return (abs(head.turn) > TURNED) & (head.turn * (head.across - head.centre_across) > 0)


def _long_hair(view: _View) -> np.ndarray:
    """Log odds of long hair on the side of each pixel, `[H, W] float32`: by how much the person covers beyond the ear.

    Zero where nothing is known: the picture does not show the place, or a turned head shows its ear and neck there.
    """
    head = view.head
    low, high = EAR_UP
    zone = (head.up > low) & (head.up < high) & (head.outside > BESIDE_GAP) & (head.outside < 2 * BESIDE_GAP)
    long = np.zeros_like(head.up)
    for sign in (-1, 1):
        side = sign * (head.across - head.centre_across) > 0
        seen = zone & side & view.inside
        if seen.sum() < ENOUGH:
            continue
        covered = (seen & view.person).sum() / seen.sum()
        most = 0 if sign * head.turn < -TURNED else 1
        long[side] = LONG_HAIR * np.clip((covered - COVERED) / COVERED_RANGE, -1, most)
    return long


def _evidence(view: _View, distance: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Log odds of hair against skin, neck and clothes by colour, `[H, W] float32`."""
    head, lab = view.head, view.lab
    hair = colours_of(lab[samples]).cost(lab)
    skin = view.skin.cost(distance)
    shaded = ~head.oval & (head.up < SKIN_UP)
    skin[shaded] = np.minimum(skin, view.skin.shaded_cost(lab))[shaded]
    evidence = skin - hair + view.strands
    clothes = view.person & view.inside & (head.up < CLOTHES_UP)
    if clothes.sum() >= ENOUGH:
        # Clothes are unlikely above the chin, at -1, and more so the higher.
        cost = colours_of(lab[clothes]).cost(lab) + np.clip(8 * (head.up + 1), -1, 30)
        evidence = np.minimum(evidence, cost - hair + 2)
    return np.clip(evidence, -COLOUR_LIMIT, COLOUR_LIMIT)


def _prior(head: Head) -> np.ndarray:
    """Log odds of hair by place alone, `[H, W] float32`."""
    above = np.clip(8 * head.outside - 1, -1, 2)
    beyond_ear = np.clip(20 * (head.outside - 0.12), 0, 3) * np.clip((head.up + 0.9) / 0.2, 0, 1)
    downwards = 1.5 * np.clip(head.up - 0.1, -1, 0)
    shoulders = np.clip(1 - 3 * head.outside, -3, 0) * (head.up < -0.7)
    prior = np.where(head.up > CROWN_UP, above, beyond_ear + downwards + shoulders)
    neck = 8 * np.clip(1 - np.abs(head.across - head.chin_across) / 0.6, 0, 1)
    prior -= np.where(head.up < NECK_UP, neck, 0)
    return prior - np.where(head.oval, BROWS_COST * np.clip(CROWN_UP - head.up, 0, None), 0)


def _pieces(hair: np.ndarray, seeds: np.ndarray, beside: np.ndarray, head: Head) -> np.ndarray:
    """Return the pieces of hair that hold seeds enough outside of the face oval, and long locks next to the face."""
    hair = open_mask(hair, THIN * head.unit)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(hair.astype(np.uint8), connectivity=4)
    area = stats[:, cv2.CC_STAT_AREA] / head.unit**2

    def within(mask: np.ndarray) -> np.ndarray:
        return np.bincount(labels[mask & hair], minlength=count) / head.unit**2

    seeded = within(seeds & ~head.oval)
    keep = ((seeded > SEEDED * area) & (area > SMALLEST)) | (seeded > MANY_SEEDS)
    keep |= (within(beside & (head.up > EAR_UP[0])) > SEEDED * area) & (area > LOCK)
    keep[0] = False
    return keep[labels]


def _with_bare_head(hair: np.ndarray, person: np.ndarray, head: Head) -> Scalp:
    """Add the skin above the face oval; what is left between hair and the edge of the person is hair."""
    above = (head.up > SKIN_UP + SKIN_SLOPE * head.outside) & (head.outside < SKIN_REACH)
    bare = person & ~head.oval & ~hair & above
    wide = open_mask(bare | head.oval, SLIVER * head.unit) & bare
    hair = hair | (bare & ~wide & grow(hair, 2 * SLIVER * head.unit))
    _, labels = cv2.connectedComponents(((wide | head.oval) & ~hair).astype(np.uint8), connectivity=4)
    # Bare head hangs together with the face.
    face = np.bincount(labels[head.bare & ~hair], minlength=2)
    face[0] = 0
    return Scalp(hair, labels == face.argmax() if face.any() else head.oval & ~hair)
