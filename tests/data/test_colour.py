"""The colour part of a strong view: each change by hand, and how they are drawn."""

import math

import numpy as np
import pytest

from fsfm_jax.data.colour import JITTERED, ColourDraw, ColourSpec, apply_colour, draw_colour

DRAWS = 3000


def plain(*colour: int) -> np.ndarray:
    return np.full((8, 8, 3), colour, np.uint8)


@pytest.mark.parametrize(
    ("draw", "before", "after"),
    [
        (ColourDraw((), False, 0.0), (100, 50, 20), (100, 50, 20)),
        (ColourDraw((("brightness", 0.5),), False, 0.0), (100, 50, 20), (50, 25, 10)),
        # Grey is 0.299 red + 0.587 green + 0.114 blue = 61.53: without saturation, and three quarters of the way to it.
        (ColourDraw((("saturation", 0.0),), False, 0.0), (100, 50, 20), (62, 62, 62)),
        (ColourDraw((("saturation", 1.5),), False, 0.0), (100, 50, 20), (119, 44, 0)),
        (ColourDraw((), True, 0.0), (100, 50, 20), (62, 62, 62)),
        # A picture of one grey has no contrast to lose.
        (ColourDraw((("contrast", 0.3),), False, 0.0), (62, 62, 62), (62, 62, 62)),
        # A third of the circle of 255 steps: red becomes green; backwards, blue.
        (ColourDraw((("hue", 85 / 256),), False, 0.0), (255, 0, 0), (0, 255, 0)),
        (ColourDraw((("hue", -86 / 256),), False, 0.0), (255, 0, 0), (0, 0, 255)),
        (ColourDraw((), False, 2.0), (100, 50, 20), (100, 50, 20)),
        # In their order: first darker, then turned.
        (ColourDraw((("brightness", 0.4), ("hue", 85 / 256)), False, 0.0), (255, 0, 0), (0, 102, 0)),
    ],
)
def test_each_change_by_hand(draw, before, after):
    image = plain(*before)
    np.testing.assert_array_equal(apply_colour(draw, image), plain(*after))
    np.testing.assert_array_equal(image, plain(*before))


def test_contrast_moves_values_away_from_the_mean():
    image = np.concatenate([plain(40, 40, 40), plain(160, 160, 160)])  # mean 100
    changed = apply_colour(ColourDraw((("contrast", 1.25),), False, 0.0), image)
    assert {*changed[:8].ravel().tolist()} == {25} and {*changed[8:].ravel().tolist()} == {175}


def test_a_blur_has_the_deviation_that_was_asked_for():
    image = np.zeros((64, 65, 3), np.uint8)
    image[:, 32] = 255
    row = apply_colour(ColourDraw((), False, 2.0), image)[32, :, 0].astype(float)
    places = np.arange(65) - 32
    # A line of 255 is spread over about 13 columns; rounding to whole levels moves each by at most a half.
    assert row.sum() == pytest.approx(255, abs=7) and abs((places * row).sum()) < 1e-9
    assert np.sqrt((places**2 * row).sum() / row.sum()) == pytest.approx(2, rel=0.05)


@pytest.fixture(scope="module")
def draws() -> list[ColourDraw]:
    return [draw_colour(ColourSpec(), position, 1, "colour") for position in range(DRAWS)]


def test_changes_are_drawn_as_often_and_as_strongly_as_said(draws):
    def share(found, wanted):
        assert abs(np.mean(found) - wanted) < 5 * math.sqrt(wanted * (1 - wanted) / DRAWS)

    share([bool(draw.jitter) for draw in draws], 0.8)
    share([draw.grey for draw in draws], 0.2)
    share([draw.sigma > 0 for draw in draws], 0.5)
    sigmas = np.array([draw.sigma for draw in draws if draw.sigma])
    assert 0.1 <= sigmas.min() < 0.11 and 1.99 < sigmas.max() <= 2
    jitters = [dict(draw.jitter) for draw in draws if draw.jitter]
    assert all(jitter.keys() == {*JITTERED} for jitter in jitters)
    for name in JITTERED:
        centre, strength = (0, 0.1) if name == "hue" else (1, 0.4)
        # Uniform over 2 * strength: deviation strength / sqrt 3.
        values = np.array([jitter[name] for jitter in jitters])
        assert np.abs(values - centre).max() <= strength
        assert abs(values.mean() - centre) < 5 * strength / math.sqrt(3 * len(values))
        assert values.std() == pytest.approx(strength / math.sqrt(3), rel=0.05)
        # Each of the four comes first as often.
        first = np.mean([draw.jitter[0][0] == name for draw in draws if draw.jitter])
        assert abs(first - 0.25) < 5 * math.sqrt(0.25 * 0.75 / len(jitters))


def test_a_draw_depends_on_seed_stream_and_position_only(draws):
    assert [draw_colour(ColourSpec(), position, 1, "colour") for position in (5, 4)] == [draws[5], draws[4]]
    others = [(5, 2, "colour"), (5, 1, "target colour"), (6, 1, "colour")]
    assert len({draws[5], *(draw_colour(ColourSpec(), *other) for other in others)}) == 4


def test_what_is_no_picture_is_refused():
    with pytest.raises(ValueError, match="image: expected"):
        apply_colour(ColourDraw((), True, 0.0), np.zeros((8, 8), np.uint8))
