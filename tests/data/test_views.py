"""The views of both networks: which words do what, to photo and class bits alike, and that each has its own draws."""

import numpy as np
import pytest

from fsfm_jax import records, regions
from fsfm_jax.data.transforms import resize_pair
from fsfm_jax.data.views import ONLINE, TARGET, WHOLE, ViewSpec, make_view

POSITIONS = 60


def example_of(position: int) -> tuple[np.ndarray, dict]:
    generator = np.random.default_rng(0)
    parsing_map = np.kron(generator.integers(0, 11, (8, 8), np.uint8), np.ones((28, 28), np.uint8))
    image = np.kron(generator.integers(0, 256, (8, 8, 3), np.uint8), np.ones((28, 28, 1), np.uint8))
    return image, {
        records.PARSING_MAP: parsing_map,
        records.REGION_BITS: regions.patch_bits(parsing_map, 16),
        records.POSITION: position,
    }


def views_of(view: ViewSpec, whose: str = ONLINE, seed: int = 3, size: int = 224) -> list[tuple]:
    return [make_view(view, whose, *example_of(position), seed, size, 16) for position in range(POSITIONS)]


def test_the_whole_photo_is_what_is_stored():
    image, example = example_of(0)
    found = make_view(WHOLE, ONLINE, image, example, 3, 224, 16)
    assert found[0] is image and found[1] is example[records.REGION_BITS]


@pytest.mark.parametrize("size", [224, 112])
def test_a_flip_alone_mirrors_half_of_the_photos_and_their_maps(size):
    image, example = example_of(0)
    photo, parsing_map = resize_pair(image, example[records.PARSING_MAP], size)
    sides = [
        (photo, regions.patch_bits(parsing_map, 16)),
        (photo[:, ::-1], regions.patch_bits(regions.flip_map(parsing_map), 16)),
    ]
    mirrored = []
    for found in views_of(ViewSpec(flip=True), size=size):
        (which,) = [number for number, side in enumerate(sides) if np.array_equal(found[0], side[0])]
        np.testing.assert_array_equal(found[1], sides[which][1])
        mirrored.append(which)
    assert 15 < sum(mirrored) < 45


def test_a_crop_alone_is_that_of_crop_and_flip_without_the_mirror():
    both, alone = views_of(ViewSpec(crop=True, flip=True)), views_of(ViewSpec(crop=True))
    mirrored = [not np.array_equal(one[0], other[0]) for one, other in zip(both, alone, strict=True)]
    for one, other, flipped in zip(both, alone, mirrored, strict=True):
        np.testing.assert_array_equal(one[0], other[0][:, ::-1] if flipped else other[0])
        assert np.array_equal(one[1], other[1]) != flipped
    assert 15 < sum(mirrored) < 45


def test_colour_changes_the_photo_alone():
    plain, coloured = views_of(ViewSpec(crop=True)), views_of(ViewSpec(crop=True, colour=True))
    for one, other in zip(plain, coloured, strict=True):
        np.testing.assert_array_equal(one[1], other[1])
    changed = np.mean([not np.array_equal(one[0], other[0]) for one, other in zip(plain, coloured, strict=True)])
    # Neither jitter nor grey nor blur: 0.2 * 0.8 * 0.5.
    assert abs(changed - 0.92) < 5 * np.sqrt(0.92 * 0.08 / POSITIONS)


@pytest.mark.parametrize("view", [ViewSpec(crop=True), ViewSpec(flip=True), ViewSpec(colour=True)], ids=str)
def test_the_two_networks_have_draws_of_their_own(view):
    online, target, again = views_of(view), views_of(view, TARGET), views_of(view, TARGET)
    same = [np.array_equal(one[0], other[0]) for one, other in zip(online, target, strict=True)]
    # Mirrored or not is one of two, and one in 156 of the colours is none in both.
    assert np.mean(same) < 0.75 and all(np.array_equal(a[0], b[0]) for a, b in zip(target, again, strict=True))
