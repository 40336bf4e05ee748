"""Measure how well a detector's heat maps localise a forgery, on self-blended faces with known masks.

Two baselines of the same resolution do not depend on the image: a Gaussian bump in the middle, where faces are, and
random numbers.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from fsfm_jax.analyze.galleries import parse_faces
from fsfm_jax.data.distributions import uniforms
from fsfm_jax.data.resizing import for_evaluation, resize_whole
from fsfm_jax.data.self_blended import SelfBlendSpec, self_blend
from fsfm_jax.detection import facts
from fsfm_jax.detection.detector import Detector
from fsfm_jax.figures.cam import enlarge, overlay
from fsfm_jax.figures.faces import Faces
from fsfm_jax.figures.gallery import CELL, Row, write_gallery
from fsfm_jax.metrics.localisation import intersection_over_union, pointing_game

RESULTS, TABLE, PICTURE = "localisation.json", "localisation.md", "localisation.png"
HEAT, CENTRE, RANDOM = "heat map", "centre", "random"
SHARE = 0.5  # of the maximum of a map; pixels with at least this value are marked
BUMP = 0.25  # standard deviation of the bump in the middle, in image sides
SHOWN = 12  # maximum rows of the picture


def measure_localisation(
    detector: Detector,
    transform: str,
    heat: Callable[[np.ndarray], np.ndarray],
    score: Callable[[np.ndarray], np.ndarray],
    faces: Faces,
    rolls: int,
    seed: int,
    folder: str,
) -> dict:
    """Write `localisation.md`, `.json` and `.png`: IoU and pointing game over self-blended faces, and return the JSON.

    Args:
      transform: name of the transform from crops to network inputs.
      heat: function `[n, S, S, 3] uint8 -> [n, G, G]`, 0..1.
      score: function `[n, S, S, 3] uint8 -> [n, C]`, log-probabilities.
      rolls: number of blends of each face.
      seed: seed of blends and random maps.

    Raises:
      ValueError: if the faces have no parsing maps, or the mask of a face has no pixel in the network's input.
    """
    side = detector.task.model.image_size
    crops, regions = (np.stack(part) for part in zip(*_blend(faces, rolls, seed, transform, side), strict=True))
    found, real = heat(crops), np.exp(score(crops).astype(np.float64))[:, detector.real]
    grid = found.shape[-1]
    maps = {
        HEAT: found,
        CENTRE: np.repeat(_bump(grid)[None], len(crops), axis=0),
        RANDOM: np.reshape([uniforms(seed, "random heat", n, grid**2) for n in range(len(crops))], found.shape),
    }
    each = {name: _measure(values, regions, side) for name, values in maps.items()}
    content = {
        "data": faces.name, "faces": len(faces.images), "rolls": rolls, "seed": seed, "share": SHARE, "grid": grid,
        "region": float(regions.mean()), "called_forged": float(np.mean(real < 0.5)),
        "without_heat": int((found.max(axis=(1, 2)) == 0).sum()),
        "maps": {name: {key: _spread(values, rolls) for key, values in one.items()} for name, one in each.items()},
        "blends": [
            {"face": n // rolls, "roll": n % rolls, "source": faces.sources[n // rolls], "real": float(real[n])}
            | {f"{name}/{key}": float(values[n]) for name, one in each.items() for key, values in one.items()}
            for n in range(len(crops))
        ],
        facts.KEY: {"detector": facts.describe_detector(detector, detector.params, transform, side), "sets": {}},
    }  # fmt: skip
    with open(os.path.join(folder, RESULTS), "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
    with open(os.path.join(folder, TABLE), "w", encoding="utf-8") as file:
        file.write(table(content))
    chosen = np.unique(np.linspace(0, len(crops) - 1, SHOWN, dtype=int))
    rows = [
        Row([resize_whole(crops[n], CELL), _grey(regions[n]), overlay(crops[n], found[n])],
            f"IoU {each[HEAT]['iou'][n]:.2f}, P(real) {real[n]:.3f}", 1) for n in chosen
    ]  # fmt: skip
    write_gallery(os.path.join(folder, PICTURE), ("self-blended", "mask", HEAT), rows, "white: replaced pixels")
    return content


def table(content: Mapping) -> str:
    """Return the table of the maps, in percent, with the facts below it."""
    lines = ["| map | IoU | pointing game |", "|---|---|---|"]
    for name, found in content["maps"].items():
        cells = [_show(found[key]) for key in ("iou", "pointing")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    below = (
        f"Percent, mean ± standard error over {content['faces']} faces of {content['data']}, {content['rolls']} "
        f"self-blended copies each (seed {content['seed']}). IoU of the mask and the pixels with at least "
        f"{100 * content['share']:g} % of a map's largest value; the pointing game tests whether it lies in the "
        f"mask, which covers {100 * content['region']:.1f} % of a picture. The detector classifies "
        f"{100 * content['called_forged']:.1f} % of these faces as forged; {content['without_heat']} have an empty "
        "heat map, which counts as 0."
    )
    detector = content[facts.KEY]["detector"]
    return "\n".join([*lines, "", below, "", facts.block(facts.Facts([(detector["name"], detector)], []))])


def _blend(faces: Faces, rolls: int, seed: int, transform: str, side: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield each blend as the network's input, `[S, S, 3] uint8`, and its replaced pixels, `[S, S] bool`."""
    spec = SelfBlendSpec()
    images, maps = parse_faces(faces)
    for number, (image, parsing_map) in enumerate(zip(images, maps, strict=True)):
        for roll in range(rolls):
            try:
                blended, mask = self_blend(spec, image, parsing_map, number * rolls + roll, seed)
                # A pixel belongs to the region if the mask is above half of its maximum.
                region = for_evaluation(transform, _grey(mask / mask.max()), side)[..., 0] > 127
                if not region.any():
                    raise ValueError("the mask has no pixel in the network's input")
            except ValueError as error:
                raise ValueError(f"--data: {faces.name}, {faces.sources[number]}: {error}") from error
            yield for_evaluation(transform, blended, side), region


def _measure(maps: np.ndarray, regions: np.ndarray, side: int) -> dict[str, np.ndarray]:
    """Return IoU and pointing game of each map `[n, G, G]`, enlarged to the image."""
    wide = [enlarge(one, side) for one in maps]
    return {
        "iou": np.array([intersection_over_union(*pair, SHARE) for pair in zip(wide, regions, strict=True)]),
        "pointing": np.array([pointing_game(*pair) for pair in zip(wide, regions, strict=True)]),
    }


def _spread(values: np.ndarray, rolls: int) -> dict[str, float | None]:
    """Return the mean and its standard error over faces; copies of a face are averaged. None for one face."""
    of_face = values.reshape(-1, rolls).mean(axis=1)
    error = float(of_face.std(ddof=1) / np.sqrt(len(of_face))) if len(of_face) > 1 else None
    return {"mean": float(of_face.mean()), "standard_error": error}


def _show(found: Mapping) -> str:
    error = found["standard_error"]
    return f"{100 * found['mean']:.1f}" + ("" if error is None else f" ± {100 * error:.1f}")


def _bump(grid: int) -> np.ndarray:
    """Return a Gaussian bump `[G, G]` with 1 in the middle."""
    place = (np.arange(grid) + 0.5) / grid - 0.5
    return np.exp(-(place[:, None] ** 2 + place[None] ** 2) / (2 * BUMP**2))


def _grey(mask: np.ndarray) -> np.ndarray:
    """Convert a mask `[H, W]`, 0..1, to a grey image `[H, W, 3] uint8`."""
    return np.repeat(np.rint(np.asarray(mask, np.float32) * 255).astype(np.uint8)[..., None], 3, axis=2)
