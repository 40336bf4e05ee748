"""Public functions that take pictures, parsing maps or class bits refuse arrays of another kind."""

import types

import numpy as np
import pytest

from fsfm_jax import records, regions
from fsfm_jax.data import forgery, masking, resizing, saturation, transforms
from fsfm_jax.data.augment import AugmentSpec, augment
from fsfm_jax.data.boxes import Box
from fsfm_jax.data.photo import encode_jpeg, encode_png
from fsfm_jax.data.rand_augment import Operation, apply_operations
from fsfm_jax.data.statistics import PixelSums
from fsfm_jax.detection.encoder import LoadedEncoder
from fsfm_jax.detection.predictor import Predictor
from fsfm_jax.figures import cam, reconstruction
from fsfm_jax.prepare import crop
from fsfm_jax.prepare.media.borders import without_black_borders
from fsfm_jax.prepare.parse.bisenet import BisenetParser
from fsfm_jax.prepare.parse.boxes import BoxParser
from fsfm_jax.prepare.parse.embedded import EmbeddedParser
from fsfm_jax.prepare.parse.farl import FarlParser
from fsfm_jax.tasks.normalisation import Statistics, normalise

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
MAP = (np.arange(32 * 32) % regions.NUM_CLASSES).astype(np.uint8).reshape(32, 32)
MASK = np.zeros(4, bool)
WHOLE, SQUARE = crop.Detection(0, 0, 31, 31, 1.0), crop.Square(0, 0, 32)
STATISTICS = Statistics((0.5,) * 3, (0.25,) * 3)


def parser(kind):
    return lambda image: kind.__call__(types.SimpleNamespace(), image, WHOLE, SQUARE, 32)


OF_IMAGES = {
    "check_image": records.check_image,
    "resize_whole": lambda image: resizing.resize_whole(image, 8),
    "resize_box": lambda image: resizing.resize_box(image, Box(0, 0, 8, 8), 8, "bicubic"),
    "for_evaluation": lambda image: resizing.for_evaluation("resize", image, 8),
    "augment": lambda image: augment(AugmentSpec(8, "bicubic", None, None, 0.0, None, None), image, 0, 0),
    "scale_saturation": lambda image: saturation.scale_saturation(image, 1.0, "clip"),
    "apply_operations": lambda image: apply_operations([Operation("invert", 0.0, 1)], image, "bicubic", (0, 0, 0)),
    "apply_crop": lambda image: transforms.apply_crop(transforms.Crop(0, 0, 8, 8, False), image, MAP),
    "forge": lambda image: forgery.forge("print", image, MAP, 0, 0),
    "encode_png": lambda image: encode_png(image, 1),
    "encode_jpeg": lambda image: encode_jpeg(image, 90),
    "PixelSums.of": PixelSums.of,
    "cut": lambda image: crop.cut(image, SQUARE, 8),
    "without_black_borders": without_black_borders,
    "overlay": lambda image: cam.overlay(image, np.zeros((2, 2))),
    "mask_picture": lambda image: reconstruction.mask_picture(image, MASK, MASK, 16),
}
PARSERS = {kind.__name__: parser(kind) for kind in (EmbeddedParser, BisenetParser, FarlParser, BoxParser)}
OTHER_IMAGES = {
    "floats of 0..1": IMAGE.astype(np.float32) / 255, "floats of 0..255": IMAGE.astype(np.float64),
    "other integers": IMAGE.astype(np.int32), "grey": IMAGE[..., 0], "with alpha": np.dstack([IMAGE, IMAGE[..., 0]]),
    "channels first": IMAGE[:, :16].transpose(2, 0, 1), "a batch": IMAGE[None], "no pixel": IMAGE[:0],
    "a list": IMAGE.tolist(),
}  # fmt: skip


@pytest.mark.parametrize("name", [*OF_IMAGES, *PARSERS])
def test_an_image_of_another_kind_is_refused(name):
    if name in OF_IMAGES:
        OF_IMAGES[name](IMAGE)
    for kind, image in OTHER_IMAGES.items():
        with pytest.raises(ValueError, match=r"image: expected \[H, W, 3\] uint8 with pixels; found"):
            (OF_IMAGES | PARSERS)[name](image)
            pytest.fail(kind)


def predictor() -> Predictor:
    def scores(crops):
        return np.zeros((len(crops), 2), np.float32)

    def heat(crops, of):
        return np.zeros((len(crops), 2, 2), np.float32)

    card = {"class_names": ["fake", "real"], "real": 1}
    return Predictor("a detector", card, 32, "resize", scores, heat, 2, lambda: "")


def encoder() -> LoadedEncoder:
    size = types.SimpleNamespace(patch_size=16)
    return LoadedEncoder("an encoder", types.SimpleNamespace(size=size), {}, STATISTICS, 32)


OF_BATCHES = {
    "check_images": (records.check_images, "expected [n, H, W, 3] uint8, pixels 0..255; found"),
    "Predictor.log_probabilities": (
        lambda images: predictor().log_probabilities(images), "expected [n, 32, 32, 3] uint8",
    ),
    "Predictor.heat": (lambda images: predictor().heat(images), "expected [n, 32, 32, 3] uint8"),
    "LoadedEncoder.patches": (lambda images: encoder().patches(images), "expected [n, H, W, 3] uint8"),
    "normalise": (lambda images: normalise(images, STATISTICS), "expected uint8 pixels 0..255 of shape [B, H, W, 3]"),
}


@pytest.mark.parametrize("name", OF_BATCHES)
def test_a_batch_of_another_kind_is_refused(name):
    call, words = OF_BATCHES[name]
    batch = np.stack([IMAGE, IMAGE])
    call(batch)
    others = [batch / 255, batch.astype(np.float32), batch.astype(np.int64), batch.transpose(0, 3, 1, 2), batch[0, 0]]
    if name.startswith("Predictor"):
        others += [batch[:, :16], batch[:, :16, :16]]
    for other in others:
        with pytest.raises(ValueError) as error:
            call(other)
        assert words in str(error.value) and str(list(other.shape)) in str(error.value)


def test_floats_pass_only_where_nothing_is_to_be_normalised():
    floats = np.float32([[[[0.5, -1.0, 2.0]]]])
    assert normalise(floats, None) is floats
    with pytest.raises(ValueError, match="expected normalised floats without statistics, found uint8"):
        normalise(np.zeros((1, 2, 2, 3), np.uint8), None)
    expected = (np.float32(51) / 255 - 0.5) / 0.25
    assert np.asarray(normalise(np.full((1, 1, 1, 3), 51, np.uint8), STATISTICS)) == pytest.approx(expected)


OF_MAPS = {
    "check_labels": regions.check_labels,
    "patch_bits": lambda one: regions.patch_bits(one, 16),
    "flip_map": regions.flip_map,
    "apply_crop": lambda one: transforms.apply_crop(transforms.Crop(0, 0, 8, 8, True), IMAGE, one),
    "blend_mask": lambda one: forgery.blend_mask(one, 0, 0),
    "forge": lambda one: forgery.forge("blend", IMAGE, one, 0, 0),
}


@pytest.mark.parametrize("name", OF_MAPS)
def test_a_parsing_map_of_another_kind_is_refused(name):
    OF_MAPS[name](MAP)
    beyond = MAP.copy()
    beyond[3, 3] = regions.NUM_CLASSES
    for other in (beyond, MAP * 0 + 255):
        with pytest.raises(ValueError, match=r"parsing map: labels up to (11|255), expected 0\.\.10"):
            OF_MAPS[name](other)
    for other in (MAP / 10, MAP.astype(np.int64), MAP[None], MAP[0], MAP[:0], MAP.tolist()):
        with pytest.raises(ValueError, match=r"parsing map: expected \[H, W\] uint8; found"):
            OF_MAPS[name](other)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="patch size: expected 1 to 32 pixels of this map; found 33"):
        regions.patch_bits(MAP, 33)
    with pytest.raises(ValueError, match="expected a square image and its map"):
        transforms.apply_crop(transforms.Crop(0, 0, 8, 8, False), IMAGE, MAP[:16])
    for mask in (np.zeros(3, bool), np.zeros(4), np.zeros((2, 2), bool)):
        with pytest.raises(ValueError, match=r"mask: expected \[4\] bool"):
            reconstruction.mask_picture(IMAGE, mask, MASK, 16)
    for heat in (np.zeros(4), np.full((2, 2), np.nan)):
        with pytest.raises(ValueError, match="heat: expected a map"):
            cam.overlay(IMAGE, heat)


def test_class_bits_of_another_kind_are_refused():
    spec = masking.MaskSpec("crfr_p", 0.75, "image", "exact")
    bits, positions = np.stack([regions.patch_bits(MAP, 8)] * 2), np.arange(2)
    masking.draw_masks(spec, bits, positions, 0, 1)
    for call in (regions.membership, lambda one: masking.draw_masks(spec, one, positions, 0, 1)):
        for other in (bits.astype(np.float32), np.int64(3)):
            with pytest.raises(ValueError, match="class bits: expected integers"):
                call(other)
        for value in (-1, 2048):
            with pytest.raises(ValueError, match=f"class bits: expected 0..2047.* found .*{value}"):
                call(np.full((2, 16), value))
    for one, places in ((bits[0], positions), (bits, np.arange(3)), (bits, positions / 2)):
        with pytest.raises(ValueError, match=r"masks: expected bits \[B, N\] and integer positions \[B\]"):
            masking.draw_masks(spec, one, places, 0, 1)
