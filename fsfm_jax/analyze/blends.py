"""Galleries of self-blended faces: photo, parsing map, mask, blend, and difference."""

import dataclasses
import json
import os

import numpy as np

from fsfm_jax.analyze.galleries import parse_faces
from fsfm_jax.data.self_blended import SelfBlendSpec, self_blend
from fsfm_jax.figures.faces import Faces
from fsfm_jax.figures.gallery import Row, write_gallery
from fsfm_jax.figures.reconstruction import CLASS_COLOURS

GAIN = 4  # factor by which differences are brightened
TITLES = ("photo", "parsing map", "mask", "self-blended", f"difference x {GAIN}")


def draw_blends(faces: Faces, rolls: int, seed: int, folder: str) -> None:
    """Write `self-blended.png` and `self-blended.json` with `rolls` blends of each face, one per row.

    Raises:
      ValueError: if the faces have no parsing maps, or a map has no face.
    """
    spec, rows, listed = SelfBlendSpec(), [], []
    images, maps = parse_faces(faces)
    for number, (image, parsing_map) in enumerate(zip(images, maps, strict=True)):
        for roll in range(rolls):
            try:
                blended, mask = self_blend(spec, image, parsing_map, number * rolls + roll, seed)
            except ValueError as error:
                raise ValueError(f"--data: {faces.name}, {faces.sources[number]}: {error}") from error
            difference = np.abs(blended.astype(np.int32) - image)
            found = {
                "face": number, "roll": roll, "source": faces.sources[number],
                "covered": float((mask > mask.max() / 2).mean()), "ratio": float(mask.max()),
                "difference_inside": _mean(difference, mask > 0), "difference_outside": _mean(difference, mask == 0),
            }  # fmt: skip
            grey = np.repeat(np.rint(mask * 255).astype(np.uint8)[..., None], 3, axis=2)
            shown = np.minimum(difference * GAIN, 255).astype(np.uint8)
            covers = f"covers {100 * found['covered']:.0f} % of the picture, ratio {found['ratio']:g}"
            rows.append(Row([image, CLASS_COLOURS[parsing_map], grey, blended, shown], covers, 2))
            listed.append(found)
    content = {"seed": seed, "spec": dataclasses.asdict(spec), "blends": listed}
    with open(os.path.join(folder, "self-blended.json"), "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
    write_gallery(os.path.join(folder, "self-blended.png"), TITLES, rows, "white: the moved copy; black: the other one")


def _mean(difference: np.ndarray, chosen: np.ndarray) -> float | None:
    """Return the mean difference, in levels 0..255, over the pixels `chosen [H, W] bool`; None without pixels."""
    return float(difference[chosen].mean()) if chosen.any() else None
