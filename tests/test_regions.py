"""Regions: membership of patches as the official code has it, as a plain loop has it, and after mirroring."""

import numpy as np
import pytest

from fsfm_jax import regions
from fsfm_jax.regions import CLASSES, REGIONS, check_parsing_map, flip_map, membership, patch_bits


def random_map(seed: int, size: int = 224) -> np.ndarray:
    """Noise of few classes in one half, large blocks of all classes in the other."""
    generator = np.random.default_rng(seed)
    noise = generator.choice(11, 3)[generator.integers(0, 3, (size, size))]
    blocks = generator.integers(0, 11, (8, 8)).repeat(size // 8, 0).repeat(size // 8, 1)
    return np.where(np.arange(size) < size // 2, noise, blocks).astype(np.uint8)


def test_membership_is_the_official_one(golden):
    official = golden("masks")
    found = np.stack([membership(patch_bits(m.astype(np.uint8), 16)) for m in official["parsing_maps"]])
    np.testing.assert_array_equal(found, official["region_member"])


@pytest.mark.parametrize("patch_size", [14, 16, 32])
def test_class_bits_are_those_of_a_plain_loop(patch_size):
    for seed in range(3):
        parsing_map, grid = random_map(seed), 224 // patch_size
        bits = patch_bits(parsing_map, patch_size)
        assert bits.shape == (grid * grid,) and bits.dtype == np.uint16
        for row in range(grid):
            for column in range(grid):
                top, left = row * patch_size, column * patch_size
                labels = set(parsing_map[top : top + patch_size, left : left + patch_size].ravel().tolist())
                assert bits[row * grid + column] == sum(1 << label for label in labels)


def test_every_patch_belongs_to_some_region_by_a_single_pixel():
    for row, column, patch in ((0, 0, 0), (15, 15, 0), (15, 16, 1), (16, 15, 14), (223, 223, 195)):
        parsing_map = np.zeros((224, 224), np.uint8)
        parsing_map[row, column] = CLASSES.index("nose")
        member = membership(patch_bits(parsing_map, 16))
        np.testing.assert_array_equal(np.flatnonzero(member[REGIONS.index("nose")]), [patch])
        assert member[REGIONS.index("background")].all()
    # So every patch is claimed by a group, and the groups of a mask add up to all patches.
    assert membership(np.arange(1, 2**11, dtype=np.uint16)).any(0).all()
    assert not membership(np.zeros(1, np.uint16)).any()


@pytest.mark.parametrize(("classes", "found"), [
        (["background"], ["background"]),
        (["right_brow"], ["eyebrows"]),
        (["left_brow", "nose"], ["eyebrows", "nose"]),
        (["left_eye", "skin"], ["eyes", "skin"]),
        (["upper_lip"], ["mouth"]),
        (["inner_mouth"], ["mouth"]),
        (["lower_lip", "right_eye"], ["eyes", "mouth"]),
        # The boundary is skin beside hair or background; hair beside background is none.
        (["skin", "hair"], ["boundary", "hair", "skin"]),
        (["skin", "background"], ["boundary", "skin", "background"]),
        (["hair", "background"], ["hair", "background"]),
        (["skin", "nose"], ["nose", "skin"]),
    ])  # fmt: skip
def test_a_patch_belongs_to_the_regions_of_its_classes(classes, found):
    bits = np.uint16(sum(1 << CLASSES.index(name) for name in classes))
    member = membership(bits[None])[:, 0]
    assert [name for name, belongs in zip(REGIONS, member, strict=True) if belongs] == found


def test_mirroring_twice_is_nothing_and_once_swaps_sides():
    parsing_map = random_map(7)
    mirrored = flip_map(parsing_map)
    np.testing.assert_array_equal(flip_map(mirrored), parsing_map)
    swapped = {2: 3, 3: 2, 4: 5, 5: 4}
    for label in range(11):
        np.testing.assert_array_equal(mirrored == swapped.get(label, label), (parsing_map == label)[:, ::-1])
    names = [CLASSES[label] for label in regions.FLIPPED_CLASS]
    side = {"right": "left", "left": "right"}
    assert names == ["_".join(side.get(part, part) for part in name.split("_")) for name in CLASSES]


@pytest.mark.parametrize("patch_size", [14, 16])
def test_bits_of_a_mirrored_map_are_mirrored_bits_with_sides_swapped(patch_size):
    parsing_map, grid = random_map(3), 224 // patch_size
    before = patch_bits(parsing_map, patch_size).reshape(grid, grid)[:, ::-1]
    has = [(before >> label) & 1 for label in range(11)]
    wanted = sum(has[label].astype(int) << other for other, label in enumerate((0, 1, 3, 2, 5, 4, 6, 7, 8, 9, 10)))
    mirrored = patch_bits(flip_map(parsing_map), patch_size)
    np.testing.assert_array_equal(mirrored.reshape(grid, grid), wanted)
    # Left and right are in the same region: the regions only move.
    moved = membership(patch_bits(parsing_map, patch_size)).reshape(8, grid, grid)[:, :, ::-1]
    np.testing.assert_array_equal(membership(mirrored).reshape(8, grid, grid), moved)


def test_every_class_of_celebamask_has_one_of_ours():
    ours = {
        "background": "background", "skin": "skin", "eye_g": "skin",
        "l_brow": "left_brow", "r_brow": "right_brow", "l_eye": "left_eye", "r_eye": "right_eye",
        "nose": "nose", "mouth": "inner_mouth", "u_lip": "upper_lip", "l_lip": "lower_lip", "hair": "hair",
        "l_ear": "background", "r_ear": "background", "ear_r": "background", "neck": "background",
        "neck_l": "background", "cloth": "background", "hat": "background",
    }  # fmt: skip
    assert set(regions.CELEBAMASK_CLASSES) == set(ours) and len(regions.CELEBAMASK_CLASSES) == 19
    assert regions.CLASS_OF_CELEBAMASK.shape == (19,) and regions.CLASS_OF_CELEBAMASK.dtype == np.uint8
    found = dict(zip(regions.CELEBAMASK_CLASSES, regions.CLASS_OF_CELEBAMASK, strict=True))
    assert {name: CLASSES[label] for name, label in found.items()} == ours
    # The order in which the models give them.
    assert [regions.CELEBAMASK_CLASSES.index(name) for name in ("l_brow", "eye_g", "nose", "neck", "hair")] == [
        2, 6, 10, 14, 17,
    ]  # fmt: skip


@pytest.mark.parametrize("shape", [(224, 224), (1, 224, 224)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64])
def test_a_good_map_of_any_integer_type_is_taken(shape, dtype):
    parsing_map = random_map(1)
    checked = check_parsing_map(parsing_map.astype(dtype).reshape(shape), 224, "a")
    assert checked.dtype == np.uint8
    np.testing.assert_array_equal(checked, parsing_map)


@pytest.mark.parametrize(("parsing_map", "message"), [
        (np.zeros((250, 250), np.int8), "parsing map of face 7: expected 224x224, found 250x250; parse the image"),
        (np.zeros((2, 224, 224), np.int8), "face 7: expected 224x224, found 2x224x224"),
        (np.zeros((224, 224, 1), np.int8), "face 7: expected 224x224, found 224x224x1"),
        (np.zeros(224 * 224, np.int8), "face 7: expected 224x224, found 50176"),
        (np.zeros((224, 224), np.float32), "face 7: expected integer class labels, found float32"),
        (np.zeros((224, 224), bool), "face 7: expected integer class labels, found bool"),
        (np.full((224, 224), 11, np.int8), r"face 7: labels 11..11, expected 0..10 \(background, .*, hair\)"),
        (np.full((224, 224), -1, np.int8), r"face 7: labels -1..-1, expected 0..10"),
        # 256 would be a background if it were cast first.
        (np.full((224, 224), 256, np.int64), r"face 7: labels 256..256, expected 0..10"),
    ])  # fmt: skip
def test_a_wrong_map_is_refused_by_name(parsing_map, message):
    with pytest.raises(ValueError, match=message):
        check_parsing_map(parsing_map, 224, "face 7")
