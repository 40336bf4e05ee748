"""Draw procedural faces with exact parsing maps, for runs and tests without photographs.

A face is drawn in face units: the origin is between eyes and mouth, x points right and y down in the
image, the chin is near y = 1. Features sit on a dome that is turned a little (yaw, pitch) and are placed
in the image by one similarity transform. Image and parsing map are painted from the same polygons. Neck,
clothes and ears are background and a beard is skin, since none of them has its own class.
"""

import cv2
import numpy as np
from numpy.typing import ArrayLike

from fsfm_jax.regions import CLASSES

MIN_SIZE = 32  # below this size features vanish; at this size, one face in 200 lacks a lip

# RGB in 0..1; skin and hair lie anywhere between two neighbours.
SKIN_TONES = [(0.97, 0.84, 0.76), (0.87, 0.67, 0.54), (0.62, 0.43, 0.31), (0.35, 0.23, 0.17)]
HAIR_TONES = [(0.08, 0.07, 0.07), (0.15, 0.11, 0.08), (0.40, 0.26, 0.16), (0.80, 0.67, 0.45)]
HAIR_TINTS, HAIR_TINT_ODDS = [(0.75, 0.75, 0.75), (0.55, 0.20, 0.08), (0.45, 0.15, 0.45)], (0.6, 0.3, 0.1)
IRIS_TONES = [(0.20, 0.11, 0.06), (0.34, 0.21, 0.10), (0.33, 0.42, 0.28), (0.30, 0.42, 0.55)]
STYLES, STYLE_ODDS = ("short", "short fringe", "long", "long fringe", "bald"), (0.38, 0.14, 0.27, 0.13, 0.08)

GRID, STEP = np.linspace(-1.7, 1.7, 96, dtype=np.float32, retstep=True)  # where soft shading is computed
ARC = np.linspace(-1, 1, 25)
BOW = 1 - ARC**2
CIRCLE = np.stack([np.cos(np.pi * ARC), np.sin(np.pi * ARC)], 1)


def synthetic_face(seed: int, index: int, size: int = 224) -> tuple[np.ndarray, np.ndarray]:
    """Draw face `index` of the endless series `seed`; the same arguments give the same bytes.

    Returns an image `[size, size, 3] uint8` RGB and a parsing map `[size, size] uint8` with the labels of
    `regions.CLASSES`. Every size shows the same face. A bald face has no hair, a closed mouth no inner mouth.
    """
    if size < MIN_SIZE:
        raise ValueError(f"size of a synthetic face: expected at least {MIN_SIZE} pixels, found {size}")
    face = _Face(np.random.default_rng([seed, index]), size)
    face.paint_surroundings()
    face.paint_head()
    face.paint_eyes()
    face.paint_mouth()
    if face.style != "bald":
        face.paint_hair()
    return _photograph(face.rng, face.image), face.labels


class _Face:
    """A face during painting: `image [3, S, S] float32` in 0..1 and `labels [S, S] uint8`."""

    def __init__(self, rng: np.random.Generator, size: int):
        """Draw pose, light, colours and proportions."""
        self.rng, self.size = rng, size
        self.yaw, self.pitch, sway = rng.uniform((-0.33, -0.12, -1), (0.33, 0.12, 1)).tolist()
        self.scale = size * rng.uniform(0.31, 0.39)
        self.to_pixels = cv2.getRotationMatrix2D((0, 0), 12 * sway * abs(sway), self.scale)
        self.to_pixels[:, 2] = size * (rng.uniform(-0.035, 0.035, 2) + (0.5, 0.52)) - 0.5  # to pixel centres
        light = rng.uniform((-1.1, -0.8, 0.8), (1.1, 0.0, 1.2))
        self.light = (light / np.linalg.norm(light)).tolist()
        self.skin = _between(SKIN_TONES, rng.uniform()) + rng.normal(0, 0.012, 3)
        self.hair = _between(HAIR_TONES, rng.beta(1, 1.7)) * rng.uniform(0.8, 1.2)
        if rng.random() < 0.2:
            self.hair += (rng.choice(HAIR_TINTS, p=HAIR_TINT_ODDS) - self.hair) * rng.uniform(0.3, 1)
        self.style = str(rng.choice(STYLES, p=STYLE_ODDS))
        self.beard = rng.uniform(0.15, 0.8) * (rng.random() < 0.3) * ("long" not in self.style)
        self.width, jaw, chin = rng.uniform((0.93, 0.95, 0.97), (1.06, 1.15, 1.07))
        self.eye_x, self.eye_y, self.mouth_y = rng.uniform((0.31, -0.13, 0.55), (0.37, -0.06, 0.62))
        self.nose_y, self.nose_width = rng.uniform((0.29, 0.13), (0.37, 0.20))
        self.image, self.labels = _backdrop(rng, size), np.zeros((size, size), np.uint8)
        self.head_skin, self.shade = self.light_head()
        outline = [(0.15, -1.16), (0.45, -1.03), (0.69, -0.70), (0.75, -0.20), (0.72, 0.20)]
        outline += [(0.60 * jaw, 0.58), (0.39 * jaw, 0.86 * chin), (0.16, chin)]
        self.head = self.fill(self.project(_contour(outline) * (self.width, 1)))
        self.crown, self.opening = self.hair_shape()

    def project(self, points: ArrayLike) -> np.ndarray:
        """Rotate frontal points `[n, 2]` on the dome with its nose by yaw and pitch; all in face units."""
        x, y = np.asarray(points, float).T
        depth = 0.72 * np.sqrt((1 - (x / 0.86) ** 2 - (y / 1.4) ** 2).clip(0))
        depth += 0.25 * np.exp(-((x / 0.13) ** 2) - ((y - 0.25) / 0.25) ** 2)
        x = x * np.cos(self.yaw) + (depth - 0.25) * np.sin(self.yaw)
        return np.stack([x, y * np.cos(self.pitch) + (depth - 0.5) * np.sin(self.pitch)], 1)

    def fill(self, points: np.ndarray) -> np.ndarray:
        """Return the antialiased mask `[S, S] uint8` of a polygon `[n, 2]` in face units."""
        pixels = points @ self.to_pixels[:, :2].T + self.to_pixels[:, 2]
        mask = np.zeros((self.size, self.size), np.uint8)
        cv2.fillPoly(mask, [np.round(pixels * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        return mask

    def band(self, at: tuple[float, float], half: float, top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
        """Return the mask of the area between two curves `[25]` over `ARC`, `half` wide on both sides of `at`."""
        edge = np.stack([np.concatenate([ARC, ARC[::-1]]) * half, np.concatenate([top, bottom[::-1]])], 1)
        return self.fill(self.project(edge + at))

    def soften(self, mask: np.ndarray, radius: float) -> np.ndarray:
        """Blur a mask by about `radius` face units, with two box filters: a wide Gaussian takes ten times longer."""
        box = (2 * int(1.2 * radius * self.scale + 0.5) + 1,) * 2
        return cv2.blur(cv2.blur(mask, box), box)

    def shadow(self, mask: np.ndarray) -> np.ndarray:
        """Return the mask of the soft shadow of another mask: a little below it and away from the light."""
        fall = np.round(self.scale * np.array((0.06, -0.08 * self.light[0]))).astype(int)
        return self.soften(np.roll(mask, fall, (0, 1)), 0.06)

    def paint(self, mask: np.ndarray, colour: ArrayLike, opacity: float = 1.0, label: str = "") -> None:
        """Blend in, under `mask`, a colour `[3]` with the head's lighting, or a picture `[3, S, S]` unchanged."""
        left, top, width, height = cv2.boundingRect(mask)
        box = slice(top, top + height), slice(left, left + width)
        part, target, colour = mask[box], self.image[:, *box], np.float32(colour)
        change = (colour[:, *box] if colour.ndim == 3 else colour[:, None, None] * self.shade[box]) - target
        change *= part * np.float32(opacity / 255)
        target += change
        if label:
            # A part thinner than a pixel covers no pixel by half, so its most covered pixels get the label.
            self.labels[box][part >= min(128, part.max(initial=1))] = CLASSES.index(label)

    def spots(self, *rows: tuple[float, ...]) -> np.ndarray:
        """Return the sum `[96, 96]` of soft spots (x, y, spreads, height) on the dome; x > 0 means both sides."""
        x, y, spread_x, spread_y, height = np.array([*rows, *((-r[0], *r[1:]) for r in rows if r[0] > 0)]).T
        x, y = self.project(np.stack([x, y], 1)).T
        across = np.exp(-0.5 * ((GRID[:, None] - x) / spread_x) ** 2)
        down = np.exp(-0.5 * ((GRID[:, None] - y) / spread_y) ** 2) * height
        return (down @ across.T).astype(np.float32)

    def light_head(self) -> tuple[np.ndarray, np.ndarray]:
        """Light the skin: return colour `[3, S, S] float32` and brightness `[S, S] float32`, about 1."""
        rng, eye_x, eye, nose, mouth = self.rng, self.eye_x, self.eye_y, self.nose_y, self.mouth_y
        ambient, folds, flush, oil = rng.uniform((0.25, 0, 0.1, 0.02), (0.65, 0.12, 1, 0.2)).tolist()
        relief = 0.72 * np.sqrt((1 - (GRID / 0.88) ** 2 - ((GRID[:, None] + 0.08) / 1.35) ** 2).clip(0.04))
        relief += self.spots(
            (0, nose - 0.3, 0.06, 0.2, 0.1), (0, nose - 0.05, 0.08, 0.07, 0.1), (0.1, nose, 0.05, 0.05, 0.05),
            (eye_x, eye, 0.17, 0.1, -0.09), (eye_x, eye, 0.1, 0.07, 0.045), (0.3, eye - 0.2, 0.2, 0.06, 0.03),
            (0.42, 0.18, 0.14, 0.14, 0.05), (0, mouth, 0.2, 0.13, 0.05), (0, 0.87, 0.14, 0.1, 0.08),
        )  # fmt: skip
        down, across = np.gradient(relief, STEP)
        x, y, z = self.light
        facing = ((z - x * across - y * down) / np.sqrt(1 + across**2 + down**2)).clip(0)
        hollow = self.spots(
            (0.1, eye, 0.06, 0.07, 0.2), (eye_x, eye - 0.1, 0.1, 0.03, 0.1), (0.2, nose, 0.02, 0.05, 0.1),
            (eye_x, eye + 0.1, 0.1, 0.02, 0.1), (0, nose + 0.1, 0.1, 0.03, 0.2), (0.3, 0.4, 0.02, 0.1, folds),
        )  # fmt: skip
        shade = (ambient + (1.15 - ambient) * facing) * (1 - hollow)
        grain = rng.standard_normal(shade.shape, np.float32)
        jaw = self.spots((0, nose + 0.15, 0.15, 0.035, 1), (0, 0.9, 0.2, 0.12, 1), (0.45, 0.66, 0.18, 0.2, 1))
        beard = jaw.clip(0, 1) * (0.85 + 0.2 * grain) * self.beard
        red = flush * self.spots((0.42, 0.2, 0.16, 0.14, 1), (0, nose - 0.04, 0.09, 0.07, 0.7)) + 0.1 * grain
        skin, hair, tint = np.float32([self.skin, self.hair, (0.05, -0.07, -0.06)])[..., None, None]
        colour = (skin * (1 + tint * red) * (1 - beard) + 0.9 * hair * beard) * shade
        colour += oil * facing**12 * (1 - beard)
        warp = self.to_pixels @ [[STEP, 0, GRID[0]], [0, STEP, GRID[0]], [0, 0, 1]]
        lit = np.dstack([*colour, shade])
        lit = cv2.warpAffine(lit, warp, self.labels.shape, borderMode=cv2.BORDER_REPLICATE)
        lit = np.moveaxis(lit, 2, 0).copy()
        return lit[:3], lit[3]

    def paint_surroundings(self) -> None:
        """Paint everything behind the face: hair at the back, neck, clothes and ears."""
        half, collar, opening = self.rng.uniform((0.45, 1.2, 0), (0.6, 1.5, 0.3))
        self.paint(self.crown, self.hair * 0.5, label="hair")
        neck = self.fill(_contour([(half, 0.0), (half, 0.8), (half + 0.1, 1.3), (2.5, 1.7), (2.5, 3)]))
        self.paint(neck, self.skin * (0.80, 0.78, 0.78), label="background")
        self.paint(np.minimum(neck, self.shadow(self.head)), self.skin * (0.32, 0.25, 0.23), 0.6)
        clothes = _contour([(0.1, collar + opening), (half + 0.1, collar), (2.5, collar + 0.3), (2.5, 3)])
        self.paint(self.fill(clothes), _draw_muted(self.rng), label="background")
        for side in (-1, 1):
            ear = self.fill(self.project([(side * 0.76 * self.width, 0.03)]) + CIRCLE * (0.11, 0.2))
            self.paint(ear, self.skin * (0.80, 0.70, 0.68), label="background")

    def paint_head(self) -> None:
        """Paint the skin of the head, already shaded to form a nose, and the nostrils."""
        width, end, top = self.nose_width, self.nose_y, self.eye_y
        self.paint(self.head, self.head_skin, label="skin")
        half = [(0.03, top - 0.06), (0.05, top), (0.07, 0.08), (width * 0.8, end - 0.12), (width, end - 0.02)]
        nose = _contour([*half, (width * 0.75, end + 0.04), (0.05, end + 0.07)])
        self.paint(self.fill(self.project(nose)), self.head_skin, label="nose")
        for side in (-1, 1):
            nostril = self.project([(side * width * 0.48, end + 0.035)]) + CIRCLE * (0.04, 0.024)
            self.paint(self.soften(self.fill(nostril), 0.012), self.skin * (0.3, 0.2, 0.18), 0.85)

    def paint_eyes(self) -> None:
        """Paint brows, lids and eyeballs; the eye labels cover the visible eye between the lids."""
        rng, bow, dark = self.rng, BOW**0.8, self.skin * (0.25, 0.18, 0.16)
        thick, arch, slant, raised = rng.uniform((0.02, 0, -0.03, 0.2), (0.05, 0.07, 0.05, 0.26))
        half, opening, tilt, lash = rng.uniform((0.14, 0.04, -0.02, 0.008), (0.175, 0.085, 0.03, 0.03))
        hairy, brow = rng.uniform(0.5, 0.95), np.minimum(self.hair, self.skin * 0.7) * 0.75
        gaze, iris = rng.uniform((-0.05, -0.015), (0.05, 0.015)), _between(IRIS_TONES, rng.uniform())
        glint = (0.03 * np.sign(self.light[0]), -0.025)
        rings = ((0, 0.077, iris * 0.4), (0, 0.065, iris), (0, 0.032, iris * 0.05), (glint, 0.016, [1.1] * 3))
        for side, name in ((-1, "right"), (1, "left")):
            at, out = (side * self.eye_x, self.eye_y), (1 + side * ARC) / 2  # 0 beside the nose, 1 outside
            middle = -raised - slant * out - arch * np.sin(np.pi * out**1.3) + rng.normal(0, 0.005, 25)
            spread = thick * (1 - out**2.5) ** 0.7 * (1 - 0.6 * (1 - out) ** 4)
            hairs = self.soften(self.band(at, 0.195, middle - spread, middle + spread), 0.008)
            self.paint(hairs, brow, hairy, f"{name}_brow")
            upper, lower = -tilt * side * ARC - opening * bow, -tilt * side * ARC + 0.75 * opening * bow
            crease = self.band(at, half, upper - 0.075 * bow, upper - 0.045 * bow)
            self.paint(self.soften(crease, 0.01), dark, 0.5)
            white = self.band(at, half, upper, lower)
            self.paint(white, (0.97, 0.93, 0.91), 0.95, f"{name}_eye")
            looks_at = self.project([gaze + at])
            for shift, radius, colour in rings:
                self.paint(np.minimum(self.fill(looks_at + shift + CIRCLE * radius), white), colour)
            self.paint(self.soften(self.band(at, half, upper, upper + 0.03 * bow), 0.01), dark, 0.5)
            self.paint(self.band(at, half, upper - lash * bow, upper + 0.004), dark * 0.6, 0.85)

    def paint_mouth(self) -> None:
        """Paint lips and, if the mouth is open, teeth and the dark behind them."""
        rng, at = self.rng, (0, self.mouth_y)
        half, smile, thin, full = rng.uniform((0.23, -0.02, 0.04, 0.06), (0.33, 0.08, 0.085, 0.125))
        gap, teeth = rng.uniform((0.03, 0.3), (0.16, 1.0)) * (rng.random() < 0.45)
        line = smile * (0.4 - ARC**2) + 0.012 * np.cos(3 * np.pi * ARC) * BOW
        upper, lower = line - 0.3 * gap * BOW, line + 0.7 * gap * BOW
        peak = upper - thin * (1 - np.abs(ARC) ** 1.6) * (1 - 0.3 * np.exp(-((ARC / 0.13) ** 2)))
        red, strength = rng.uniform((0.5, 0.07, 0.1), (0.75, 0.25, 0.3)), 0.8 * rng.beta(1.5, 3)
        lips = self.skin * (0.92, 0.68, 0.68) * (1 - strength) + red * strength
        self.paint(self.band(at, half, lower, lower + full * BOW**0.8), lips, 0.95, "lower_lip")
        if gap:
            self.paint(self.band(at, half, upper, lower), (0.22, 0.07, 0.07), label="inner_mouth")
            row = self.band(at, half * 0.9, upper, upper + teeth * min(gap, 0.09) * BOW)
            self.paint(row, (0.90, 0.86, 0.80), 0.9)
        self.paint(self.band(at, half, peak, upper), lips * 0.84, 0.95, "upper_lip")  # last: the thinnest
        seam = self.band(at, half, upper - 0.006, upper + 0.008)
        self.paint(self.soften(seam, 0.006), self.skin * (0.3, 0.15, 0.15), 0.8)

    def hair_shape(self) -> tuple[np.ndarray, np.ndarray]:
        """Return masks `[S, S] uint8` of all the hair, including that behind the face, and of its front opening."""
        volume, rough, part, rise = self.rng.uniform((1.0, 0.006, -0.35, -0.08), (1.17, 0.03, 0.35, 0.12))
        sideburn, end = self.rng.uniform((-0.1, 0.75), (0.25, 1.9))
        outer, side = [(0.83, -0.1), (0.5, 0.1)], [(0.73, sideburn), (1.0, sideburn + 0.1), (1.0, 0.6)]
        if "long" in self.style:
            outer, side = [(0.92, 0.0), (0.95, 0.5), (0.93, end)], [(0.69, 0.3), (0.62, 0.75), (0.6, 3)]
        line = [(0.20, rise - 0.80), (0.46, rise - 0.72), (0.64, rise - 0.52)]
        if "fringe" in self.style:
            part, line = 9, [(0.12, self.eye_y - 0.38), (0.35, self.eye_y - 0.4), (0.6, self.eye_y - 0.32)]
        crown = _contour([(0.42, -1.27), (0.76, -0.98), (0.88, -0.50), *outer]) * volume
        opening = _contour([*line, (0.70, -0.25), *side])
        opening[:, 1] -= 0.15 * np.exp(-(((opening[:, 0] - part) / 0.25) ** 2))
        ragged = (self.project(shape + self.rng.normal(0, rough, shape.shape)) for shape in (crown, opening))
        crown, opening = map(self.fill, ragged)
        return crown * np.uint8(self.style != "bald"), opening

    def paint_hair(self) -> None:
        """Paint the hair in front and its shadow on the face."""
        hair = cv2.subtract(self.crown, self.opening)
        self.paint(np.minimum(self.shadow(hair), self.head), self.skin * (0.25, 0.17, 0.15), 0.45)
        self.paint(self.soften(hair, 0.008), self.strands(), label="hair")

    def strands(self) -> np.ndarray:
        """Draw hair `[3, S, S] float32`: strands that run from the parting down both sides."""
        rng, steps = self.rng, np.arange(self.size, dtype=np.float32)
        to_face = cv2.invertAffineTransform(self.to_pixels).tolist()
        x, y = (a * steps + (b * steps[:, None] + c) for a, b, c in to_face)
        part, wave, turns, shine, depth = rng.uniform((-0.3, 0, 2, 0, 0.2), (0.3, 0.05, 9, 0.2, 0.5)).tolist()
        along = y + (1.35 + 0.25 * x * x)
        across = (x - part) / (0.35 + along.clip(0, 1)) + wave * np.sin(turns * along)
        texture = 3 * cv2.GaussianBlur(rng.standard_normal((16, 192), np.float32), (0, 0), 1, None, 2)
        texture = cv2.remap(texture, across * 70 + 96, along * 3, cv2.INTER_LINEAR, None, cv2.BORDER_WRAP)
        tone = (1 + depth * texture) * (0.85 + 0.35 * self.light[0] * x - 0.15 * x * x)
        gleam = shine * np.exp(-(((along - 0.45) / 0.16) ** 2)) * (1 + texture)
        colour = np.multiply.outer(np.float32(self.hair), tone.clip(0.2, 2))
        return np.add(colour, gleam, out=colour)  # in place, since allocating memory dominates the time here


def _between(tones: list[tuple[float, ...]], place: float) -> np.ndarray:
    """Interpolate a colour `[3]` at `place`, 0..1, along four tones."""
    return np.array([np.interp(place * 3, range(4), channel) for channel in zip(*tones, strict=True)])


def _contour(half: list[tuple[float, float]]) -> np.ndarray:
    """Return a smooth closed curve `[12 n, 2]` (Catmull and Rom) from the points of its right half, top first."""
    points = np.concatenate([half, np.array(half[::-1]) * (-1, 1)])
    a, b, c, d = (np.roll(points, shift, 0)[:, None] for shift in (1, 0, -1, -2))
    t = np.arange(6)[:, None] / 6
    return (b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))).reshape(-1, 2)


def _draw_muted(rng: np.random.Generator) -> np.ndarray:
    """Draw a colour `[3]` in 0..1, seldom a bright one."""
    return (rng.uniform(0.05, 0.95) + rng.normal(0, 0.1, 3)).clip(0, 1)


def _backdrop(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw a scene out of focus, `[3, S, S] float32` in 0..1: a gradient and blobs."""
    slopes = rng.normal(0, 0.08, (2, 1)) + rng.normal(0, 0.03, (2, 3))
    scene = np.float32(_draw_muted(rng) + GRID[:, None] * slopes[0] + GRID[:, None, None] * slopes[1])
    for x, y, radius in rng.integers((0, 0, 3), (96, 96, 24), (rng.integers(0, 14), 3)).tolist():
        cv2.circle(scene, (x, y), radius, _draw_muted(rng).tolist(), -1)
    scene = cv2.GaussianBlur(scene, (11, 11), rng.uniform(0.7, 4)).clip(0, 1)
    return np.stack([cv2.resize(plane, (size, size)) for plane in cv2.split(scene)])


def _photograph(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Apply camera effects: white balance, exposure, contrast, blur, noise; `-> [S, S, 3] uint8`."""
    contrast, lift, blur, noise = rng.uniform((0.8, -0.04, 0.1, 1), (1.18, 0.06, 1, 16)).tolist()
    image *= (contrast * rng.uniform(0.85, 1.12) * rng.uniform(0.93, 1.07, (3, 1, 1))).astype(np.float32)
    photo = cv2.GaussianBlur(cv2.merge(list(image)), (5, 5), blur * image.shape[1] / 224)
    brightness = 255 * (0.45 * (1 - contrast) + lift)
    grain = rng.integers(0, 256, photo.shape, np.uint8)
    return cv2.addWeighted(photo, 255.0, grain, noise / 128, brightness - noise, dtype=cv2.CV_8U)
