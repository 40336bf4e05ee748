"""The picture of a pretraining run: photo, parsing map, mask and reconstruction of held-out faces."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fsfm_jax import losses, records, regions
from fsfm_jax.data.masking import MaskSpec, covered_names, draw_masks
from fsfm_jax.data.photo import decode_image
from fsfm_jax.data.sources import Source
from fsfm_jax.data.transforms import resize_pair
from fsfm_jax.figures.gallery import Row, write_gallery
from fsfm_jax.models.any_mask import predict_pixels
from fsfm_jax.models.fsfm import OnlineNetwork
from fsfm_jax.models.ops import at_least_float32
from fsfm_jax.models.vit import unpatchify
from fsfm_jax.tasks.pretrain import PretrainTask

COLUMNS = ("photo", "parsing map", "mask", "before training", "after training")
HIDDEN, COVERED = np.array([70, 70, 78]), np.array([214, 40, 57])
CLASS_COLOURS = np.array(
    [
        (34, 34, 40), (238, 200, 172), (146, 62, 36), (196, 96, 52), (38, 92, 168), (84, 152, 214),
        (232, 158, 66), (190, 52, 88), (110, 22, 52), (222, 98, 126), (96, 72, 132),
    ], np.uint8
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Errors:
    """Masked-reconstruction loss over the pictured faces, for untrained and trained parameters."""

    faces: int
    before: float
    after: float


def draw(
    path: str,
    source: Source,
    faces: int,
    task: PretrainTask,
    mask_spec: MaskSpec,
    seed: int,
    untrained: Any,
    trained: Any,
) -> Errors:
    """Write the picture of the first `faces` examples of `source` to `path` (PNG).

    Masks are drawn by the run's strategy at stream positions 0, 1, ... Parameters may be sharded. All processes must
    call this function; process 0 writes the file.
    """
    count = min(faces, len(source))
    examples = [source[index] for index in range(count)]
    side, patch = task.model.image_size, task.model.size.patch_size
    pairs = [
        resize_pair(decode_image(e[records.IMAGE], e[records.SOURCE]), e[records.PARSING_MAP], side) for e in examples
    ]
    images, maps = (np.stack(part) for part in zip(*pairs, strict=True))
    bits = np.stack([regions.patch_bits(one, patch) for one in maps])
    positions = np.arange(count)
    mask, region_mask = draw_masks(mask_spec, bits, positions, seed, 1)
    covered = covered_names(mask_spec, positions, seed, 1)

    look = jax.jit(reconstruct, static_argnames="task")
    results = [look(params, images, mask, task=task) for params in (untrained, trained)]
    if jax.process_index() == 0:
        rows = []
        for i in range(count):
            pictures = [
                images[i],
                CLASS_COLOURS[maps[i]],
                mask_picture(images[i], mask[i], region_mask[i], patch),
                *(np.asarray(unpatchify(np.asarray(pixels[i]), patch)) for pixels, _ in results),
            ]
            absent = "" if region_mask[i].any() else " (not in this photo)"
            label = f"covered: {covered[i]}{absent}" if covered[i] else mask_spec.strategy
            rows.append(Row(pictures, label, under=2))
        _write(path, rows, [float(error) for _, error in results], task.loss_spec.normalise_pixels)
    return Errors(count, *(float(error) for _, error in results))


def reconstruct(params: Any, images: jax.Array, mask: jax.Array, task: PretrainTask) -> tuple[jax.Array, jax.Array]:
    """Replace the hidden patches of photos by predictions; also return the masked loss.

    `[B, S, S, 3] uint8, [B, N] bool -> [B, N, P] uint8` and the mean loss over the hidden patches of the batch. Every
    image must have the number of hidden patches of `task.model`.
    """
    patches = task.patches(images)
    predicted = at_least_float32(OnlineNetwork(task.model).apply({"params": params}, patches, mask).pixels)
    error = losses.masked_reconstruction(predicted, task.goal(patches), mask)
    return _fill(patches, predicted, mask, task), error.total / error.denominator


def reconstruct_any(params: Any, image: jax.Array, mask: jax.Array, task: PretrainTask) -> jax.Array:
    """Replace the hidden patches of one photo by predictions, with one program for any number of hidden patches.

    `[1, S, S, 3] uint8, [1, N] bool -> [1, N, P] uint8`, equal to `reconstruct` up to rounding.
    """
    patches = task.patches(image)
    return _fill(patches, at_least_float32(predict_pixels(task.model, params, patches, mask)), mask, task)


def _fill(patches: jax.Array, predicted: jax.Array, mask: jax.Array, task: PretrainTask) -> jax.Array:
    """Replace hidden patches by their predictions and convert to pixels, `-> [B, N, P] uint8`."""
    if task.loss_spec.normalise_pixels:
        # The prediction is relative to each patch's mean and standard deviation, which are taken from the photo.
        mean = patches.mean(-1, keepdims=True)
        deviation = jnp.sqrt(patches.var(-1, keepdims=True, ddof=1) + losses.PIXEL_EPSILON)
        predicted = predicted * deviation + mean
    shown = jnp.where(mask[:, :, None], predicted, patches)
    shown = shown.reshape(*shown.shape[:2], -1, 3) * jnp.asarray(task.statistics.std)[None, None, None]
    shown = jnp.clip(jnp.round((shown + jnp.asarray(task.statistics.mean)[None, None, None]) * 255), 0, 255)
    return shown.reshape(patches.shape).astype(jnp.uint8)


def mask_picture(image: np.ndarray, mask: np.ndarray, region_mask: np.ndarray, patch: int) -> np.ndarray:
    """Draw the mask over `image [S, S, 3] uint8`: hidden patches grey, patches of the covered region red.

    Raises:
      ValueError: if `image` is invalid, or a mask is not `[N] bool` with N the number of patches.
    """
    records.check_image(image)
    patches = (image.shape[0] // patch) ** 2
    for one in (mask, region_mask):
        if one.shape != (patches,) or one.dtype != np.bool_:
            raise ValueError(f"mask: expected [{patches}] bool; found {list(one.shape)} {one.dtype}")
    grid = image.shape[0] // patch
    wide = [np.kron(m.reshape(grid, grid), np.ones((patch, patch), bool)) for m in (mask, region_mask)]
    picture = np.where(wide[0][..., None], HIDDEN, image)
    picture = np.where(wide[1][..., None], COVERED, picture).astype(np.uint8)
    # A thin grid makes single patches countable.
    picture[::patch] = picture[::patch] * 0.8
    picture[:, ::patch] = picture[:, ::patch] * 0.8
    return picture


def _write(path: str, rows: list[Row], errors: list[float], normalised: bool) -> None:
    titles = [*COLUMNS[:3], *(f"{name}: {e:.3f}" for name, e in zip(COLUMNS[3:], errors, strict=True))]
    note = "red: the covered region; grey: other hidden patches; the number above the last columns: masked loss."
    if normalised:
        note += " Predicted texture is shown with each patch's true mean and contrast."
    write_gallery(path, titles, rows, note)
