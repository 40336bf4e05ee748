"""Self-blended images: the blend by hand, draws by position, pairs in a batch, and what cannot be blended."""

import dataclasses
import pickle

import cv2
import numpy as np
import pytest
from prepared import records_of_faces

from fsfm_jax import records
from fsfm_jax.data.augment import AugmentSpec
from fsfm_jax.data.blend_mask import BlendMaskSpec, draw_mask, part_corners, soften
from fsfm_jax.data.blended_source import METHOD, open_blended
from fsfm_jax.data.class_map import open_classed
from fsfm_jax.data.label_stream import LabelledSpec, LabelledStream, decode, evaluation_batches
from fsfm_jax.data.labels import check_disjoint, open_labelled
from fsfm_jax.data.photo import encode_png
from fsfm_jax.data.self_blended import SelfBlendSpec, blend, change_colour, change_sharpness, self_blend
from fsfm_jax.data.sources import open_mixture

STAYS = np.float64([[1, 0, 0], [0, 1, 0]])
# Nothing moves and nothing changes in sharpness; red gains ten levels.
PLAIN = SelfBlendSpec(
    swap=0.0, shift=(10.0, 10.0), hue=(0, 0), saturation=(0, 0), value=(0, 0), brightness=(0, 0), contrast=(0, 0),
    coarser=0.0, sharpen=(0, 0), move=(0, 0), scale=(1, 1), ratios=(1.0,),
    mask=BlendMaskSpec(parts=("face",), elastic=0.0, first_blur=(0, 0), second_blur=(0, 0)),
)  # fmt: skip


def noise(size: int = 224) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 246, (size, size, 3), np.uint8)


def square_face(size: int = 224) -> np.ndarray:
    """A face of skin, rows 60..159 and columns 70..149, with brows, eyes, nose and lips on its middle line."""
    found = np.zeros((size, size), np.uint8)
    found[60:160, 70:150] = 1
    for label, row in ((2, 80), (4, 90), (6, 105), (7, 130), (9, 135)):
        found[row : row + 5, 100:120] = label
    found[10:20, 200:210] = 1  # another, smaller face at the edge
    return found


# The blend.


def test_a_blend_is_the_source_where_the_mask_is_one_and_the_target_to_the_last_bit_where_it_is_zero():
    mask = np.array([[0, 1, 0.5, 0.25]], np.float32)
    source, target = (np.repeat(np.uint8([row])[..., None], 3, 2) for row in ([200, 200, 200, 10], [0, 7, 100, 255]))
    np.testing.assert_array_equal(blend(source, target, mask)[0, :, 0], [0, 200, 150, 194])  # 255 - 245 / 4 = 193.75


def test_a_hard_mask_of_a_whole_face_takes_the_changed_copy_and_leaves_the_rest():
    image = noise()
    blended, mask = self_blend(PLAIN, image, square_face(), 3, 0)
    expected = np.zeros((224, 224), bool)
    expected[60:160, 70:150] = True
    np.testing.assert_array_equal(mask == 1, expected)
    np.testing.assert_array_equal(mask == 0, ~expected)
    np.testing.assert_array_equal(blended, np.where(expected[..., None], image + 10, image))
    swapped, mask = self_blend(dataclasses.replace(PLAIN, swap=1.0), image, square_face(), 3, 0)
    np.testing.assert_array_equal(swapped, np.where(expected[..., None], image, image + 10))
    halves, mask = self_blend(dataclasses.replace(PLAIN, ratios=(0.5,)), image, square_face(), 3, 0)
    assert set(np.unique(mask)) == {0, 0.5} and (halves[expected] == image[expected] + 5).all()


def test_a_blend_is_a_function_of_seed_and_position():
    image, parsing_map = noise(), square_face()
    before = image.copy()
    first, mask = self_blend(SelfBlendSpec(), image, parsing_map, 5, 1)
    again, same = self_blend(SelfBlendSpec(), image, parsing_map, 5, 1)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(mask, same)
    np.testing.assert_array_equal(image, before)
    for position, seed in ((6, 1), (5, 2)):
        assert (self_blend(SelfBlendSpec(), image, parsing_map, position, seed)[0] != first).any()


@pytest.mark.parametrize("field, drawn, expected", [
        ("contrast", (0.5, 0.5), (128 + 1.5 * 32, 128 - 1.5 * 64, 128)),
        ("value", (0.25, 0.25), (200, 80, 160)),
        ("brightness", (9, 9), (169, 73, 137)),
        ("hue", (120, 120), (128, 160, 64)),  # a third of the circle: channels change places
        ("saturation", (-1, -1), (100, 100, 100)),  # grey of luma 0.299 * 160 + 0.587 * 64 + 0.114 * 128
    ])  # fmt: skip
def test_colours_change_by_hand(field, drawn, expected):
    none = {name: (0.0, 0.0) for name in ("shift", "hue", "saturation", "value", "brightness", "contrast")}
    spec = SelfBlendSpec(**{**none, field: drawn})
    changed = change_colour(spec, np.full((1, 1, 3), (160, 64, 128), np.uint8), iter([0.3] * 8))
    np.testing.assert_allclose(changed[0, 0], expected, atol=0.51)


def test_a_coarse_copy_loses_detail_and_a_sharp_one_gains_it():
    image = cv2.GaussianBlur(noise(), (5, 5), 1)
    rough = [
        np.abs(
            np.diff(change_sharpness(SelfBlendSpec(coarser=share), image, iter([0.5, 0.5])).astype(int), axis=1)
        ).mean()
        for share in (1.0, 0.0)
    ]
    assert rough[0] < 0.6 * np.abs(np.diff(image.astype(int), axis=1)).mean() < 0.6 / 1.2 * rough[1]


def test_the_source_moves_by_its_share_of_the_image_and_its_mask_with_it():
    spec = dataclasses.replace(PLAIN, move=(0.03, 0.015))
    middles, image, parsing_map = [], noise(), square_face()
    for position in range(200):
        mask = self_blend(spec, image, parsing_map, position, 0)[1]
        middles.append(np.argwhere(mask > 0).mean(0) - (109.5, 109.5))
    reach = np.abs(middles).max(0)
    np.testing.assert_allclose(reach, (0.015 * 224, 0.03 * 224), atol=0.7)  # half a pixel by rounding corners


# The mask.


def test_parts_are_hulls_of_their_classes_in_the_largest_face():
    boxes = {part: part_corners(square_face(), part) for part in ("face", "below_brows", "features", "upper", "lower")}
    found = {part: (*corners.min(0).tolist(), *corners.max(0).tolist()) for part, corners in boxes.items()}
    assert found == {
        "face": (70, 60, 149, 159), "below_brows": (70, 80, 149, 159), "features": (100, 80, 119, 139),
        "upper": (100, 80, 119, 109), "lower": (100, 105, 119, 139),
    }  # fmt: skip
    skin = np.minimum(square_face(), 1)
    assert all((part_corners(skin, part) == part_corners(skin, "face")).all() for part in found), (
        "nothing else is there"
    )


def test_hulls_of_features_grow_about_their_middle_and_those_of_skin_do_not():
    for part, margin, rows, columns in (
        ("features", 0.5, (65, 154), (95, 124)), ("features", 0.0, (80, 139), (100, 119)),
        ("face", 0.5, (60, 159), (70, 149)),
    ):  # fmt: skip
        spec = BlendMaskSpec(parts=(part,), margin=margin, elastic=0, first_blur=(0, 0), second_blur=(0, 0))
        places = np.argwhere(draw_mask(spec, square_face(), STAYS, 0, 0) == 1)
        assert [*places.min(0), *places.max(0)] == [rows[0], columns[0], rows[1], columns[1]]


def test_hulls_are_those_of_all_pixels():
    blob = (cv2.GaussianBlur(np.random.default_rng(1).random((224, 224), np.float32), (41, 41), 9) > 0.5).astype(
        np.uint8
    )
    _, places, sizes, _ = cv2.connectedComponentsWithStats(blob)
    largest = places == 1 + sizes[1:, cv2.CC_STAT_AREA].argmax()
    of_all = cv2.convexHull(np.argwhere(largest)[:, ::-1].astype(np.int32))[:, 0]
    assert {*map(tuple, part_corners(blob, "face").tolist())} == {*map(tuple, of_all.tolist())}


def test_the_first_blur_shrinks_and_the_second_softens():
    mask = np.zeros((224, 224), np.float32)
    mask[60:160, 60:160] = 1
    small = soften(mask, 3.0, 0.0)
    rows = np.flatnonzero(small.any(1))
    assert set(np.unique(small)) == {0, 1} and rows[0] == 60 + 8 and rows[-1] == 159 - 8  # its kernel reaches 8 pixels
    soft = soften(mask, 0.0, 3.0)
    edge = soft[110, 40:80]
    assert (np.diff(edge) >= 0).all() and 0.4 < edge[19] < 0.5 < edge[20] < 0.6 and edge[0] == 0 and edge[-1] == 1
    thin = np.zeros_like(mask)
    thin[100:103] = 1
    np.testing.assert_array_equal(soften(thin, 3.0, 0.0), thin)


def test_masks_are_soft_cover_what_they_should_and_differ():
    masks = [draw_mask(BlendMaskSpec(), square_face(), STAYS, position, 0) for position in range(100)]
    areas = [float(mask.mean()) for mask in masks]
    face = 80 * 100 / 224**2
    assert all(mask.min() == 0 and mask.max() == 1 for mask in masks)
    assert max(areas) < 1.3 * face and min(areas) < 0.15 * face and len({round(area, 5) for area in areas}) > 95
    far = cv2.dilate((square_face() > 0).astype(np.uint8)[:, :180], np.ones((61, 61))) == 0
    assert not any(mask[:, :180][far].any() for mask in masks)


# The source.


def spec(**changes) -> LabelledSpec:
    fields = dict(seed=3, global_batch=8, augment=AugmentSpec(flip=0.0), mix=None, balanced=False, workers=0, threads=1)
    return LabelledSpec(**{**fields, **changes})


def taken(text, the_spec, steps, start=0, host=0, hosts=1) -> list[dict]:
    stream = LabelledStream(open_mixture(text, open_labelled), the_spec, start, host, hosts)
    batches = [next(stream) for _ in range(steps)]
    stream.close()
    return batches


def test_a_source_has_each_face_blended_by_its_index_and_as_it_is(monkeypatch):
    source = open_blended("blended:samples:heldout")
    assert len(source) == 10 and list(source.labels) == [0, 1] * 5 and source.class_names[source.real] == "real"
    fake, real = source[4], source[5]
    assert (fake[records.METHOD], real[records.METHOD], fake[records.FRAME]) == (METHOD, "", -1)
    assert fake[records.SOURCE] == real[records.SOURCE] == real[records.VIDEO] != fake[records.VIDEO]
    assert list(source.videos[4:6]) == [fake[records.VIDEO], real[records.VIDEO]]
    assert list(source.methods) == [METHOD, ""] * 5
    changed = (decode(fake) != decode(real)).any(-1)
    assert 0.01 < changed.mean()
    before = source.fingerprint
    monkeypatch.setattr("fsfm_jax.data.blended_source.self_blend", lambda spec, image, *rest: (255 - image, None))
    assert open_blended("blended:samples:heldout").fingerprint != before, "another way of blending"
    monkeypatch.undo()
    other = pickle.loads(pickle.dumps(source))
    assert other[4] == fake and other.fingerprint == source.fingerprint != open_blended("blended:samples").fingerprint
    with pytest.raises(IndexError, match="example 10 of 10"):
        source[10]


def test_in_evaluation_a_blend_is_fixed():
    source = open_labelled("blended:samples:heldout")
    once, again = (list(evaluation_batches(source, "resize", 224, 10, threads, 0, 1)) for threads in (1, 3))
    np.testing.assert_array_equal(once[0][records.IMAGE], again[0][records.IMAGE])


@pytest.mark.parametrize("balanced", [False, True])
def test_a_batch_holds_pairs_and_blends_differ_at_each_visit(balanced):
    photos = {decode(open_labelled("blended:samples:heldout")[index]).tobytes() for index in range(1, 10, 2)}
    seen = []
    for batch in taken("blended:samples:heldout", spec(global_batch=10, balanced=balanced), 2):
        assert list(batch[records.LABEL]) == [0, 1] * 5
        for fake, real in batch[records.IMAGE].reshape(5, 2, 224, 224, 3):
            assert real.tobytes() in photos
            untouched = (fake == real).all(-1).mean()
            seen.append((real.tobytes(), fake.tobytes(), untouched))
    assert {real for real, _, _ in seen[:5]} == {real for real, _, _ in seen[5:]} == photos, "an epoch has all faces"
    assert len({fake for _, fake, _ in seen}) == 10, "none is blended twice in one way"
    # Where the source alone is changed, what lies outside the mask tells that both are of one photo.
    assert max(untouched for _, _, untouched in seen) > 0.5


@pytest.mark.parametrize("text, balanced", [
        ("blended:samples:train", False), ("blended:samples:train,forged:blend:16", True),
        ("blended:samples@0.5,forged:blend:16@0.5", False), ("blended:samples,forged:blend:16", False),
    ])  # fmt: skip
def test_the_stream_starts_at_any_step_and_does_not_depend_on_hosts(text, balanced):
    the_spec = spec(balanced=balanced, augment=AugmentSpec(size=32))
    whole = taken(text, the_spec, 3)
    parts = [taken(text, the_spec, 1, start=2, host=host, hosts=2)[0] for host in range(2)]
    for key, rows in whole[2].items():
        both = np.stack([parts[0][key], parts[1][key]], axis=1).reshape(rows.shape)
        np.testing.assert_array_equal(both, rows)
    for batch in whole:
        assert 2 <= batch[records.LABEL].sum() <= 6


def test_loader_processes_give_the_same_batches():
    one, other = (taken("blended:samples:heldout", spec(workers=workers), 2)[1] for workers in (0, 1))
    np.testing.assert_array_equal(one[records.IMAGE], other[records.IMAGE])


def test_blends_are_of_a_class_of_another_detector():
    names = ("real", "deepfake", "spoof")
    source = open_classed("deepfake=blended:samples:heldout", names, 0)
    assert list(source.labels) == [1, 0] * 5
    stream = LabelledStream([(source, None)], spec(global_batch=10), 0, 0, 1)
    first = next(stream)
    stream.close()
    whole = taken("blended:samples:heldout", spec(global_batch=10), 1)[0]
    # Classes take turns in the order of their labels: real first here.
    assert list(first[records.LABEL]) == [0, 1] * 5
    np.testing.assert_array_equal(first[records.IMAGE][::2], whole[records.IMAGE][1::2])
    fixed = {decode(source[index]).tobytes() for index in range(0, 10, 2)}
    assert not fixed & {image.tobytes() for image in first[records.IMAGE]}, "drawn at their positions, not by index"


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Records: two faces with maps, of which the second map has no face."""
    directory = tmp_path_factory.mktemp("records") / "faces"
    maps = square_face(), np.full((224, 224), 10, np.uint8)
    faces = [(encode_png(noise(), 1), parsing_map, f"photo {k}") for k, parsing_map in enumerate(maps)]
    records_of_faces(directory, {"train": faces}, per_shard=2)
    return directory


def test_records_with_maps_are_blended_and_a_map_without_a_face_is_named(faces):
    source = open_labelled(f"blended:{faces}:train")
    assert len(source) == 4 and source[0][records.LABEL] == 0 and (decode(source[0]) != decode(source[1])).any()
    with pytest.raises(ValueError, match="photo photo 1: parsing map: found no face to blend"):
        source[2]
    assert decode(source[3]).shape == (224, 224, 3), "the face itself can be read"


def test_what_cannot_be_blended_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no data set at"):
        open_labelled(f"blended:{tmp_path}/none:train")
    with pytest.raises(ValueError, match="expected a map of the image's size"):
        self_blend(SelfBlendSpec(), noise(32), square_face(), 0, 0)
    with pytest.raises(ValueError, match="no common videos, found 10"):
        check_disjoint(open_labelled("blended:samples"), open_labelled("blended:samples:heldout"))
    for changes, message in (
        (dict(move=(0.03, 2)), "self_blend.move"), (dict(scale=(0, 1)), "self_blend.scale"),
        (dict(ratios=()), "self_blend.ratios"), (dict(swap=2), "self_blend.swap"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            SelfBlendSpec(**changes)
    for changes, message in ((dict(parts=("ear",)), "parts"), (dict(first_blur=(0.1, 0)), "first_blur")):
        with pytest.raises(ValueError, match=f"self_blend.mask.{message}"):
            BlendMaskSpec(**changes)
