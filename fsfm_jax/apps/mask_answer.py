"""What the page shows of a face under a mask: parsing map, mask, covered region, and the reconstruction."""

import dataclasses
import threading

import jax
import numpy as np

from fsfm_jax import regions
from fsfm_jax.analyze.galleries import task_of
from fsfm_jax.apps.detect_answer import picture
from fsfm_jax.apps.reading import Reading
from fsfm_jax.data.masking import STRATEGIES, MaskSpec, covered_names, draw_masks, seen_patches
from fsfm_jax.data.transforms import resize_pair
from fsfm_jax.figures.reconstruction import CLASS_COLOURS, mask_picture, reconstruct
from fsfm_jax.models.vit import unpatchify
from fsfm_jax.weights.run_reader import OpenedRun

PATCH = 16
LEAST, MOST = 0.05, 0.95
USUAL_RATIO = 0.75
_COMPILED = 8  # ratios whose reconstruction is kept compiled


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

    def answer_masks(self, reading: Reading, strategy: str, ratio: float, roll: int) -> dict:
        """The answer about a photo that has a parsed face.

        Args:
          ratio: share of hidden patches. roll: number of the draw.

        Raises:
          ValueError: a strategy, ratio or roll that is not allowed.
        """
        if strategy not in STRATEGIES:
            raise ValueError(f"strategy: expected one of {', '.join(STRATEGIES)}; found {strategy!r}")
        if not LEAST <= ratio <= MOST:
            raise ValueError(f"ratio: expected {LEAST} to {MOST}, found {ratio:g}")
        if not 0 <= roll < 2**31:
            raise ValueError(f"roll: expected 0 or more, found {roll}")
        crop, patch = reading.crops[0], self.patch_size
        side = len(crop.pixels) if self.run is None else self.run.spec.image_size
        pixels, parsing_map = resize_pair(crop.pixels, crop.parsing_map, side)
        bits = regions.patch_bits(parsing_map, patch)[None]
        spec, place = MaskSpec(strategy, ratio, "image", "exact"), np.array([roll])
        mask, region_mask = draw_masks(spec, bits, place, 0, 1)
        covered = covered_names(spec, place, 0, 1)[0]
        covered += " (not in this photo)" if covered and not region_mask.any() else ""
        return {
            "photo": picture(pixels),
            "map": picture(CLASS_COLOURS[parsing_map], lossless=True),
            "mask": picture(mask_picture(pixels, mask[0], region_mask[0], patch), lossless=True),
            "reconstruction": None if self.run is None else picture(self._reconstruct(pixels, mask, ratio)),
            "run": self.name,
            "covered": covered,
            "hidden": int(mask.sum()),
            "covered_patches": int(region_mask.sum()),
            "patches": mask.shape[1],
        }

    def _reconstruct(self, pixels: np.ndarray, mask: np.ndarray, ratio: float) -> np.ndarray:
        task = task_of(self.run, self.name, ratio)
        with self.lock:
            if _look._cache_size() >= _COMPILED:
                _look.clear_cache()  # each ratio compiles once more; visitors could fill the memory
            found, _ = _look(self.run.params, pixels[None], mask, task=task)
        return unpatchify(np.asarray(found[0]), self.patch_size)


def masker_of(run: OpenedRun | None, name: str) -> Masker:
    """A masker whose run is placed on the first device and compiled for the usual ratio.

    Raises:
      ValueError: a run that cannot reconstruct faces, see `task_of`.
    """
    if run is None:
        return Masker(None, name)
    masker = Masker(dataclasses.replace(run, params=jax.device_put(run.params)), name)
    blank = np.zeros((run.spec.image_size, run.spec.image_size, 3), np.uint8)
    hidden = np.arange(run.spec.patches) >= seen_patches(run.spec.patches, USUAL_RATIO)
    masker._reconstruct(blank, hidden[None], USUAL_RATIO)
    return masker


_look = jax.jit(reconstruct, static_argnames="task")
