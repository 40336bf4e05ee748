"""What the page shows of a face under a mask: the face and its parsing map, then masks and reconstructions of it.

A photo is read once. Its face goes back to the browser, which sends it with each question about a mask: nothing of it
stays here, and another mask waits for no decoder.
"""

import base64
import dataclasses
import threading
from typing import Any

import jax
import numpy as np

from fsfm_jax import records, regions
from fsfm_jax.analyze.galleries import task_of
from fsfm_jax.apps.detect_answer import picture, preview_of
from fsfm_jax.apps.reading import Reading
from fsfm_jax.data.masking import STRATEGIES, MaskSpec, covered_names, draw_masks, seen_patches
from fsfm_jax.data.transforms import resize_pair
from fsfm_jax.figures.reconstruction import CLASS_COLOURS, mask_picture, reconstruct_any
from fsfm_jax.models.vit import unpatchify
from fsfm_jax.resolve.pretrain import pretraining_loss
from fsfm_jax.weights.run_reader import OpenedRun

PATCH = 16
LEAST, MOST = 0.05, 0.95
USUAL_RATIO = 0.75
_PIXELS = records.IMAGE_SIZE**2
FACE_BYTES = 4 * _PIXELS  # red, green and blue of each pixel, then the class of each


def answer_face(reading: Reading) -> dict:
    """Answer about a photo that has a parsed face: which face it is, and `face` to send with each question."""
    crop = reading.crops[0]
    return {
        "face": base64.b64encode(crop.pixels.tobytes() + crop.parsing_map.tobytes()).decode(),
        "photo": picture(crop.pixels),
        "map": picture(CLASS_COLOURS[crop.parsing_map], lossless=True),
        "previews": preview_of(reading),
        "box": list(crop.box),
        "found": max(sum(count for _, count in reading.found), 1),
    }


def open_face(face: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return a face and its parsing map, `[224, 224, 3]` and `[224, 224] uint8`, from the bytes of `answer_face`.

    Raises:
      ValueError: another number of bytes.
    """
    if len(face) != FACE_BYTES:
        raise ValueError(f"face: expected the {FACE_BYTES} bytes that /api/face gave, found {len(face)}")
    numbers = np.frombuffer(face, np.uint8)
    side = records.IMAGE_SIZE
    parsing_map = numbers[3 * _PIXELS :].reshape(side, side)
    return numbers[: 3 * _PIXELS].reshape(side, side, 3), parsing_map


@dataclasses.dataclass(frozen=True)
class Masker:
    """Draws masks, and reconstructs with a pretraining run if there is one.

    Attributes:
      run, name: the pretraining run; None without one.
      lock: held while JAX computes.
    """

    run: OpenedRun | None
    name: str
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return PATCH if self.run is None else self.run.spec.size.patch_size

    def answer_masks(self, face: bytes, strategy: str, ratio: float, roll: int) -> dict:
        """Return the answer about a face of `answer_face`.

        Args:
          ratio: share of hidden patches. roll: number of the draw.

        Raises:
          ValueError: a face, strategy, ratio or roll that is not allowed.
        """
        if strategy not in STRATEGIES:
            raise ValueError(f"strategy: expected one of {', '.join(STRATEGIES)}; found {strategy!r}")
        if not LEAST <= ratio <= MOST:
            raise ValueError(f"ratio: expected {LEAST} to {MOST}, found {ratio:g}")
        if not 0 <= roll < 2**31:
            raise ValueError(f"roll: expected 0 or more, found {roll}")
        patch = self.patch_size
        side = records.IMAGE_SIZE if self.run is None else self.run.spec.image_size
        pixels, parsing_map = resize_pair(*open_face(face), side)
        bits = regions.patch_bits(parsing_map, patch)[None]
        spec, place = MaskSpec(strategy, ratio, "image", "exact"), np.array([roll])
        mask, region_mask = draw_masks(spec, bits, place, 0, 1)
        covered = covered_names(spec, place, 0, 1)[0]
        return {
            "mask": picture(mask_picture(pixels, mask[0], region_mask[0], patch), lossless=True),
            "reconstruction": None if self.run is None else picture(self._reconstruct(pixels, mask)),
            "run": self.name,
            "true_contrast": self.run is not None and pretraining_loss(self.run.config).normalise_pixels,
            "covered": covered,
            "covered_patches": int(region_mask.sum()),
            "hidden": int(mask.sum()),
            "patches": mask.shape[1],
            "regions": _count_regions(bits[0], mask[0], covered),
        }

    def _reconstruct(self, pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
        task = task_of(self.run, self.name, USUAL_RATIO)
        with self.lock:
            found = _look(self.run.params, pixels[None], mask, task=task)
        return unpatchify(np.asarray(found[0]), self.patch_size)


def masker_of(run: OpenedRun | None, name: str) -> Masker:
    """Return a masker whose run is placed on the first device and compiled.

    Raises:
      ValueError: a run that cannot reconstruct faces, see `task_of`.
    """
    if run is None:
        return Masker(None, name)
    masker = Masker(dataclasses.replace(run, params=jax.device_put(run.params)), name)
    blank = np.zeros((run.spec.image_size, run.spec.image_size, 3), np.uint8)
    hidden = np.arange(run.spec.patches) >= seen_patches(run.spec.patches, USUAL_RATIO)
    masker._reconstruct(blank, hidden[None])
    return masker


def _count_regions(bits: np.ndarray, mask: np.ndarray, covered: str) -> list[dict[str, Any]]:
    """Count how much of each region is hidden; a patch of several counts for the covered one, else for the first."""
    member = regions.REGION_OF_BITS[bits].copy()
    if covered:
        first = member[:, regions.REGIONS.index(covered)].copy()
        member[first] = False
        member[first, regions.REGIONS.index(covered)] = True
    owner = member.argmax(axis=1)
    return [
        {"name": name, "patches": int((owner == number).sum()), "hidden": int((mask & (owner == number)).sum())}
        for number, name in enumerate(regions.REGIONS)
    ]


_look = jax.jit(reconstruct_any, static_argnames="task")
