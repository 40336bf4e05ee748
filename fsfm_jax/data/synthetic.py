"""Procedural faces with exact parsing maps, for runs and tests without photographs.

A face is drawn in face units: the origin lies between eyes and mouth, x points right and y down in the
image, the chin is near y = 1. Features sit on a dome that is turned a little (yaw, pitch) and are placed
in the image by one similarity transform. Image and parsing map are painted from the same polygons. Neck,
clothes and ears are background and a beard is skin, since none of them has a class of its own.
"""

import cv2
import numpy as np

from fsfm_jax.regions import BACKGROUND, CLASSES, HAIR, NOSE, SKIN

MIN_SIZE = 32  # below this a lip or a brow is thinner than a pixel

# sRGB 0..1; skin from light to dark, the tone of a face lies between two neighbours.
SKIN_TONES = np.array(
    [(0.97, 0.84, 0.76), (0.93, 0.75, 0.64), (0.85, 0.65, 0.51), (0.74, 0.53, 0.39), (0.58, 0.39, 0.28),
     (0.44, 0.29, 0.21), (0.31, 0.20, 0.15)]
)  # fmt: skip
HAIR_TONES = np.array(
    [(0.08, 0.07, 0.07), (0.14, 0.10, 0.08), (0.25, 0.16, 0.11), (0.38, 0.25, 0.15), (0.62, 0.47, 0.28),
     (0.80, 0.68, 0.46), (0.50, 0.22, 0.11), (0.52, 0.51, 0.51), (0.80, 0.79, 0.78), (0.45, 0.20, 0.42)]
)  # fmt: skip
HAIR_TONE_ODDS = (0.20, 0.20, 0.17, 0.13, 0.08, 0.06, 0.05, 0.05, 0.03, 0.03)
IRIS_TONES = np.array(
    [(0.20, 0.11, 0.06), (0.34, 0.21, 0.10), (0.30, 0.42, 0.55), (0.33, 0.42, 0.28), (0.40, 0.42, 0.43)]
)
STYLES, STYLE_ODDS = ("short", "fringe", "long", "long fringe", "bald"), (0.38, 0.14, 0.26, 0.14, 0.08)

GRID = np.linspace(-1.7, 1.7, 112, dtype=np.float32)  # soft shading is computed here, then warped
ARC = np.linspace(-1, 1, 25)
_T = np.linspace(0, 1, 7)[:-1, None]
CATMULL_ROM = np.concatenate(
    [-_T + 2 * _T**2 - _T**3, 2 - 5 * _T**2 + 3 * _T**3, _T + 4 * _T**2 - 3 * _T**3, _T**3 - _T**2], 1
) / 2  # fmt: skip


def synthetic_face(seed: int, index: int, size: int = 224) -> tuple[np.ndarray, np.ndarray]:
    """Draws face `index` of the endless series `seed`; the same arguments give the same bytes.

    Returns:
      image `[size, size, 3] uint8` RGB and parsing map `[size, size] uint8`, labels of `regions.CLASSES`.
      Every size shows the same face. Bald faces have no hair, closed mouths no inner mouth.
    """
    if size < MIN_SIZE:
        raise ValueError(f"synthetic face of size {size}: expected at least {MIN_SIZE}; draw larger, then shrink")
    rng = np.random.default_rng([seed, index])
    face = _Face(rng, size)
    face.paint_surroundings()
    face.paint_head()
    face.paint_brows()
    face.paint_eyes()
    face.paint_mouth()
    if face.style != "bald":
        face.paint_hair()
    return _photograph(rng, face.image), face.labels


class _Face:
    """One face being painted: `image [3, S, S] float32` in 0..1 and `labels [S, S] uint8`."""

    def __init__(self, rng: np.random.Generator, size: int):
        self.rng, self.size = rng, size
        self.labels = np.zeros((size, size), np.uint8)
        self._place()
        self._choose_looks()

    def _place(self) -> None:
        """Draws pose, light and the transform from face units to pixels."""
        rng = self.rng
        self.yaw, self.pitch = np.radians(rng.uniform((-19, -7), (19, 7)))
        roll = np.radians(rng.normal(0, 5).clip(-12, 12))
        self.scale = self.size * rng.uniform(0.30, 0.37)
        turn = self.scale * np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
        centre = self.size * (rng.uniform(-0.035, 0.035, 2) + (0.5, 0.52))
        self.to_pixels = np.concatenate([turn, centre[:, None]], 1)
        light = rng.uniform((-0.9, -0.7, 0.8), (0.9, 0.0, 1.2))
        self.light = light / np.linalg.norm(light)

    def _choose_looks(self) -> None:
        """Draws colours, hair style and proportions."""
        rng = self.rng
        tone = rng.uniform(0, len(SKIN_TONES) - 1)
        between = [np.interp(tone, range(len(SKIN_TONES)), channel) for channel in SKIN_TONES.T]
        self.skin = np.array(between) + rng.normal(0, 0.012, 3)
        self.hair_tone = HAIR_TONES[rng.choice(len(HAIR_TONES), p=HAIR_TONE_ODDS)] * rng.uniform(0.8, 1.2)
        self.style = rng.choice(STYLES, p=STYLE_ODDS)
        self.beard = rng.uniform(0.15, 0.8) * (rng.random() < 0.3) * ("long" not in self.style)
        self.width, self.jaw, self.chin = rng.uniform((0.93, 0.9, 0.97), (1.06, 1.12, 1.07))
        self.eye_x, self.eye_y, self.mouth_y = rng.uniform((0.31, -0.13, 0.55), (0.37, -0.06, 0.62))
        self.nose_y, self.nose_width = rng.uniform((0.29, 0.13), (0.37, 0.20))

    def project(self, points: np.ndarray, lift: float | np.ndarray = 0.0) -> np.ndarray:
        """Turns frontal points `[n, 2]`, `lift` above the dome, by yaw and pitch; face units to face units."""
        x, y = np.asarray(points, float).T
        depth = 0.72 * np.sqrt((1 - (x / 0.86) ** 2 - (y / 1.4) ** 2).clip(0)) + lift
        x = x * np.cos(self.yaw) + (depth - 0.25) * np.sin(self.yaw)
        return np.stack([x, y * np.cos(self.pitch) + (depth - 0.5) * np.sin(self.pitch)], 1)

    def coverage(self, points: np.ndarray) -> np.ndarray:
        """Antialiased mask `[S, S] uint8` of a polygon `[n, 2]` in face units."""
        pixels = points @ self.to_pixels[:, :2].T + self.to_pixels[:, 2]
        mask = np.zeros((self.size, self.size), np.uint8)
        # -0.5: cv2 counts from the middle of the first pixel.
        cv2.fillPoly(mask, [np.round((pixels - 0.5) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        return mask

    def paint(self, mask: np.ndarray, colour: np.ndarray, label: int | None = None, opacity: float = 1.0) -> None:
        """Blends `colour`, `[3]` or `[3, S, S]`, into the image under `mask` and labels what it covers."""
        left, top, width, height = cv2.boundingRect(mask)
        if not width:
            return
        box = slice(top, top + height), slice(left, left + width)
        weight = mask[box] * np.float32(opacity / 255)
        colour = np.asarray(colour, np.float32)
        colour = colour[:, *box] if colour.ndim == 3 else colour[:, None, None]
        self.image[:, *box] += weight * (colour - self.image[:, *box])
        if label is not None:
            # At small sizes a thin part covers no pixel by half; its best pixels then carry the label.
            self.labels[box][mask[box] >= min(128, mask[box].max())] = label

    def lit(self, colour: np.ndarray) -> np.ndarray:
        """A colour `[3]` under the light of the face, `[3, S, S] float32`."""
        return np.asarray(colour, np.float32)[:, None, None] * self.shade

    def soften(self, mask: np.ndarray, radius: float) -> np.ndarray:
        """Blurs a mask `[S, S] uint8` by `radius` face units."""
        return cv2.GaussianBlur(mask, (0, 0), max(radius * self.scale, 0.3))

    def paint_surroundings(self) -> None:
        """Paints the backdrop, then hair that falls behind, neck, clothes and ears, all but hair unlabelled."""
        rng = self.rng
        self.image = _backdrop(rng, self.size)
        skin, self.shade = self.light_head()
        self.face_skin = skin
        self.hair_end, self.hair_volume = rng.uniform((0.75, 1.0), (1.9, 1.17))
        if "long" in self.style:
            reach = 0.9 * self.hair_volume
            fall = [(-0.7, -1.0), (0.7, -1.0), (reach, 0), (reach, self.hair_end), (-reach, self.hair_end), (-reach, 0)]
            self.paint(self.coverage(_curve(fall)), self.hair_tone * 0.5, HAIR)
        half, slope = rng.uniform((0.42, 0.1), (0.58, 0.35))
        neck = [(-half, 0.3), (half, 0.3), (half, 1.25), (2.5, 1.5 + slope), (2.5, 3), (-2.5, 3), (-2.5, 1.5 + slope)]
        neck = self.coverage(np.array([*neck, (-half, 1.25)]))
        self.paint(neck, self.lit(self.skin * (0.80, 0.78, 0.78)), BACKGROUND)
        chin_shadow = self.soften(self.coverage(self.outline() + (-0.1 * self.light[0], 0.14)), 0.07)
        self.paint(np.minimum(neck, chin_shadow), self.skin * (0.30, 0.24, 0.22), opacity=0.65)
        collar = rng.uniform(1.25, 1.6)
        clothes = [(-2.5, collar + 0.2), (-half - 0.1, collar - 0.15), (0, collar + rng.uniform(0, 0.4))]
        clothes = np.array([*clothes, (half + 0.1, collar - 0.15), (2.5, collar + 0.2), (2.5, 3), (-2.5, 3)])
        self.paint(self.coverage(clothes), rng.uniform(0.05, 0.9, 3), BACKGROUND)
        ear_y, ear_size = rng.uniform((-0.03, 0.16), (0.08, 0.24))
        for side in (-1, 1):
            ear = self.project([(side * 0.76 * self.width, ear_y)]) + _ellipse(0.11, ear_size)
            self.paint(self.coverage(ear), self.lit(self.skin * (0.88, 0.80, 0.78)), BACKGROUND)
            self.paint(self.coverage(ear * (1, 0.9)), self.skin * (0.6, 0.5, 0.48), opacity=0.3)

    def outline(self) -> np.ndarray:
        """Contour of the head without hair, `[n, 2]` face units."""
        half = [(0.0, -1.17), (0.42, -1.07), (0.69, -0.70), (0.75, -0.20), (0.72, 0.20)]
        half += [(0.60 * self.jaw, 0.58), (0.38 * self.jaw, 0.86 * self.chin), (0.15, 1.0 * self.chin)]
        right = np.array(half) * (self.width, 1)
        return self.project(_curve(np.concatenate([right, right[:0:-1] * (-1, 1)])))

    def spots(self, rows: list[tuple[float, ...]]) -> np.ndarray:
        """Sum of soft spots on the dome as a grid.

        Each row is x, y, spread in x, spread in y, height; a row with x above 0 counts on both sides.
        """
        rows = rows + [(-x, *rest) for x, *rest in rows if x > 0]
        table = np.array(rows, np.float32)
        centre = self.project(table[:, :2]).astype(np.float32)
        across = np.exp(-0.5 * ((GRID - centre[:, :1]) / table[:, 2:3]) ** 2)
        down = np.exp(-0.5 * ((GRID - centre[:, 1:]) / table[:, 3:4]) ** 2)
        return (down * table[:, 4:]).T @ across

    def light_head(self) -> tuple[np.ndarray, np.ndarray]:
        """Skin under the light: colour `[3, S, S] float32` and brightness `[S, S] float32`."""
        rng, eye, nose, mouth = self.rng, self.eye_y, self.nose_y, self.mouth_y
        dome = 0.72 * np.sqrt((1 - (GRID / 0.88) ** 2 - ((GRID[:, None] + 0.08) / 1.35) ** 2).clip(0.04))
        bridge = nose - 0.28
        relief = dome + self.spots([
            (0, bridge, 0.065, 0.20, 0.10), (0, nose - 0.05, 0.085, 0.075, 0.12), (0.12, nose, 0.05, 0.05, 0.05),
            (self.eye_x, eye, 0.17, 0.10, -0.085), (self.eye_x, eye, 0.10, 0.07, 0.045),
            (0.30, eye - 0.20, 0.18, 0.06, 0.03), (0.42, 0.18, 0.14, 0.14, 0.05), (0, mouth, 0.20, 0.13, 0.06),
            (0, mouth + 0.15, 0.13, 0.035, -0.03), (0, 0.87, 0.14, 0.10, 0.07),
        ])  # fmt: skip
        down, across = np.gradient(relief, GRID[1] - GRID[0])
        x, y, z = self.light
        facing = ((z - x * across - y * down) / np.sqrt(1 + across**2 + down**2)).clip(0)
        ambient = rng.uniform(0.35, 0.7)
        shade = ambient + (1.12 - ambient) * facing
        folds = rng.uniform(0, 0.12)
        shade *= 1 - self.spots([
            (0.12, eye + 0.02, 0.06, 0.07, 0.16), (self.eye_x, eye - 0.10, 0.13, 0.03, 0.14),
            (self.eye_x, eye + 0.12, 0.11, 0.025, 0.10), (-np.sign(x) * 1e-6 - 0.0, mouth + 0.17, 0.12, 0.03, 0.10),
            (0, nose + 0.07, 0.12, 0.03, 0.16), (0.20, nose - 0.01, 0.02, 0.05, 0.12), (0.27, 0.44, 0.025, 0.09, folds),
            (0, 0.45, 0.02, 0.04, 0.06),
        ])  # fmt: skip
        shade = shade.astype(np.float32)
        grain = rng.standard_normal(GRID.shape * 2, np.float32)
        flush = self.spots([(0.42, 0.2, 0.16, 0.14, 1), (0, nose - 0.04, 0.09, 0.07, 0.7), (0, 0.85, 0.15, 0.1, 0.3)])
        flush = flush * rng.uniform(0.1, 1.0) + 0.12 * cv2.GaussianBlur(grain, (0, 0), 1.5)
        tint = (flush[..., None] * (0.05, -0.07, -0.06) + 1) * self.skin
        hairy = self.spots([
            (0, nose + 0.15, 0.15, 0.035, 1.1), (0, 0.90, 0.2, 0.12, 1.2), (0.25, 0.75, 0.09, 0.15, 0.8),
            (0.55, 0.62, 0.12, 0.22, 1.0),
        ])  # fmt: skip
        hairy = (hairy.clip(0, 1) * self.beard * (0.85 + 0.2 * grain)).clip(0, 1)[..., None]
        tint += hairy * (self.hair_tone * 0.9 - tint)
        gloss = rng.uniform(0.02, 0.22) * facing**12 * (1 - hairy[..., 0])
        lit = np.dstack([tint * shade[..., None] + gloss[..., None], shade]).astype(np.float32)
        step = GRID[1] - GRID[0]
        to_pixels = self.to_pixels @ np.array([[step, 0, GRID[0]], [0, step, GRID[0]], [0, 0, 1]])
        lit = cv2.warpAffine(lit, to_pixels, (self.size, self.size), borderMode=cv2.BORDER_REPLICATE)
        lit = np.ascontiguousarray(np.moveaxis(lit, 2, 0))
        return lit[:3], lit[3]

    def paint_head(self) -> None:
        """Paints the skin of the head and the nose, which is mostly shading."""
        width, end, top = self.nose_width, self.nose_y, self.eye_y
        self.paint(self.coverage(self.outline()), self.face_skin, SKIN)
        side = [(0.05, top), (0.07, 0.08), (width * 0.8, end - 0.12), (width, end - 0.02), (width * 0.75, end + 0.04)]
        side = np.array([(0.03, top - 0.06), *side, (0.05, end + 0.07)])
        nose = _curve(np.concatenate([side, side[::-1] * (-1, 1)]))
        rise = np.interp(nose[:, 1], (top, end), (0.02, 0.13)) * (1 - np.abs(nose[:, 0]) / 0.25)
        self.paint(self.coverage(self.project(nose, rise)), self.face_skin, NOSE, opacity=0.0)
        for side in (-1, 1):
            nostril = self.project([(side * width * 0.48, end + 0.035)], 0.05) + _ellipse(width * 0.26, 0.024)
            self.paint(self.soften(self.coverage(nostril), 0.012), self.lit(self.skin * (0.3, 0.2, 0.18)), opacity=0.8)

    def paint_brows(self) -> None:
        """Paints both eyebrows."""
        rng = self.rng
        thick, arch, slant, raised, opacity = rng.uniform((0.02, 0, -0.03, 0.19, 0.5), (0.05, 0.07, 0.05, 0.25, 0.95))
        along = (ARC + 1) / 2
        x = self.eye_x - 0.19 + 0.39 * along
        y = self.eye_y - raised - slant * along - arch * np.sin(np.pi * along**1.3)
        half = thick * (1 - along**2.5) ** 0.7 * (1 - 0.6 * (1 - along) ** 4)
        brow = np.stack([np.r_[x, x[::-1]], np.r_[y - half, (y + half)[::-1]]], 1)
        colour = self.lit(np.minimum(self.hair_tone, self.skin * 0.7) * 0.75)
        for side, label in ((-1, "right_brow"), (1, "left_brow")):
            ragged = brow + rng.normal(0, 0.006, brow.shape)
            mask = self.coverage(self.project(ragged * (side, 1), 0.02))
            self.paint(self.soften(mask, 0.008), colour, CLASSES.index(label), opacity)

    def paint_eyes(self) -> None:
        """Paints lids, eyeball and iris; the eye labels cover what shows between the lids."""
        rng = self.rng
        half, opening, tilt, lash = rng.uniform((0.135, 0.032, -0.02, 0.008), (0.165, 0.078, 0.03, 0.03))
        iris_size, gaze = rng.uniform(0.068, 0.08), rng.uniform((-0.05, -0.015), (0.05, 0.02))
        iris = IRIS_TONES[rng.choice(len(IRIS_TONES), p=(0.35, 0.3, 0.15, 0.1, 0.1))] * rng.uniform(0.8, 1.2)
        dark = self.skin * (0.25, 0.18, 0.16)
        bow = (1 - ARC**2) ** 0.8
        for side, label in ((-1, "right_eye"), (1, "left_eye")):
            place = np.array((side * self.eye_x, self.eye_y))
            middle = tilt * -ARC * side
            upper, lower = middle - opening * bow, middle + 0.75 * opening * bow

            def lens(low: np.ndarray, high: np.ndarray, place: np.ndarray = place) -> np.ndarray:
                points = np.stack([np.r_[ARC, ARC[::-1]] * half, np.r_[low, high[::-1]]], 1)
                return self.coverage(self.project(points + place))

            lid = self.soften(lens(upper - 0.075 * bow, upper - 0.045 * bow), 0.01)
            self.paint(lid, self.lit(dark), opacity=0.55)
            white = lens(upper, lower)
            self.paint(white, self.lit((0.90, 0.86, 0.84)), CLASSES.index(label), 0.95)
            looks_at = self.project([place + gaze])
            for radius, colour in ((1.0, iris * 0.4), (0.84, iris), (0.42, (0.03, 0.03, 0.03))):
                disc = self.coverage(looks_at + _ellipse(radius * iris_size, radius * iris_size))
                self.paint(np.minimum(disc, white), self.lit(colour))
            self.paint(self.soften(lens(upper, upper + 0.03 * bow), 0.01), dark, opacity=0.5)
            self.paint(lens(upper - lash * bow, upper + 0.004), self.lit(dark * 0.6), opacity=0.85)
            self.paint(lens(lower, lower + 0.012 * bow), self.lit(dark), opacity=0.45)
            spark = looks_at + (0.03 * np.sign(self.light[0]), -0.025) + _ellipse(0.016, 0.016)
            self.paint(np.minimum(self.coverage(spark), white), (0.98, 0.98, 0.98), opacity=0.9)

    def paint_mouth(self) -> None:
        """Paints lips and, when the mouth is open, teeth and the dark behind them."""
        rng = self.rng
        half, smile, thin, full = rng.uniform((0.21, -0.02, 0.035, 0.05), (0.31, 0.07, 0.08, 0.12))
        gap = rng.uniform(0.02, 0.16) * (rng.random() < 0.45)
        bow = 1 - ARC**2
        line = self.mouth_y + smile * (0.4 - ARC**2) + 0.012 * np.cos(3 * np.pi * ARC) * bow
        upper, lower = line - 0.3 * gap * bow, line + 0.7 * gap * bow
        peak = upper - thin * (1 - np.abs(ARC) ** 1.6) * (1 - 0.3 * np.exp(-((ARC / 0.13) ** 2)))
        base = lower + full * (1 - np.abs(ARC) ** 2.4)

        def band(top: np.ndarray, bottom: np.ndarray, width: float = 1.0) -> np.ndarray:
            points = np.stack([np.r_[ARC, ARC[::-1]] * half * width, np.r_[top, bottom[::-1]]], 1)
            return self.coverage(self.project(points, 0.03))

        red, strength = rng.uniform((0.55, 0.08, 0.12), (0.85, 0.30, 0.35)), rng.beta(1.5, 3) * 0.8
        lips = self.skin * (0.92, 0.68, 0.68) * (1 - strength) + red * self.skin.mean() ** 0.4 * strength
        self.paint(band(peak, upper), self.lit(lips * 0.84), CLASSES.index("upper_lip"), 0.95)
        self.paint(band(lower, base), self.lit(lips), CLASSES.index("lower_lip"), 0.95)
        gleam = self.soften(band(lower + 0.3 * full * bow, lower + 0.6 * full * bow, 0.5), 0.03)
        self.paint(gleam, (1, 0.95, 0.93), opacity=rng.uniform(0.05, 0.4))
        if gap:
            inner = band(upper, lower)
            self.paint(inner, self.lit((0.22, 0.07, 0.07)), CLASSES.index("inner_mouth"))
            teeth = band(upper, upper + rng.uniform(0.3, 1.0) * min(gap, 0.09) * bow, 0.9)
            self.paint(np.minimum(teeth, inner), self.lit((0.86, 0.82, 0.76)), opacity=0.9)
        seam = self.soften(band(upper - 0.006, upper + 0.008), 0.006)
        self.paint(seam, self.lit(self.skin * (0.3, 0.15, 0.15)), opacity=0.8)

    def paint_hair(self) -> None:
        """Paints the hair in front: an outer contour, a hairline and, with long hair, locks at both sides."""
        rng, size = self.rng, self.size
        part, rough = rng.uniform((-0.4, 0.006), (0.4, 0.03))
        outer = [(0, -1.34), (0.42, -1.27), (0.76, -0.98), (0.88, -0.50)]
        if "long" in self.style:
            outer += [(0.92, 0.0), (0.95, 0.5), (0.93, self.hair_end)]
            inner = [(0.6, self.hair_end), (0.62, 0.75), (0.69, 0.30), (0.70, -0.20)]
        else:
            outer += [(0.83, -0.05)]
            inner = [(0.74, rng.uniform(-0.1, 0.25)), (0.70, -0.25)]
        brow_top = self.eye_y - 0.33
        if "fringe" in self.style:
            line = [(0.60, brow_top + 0.06), (0.35, brow_top - 0.02), (0.12, brow_top)]
        else:
            line = [(0.64, -0.52), (0.46, -0.72), (0.2, -0.80)]
        outer = (np.array(outer) - (0, -0.3)) * self.hair_volume + (0, -0.3)
        inner = np.array(inner + line)
        left, right = inner * (-1, 1), inner.copy()
        if "fringe" not in self.style:
            lift = rng.uniform(-0.08, 0.12)
            for half_line in (left, right):
                half_line[-3:, 1] += lift - 0.15 * np.exp(-(((half_line[-3:, 0] - part) / 0.25) ** 2))
        contour = np.concatenate([outer[:0:-1] * (-1, 1), outer, right, left[::-1]])
        contour = self.project(_curve(contour))
        contour += rng.normal(0, rough, contour.shape) * (0.6, 1)
        mask = self.coverage(contour)
        shadow = self.soften(self.coverage(contour + (-0.06 * self.light[0], 0.05)), 0.05)
        face = np.where((self.labels == 0) | (self.labels == HAIR), np.uint8(0), shadow)
        self.paint(face, self.skin * (0.25, 0.17, 0.15), opacity=0.45)
        self.paint(self.soften(mask, 0.008), self.strands(part), HAIR)

    def strands(self, part: float) -> np.ndarray:
        """Hair colour `[3, S, S] float32` with strands that run from the parting down both sides."""
        rng = self.rng
        inverse = np.linalg.inv(self.to_pixels[:, :2]).astype(np.float32)
        steps = np.arange(self.size, dtype=np.float32) + 0.5
        dx, dy = steps - self.to_pixels[0, 2], (steps - self.to_pixels[1, 2])[:, None]
        u, v = (row[0] * dx + row[1] * dy for row in inverse.astype(np.float32))
        wave, turns = rng.uniform((0, 2), (0.05, 9))
        along = v + 1.35 + 0.25 * u * u
        across = (u - part) / (0.35 + along.clip(0, 1)) + wave * np.sin(turns * along)
        texture = cv2.GaussianBlur(rng.standard_normal((24, 256), np.float32), (0, 0), 0.8)
        texture += 1.5 * cv2.GaussianBlur(rng.standard_normal((24, 256), np.float32), (0, 0), 3)
        grain = cv2.remap(
            texture, (across * 70 + 128).astype(np.float32), (along * 3).astype(np.float32), cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_WRAP,
        )
        band, shine = rng.uniform((0.3, 0.0), (0.6, 0.22))
        gleam = shine * np.exp(-(((along - band) / 0.16) ** 2)) * (1 + grain)
        tone = (1 + rng.uniform(0.2, 0.5) * grain) * (0.85 + 0.35 * self.light[0] * u - 0.15 * u * u)
        colour = self.hair_tone[:, None, None] * tone.clip(0.2, 2) + gleam
        return colour.astype(np.float32)


def _backdrop(rng: np.random.Generator, size: int) -> np.ndarray:
    """A blurred scene `[3, S, S] float32`: a gradient, soft noise and a few blobs."""
    cells = np.linspace(-1, 1, 56)
    base, slope_x, slope_y = rng.uniform(0.05, 0.9, 3), rng.normal(0, 0.12, 3), rng.normal(0, 0.12, 3)
    scene = base + cells[:, None] * slope_x + cells[:, None, None] * slope_y
    scene = scene.astype(np.float32)
    for _ in range(rng.integers(0, 7)):
        place, radius = rng.integers(0, 56, 2).tolist(), int(rng.integers(2, 14))
        cv2.circle(scene, place, radius, rng.uniform(0, 1, 3).tolist(), -1)
    noise = rng.standard_normal((7, 7, 3), np.float32) * np.float32(rng.uniform(0, 0.12))
    scene += cv2.resize(noise, (56, 56), interpolation=cv2.INTER_CUBIC)
    scene = cv2.GaussianBlur(scene, (0, 0), rng.uniform(0.5, 5))
    scene = cv2.resize(scene, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(np.moveaxis(scene, 2, 0)).clip(0, 1)


def _photograph(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Adds what a camera does: white balance, exposure, contrast, blur and noise; `-> [S, S, 3] uint8`."""
    size = image.shape[1]
    gain = rng.uniform(0.75, 1.2) * rng.uniform(0.92, 1.08, 3)
    contrast = rng.uniform(0.8, 1.2)
    image *= (gain * contrast).astype(np.float32)[:, None, None]
    image += np.float32(0.45 * (1 - contrast) + rng.uniform(-0.04, 0.06))
    if rng.random() < 0.05:
        image[:] = image.mean(0)
    photo = cv2.merge(list(image))
    blur = rng.uniform(0.2, 1.1) * size / 224
    if blur > 0.3:
        photo = cv2.GaussianBlur(photo, (0, 0), blur)
    photo += rng.standard_normal(photo.shape, np.float32) * np.float32(rng.uniform(0.002, 0.025))
    return (photo * 255).clip(0, 255).round().astype(np.uint8)


def _curve(points: np.ndarray) -> np.ndarray:
    """Closed smooth curve through `points [n, 2]`, six points to each, by Catmull-Rom."""
    points = np.asarray(points, float)
    around = np.stack([np.roll(points, shift, 0) for shift in (1, 0, -1, -2)])
    return np.einsum("tk,knc->ntc", CATMULL_ROM, around).reshape(-1, 2)


def _ellipse(across: float, down: float) -> np.ndarray:
    """Points `[24, 2]` of an ellipse around the origin."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return np.stack([across * np.cos(angle), down * np.sin(angle)], 1)
