"""The stream: the same batches however they are loaded, each example in turn, photos and masks that agree."""

import dataclasses
import multiprocessing

import cv2
import numpy as np
import pytest

from fsfm_jax import records, regions
from fsfm_jax.data import masking
from fsfm_jax.data.masking import MaskSpec
from fsfm_jax.data.photo import encode_png
from fsfm_jax.data.sources import open_mixture
from fsfm_jax.data.stream import LoaderEnded, Stream, StreamSpec, load_example, mask_batch, order
from fsfm_jax.data.views import WHOLE, ViewSpec

SPEC = StreamSpec(
    seed=3, global_batch=8, patch_size=16, online=WHOLE, mask=MaskSpec("crfr_p", 0.75, "image", "exact"),
    draw_group=8, other_mask=False, workers=0, threads=0,
)  # fmt: skip
SIMPLE, STRONG = ViewSpec(crop=True, flip=True), ViewSpec(crop=True, flip=True, colour=True)
CODE = 23  # of red per class


class Faces:
    """Photos that say what they are: red the parsing class, green the number, blue which way they look."""

    def __init__(self, count: int, first: int = 0):
        self.numbers = range(first, first + count)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> dict:
        number = self.numbers[index]
        parsing_map = parsing_map_of(number)
        image = np.empty((224, 224, 3), np.uint8)
        image[..., 0], image[..., 1], image[..., 2] = parsing_map * CODE, number, np.arange(224)
        return {
            records.IMAGE: encode_png(image, 1), records.PARSING_MAP: parsing_map,
            records.REGION_BITS: regions.patch_bits(parsing_map, 16), records.SOURCE: f"face {number}",
        }  # fmt: skip


class BrokenFaces(Faces):
    """Face 2 has its header and its end, but not what is between."""

    def __getitem__(self, index: int) -> dict:
        example = super().__getitem__(index)
        if self.numbers[index] == 2:
            data = example[records.IMAGE]
            example[records.IMAGE] = data[:200] + bytes(len(data) - 220) + data[-20:]
        return example


def parsing_map_of(number: int) -> np.ndarray:
    blocks = np.random.default_rng(number).integers(0, 11, (4, 4), np.uint8)
    return np.repeat(np.repeat(blocks, 56, 0), 56, 1)


def take(sources, spec: StreamSpec, steps: int, start: int = 0, host: int = 0, hosts: int = 1) -> dict:
    """The first batches of a stream, stacked: `[steps, b, ...]`."""
    stream = Stream(sources, spec, start, host, hosts)
    batches = [next(stream) for _ in range(steps)]
    stream.close()
    return {key: np.stack([batch[key] for batch in batches]) for key in batches[0]}


def assert_same(found: dict, wanted: dict) -> None:
    assert found.keys() == wanted.keys()
    for key in wanted:
        np.testing.assert_array_equal(found[key], wanted[key], err_msg=key)


def numbers(batches: dict) -> np.ndarray:
    """The numbers of the faces, in the order of the stream."""
    return batches[records.IMAGE][..., 100, 100, 1].ravel()


# However it is loaded.


@pytest.fixture(scope="module")
def everything() -> tuple[list, StreamSpec, dict]:
    """A mixture with all that is random switched on, and its first three batches."""
    sources = [(Faces(5), 0.6), (Faces(7, 100), 0.4)]
    spec = dataclasses.replace(SPEC, online=SIMPLE, target=STRONG, other_mask=True)
    return sources, spec, take(sources, spec, 3)


def test_a_batch_has_the_documented_arrays(everything):
    _, _, batches = everything
    found = {key: (array.shape[1:], array.dtype) for key, array in batches.items()}
    mask = ((8, 196), np.dtype(bool))
    image = ((8, 224, 224, 3), np.dtype(np.uint8))
    masks = dict.fromkeys(("mask", "region_mask", "other_mask"), mask)
    assert found == {"image": image, "target_image": image, **masks}
    assert np.all(batches["mask"].sum(-1) == 147) and np.all(batches["mask"][batches["region_mask"]])


def test_hosts_share_the_batches_of_one(everything):
    sources, spec, whole = everything
    shares = [take(sources, spec, 3, host=host, hosts=4) for host in range(4)]
    # Host h has rows h, h + 4, ... of every global batch.
    together = {key: np.stack([share[key] for share in shares], 2) for key in whole}
    assert_same({key: array.reshape(whole[key].shape) for key, array in together.items()}, whole)


def test_threads_change_nothing(everything):
    sources, spec, whole = everything
    assert_same(take(sources, dataclasses.replace(spec, threads=2), 3), whole)


def test_a_stream_that_starts_later_skips_exactly_the_steps_before(everything):
    sources, spec, whole = everything
    assert_same(take(sources, spec, 2, start=1), {key: array[1:] for key, array in whole.items()})
    shares = take(sources, spec, 1, start=2, host=1, hosts=2)
    assert_same(shares, {key: array[2:, 1::2] for key, array in whole.items()})


def test_processes_change_nothing_and_one_that_is_killed_is_told():
    # Sources that the loader's processes can open again: they know nothing of this file.
    sources = open_mixture("samples:train@0.7,synthetic:4@0.3")
    spec = dataclasses.replace(SPEC, online=SIMPLE, target=STRONG)
    stream = Stream(sources, dataclasses.replace(spec, workers=2), 0, 0, 1)
    try:
        batches = [next(stream) for _ in range(3)]
        assert_same({key: np.stack([batch[key] for batch in batches]) for key in batches[0]}, take(sources, spec, 3))
        first, second = multiprocessing.active_children()
        first.kill()
        with pytest.raises(LoaderEnded, match=r"data.workers: .* was killed \(.* with exit code -9\)"):
            for _ in range(100):  # some are ready
                next(stream)
    finally:
        stream.close()


def test_another_seed_is_another_order_and_other_masks():
    sources = [(Faces(30), None)]
    first, second = (take(sources, dataclasses.replace(SPEC, seed=seed), 3) for seed in (3, 4))
    assert not np.array_equal(numbers(first), numbers(second))
    same_face = dict(zip(numbers(second).tolist(), second["mask"].reshape(-1, 196), strict=True))
    both = [
        np.array_equal(mask, same_face[number])
        for number, mask in zip(numbers(first).tolist(), first["mask"].reshape(-1, 196), strict=True)
        if number in same_face
    ]
    assert both and not any(both)


# Every example its turn.


def test_every_example_comes_once_per_epoch_in_a_new_order():
    # 12 examples of two concatenated sources in batches of 8: an epoch ends within a batch.
    seen = numbers(take([(Faces(5), None), (Faces(7, 100), None)], SPEC, 6)).reshape(4, 12)
    for epoch in seen:
        assert sorted(epoch) == [*range(5), *range(100, 107)]
    assert len({tuple(epoch) for epoch in seen}) == 4
    assert not any(np.array_equal(epoch, np.sort(epoch)) for epoch in seen)


def test_a_mixture_has_its_proportions_and_shuffles_each_source():
    mixed = order([(Faces(8), 0.75), (Faces(8, 100), 0.25)], 3)
    seen = np.array([int(mixed[index][records.SOURCE].removeprefix("face ")) for index in range(64)])
    first, second = seen[seen < 100], seen[seen >= 100] - 100
    # Exact in every stretch of four, so no stretch of training lacks a source.
    np.testing.assert_array_equal((seen < 100).reshape(16, 4).sum(1), 3)
    for one, epochs in ((first, 6), (second, 2)):
        orders = one.reshape(epochs, 8)
        assert all(sorted(order) == list(range(8)) for order in orders)
        assert len({tuple(order) for order in orders}) == epochs
    assert not np.array_equal(first[:8], second[:8])


# Photos and masks that agree.


def flipped_and_classes(image: np.ndarray) -> tuple[bool, np.ndarray, np.ndarray]:
    """What an augmented photo says: whether it is mirrored, its classes, and where these are certain.

    Interpolation mixes neighbours: at most two of the crop's pixels to each side, which a crop of at least 87
    pixels makes at most 2 * 224 / 87 < 6 of the result's. A pixel is certain if all within 6 show its class.
    """
    flipped = int(image[0, -1, 2]) < int(image[0, 0, 2])
    red = image[..., 0].astype(np.float32)
    classes = np.minimum(np.rint(red / CODE), 10).astype(np.uint8)  # cubic interpolation overshoots
    window = np.ones((13, 13), np.uint8)
    uniform = cv2.erode(classes, window) == cv2.dilate(classes, window)
    pure = cv2.dilate(np.abs(red - classes * np.float32(CODE)), window) <= 1  # rounding of the resize
    return flipped, (regions.FLIPPED_CLASS[classes] if flipped else classes), uniform & pure


@pytest.mark.parametrize("patch_size", [14, 16])
def test_augmentation_moves_photo_and_class_bits_together(patch_size):
    spec = dataclasses.replace(SPEC, online=SIMPLE, patch_size=patch_size)
    flips, whole_patches, sided, boxes = [], 0, 0, set()
    for position in range(40):
        loaded = load_example(spec, {**Faces(1, position)[0], records.POSITION: position})
        flipped, classes, certain = flipped_and_classes(loaded[records.IMAGE])
        seen = np.where(certain, np.left_shift(1, classes.astype(int)), 0)
        grid = 224 // patch_size
        cells = seen.reshape(grid, patch_size, grid, patch_size).swapaxes(1, 2).reshape(grid * grid, -1)
        bits = loaded[records.REGION_BITS]
        np.testing.assert_array_equal(bits & np.bitwise_or.reduce(cells, 1), np.bitwise_or.reduce(cells, 1))
        inside = (cells > 0).all(1)  # then nothing else is in the patch
        np.testing.assert_array_equal(bits[inside], np.bitwise_or.reduce(cells[inside], 1))
        flips.append(flipped)
        whole_patches += inside.sum()
        sided += flipped * np.isin(bits[inside], [1 << c for c in (2, 3, 4, 5)]).sum()
        boxes.add(loaded[records.IMAGE][..., 2].tobytes())
    # Enough was looked at: of 40 photos some are mirrored, with left and right classes in them.
    assert whole_patches > 1000 and sided > 50 and 5 < sum(flips) < 35 and len(boxes) == 40


# The target's crop and mirror image are draws of their own, and its mask is of what they leave.
@pytest.mark.parametrize("whose", ["online", "target"])
def test_masks_of_the_stream_fit_its_augmented_photos(monkeypatch, whose):
    # Patches that certainly have a pixel of the region are covered, those that certainly have none are not.
    monkeypatch.setattr(masking, "draw_region", lambda spec, positions, seed, group: positions % 4)
    spec = dataclasses.replace(SPEC, online=SIMPLE, target=SIMPLE, other_mask=True)
    batches, covered = take([(Faces(16), None)], spec, 5), 0
    assert np.mean(batches["image"] == batches["target_image"]) < 0.5
    image, mask = {"online": ("image", "region_mask"), "target": ("target_image", "other_mask")}[whose]
    for position, (photo, hidden) in enumerate(
        zip(batches[image].reshape(-1, 224, 224, 3), batches[mask].reshape(-1, 196), strict=True)
    ):
        _, classes, certain = flipped_and_classes(photo)
        has = np.isin(classes, regions.REGION_CLASSES[position % 4])
        cut = [array.reshape(14, 16, 14, 16).swapaxes(1, 2).reshape(196, -1) for array in (certain, has)]
        surely, surely_not = (cut[0] & cut[1]).any(1), (cut[0] & ~cut[1]).all(1)
        if (~surely_not).sum() > 147:  # perhaps more than can be hidden
            continue
        assert hidden[surely].all() and not (whose == "online" and hidden[surely_not].any())
        covered += surely.sum()
    assert covered > 500


@pytest.mark.parametrize("online", [WHOLE, SIMPLE], ids=str)
def test_masks_of_the_stream_are_those_of_their_positions(online):
    spec = dataclasses.replace(SPEC, online=online)
    batches = take([(Faces(16), None)], spec, 2, start=1)
    for row, number in enumerate(numbers(batches)):
        position = np.array([8 + row])  # step 1 of batches of 8
        loaded = load_example(spec, {**Faces(1, int(number))[0], records.POSITION: int(position[0])})
        mask, region_mask = masking.draw_masks(spec.mask, loaded[records.REGION_BITS][None], position, 3, 8)
        np.testing.assert_array_equal(batches["image"].reshape(16, 224, 224, 3)[row], loaded[records.IMAGE])
        np.testing.assert_array_equal(batches["mask"].reshape(16, 196)[row], mask[0])
        np.testing.assert_array_equal(batches["region_mask"].reshape(16, 196)[row], region_mask[0])


def test_patch_size_14_has_masks_of_256_patches_of_the_map():
    batches = take([(Faces(16), None)], dataclasses.replace(SPEC, patch_size=14), 2)
    assert batches["mask"].shape == (2, 8, 256) and np.all(batches["mask"].sum(-1) == 192)
    drawn = masking.draw_region(SPEC.mask, np.arange(16), 3, 8)
    compared = 0
    for row, number in enumerate(numbers(batches)):
        member = regions.membership(regions.patch_bits(parsing_map_of(number), 14))[drawn[row]]
        if member.sum() < 192:
            np.testing.assert_array_equal(batches["region_mask"].reshape(16, 256)[row], member)
            compared += member.any()
    assert compared > 8


def test_stored_class_bits_are_used_as_they_are_and_a_batch_has_to_divide_among_the_hosts():
    # Unpacking and reducing the map would take longer than decoding the photo.
    example = {**Faces(1)[0], records.POSITION: 0, records.PARSING_MAP: None}
    assert load_example(SPEC, example)[records.REGION_BITS] is example[records.REGION_BITS]
    with pytest.raises(ValueError, match="batch of 8 does not divide among 3 hosts"):
        Stream([(Faces(9), None)], SPEC, 0, 0, 3)


def test_the_other_mask_is_independent():
    draws = 6000
    bits = np.tile(regions.patch_bits(parsing_map_of(1), 16), (draws, 1))
    batch = {records.IMAGE: np.zeros(draws), records.REGION_BITS: bits, records.POSITION: np.arange(draws)}
    spec = dataclasses.replace(SPEC, other_mask=True, mask=MaskSpec("random", 0.75, "image", "exact"))
    masked = mask_batch(spec, batch)
    both = (masked["mask"] & masked["other_mask"]).mean(0)
    # Independent: 0.75 ** 2 of the draws, within 5 standard errors; the same mask twice would have 0.75.
    error = np.sqrt(0.5625 * 0.4375 / draws)
    np.testing.assert_allclose(both, 0.5625, rtol=0, atol=5 * error)
    assert np.all(masked["other_mask"].sum(1) == 147)
    np.testing.assert_array_equal(
        masked["mask"], mask_batch(dataclasses.replace(spec, other_mask=False), batch)["mask"]
    )


# Errors.


@pytest.mark.parametrize("threads", [0, 2])
def test_a_record_that_does_not_decode_is_named(threads):
    stream = Stream([(BrokenFaces(8), None)], dataclasses.replace(SPEC, threads=threads), 0, 0, 1)
    with pytest.raises(ValueError, match="photo face 2: damaged"):
        next(stream)
    stream.close()
