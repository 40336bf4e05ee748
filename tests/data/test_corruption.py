"""Corruptions of pictures: by hand where that can be done, else by what they must keep and what they must destroy."""

import re
from pathlib import Path

import numpy as np
import pytest

from fsfm_jax.data import corruption
from fsfm_jax.data.corruption import CORRUPTIONS, STRENGTHS, corrupt
from fsfm_jax.figures.faces import open_faces


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    return open_faces("samples", 1).images[0]


def error(image: np.ndarray, other: np.ndarray) -> float:
    return float(np.mean((image.astype(float) - other) ** 2))


def filled(*colour: int, size: int = 224) -> np.ndarray:
    return np.full((size, size, 3), colour, np.uint8)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_stronger_corruption_does_more_and_leaves_the_picture_it_was_given(face, name):
    given = face.copy()
    found = [corrupt(name, strength, face, 3, 5) for strength in STRENGTHS]
    assert all(one.shape == face.shape and one.dtype == np.uint8 for one in found)
    errors = [error(one, face) for one in found]
    assert 0 < errors[0] and errors == sorted(errors) and len(set(errors)) == 5, errors
    np.testing.assert_array_equal(face, given)
    np.testing.assert_array_equal(corrupt(name, "medium", face, 3, 5), found[2])
    for size in ((97, 140), (31, 20)):  # any size, upright or not
        small = np.ascontiguousarray(face[: size[0], : size[1]])
        assert corrupt(name, "severe", small, 0, 0).shape == small.shape


@pytest.mark.parametrize("function, neutral", [
        ("blur", (0,)), ("resize", (1,)), ("pixelate", (1,)), ("add_noise", (0, 1, 2)), ("scale_chroma", (1,)),
        ("scale_levels", (1,)), ("warm", (0,)), ("cover", (0, 1, 2)),
    ])  # fmt: skip
def test_without_strength_nothing_changes(face, function, neutral):
    found = getattr(corruption, function)(face, *neutral)
    np.testing.assert_array_equal(found, face)
    assert not np.shares_memory(found, face)


def test_colours_by_hand():
    # Grey is 0.299 * 200 + 0.587 * 100 + 0.114 * 50 = 124.2; 0.4 of the distances from it are 30.32, -9.68, -29.68.
    orange = filled(200, 100, 50)
    assert corrupt("saturation", "faint", orange, 0, 0)[0, 0].tolist() == [155, 115, 95]
    assert corrupt("saturation", "severe", orange, 0, 0)[0, 0].tolist() == [124, 124, 124]
    assert corrupt("contrast", "medium", orange, 0, 0)[0, 0].tolist() == [120, 60, 30]
    assert corrupt("warmth", "mild", orange, 0, 0)[0, 0].tolist() == [220, 100, 45]
    assert corrupt("warmth", "severe", orange, 0, 0)[0, 0].tolist() == [255, 100, 30]


@pytest.mark.parametrize("name", ["blur", "resize", "pixelate"])
def test_what_moves_pixels_keeps_a_picture_of_one_colour(name):
    plain = filled(201, 97, 3)
    for strength in STRENGTHS:
        np.testing.assert_array_equal(corrupt(name, strength, plain, 0, 0), plain)


def test_blur_is_a_gaussian_of_its_sigma_in_pixels_of_a_picture_of_224():
    for size, sigma in ((224, 3.5), (448, 7.0)):
        edge = filled(0, 0, 0, size=size)
        edge[:, size // 2 :] = 255
        found = corrupt("blur", "severe", edge, 0, 0)[size // 2, :, 0].astype(float)
        # The derivative of a blurred edge is the Gaussian. Its tails are cut at three sigma, which takes 2.7 % off the
        # variance; whole levels add an error of 1/2 to each of some 6 sigma values.
        places, weights = np.arange(size - 1) + 0.5, np.diff(found) / 255
        centre = (places * weights).sum()
        assert centre == pytest.approx(size / 2 - 0.5, abs=0.05)
        assert np.sqrt(((places - centre) ** 2 * weights).sum()) == pytest.approx(sigma, rel=0.03)


def test_a_fine_pattern_is_averaged_by_resizing_and_aliased_by_pixelation():
    stripes = filled(0, 0, 0)
    stripes[:, ::4] = 252  # a quarter of the columns
    smooth = corrupt("resize", "strong", stripes, 0, 0)[16:-16, 16:-16]
    assert np.abs(smooth.astype(int) - 63).max() <= 1
    # One column in four is looked at, between the second and the third of each, so none of the stripes is seen.
    assert corrupt("pixelate", "medium", stripes, 0, 0).max() == 0


def test_noise_has_its_std_and_is_a_function_of_seed_and_index():
    grey = filled(128, 128, 128)
    count = grey.size
    for strength, std in zip(STRENGTHS[:4], 255 * np.sqrt([0.001, 0.002, 0.005, 0.01]), strict=True):
        noise = corrupt("noise", strength, grey, 7, 4).astype(float) - 128
        # Whole levels add 1/12 to the variance; 128 levels are five std or more, so hardly any value is cut off. Five
        # standard errors: std / sqrt(n) for the mean, std / sqrt(2 n) for the std.
        expected = np.sqrt(std**2 + 1 / 12)
        assert abs(noise.mean()) < 5 * expected / np.sqrt(count)
        assert abs(noise.std() - expected) < 5 * expected / np.sqrt(2 * count)
    first = corrupt("noise", "faint", grey, 7, 4)
    np.testing.assert_array_equal(first, corrupt("noise", "faint", grey, 7, 4))
    for seed, index in ((7, 5), (8, 4)):
        other = corrupt("noise", "faint", grey, seed, index)
        assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 5 / np.sqrt(count)
    channels = np.corrcoef(first.reshape(-1, 3).T)
    assert np.abs(channels - np.eye(3)).max() < 5 / np.sqrt(count / 3)


def test_blocks_have_their_size_and_number_and_those_of_a_weaker_strength_stay():
    white = filled(255, 255, 255)
    covered = [(corrupt("blocks", strength, white, 1, 2) != 255).any(axis=2) for strength in STRENGTHS]
    for weaker, stronger in zip(covered, covered[1:], strict=False):
        assert (stronger | ~weaker).all()
    one = corruption.cover(white, 1, 1, 2)
    rows, columns = np.nonzero((one != 255).any(axis=2))
    assert len(rows) == 64 and np.ptp(rows) == np.ptp(columns) == 7 and set(one[rows, columns].ravel()) == {128}
    # 16 blocks that overlap at most as much as random ones do; 16 of 448 pixels are four times as large.
    assert 16 * 64 * 0.7 < covered[0].sum() <= 16 * 64
    assert (corruption.cover(filled(0, 0, 0, size=448), 1, 1, 2) == 128).sum() == 16 * 16 * 3
    other = (corrupt("blocks", "faint", white, 1, 3) != 255).any(axis=2)
    assert (other != covered[0]).any()


def test_jpeg_halves_the_resolution_of_colours_alone():
    # Columns of red and of a green as bright: 0.299 * 200 = 59.8 and 0.587 * 102 = 59.9.
    striped = filled(200, 0, 0)
    striped[:, ::2] = 0, 102, 0
    found = corrupt("jpeg", "faint", striped, 0, 0)[16:-16, 16:-16].astype(float)
    red, green = found[:, 1::2].mean(axis=(0, 1)), found[:, ::2].mean(axis=(0, 1))
    assert np.abs(red - green).max() < 20  # of 200 before
    light = filled(60, 60, 60)
    light[:, ::2] = 120
    found = corrupt("jpeg", "faint", light, 0, 0).astype(float)
    assert (found[:, ::2] - found[:, 1::2]).mean() > 50  # of 60


def test_a_messenger_shrinks_and_compresses_twice(face):
    twice = corruption.compress(corruption.compress(face, 10), 95)
    np.testing.assert_array_equal(corruption.share_online(face, 1.0, 10, 95), twice)
    stripes = filled(0, 0, 0)
    stripes[:, ::4] = 252
    assert np.abs(corruption.share_online(stripes, 0.25, 100, 100)[16:-16, 16:-16].astype(int) - 63).max() <= 2


def test_the_page_has_every_value_and_says_whose_it_is():
    page = (Path(__file__).parents[2] / "docs" / "analysis.md").read_text()
    rows = re.findall(r"(?m)^\| `(\w+)` \|[^|]*\| ([^|]*) \| (ours|DeeperForensics) \|$", page)
    assert [name for name, *_ in rows] == [*CORRUPTIONS]
    for name, listed, source in rows:
        unit = 100 if listed.endswith("%") else 1
        values = sorted(unit * number for value in CORRUPTIONS[name].values for number in value)
        assert sorted(map(float, re.findall(r"[\d.]+", listed))) == pytest.approx(values, rel=5e-3), name
        assert CORRUPTIONS[name].source.startswith(source)


@pytest.mark.parametrize("name, strength, text", [
        ("jepg", "mild", "corruption: expected one of jpeg, .*; found 'jepg'; did you mean 'jpeg'"),
        ("jpeg", "midl", "strength: expected one of faint, .*; found 'midl'; did you mean 'mild'"),
    ])  # fmt: skip
def test_other_words_are_refused(face, name, strength, text):
    with pytest.raises(ValueError, match=text):
        corrupt(name, strength, face, 0, 0)


def test_what_is_no_picture_is_refused(face):
    with pytest.raises(ValueError, match="image: expected .H, W, 3. uint8"):
        corrupt("jpeg", "mild", face[..., 0], 0, 0)
