"""Procedural faces: pure, varied, complete, and image and parsing map show the same thing."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fsfm_jax import regions
from fsfm_jax.data.synthetic import synthetic_face

BACKGROUND, SKIN, HAIR = regions.BACKGROUND, regions.SKIN, regions.HAIR
EYES, LIPS, BROWS = (4, 5), (7, 9), (2, 3)
INNER_MOUTH = regions.CLASSES.index("inner_mouth")
ALWAYS_SEEN = [label for label in range(regions.NUM_CLASSES) if label not in (INNER_MOUTH, HAIR)]


@pytest.fixture(scope="module")
def faces():
    """Forty faces of seed 0 at full size, `[(image, parsing map)]`."""
    return [synthetic_face(0, index) for index in range(40)]


@pytest.fixture(scope="module")
def small_maps():
    """Parsing maps of 150 faces of seed 1, `[150, 64, 64]`."""
    return np.stack([synthetic_face(1, index, 64)[1] for index in range(150)])


def mean_colour(face, labels) -> np.ndarray:
    image, parsing_map = face
    return image[np.isin(parsing_map, labels)].astype(float).mean(0)


def redness(colour: np.ndarray) -> float:
    return colour[0] / colour.sum()


def middle(parsing_map: np.ndarray, labels) -> np.ndarray:
    """Centre of the pixels with `labels`, (y, x)."""
    return np.argwhere(np.isin(parsing_map, labels)).mean(0)


def test_the_same_arguments_give_the_same_bytes_and_others_another_face():
    for seed, index, size in [(0, 0, 224), (3, 17, 224), (3, 10**9, 64)]:
        first, second = synthetic_face(seed, index, size), synthetic_face(seed, index, size)
        assert all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))
    drawn = [synthetic_face(seed, index, 64) for seed in range(4) for index in range(4)]
    assert len({image.tobytes() for image, _ in drawn}) == 16
    assert len({parsing_map.tobytes() for _, parsing_map in drawn}) == 16


def test_neither_global_state_nor_order_nor_threads_matter():
    expected = synthetic_face(5, 6)
    threads = cv2.getNumThreads()
    np.random.seed(1)
    cv2.setRNGSeed(7)
    synthetic_face(8, 9)
    try:
        cv2.setNumThreads(1)
        alone = synthetic_face(5, 6)
        cv2.setNumThreads(4)
        together = synthetic_face(5, 6)
    finally:
        cv2.setNumThreads(threads)
    for image, parsing_map in (alone, together):
        assert np.array_equal(image, expected[0])
        assert np.array_equal(parsing_map, expected[1])


def test_importing_leaves_the_threads_of_cv2_alone():
    code = "import cv2; cv2.setNumThreads(3); import fsfm_jax.data.synthetic; assert cv2.getNumThreads() == 3"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_shapes_types_and_ranges(faces):
    for image, parsing_map in faces:
        assert image.shape == (224, 224, 3) and image.dtype == np.uint8
        assert parsing_map.shape == (224, 224) and parsing_map.dtype == np.uint8
        assert image.flags.c_contiguous and parsing_map.flags.c_contiguous
        assert regions.check_parsing_map(parsing_map, 224, "synthetic").max() < regions.NUM_CLASSES
        assert image.std() > 15
        assert np.isin(image, (0, 255)).mean() < 0.5


@pytest.mark.parametrize("size", [32, 65, 224])
def test_every_size_has_every_feature(size):
    for index in range(30):
        image, parsing_map = synthetic_face(2, index, size)
        assert image.shape == (size, size, 3) and parsing_map.shape == (size, size)
        count = np.bincount(parsing_map.ravel(), minlength=regions.NUM_CLASSES)
        assert len(count) == regions.NUM_CLASSES
        assert count[ALWAYS_SEEN].min() > 0, f"face {index} at {size}: {dict(enumerate(count.tolist()))}"


def test_every_coverable_region_has_patches(faces):
    for _, parsing_map in faces:
        patches = regions.membership(regions.patch_bits(parsing_map, 16)).sum(-1)
        for name in ("eyebrows", "eyes", "nose", "mouth", "boundary", "skin", "background"):
            assert 2 <= patches[regions.REGIONS.index(name)] < 196, name


def test_sizes_show_the_same_face():
    for index in range(8):
        large, small = synthetic_face(0, index, 224), synthetic_face(0, index, 112)
        assert (large[1][::2, ::2] == small[1]).mean() > 0.96
        shrunk = cv2.resize(large[0], (112, 112), interpolation=cv2.INTER_AREA)
        assert np.abs(shrunk.astype(float) - small[0]).mean() < 12


def test_too_small_a_size_is_refused():
    with pytest.raises(ValueError, match="size of a synthetic face: expected at least 32 pixels, found 31"):
        synthetic_face(0, 0, 31)


def test_hair_varies_and_is_sometimes_absent_and_mouths_are_open_and_closed(small_maps):
    share = (small_maps == HAIR).mean((1, 2))
    assert 0.03 < (share == 0).mean() < 0.16
    assert share.std() > 0.07
    assert np.quantile(share, 0.9) > 0.3 and 0.05 < np.quantile(share, 0.2) < 0.2
    opened = (small_maps == INNER_MOUTH).any((1, 2)).mean()
    assert 0.25 < opened < 0.65


def test_a_face_fills_the_crop(faces):
    height = [np.ptp(np.nonzero(np.isin(parsing_map, range(1, 10)))[0]) / 224 for _, parsing_map in faces]
    assert 0.45 < min(height) and max(height) < 0.9
    assert 0.55 < np.mean(height) < 0.75


def test_features_are_where_a_face_has_them(faces):
    places = []
    for _, parsing_map in faces:
        right_eye, left_eye = middle(parsing_map, 4), middle(parsing_map, 5)
        nose, mouth = middle(parsing_map, regions.NOSE), middle(parsing_map, (*LIPS, INNER_MOUTH))
        assert right_eye[1] + 20 < left_eye[1], "the person's right is the left of the image"
        assert middle(parsing_map, 2)[1] < middle(parsing_map, 3)[1]
        eyes = (right_eye + left_eye) / 2
        assert middle(parsing_map, BROWS)[0] < eyes[0] < nose[0] < mouth[0]
        assert middle(parsing_map, 7)[0] < middle(parsing_map, 9)[0]
        tilt = np.degrees(np.arctan2(*(left_eye - right_eye)))
        assert abs(tilt) < 16
        places.append([tilt, *eyes, left_eye[1] - right_eye[1], nose[1] - eyes[1]])
    assert (np.std(places, 0) > (2, 3, 3, 3, 2)).all(), "pose and proportions vary"


def test_lips_are_redder_than_skin(faces):
    difference = [redness(mean_colour(face, LIPS)) - redness(mean_colour(face, SKIN)) for face in faces]
    assert np.mean(difference) > 0.015
    assert np.mean(np.array(difference) > 0) > 0.95


def test_eyes_stand_out_from_skin(faces):
    for image, parsing_map in faces:
        grey = image.astype(float).mean(-1)
        eyes, skin = grey[np.isin(parsing_map, EYES)], grey[parsing_map == SKIN]
        assert np.quantile(eyes, 0.95) - np.quantile(eyes, 0.05) > 40, "sclera and pupil"
        assert np.quantile(eyes, 0.1) < np.median(skin)


def test_brows_are_darker_than_the_skin_around_them(faces):
    darker = []
    for image, parsing_map in faces:
        grey, brows = image.astype(float).mean(-1), np.isin(parsing_map, BROWS).astype(np.uint8)
        around = (cv2.dilate(brows, np.ones((9, 9), np.uint8)) > 0) & (parsing_map == SKIN)
        darker.append(grey[around].mean() - grey[brows > 0].mean())
    assert np.mean(np.array(darker) > 4) > 0.9


def test_hair_has_strands_where_the_backdrop_is_blurred(faces):
    ratio = []
    for image, parsing_map in faces:
        if (parsing_map == HAIR).sum() < 2000:
            continue
        grey = cv2.GaussianBlur(image.astype(np.float32).mean(-1), (0, 0), 1.5)  # takes the noise away
        detail = np.abs(cv2.Laplacian(grey, cv2.CV_32F))
        within = cv2.erode((parsing_map == HAIR).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        beside = np.zeros_like(within)
        beside[:60] = cv2.erode((parsing_map == BACKGROUND).astype(np.uint8), np.ones((9, 9), np.uint8))[:60] > 0
        ratio.append(detail[within].mean() / detail[beside].mean() if beside.sum() > 200 else np.nan)
    assert len(ratio) > 25
    assert np.nanmedian(ratio) > 1.1


def test_edges_of_the_image_follow_the_map(faces):
    """The image changes more across borders of labels than elsewhere: both come from one geometry."""
    gain = []
    for image, parsing_map in faces:
        grey = cv2.GaussianBlur(image.astype(np.float32).mean(-1), (0, 0), 1)
        change = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
        # The nose is shading without a contour of its own.
        painted = np.where(parsing_map == regions.NOSE, SKIN, parsing_map).astype(np.uint8)
        kernel = np.ones((3, 3), np.uint8)
        border = cv2.dilate(painted, kernel) != cv2.erode(painted, kernel)
        gain.append(change[border].mean() / change[~border].mean())
    assert min(gain) > 1.5
    assert np.median(gain) > 3


def test_skin_tone_and_light_vary(faces):
    tones = np.array([mean_colour(face, SKIN) for face in faces])
    assert np.ptp(tones.mean(1)) > 110
    slopes = []
    for image, parsing_map in faces:
        y, x = np.nonzero(parsing_map == SKIN)
        slopes.append(np.corrcoef(x, image[y, x].mean(-1))[0, 1])
    assert max(slopes) > 0.25 and min(slopes) < -0.25, "lit from either side"
    assert len(np.unique(np.round([mean_colour(face, HAIR)[0] for face in faces if HAIR in face[1]]))) > 20
