"""A labelled source of drawn faces with simple forgeries, for tests and demos of the three downstream tasks.

They replace data sets that may not be redistributed. Four kinds of forgery imitate the artefacts of real ones:

| kind        | class names       | artefacts in the picture                                                       |
|-------------|-------------------|--------------------------------------------------------------------------------|
| `blend`     | fake, real        | a face of less detail and another tone, with a lattice, moved and blended in   |
| `diffusion` | fake, real        | texture that is too smooth, and the faint lattice of an upsampling network     |
| `print`     | attack, bona_fide | rows of halftone dots, the tint of paper, less contrast                        |
| `replay`    | attack, bona_fide | pixel stripes, moire, rolling bands, colour temperature, a tilt                |

Lattice, dots and stripes are intentionally regular, aligned with the pixels and unchanged by flips, so a small network
learns them in minutes. Real artefacts are less regular, though networks that upsample by whole factors do leave a
lattice (Odena et al., "Deconvolution and checkerboard artifacts", 2016).

Everything else is the same for both classes. Videos come in pairs of one drawn person, one real and one forged. Each
frame is taken by a camera of `DOMAINS`, independent of the class. Tints and tones vary equally in both directions, and
the camera adds noise up to a detail level drawn before, so neither colour nor file size reveals the class.
"""

import hashlib
import re
import zlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np

from fsfm_jax import records, regions
from fsfm_jax.data.blend_mask import hull_of
from fsfm_jax.data.counter_random import integers
from fsfm_jax.data.drawn import DrawnSource
from fsfm_jax.data.photo import decode_image, encode_jpeg
from fsfm_jax.data.provenance import DRAWN, Provenance
from fsfm_jax.data.synthetic import synthetic_face

CLASS_NAMES = {("blend", "diffusion"): ("fake", "real"), ("print", "replay"): ("attack", "bona_fide")}
FORGED, REAL, FRAMES = 0, 1, 4  # the labels, and the frames per video
PEOPLE = 256  # drawn people cached by a process, 51 MB
PARTS = tuple(range(2, 10)), tuple(range(1, 10))  # classes that a blend replaces: inner face, or whole face
LATTICE, DOTS, STRIPES = 8, 8, 16 / 3  # pixels of a period: 224 has whole ones, blur of 1 leaves 0.73 of a wave of 8
Range = tuple[float, float]


@dataclass(frozen=True)
class Domain:
    """The range of each property of the cameras of one domain; levels are those of 0..255."""

    strength: Range  # strength of the forgeries, 1 = default of `forge`
    quality: Range  # JPEG quality, 0..100
    blur: Range  # standard deviation in pixels
    noise: Range  # levels; the deviation of white noise that equals the detail of the picture, see `photograph`
    brightness: Range  # added levels
    contrast: Range  # factor, about the mean level
    warmth: Range  # share by which red gains and blue loses


# The training domain; then a compressed video, a phone in the dark and a soft webcam in cold light.
DOMAINS = (
    Domain((0.9, 1.3), (82, 97), (0.2, 0.7), (4.0, 10), (-15, 15), (0.75, 1.15), (-0.06, 0.06)),
    Domain((0.8, 1.2), (60, 80), (0.3, 0.9), (4.0, 10), (-15, 15), (0.75, 1.15), (-0.06, 0.06)),
    Domain((0.7, 1.1), (75, 92), (0.4, 0.9), (8.0, 14), (-50, -20), (0.60, 0.95), (0.02, 0.12)),
    Domain((0.7, 1.1), (80, 95), (0.7, 1.2), (3.0, 8), (10, 40), (0.70, 1.00), (-0.12, -0.02)),
)


def forge(
    kind: str, image: np.ndarray, parsing_map: np.ndarray, seed: int, index: int, strength: float = 1.0
) -> np.ndarray:
    """Return a forgery `[S, S, 3] uint8` of a face, a pure function of the arguments.

    Args:
      kind: "blend", "diffusion", "print" or "replay".
      image: `[S, S, 3] uint8` RGB; it is not changed.
      parsing_map: `[S, S] uint8`, labels of `regions.CLASSES`; only "blend" uses it.
      seed, index: select tones, places and periods; the frames of a video share them.
      strength: 0 changes nothing, 1 is visible (a blend clearly), 2 is crude.

    Raises:
      ValueError: the kind is unknown, the strength is negative, the image or map has another shape or dtype, or there
        is no face for "blend".
    """
    _check_kinds([kind])
    records.check_image(image)
    if not strength >= 0:
        raise ValueError(f"strength of a forgery: expected 0 or more, found {strength}")
    rng = _generator(seed, kind, index)
    if kind == "blend":
        return _levels(_blend(image, blend_mask(parsing_map, seed, index), rng, strength))
    return _levels({"diffusion": _diffusion, "print": _print, "replay": _replay}[kind](image, rng, strength))


def blend_mask(parsing_map: np.ndarray, seed: int, index: int) -> np.ndarray:
    """Return the soft mask `[S, S] float32` of `forge("blend", ...)`: 1 = replaced, 0 = bitwise unchanged."""
    regions.check_labels(parsing_map)
    rng, size = _generator(seed, "blend mask", index), parsing_map.shape[0]
    parts = PARTS[rng.integers(len(PARTS)) :]
    chosen = next((c for c in (np.isin(parsing_map, part) for part in parts) if c.any()), None)
    if chosen is None:
        raise ValueError("parsing map: found no face to blend; expected pixels of classes 1..9 of regions.CLASSES")
    hull = cv2.fillConvexPoly(np.zeros(parsing_map.shape, np.float32), hull_of(chosen), 1.0)
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(0.03 * size) + 1,) * 2)
    soft = (2 * round(rng.uniform(0.01, 0.02) * size) + 1,) * 2
    return cv2.blur(cv2.blur(cv2.dilate(hull, around), soft), soft).clip(0, 1)


def photograph(image: np.ndarray, domain: int, seed: int, video: int, frame: int) -> bytes:
    """Encode an image `[224, 224, 3] uint8` as a JPEG, as taken by a video's camera in a domain.

    Exposure, blur, noise level and JPEG quality are drawn per video; noise and a flicker of 1 level per frame.
    """
    rng = _generator(seed, f"camera {domain}", video)
    _, quality, blur, noise, brightness, contrast, warmth = (rng.uniform(*r) for r in astuple(DOMAINS[domain]))
    rng = _generator(seed, f"picture {domain}", video, frame)
    white = np.array((1 + warmth, 1, 1 - warmth))
    offset = white * (image.mean() * (1 - contrast) + brightness + rng.normal())
    seen = cv2.GaussianBlur(image * np.float32(white * contrast) + np.float32(offset), (7, 7), blur)
    # White noise minus its 3x3 mean has 8/9 of its variance. The mean magnitude is robust, as edges are few.
    detail = cv2.absdiff(seen, cv2.blur(seen, (3, 3))).mean() * np.sqrt(np.pi / 2 * 9 / 8)
    seen += np.float32(max(noise**2 - detail**2, 1) ** 0.5) * rng.standard_normal(image.shape, np.float32)
    return encode_jpeg(_levels(seen), round(quality))


class ForgedSource(DrawnSource):
    """`count` faces of the series `seed`, half of them forged, by `kinds` in turn; a random-access source.

    An example is a dict: `records.IMAGE` the camera's JPEG `[224, 224, 3]`, `LABEL` 0 forged or 1 real, `VIDEO` text,
    `FRAME` 0..3, `METHOD` the kind or "" and `SOURCE` text for messages. Videos 2 p and 2 p + 1 show person p, one
    real and one forged in random order; domains of a seed share people.
    """

    def __init__(self, kinds: Sequence[str], count: int, seed: int = 0, domain: int = 0):
        """Make a source; raise ValueError for kinds of several rows of `CLASS_NAMES`, no face or an unknown domain."""
        self.class_names, self.real = _check_kinds(kinds), REAL
        if count < 1 or not 0 <= domain < len(DOMAINS):
            limits = f"a count of 1 or more and a domain 0..{len(DOMAINS) - 1}"
            raise ValueError(f"forged faces: expected {limits}, found count {count} and domain {domain}")
        super().__init__(f"forged:{'+'.join(kinds)}:{count}:{seed}:{domain}", count)
        self.dataset, self._kinds, self._seed, self._domain = "forged", tuple(kinds), seed, domain
        low, high = DOMAINS[domain].quality
        jpeg = f"JPEG of quality {low} to {high}"
        self.provenance = Provenance(detector=DRAWN, image_size=records.IMAGE_SIZE, compression=jpeg, dropped={})

    @cached_property
    def labels(self) -> np.ndarray:
        """`[count] int64`, the label of every example; no face is drawn for it."""
        videos = np.arange(self._count) // FRAMES
        return np.where(videos % 2 == integers(self._seed, "real of a pair", videos // 2, 2), REAL, FORGED)

    @property
    def videos(self) -> np.ndarray:
        """`[count]` text, the video of every example."""
        return np.array([self._video(index) for index in range(self._count)])

    @property
    def methods(self) -> np.ndarray:
        """`[count]` text, the kind of every forged example, "" of real ones."""
        return np.array([self._method(index) for index in range(self._count)])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the name and a picture of either class and each kind, which represent the drawing code."""
        digest = hashlib.sha256(self.name.encode())
        for index in range(0, min(self._count, 2 * FRAMES * len(self._kinds)), FRAMES):
            digest.update(decode_image(self._picture(index), self.name).tobytes())
        return digest.hexdigest()

    def draw(self, index: int) -> dict:
        """Draw the example `index`."""
        return {
            records.IMAGE: self._picture(index),
            records.LABEL: int(self.labels[index]),
            records.VIDEO: self._video(index),
            records.FRAME: index % FRAMES,
            records.METHOD: self._method(index),
            records.SOURCE: f"{self.name} example {index}",
        }

    def _video(self, index: int) -> str:
        # Sources of one seed show the same people. Their videos share ids, so evaluation refuses people trained on.
        return f"forged seed {self._seed} video {index // FRAMES}"

    def _method(self, index: int) -> str:
        return "" if self.labels[index] == REAL else self._kinds[index // (2 * FRAMES) % len(self._kinds)]

    def _picture(self, index: int) -> bytes:
        video, frame = divmod(index, FRAMES)
        image, parsing_map = _person(self._seed, video // 2)
        # Up to 2 degrees, 6 % and 3 pixels: the person moves from frame to frame.
        rng = _generator(self._seed, "move", video, frame)
        moved = rng.uniform((-2, 1, -0.0134, -0.0134), (2, 1.06, 0.0134, 0.0134))
        image, parsing_map = _turn(image, *moved), _turn(parsing_map, *moved, cv2.INTER_NEAREST)
        if method := self._method(index):
            rng, limits = _generator(self._seed, f"strength {self._domain}", video), DOMAINS[self._domain]
            image = forge(method, image, parsing_map, self._seed, video, rng.uniform(*limits.strength))
        return photograph(image, self._domain, self._seed, video, frame)


def open_forged(spec: str) -> ForgedSource:
    """Open `forged:KIND[+KIND]:COUNT[:SEED[:DOMAIN]]`, seed and domain default to 0; ValueError for other text."""
    match = re.fullmatch(r"forged:([^:]+):(\d+)(?::(\d+)(?::(\d+))?)?", spec)
    if not match:
        raise ValueError(f"data {spec!r}: expected forged:KIND[+KIND]:COUNT[:SEED[:DOMAIN]], such as forged:blend:99")
    return ForgedSource(match[1].split("+"), int(match[2]), int(match[3] or 0), int(match[4] or 0))


def _check_kinds(kinds: Sequence[str]) -> tuple[str, str]:
    """Return the class names of `kinds`; raise ValueError for kinds of different rows or a repeated kind."""
    for row, class_names in CLASS_NAMES.items():
        if kinds and set(kinds) <= set(row) and len(set(kinds)) == len(kinds):
            return class_names
    rows = " or ".join("+".join(row) for row in CLASS_NAMES)
    raise ValueError(f"kinds of forgery {'+'.join(kinds)!r}: expected {rows}, or one of the two alone")


def _generator(seed: int, purpose: str, *place: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), *place])


def _levels(image: np.ndarray) -> np.ndarray:
    return image.round().clip(0, 255).astype(np.uint8)


@lru_cache(PEOPLE)
def _person(seed: int, person: int) -> tuple[np.ndarray, np.ndarray]:
    """Return image and parsing map of a person, drawn once for the frames of both videos."""
    image, parsing_map = synthetic_face(seed, person, records.IMAGE_SIZE)
    image.flags.writeable = parsing_map.flags.writeable = False
    return image, parsing_map


def _turn(image: np.ndarray, angle: float, zoom: float, x: float, y: float, flags: int = 1) -> np.ndarray:
    """Rotate `image` by `angle` degrees, scale it about its centre and shift it by x and y, in image widths."""
    matrix = cv2.getRotationMatrix2D(((len(image) - 1) / 2,) * 2, angle, zoom)
    matrix[:, 2] += np.array((x, y)) * len(image)
    return cv2.warpAffine(image, matrix, image.shape[1::-1], flags=flags, borderMode=cv2.BORDER_REFLECT_101)


def _wave(size: int, period: float) -> np.ndarray:
    """Return a wave `[size] float32` of height 1; it is symmetric if `size` has whole periods."""
    return np.cos((np.arange(size, dtype=np.float32) + 0.5) * np.float32(2 * np.pi / period))


def _lattice(size: int, height: float) -> np.ndarray:
    """Return the checkerboard `[size, size, 1] float32` of an upsampling network: a vertical plus a horizontal wave."""
    return np.add.outer(_wave(size, LATTICE), _wave(size, LATTICE))[..., None] * np.float32(height)


def _blend(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Blend in, under `mask`, a copy made at about half the size, in another tone and place."""
    size, share = image.shape[0], rng.uniform(0.35, 0.5)
    angle, zoom, x, y = rng.uniform((-3, -0.05, -0.012, -0.012), (3, 0.05, 0.012, 0.012)) * strength
    tone = np.float32(rng.uniform(8, 14, 3) * rng.choice((-1, 1), 3) * strength)
    small = cv2.resize(image, (round(share * size),) * 2, interpolation=cv2.INTER_AREA)
    made = _turn(cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC), angle, 1 + zoom, x, y) + tone
    made += _lattice(size, rng.uniform(6, 9) * strength)
    return image + (mask * np.float32(min(strength, 1)))[..., None] * (made - image)


def _diffusion(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Smooth the texture between edges, then add the lattice."""
    smooth = cv2.bilateralFilter(image, 5, 60, 3).astype(np.float32)
    return image + min(strength, 1) * (smooth - image) + _lattice(len(image), rng.uniform(2.5, 4) * strength)


def _print(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Print dots in rows along the diagonals, strongest in the middle tones, on tinted paper."""
    (height, fade, tint), sign = rng.uniform((0.2, 0.04, 0.02), (0.3, 0.12, 0.06)) * strength, rng.choice((-1, 1))
    faded = image / np.float32(255)
    faded += np.float32(min(fade, 1)) * (faded.mean() - faded)
    dots = np.outer(*[_wave(len(image), DOTS)] * 2)[..., None] * np.float32(height)
    return (faded + dots * faded * (1 - faded)) * (255 + 255 * np.float32((1, 0, -1)) * np.float32(tint * sign))


def _replay(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Show a screen at a slight tilt: stripes of its pixels, coloured moire, rolling bands, another white."""
    size = len(image)
    corners = np.float32([(0, 0), (1, 0), (1, 1), (0, 1)]) * (size - 1)
    seen = corners + np.float32(rng.uniform(-0.02, 0.02, (4, 2)) * size * strength)
    tilt = cv2.getPerspectiveTransform(corners, seen)
    slope, rings, bands, start, phase = rng.uniform((-12, 8, 1.5, 0, 0), (12, 16, 3.5, 2 * np.pi, 2 * np.pi)).tolist()
    warm = rng.uniform(0.02, 0.06) * rng.choice((-1, 1))
    x, y = (np.linspace(0, 1, size, dtype=np.float32).reshape(shape) for shape in ((1, -1), (-1, 1)))
    moire = (rings * (x * x + 0.6 * y * y) + slope * (x + y) + start)[..., None] + np.float32((0, 2.1, 4.2))
    grey = 0.05 * _wave(size, STRIPES) + 0.04 * np.cos(2 * np.pi * bands * y + phase)
    light = np.float32(strength) * (grey[..., None] + 0.05 * np.cos(moire) + np.float32((warm, 0, -warm)))
    return cv2.warpPerspective(image, tilt, (size, size), borderMode=cv2.BORDER_REFLECT_101) * (1 + light)
