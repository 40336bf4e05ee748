"""One draw per batch of how its images are mixed: kinds, ratios, boxes, and nothing random but (seed, step)."""

import math

import numpy as np
import pytest

from fsfm_jax.data.mixture import MixSpec, cut_box, draw_mixture

STEPS = 4000


@pytest.fixture(scope="module")
def drawn():
    return [draw_mixture(MixSpec(), 224, step, 1) for step in range(STEPS)]


def test_boxes_are_the_released_ones(golden):
    table = golden("augment")["mix/bbox_table_lam_cy_cx_yl_yh_xl_xh_lamcorrected"]
    for ratio, row, column, top, bottom, left, right, kept in table.tolist():
        box = cut_box(ratio, 224, int(row), int(column))
        assert (box.top, box.top + box.height, box.left, box.left + box.width) == (top, bottom, left, right)
        assert 1 - box.height * box.width / 224**2 == pytest.approx(kept, rel=1e-12)


def test_half_of_the_batches_are_cut_and_half_are_blended(drawn):
    share = np.mean([mixture.use_cutmix for mixture in drawn])
    assert abs(share - 0.5) < 5 * 0.5 / math.sqrt(STEPS)
    for mixture in drawn:
        assert mixture.use_cutmix.dtype == bool and mixture.ratio.dtype == np.float32
        assert mixture.box.dtype == np.int32 and mixture.box.shape == (4,)
        assert mixture.use_cutmix or not mixture.box.any()


@pytest.mark.parametrize(("cutmix", "alpha"), [(False, 0.8), (True, 1.0)])
def test_ratios_come_from_the_beta_distribution_of_their_kind(drawn, cutmix, alpha):
    ratios = np.array([mixture.ratio for mixture in drawn if mixture.use_cutmix == cutmix], np.float64)
    variance = 1 / (4 * (2 * alpha + 1))
    fourth = 3 * variance**2 * (2 * alpha + 1) / (2 * alpha + 3)  # central moment of the symmetric Beta
    assert abs(ratios.mean() - 0.5) < 5 * math.sqrt(variance / len(ratios))
    assert abs(ratios.var() - variance) < 5 * math.sqrt((fourth - variance**2) / len(ratios))


def test_boxes_fit_and_their_centres_are_uniform(drawn):
    centres = []
    for mixture in drawn:
        if mixture.use_cutmix:
            top, left, height, width = mixture.box.tolist()
            assert top >= 0 and left >= 0 and height >= 0 and width >= 0
            assert top + height <= 224 and left + width <= 224
            half = int(224 * math.sqrt(1 - mixture.ratio)) // 2
            assert height <= 2 * half and width <= 2 * half
            centres.append(((top == 0) + 2 * (top + height == 224), (left == 0) + 2 * (left + width == 224), half))
    # A side touches the first row if its centre is at most `half`: probability (half + 1) / 224.
    for axis in (0, 1):
        touching = np.array([code[axis] % 2 for code in centres])
        expected = np.array([min(1, (half + 1) / 224) for *_, half in centres])
        error = math.sqrt((expected * (1 - expected)).sum())
        assert abs(touching.sum() - expected.sum()) < 5 * error
    rows, columns = (np.array([code[axis] % 2 for code in centres]) for axis in (0, 1))
    expected = np.array([min(1, (half + 1) / 224) ** 2 for *_, half in centres])  # rows and columns are independent
    assert abs((rows * columns).sum() - expected.sum()) < 5 * math.sqrt((expected * (1 - expected)).sum())


def test_a_kind_without_alpha_is_never_drawn():
    for spec, kinds in (
        (MixSpec(mixup=0.0), {True}),
        (MixSpec(cutmix=0.0), {False}),
        (MixSpec(switch=0.0), {False}),
        (MixSpec(switch=1.0), {True}),
    ):
        assert {bool(draw_mixture(spec, 224, step, 0).use_cutmix) for step in range(50)} == kinds


def test_a_batch_that_is_not_mixed_keeps_all_of_itself():
    for spec in (MixSpec(probability=0.0), MixSpec(mixup=0.0, cutmix=0.0)):
        for step in range(20):
            mixture = draw_mixture(spec, 224, step, 0)
            assert mixture.ratio == 1 and not mixture.use_cutmix and not mixture.box.any()
    share = np.mean([draw_mixture(MixSpec(probability=0.3), 224, step, 0).ratio < 1 for step in range(2000)])
    assert abs(share - 0.3) < 5 * math.sqrt(0.3 * 0.7 / 2000)


def test_draws_depend_on_seed_and_step_only(drawn):
    for step in (71, 3):
        again = draw_mixture(MixSpec(), 224, step, 1)
        assert again.use_cutmix == drawn[step].use_cutmix and again.ratio == drawn[step].ratio
        np.testing.assert_array_equal(again.box, drawn[step].box)
    assert len({float(mixture.ratio) for mixture in drawn}) > 0.99 * STEPS
    assert draw_mixture(MixSpec(), 224, 3, 2).ratio != drawn[3].ratio
    # Written down: other numbers are another stream for everybody who goes on with a run.
    assert [round(float(mixture.ratio), 6) for mixture in drawn[:4]] == [0.779257, 0.486098, 0.685906, 0.359366]


@pytest.mark.parametrize(("settings", "field"), [
        ({"mixup": -0.8}, "mixup"), ({"mixup": 0.01}, "mixup"), ({"cutmix": math.nan}, "cutmix"),
        ({"cutmix": 101.0}, "cutmix"), ({"probability": 1.1}, "probability"), ({"switch": -0.1}, "switch"),
    ])  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(settings, field):
    with pytest.raises(ValueError, match=f"mix.{field}: expected .*; found"):
        MixSpec(**settings)
