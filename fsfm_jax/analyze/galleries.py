"""Galleries of the paper and its supplement: masks, reconstructions, and Grad-CAM of detectors."""

import dataclasses
import json
import os
from collections.abc import Sequence

import jax
import numpy as np

from fsfm_jax import regions
from fsfm_jax.data.masking import STRATEGIES, MaskSpec, covered_names, draw_masks, seen_patches
from fsfm_jax.data.resizing import for_evaluation, resize_whole
from fsfm_jax.data.transforms import resize_pair
from fsfm_jax.detection.detector import Detector
from fsfm_jax.figures.cam import overlay
from fsfm_jax.figures.faces import Faces
from fsfm_jax.figures.gallery import CELL, PAPER, Row, write_gallery
from fsfm_jax.figures.reconstruction import CLASS_COLOURS, mask_picture, reconstruct
from fsfm_jax.models.vit import unpatchify
from fsfm_jax.resolve.pretrain import pretraining_loss
from fsfm_jax.tasks.pretrain import PretrainTask
from fsfm_jax.weights.run_reader import OpenedRun

PATCH = 16
NO_MAPS = "has no parsing maps, which masks need; use samples, synthetic:N, or records prepared for pretraining"


def draw_masking(faces: Faces, strategies: Sequence[str], ratio: float, rolls: int, seed: int, folder: str) -> None:
    """Write `masking.png` and `masking.json`: each face under each strategy, in `rolls` rows. FSFM, Fig. 1.

    Raises:
      ValueError: if the faces have no parsing maps, or a strategy or the ratio is invalid.
    """
    images, maps = parse_faces(faces)
    bits = _patch_bits(maps, PATCH)
    covering = [STRATEGIES[name].covers_region for name in strategies]
    under = 2 + covering.index(True) if any(covering) else 2
    rows, counts = [], []
    for number in range(len(images)):
        for roll in range(rolls):
            position = np.array([number * rolls + roll])
            pictures = [images[number], CLASS_COLOURS[maps[number]]]
            covered = ""
            for strategy in strategies:
                spec = MaskSpec(strategy, ratio, "image", "exact")
                mask, region_mask = draw_masks(spec, bits[number : number + 1], position, seed, 1)
                pictures.append(mask_picture(images[number], mask[0], region_mask[0], PATCH))
                if named := covered_names(spec, position, seed, 1)[0]:
                    covered = f"covered: {named}"
                counts.append(
                    {"face": number, "roll": roll, "strategy": strategy, "hidden": int(mask.sum()),
                     "covered": int(region_mask.sum())}
                )  # fmt: skip
            rows.append(Row(pictures, covered, under))
    with open(os.path.join(folder, "masking.json"), "w", encoding="utf-8") as file:
        json.dump({"ratio": ratio, "seed": seed, "patches": bits.shape[1], "masks": counts}, file, indent=1)
    note = "red: the covered region; grey: other hidden patches."
    write_gallery(os.path.join(folder, "masking.png"), ["photo", "parsing map", *strategies], rows, note)


def draw_reconstructions(
    runs: Sequence[OpenedRun], names: Sequence[str], faces: Faces, strategies: Sequence[str], ratio: float, seed: int,
    folder: str,
) -> dict:  # fmt: skip
    """Write `reconstruction.png` and `reconstruction.json` with the masked loss of each run. FSFM supplement, Fig. 6.

    All runs get the same masks.

    Raises:
      ValueError: if patch or image sizes differ, a run has no pixel decoder or statistics, or the faces have no maps.
    """
    tasks = [task_of(run, name, ratio) for run, name in zip(runs, names, strict=True)]
    sizes = {(task.model.size.patch_size, task.model.image_size) for task in tasks}
    if len(sizes) != 1:
        found = ", ".join(f"patches of {patch} in images of {side}" for patch, side in sorted(sizes))
        raise ValueError(f"--checkpoint: expected patches and images of one size, found {found}")
    patch, side = sizes.pop()
    images, maps = parse_faces(faces, side)
    bits = _patch_bits(maps, patch)
    look = jax.jit(reconstruct, static_argnames="task")
    rows, losses = [], {}
    for strategy in strategies:
        spec = MaskSpec(strategy, ratio, "image", "exact")
        mask, region_mask = draw_masks(spec, bits, np.arange(len(images)), seed, 1)
        found = [look(run.params, images, mask, task=task) for run, task in zip(runs, tasks, strict=True)]
        losses[strategy] = {name: float(loss) for name, (_, loss) in zip(names, found, strict=True)}
        for number, image in enumerate(images):
            shown = [unpatchify(np.asarray(pixels[number]), patch) for pixels, _ in found]
            masked = mask_picture(image, mask[number], region_mask[number], patch)
            rows.append(Row([image, CLASS_COLOURS[maps[number]], masked, *shown], strategy, under=2))
    with open(os.path.join(folder, "reconstruction.json"), "w", encoding="utf-8") as file:
        json.dump({"ratio": ratio, "seed": seed, "images": len(images), "masked_loss": losses}, file, indent=1)
    titles = ["photo", "parsing map", "mask", *(os.path.basename(os.path.normpath(name)) for name in names)]
    note = "hidden patches are predicted, visible patches are from the photo"
    relative = [title for title, task in zip(titles[3:], tasks, strict=True) if task.loss_spec.normalise_pixels]
    if relative:
        whose = "" if len(relative) == len(tasks) else f" of {', '.join(relative)}"
        note += f"; predicted texture{whose} is shown with each patch's true mean and contrast"
    write_gallery(os.path.join(folder, "reconstruction.png"), titles, rows, note + ".")
    return losses


def task_of(run: OpenedRun, name: str, ratio: float) -> PretrainTask:
    """Return the objective of an opened pretraining run with the number of visible patches for `ratio`.

    Raises:
      ValueError: if the run has no pixel decoder, or its channel statistics are unknown.
    """
    if "pixel_decoder" not in run.params:
        raise ValueError(f"--checkpoint: expected a pretraining with pixel decoder; {name} has none")
    if run.statistics is None:
        raise ValueError(
            f"--checkpoint: the channel statistics of {name} are unknown; import it with --statistics=NAME"
        )
    model = dataclasses.replace(run.spec, seen=seen_patches(run.spec.patches, ratio), remat="none")
    return PretrainTask(model, pretraining_loss(run.config), run.statistics)


def draw_heat(
    detector: Detector, transform: str, heat, score, faces: Faces, folder: str, by_method: bool = False
) -> None:
    """Write `cam.png` and `cam.json`: each face next to its heat map. FSFM supplement, Fig. 7.

    `heat(crops) -> [n, G, G]` and `score(crops) -> [n, C]` log-probabilities of `[n, S, S, 3] uint8`. With `by_method`
    all faces of a method of manipulation or attack share a row; faces without a method share the row of their class.
    """
    crops = np.stack([for_evaluation(transform, image, detector.task.model.image_size) for image in faces.images])
    heats, likely = heat(crops), np.exp(score(crops).astype(np.float64))
    listed, of_row = [], {}
    for number, crop in enumerate(crops):
        small = resize_whole(crop, CELL)
        label = faces.labels[number] if faces.labels else "not labelled"
        method, real = faces.methods[number], float(likely[number, detector.real])
        key = (method or label) if by_method else str(number)
        of_row.setdefault(key, []).append(([small, overlay(small, heats[number])], label, real))
        listed.append(
            {"label": label, "method": method, "video": faces.videos[number], "real": real,
             "heat": heats[number].tolist()}
        )  # fmt: skip
    with open(os.path.join(folder, "cam.json"), "w", encoding="utf-8") as file:
        json.dump({"detector": detector.name, "faces": listed}, file)
    most = max(map(len, of_row.values()))
    rows = []
    for key, cells in of_row.items():
        pictures = [picture for pair, _, _ in cells for picture in pair]
        pictures += [np.full_like(pictures[0], PAPER[0])] * (2 * (most - len(cells)))
        real = ", ".join(f"{each:.3f}" for _, _, each in cells)
        rows.append(Row(pictures, f"{key if by_method else cells[0][1]}; P(real) {real}"))
    note = "evidence for a forgery"
    write_gallery(os.path.join(folder, "cam.png"), ["photo", "heat map"] * most, rows, note)


def check_strategies(strategies: Sequence[str]) -> Sequence[str]:
    """Return `strategies`; raise ValueError if one is unknown."""
    for strategy in strategies:
        if strategy not in STRATEGIES:
            raise ValueError(f"--strategies: expected some of {', '.join(STRATEGIES)}; found {strategy!r}")
    return strategies


def parse_faces(faces: Faces, side: int = CELL) -> tuple[np.ndarray, np.ndarray]:
    """Return photos `[n, side, side, 3] uint8` and their maps `[n, side, side] uint8`.

    Raises:
      ValueError: if the faces have no maps.
    """
    if faces.maps is None:
        raise ValueError(f"--data: {faces.name} {NO_MAPS}")
    images = [resize_whole(image, CELL) if image.shape[0] != CELL else image for image in faces.images]
    pairs = [resize_pair(image, one, side) for image, one in zip(images, faces.maps, strict=True)]
    images, maps = (np.stack(part) for part in zip(*pairs, strict=True))
    return images, maps


def _patch_bits(maps: np.ndarray, patch: int) -> np.ndarray:
    return np.stack([regions.patch_bits(one, patch) for one in maps])
