"""Pictures of a verdict: heat maps over the faces, and for a video the course of its score."""

import numpy as np

from fsfm_jax.apps.reading import VIDEO, Reading
from fsfm_jax.apps.verdict import Verdict
from fsfm_jax.data.photo import encode_png
from fsfm_jax.detection.predictor import Predictor
from fsfm_jax.figures.cam import overlay
from fsfm_jax.figures.plot import draw
from fsfm_jax.figures.timeline import plot_timeline

PNG_COMPRESSION = 3
PICTURES = 8  # of a file, the deciding face and others spread over the rest
GAP = 4


def choose_faces(count: int, deciding: int | None, most: int = PICTURES) -> list[int]:
    """Return the indices of the shown faces: the deciding one first, then others in order, spread over the rest."""
    first = [] if deciding is None else [deciding]
    rest = [index for index in range(count) if index != deciding]
    room = most - len(first)
    if len(rest) > room:
        rest = [rest[place] for place in np.linspace(0, len(rest) - 1, room, dtype=int)]
    return first + rest


def draw_overlays(predictor: Predictor, reading: Reading, deciding: int | None = None) -> list[tuple[int, np.ndarray]]:
    """Return by index of a crop the face next to its heat map, `[S, 2 S + 4, 3] uint8` RGB; see `choose_faces`.

    Raises:
      ValueError: a predictor without heat maps.
    """
    chosen = choose_faces(len(reading.crops), deciding)
    if not chosen:
        return []
    pixels = np.stack([reading.crops[index].pixels for index in chosen])
    gap = np.full((pixels.shape[1], GAP, 3), 255, np.uint8)
    return [
        (index, np.concatenate([face, gap, overlay(face, heat)], axis=1))
        for index, face, heat in zip(chosen, pixels, predictor.heat(pixels), strict=True)
    ]


def timeline(verdict: Verdict) -> np.ndarray:
    """Draw P(real) of the faces of a video along its length, `[H, W, 3] uint8` RGB.

    Raises:
      ValueError: a file without a face.
    """
    if not verdict.faces:
        raise ValueError(f"{verdict.path}: expected a file with a face, found {verdict.reason}")
    timed = all(face.second is not None for face in verdict.faces)
    curves: dict[int, list[tuple[float, float]]] = {}
    for face in verdict.faces:
        at = face.second if timed else face.crop.frame
        curves.setdefault(face.crop.face if face.person is None else face.person, []).append((at, face.score))
    threshold = None if verdict.threshold is None else verdict.threshold.value
    unit = "seconds" if timed else "frame"
    return draw(plot_timeline([*curves.values()], unit, verdict.score, verdict.verdict or "no verdict", threshold))


def explain(number: int, predictor: Predictor, reading: Reading, verdict: Verdict) -> dict[str, bytes]:
    """Return the pictures of a file as PNG by names that start with its number; the deciding face comes first."""
    # The name of the file itself stays out: it may be anything.
    pictures = {}
    for index, picture in draw_overlays(predictor, reading, verdict.deciding):
        crop = reading.crops[index]
        pictures[f"{number:05d}_frame{crop.frame}_face{crop.face}.png"] = picture
    if reading.kind == VIDEO and verdict.faces:
        pictures[f"{number:05d}_timeline.png"] = timeline(verdict)
    return {name: encode_png(np.ascontiguousarray(one), PNG_COMPRESSION) for name, one in pictures.items()}
