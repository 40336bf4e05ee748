"""The picture of a run: what every column shows, pixel by pixel, for a network whose prediction is known."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fsfm_jax import records, regions
from fsfm_jax.data.masking import MaskSpec, draw_masks
from fsfm_jax.data.photo import decode_image
from fsfm_jax.data.sources import open_source
from fsfm_jax.figures import reconstruction
from fsfm_jax.figures.gallery import CELL, GAP, HEADER, LABEL
from fsfm_jax.figures.reconstruction import CLASS_COLOURS, COLUMNS, draw, mask_picture
from fsfm_jax.models.fsfm import ModelSpec
from fsfm_jax.models.vit import SIZES
from fsfm_jax.tasks.pretrain import LossSpec, PretrainTask, Statistics

MODEL = ModelSpec(
    size=SIZES["tiny16"], image_size=224, seen=49, pixel_width=16, pixel_depth=1, pixel_heads=2, rep_depth=1,
    rep_heads=4, projection_hidden=16, projection_features=8, instance_discrimination=False, target_view="full",
    rep_decoded="both", rep_positions="zeros", dtype=jnp.float32, remat="none",
)  # fmt: skip
STATISTICS = Statistics((0.5, 0.4, 0.3), (0.25, 0.2, 0.3))
MASK = MaskSpec("crfr_p", 0.75, "image", "exact")
SEED, FACES = 3, 2
# Different for every pixel of a patch and every channel, so that no place can be mistaken for another.
BIAS = np.random.default_rng(0).uniform(-1, 1, 768).astype(np.float32)


def task(normalise_pixels: bool) -> PretrainTask:
    return PretrainTask(MODEL, LossSpec(normalise_pixels, 0.007, 0.0, "ncs", 0.1, 1.0, True), STATISTICS)


def parameters(bias: np.ndarray) -> dict:
    """All zero but the bias of the last layer: every patch is predicted as `bias`, whatever is seen."""
    shapes = jax.eval_shape(task(False).init, jax.random.key(0))
    zeros = jax.tree_util.tree_map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    # The layer that predicts pixels is the only one with 768 outputs.
    (last,) = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(zeros) if leaf.shape == (768,)]
    last[:] = bias
    return zeros


def cells(picture: np.ndarray) -> np.ndarray:
    """`[faces, columns, 224, 224, 3]` of a picture file, RGB."""
    rows = (picture.shape[0] - HEADER - LABEL) // (CELL + LABEL)
    places = [GAP + column * (CELL + GAP) for column in range(len(COLUMNS))]
    tops = [HEADER + row * (CELL + LABEL) for row in range(rows)]
    return np.stack([[picture[top : top + CELL, left : left + CELL] for left in places] for top in tops])


def patches(images: np.ndarray) -> np.ndarray:
    """`[..., 224, 224, 3] -> [..., 196, 768]`."""
    cut = images.reshape(*images.shape[:-3], 14, 16, 14, 16, 3).swapaxes(-4, -3)
    return cut.reshape(*images.shape[:-3], 196, 768)


@pytest.mark.parametrize("normalise_pixels", [False, True])
def test_every_column_shows_what_its_title_says(tmp_path, normalise_pixels):
    path, source = str(tmp_path / "picture.png"), open_source("samples:heldout")
    errors = draw(
        path, source, FACES, task(normalise_pixels), MASK, SEED, parameters(np.zeros(768, np.float32)), parameters(BIAS)
    )
    file = cv2.imread(path)[..., ::-1]
    assert file.shape == (HEADER + FACES * (224 + LABEL) + LABEL, 5 * (224 + GAP) + GAP, 3)
    photo, parsing_map, mask_column, before, after = cells(file).swapaxes(0, 1)

    examples = [source[index] for index in range(FACES)]
    images = np.stack([decode_image(example[records.IMAGE], "a") for example in examples])
    maps = np.stack([example[records.PARSING_MAP] for example in examples])
    bits = np.stack([regions.patch_bits(labels, 16) for labels in maps])
    mask, region_mask = draw_masks(MASK, bits, np.arange(FACES), SEED, 1)
    np.testing.assert_array_equal(photo, images)
    np.testing.assert_array_equal(parsing_map, CLASS_COLOURS[maps])
    for index in range(FACES):
        wanted = mask_picture(images[index], mask[index], region_mask[index], 16)
        np.testing.assert_array_equal(mask_column[index], wanted)
    assert region_mask.any()

    mean, std = (np.tile(np.array(part), 256) for part in (STATISTICS.mean, STATISTICS.std))  # [768]
    inputs = (patches(images) / 255 - mean) / std
    centre, spread = inputs.mean(-1, keepdims=True), np.sqrt(inputs.var(-1, keepdims=True, ddof=1) + 1e-6)
    goal = (inputs - centre) / spread if normalise_pixels else inputs
    for shown, bias, error in ((before, 0 * BIAS, errors.before), (after, BIAS, errors.after)):
        np.testing.assert_array_equal(patches(shown)[~mask], patches(images)[~mask])
        predicted = bias * spread + centre if normalise_pixels else bias + 0 * inputs
        wanted = np.clip((predicted * std + mean) * 255, 0, 255)
        # Rounded to whole levels: half a level, and what float32 adds to it.
        np.testing.assert_allclose(patches(shown)[mask], wanted[mask], rtol=0, atol=0.5 + 1e-3)
        np.testing.assert_allclose(error, ((bias - goal) ** 2)[mask].mean(), rtol=1e-5)
    assert errors.faces == FACES


def test_no_more_faces_are_drawn_than_there_are_and_a_folder_that_is_not_there_is_named(tmp_path, monkeypatch):
    with pytest.raises(OSError, match="cannot write the picture .*nowhere/a.png"):
        reconstruction._write(str(tmp_path / "nowhere" / "a.png"), [], [1.0, 0.5], False)
    written = []
    monkeypatch.setattr(reconstruction, "_write", lambda path, rows, errors, normalised: written.append((path, rows)))
    monkeypatch.setattr(reconstruction, "reconstruct", lambda params, images, mask, task: (images, jnp.float32(1)))
    monkeypatch.setattr(reconstruction, "unpatchify", lambda pixels, patch: pixels)
    source = open_source("samples:heldout")
    errors = draw("a.png", source, 100, task(False), MaskSpec("frp", 0.75, "image", "exact"), SEED, {}, {})
    [(path, rows)] = written
    assert errors.faces == len(rows) == len(source) == 5 and path == "a.png"
    assert {row.label for row in rows} == {"frp"}  # no region is covered


def test_hidden_patches_are_grey_and_those_of_the_region_red():
    image = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)
    mask, region_mask = np.zeros((2, 9), bool)
    mask[[1, 5, 6]] = True
    region_mask[[5]] = True
    picture = mask_picture(image, mask, region_mask, 4)
    inner = np.add.outer(np.arange(0, 12, 4), np.arange(1, 4)).ravel()  # without the grid lines
    found, original = (array[np.ix_(inner, inner)].reshape(3, 3, 3, 3, 3).swapaxes(1, 2) for array in (picture, image))
    wanted = original.reshape(9, 9, 3).copy()
    wanted[[1, 6]], wanted[5] = (70, 70, 78), (214, 40, 57)
    np.testing.assert_array_equal(found.reshape(9, 9, 3), wanted)
    # The first row and column of every patch are darker: patches can be counted.
    line = np.where(mask[:3].repeat(4)[:, None], (70, 70, 78), image[0])
    np.testing.assert_array_equal(picture[0, 1:4], (line[1:4] * 0.8).astype(np.uint8))
    np.testing.assert_array_equal(picture[0, 5:8], (line[5:8] * 0.8).astype(np.uint8))
