"""Two-class metrics against scikit-learn, by hand, and under changes that must not matter."""

import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn
from sklearn.exceptions import UndefinedMetricWarning

from fsfm_jax.metrics import binary, curve, video
from fsfm_jax.metrics.scores import ANTI_SPOOFING, DEEPFAKE, Scored
from fsfm_jax.metrics.value import Value, mean, undefined

FEW = settings(max_examples=60, deadline=None)
CLOSE = dict(rel=1e-12, abs=1e-12)


@st.composite
def sets(draw, both_classes=True):
    """Probabilities and labels of 1 to 40 examples; a coarse grid makes ties, size 2 is common."""
    size = draw(st.integers(2 if both_classes else 1, 40) | st.just(2))
    levels = draw(st.sampled_from([1, 2, 5, 100]))
    grid = st.integers(0, levels).map(lambda k: k / levels)
    score = grid if draw(st.booleans()) else st.floats(0, 1, allow_subnormal=False)
    scores = draw(st.lists(score, min_size=size, max_size=size))
    labels = draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
    if both_classes:
        labels[:2] = [0, 1]
    return Scored(np.array(scores), np.array(labels), DEEPFAKE)


def check_ranking(scored):
    labels, scores = scored.labels, scored.scores
    assert binary.auc(scored).value == pytest.approx(sklearn.roc_auc_score(labels, scores), **CLOSE)
    precision = sklearn.average_precision_score(labels, scores)
    assert binary.average_precision(scored).value == pytest.approx(precision, **CLOSE)


def check_roc(scored, drop):
    ours = curve.roc(scored.curve, drop)
    theirs = sklearn.roc_curve(scored.labels, scored.scores, drop_intermediate=drop)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-15)


def check_decisions(scored, threshold):
    decided = scored.scores >= threshold
    balanced = sklearn.balanced_accuracy_score(scored.labels, decided)
    assert binary.balanced_accuracy(scored, threshold).value == pytest.approx(balanced, **CLOSE)
    right = sklearn.accuracy_score(scored.labels, decided)
    assert binary.accuracy(scored, threshold).value == pytest.approx(right, **CLOSE)
    assert binary.half_total_error_rate(scored, threshold).value == pytest.approx(1 - balanced, **CLOSE)
    (_, false_positive), (false_negative, _) = sklearn.confusion_matrix(scored.labels, decided, normalize="true")
    assert binary.false_positive_rate(scored, threshold).value == pytest.approx(false_positive, **CLOSE)
    assert binary.false_negative_rate(scored, threshold).value == pytest.approx(false_negative, **CLOSE)


@FEW
@given(sets(both_classes=False))
def test_losses_equal_scikit_learn_also_with_one_class(scored):
    loss = sklearn.log_loss(scored.labels, scored.scores, labels=[False, True])
    assert binary.log_loss(scored).value == pytest.approx(loss, **CLOSE)
    brier = np.mean((scored.scores - scored.labels) ** 2)
    if not scored.missing:
        assert brier == pytest.approx(sklearn.brier_score_loss(scored.labels, scored.scores), **CLOSE)
    assert binary.brier(scored).value == pytest.approx(brier, **CLOSE)


@FEW
@given(sets(both_classes=False), st.sampled_from([0, 1]))
def test_one_class_is_undefined_with_the_missing_class_named(scored, present):
    alone = Scored(scored.scores, np.full(len(scored), present), ANTI_SPOOFING)
    reason = f"no {'attack' if present else 'bona fide'} among {len(scored)} examples"
    for value in (
        binary.auc(alone),
        binary.average_precision(alone),
        binary.equal_error_rate(alone),
        binary.true_positive_rate_at(alone, 0.01),
        binary.balanced_accuracy(alone, 0.5),
        binary.half_total_error_rate(alone, 0.5),
        (binary.false_positive_rate if present else binary.false_negative_rate)(alone, 0.5),
    ):
        assert math.isnan(value.value) and value.reason == reason
    # scikit-learn agrees that there is none, in its own way.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        assert math.isnan(sklearn.roc_auc_score(alone.labels, alone.scores))
    right = np.mean((alone.scores >= 0.5) == present)
    assert binary.accuracy(alone, 0.5).value == pytest.approx(right, **CLOSE)


@FEW
@given(sets(), st.integers(-3, 3), st.sampled_from([1.0, 2.0, 4.0]))
def test_a_rising_transform_of_the_scores_changes_no_ranking_metric(scored, shift, scale):
    # Powers of two keep all scores apart, and so do their ranks.
    rank = np.searchsorted(np.unique(scored.scores), scored.scores)
    for moved in (scored.scores * scale, rank * scale + shift, np.exp(rank / 10)):
        other = Scored(moved, scored.labels, DEEPFAKE)
        for metric in (binary.auc, binary.average_precision, binary.equal_error_rate):
            assert metric(other) == metric(scored)
        assert binary.true_positive_rate_at(other, 0.1) == binary.true_positive_rate_at(scored, 0.1)


def check_equal_error_rate(scored):
    """It is the crossing of the interpolated curve."""
    rate = binary.equal_error_rate(scored).value
    false_positive, true_positive, _ = sklearn.roc_curve(scored.labels, scored.scores)
    # At `rate` the curve may be a vertical line: then it spans the diagonal there.
    near = 1e-9
    below = np.interp(rate - near, false_positive, true_positive) if rate > near else 0.0
    above = np.interp(rate + near, false_positive, true_positive) if rate < 1 - near else 1.0
    assert below <= 1 - rate + 1e-6 and above >= 1 - rate - 1e-6


@FEW
@given(sets(), st.booleans(), st.floats(0, 1) | st.sampled_from([0.5, video.FRAME_THRESHOLD]))
# The shortest curve that loses a point: three scores, one of each class at each.
@example(Scored(np.array([0.9, 0.9, 0.5, 0.5, 0.1, 0.1]), np.array([1, 0, 1, 0, 1, 0]), DEEPFAKE), True, 0.5)
@example(Scored(np.array([0.5, 0.5, 0.5]), np.array([0, 1, 1]), DEEPFAKE), False, 0.5)
def test_everything_of_two_classes_equals_scikit_learn(scored, drop, threshold):
    check_ranking(scored)
    check_roc(scored, drop)
    check_decisions(scored, threshold)
    check_equal_error_rate(scored)


def test_by_hand():
    # Falling scores: 1 1 0 1 0 0 (three of each).
    scored = Scored(np.array([6.0, 5, 4, 3, 2, 1]), np.array([1, 1, 0, 1, 0, 0]), DEEPFAKE)
    assert binary.auc(scored).value == pytest.approx(8 / 9)
    assert binary.average_precision(scored).value == pytest.approx((1 + 1 + 3 / 4) / 3)
    # Points (0, 2/3), (1/3, 2/3), (1/3, 1): the diagonal is met at (1/3, 2/3).
    assert binary.equal_error_rate(scored).value == pytest.approx(1 / 3)
    assert binary.true_positive_rate_at(scored, 0.0).value == pytest.approx(2 / 3)
    assert binary.true_positive_rate_at(scored, 0.33).value == pytest.approx(2 / 3)
    assert binary.true_positive_rate_at(scored, 1 / 3).value == 1.0
    # 3.5: one fake passes (4.0), one real is refused (3.0).
    assert binary.false_positive_rate(scored, 3.5).value == pytest.approx(1 / 3)
    assert binary.false_negative_rate(scored, 3.5).value == pytest.approx(1 / 3)
    assert binary.accuracy(scored, 3.0).value == pytest.approx(5 / 6)  # the threshold itself passes
    assert binary.false_negative_rate(scored, np.inf).value == 1.0
    assert binary.false_positive_rate(scored, -np.inf).value == 1.0
    probabilities = Scored(np.array([0.8, 0.4]), np.array([1, 0]), DEEPFAKE)
    assert binary.log_loss(probabilities).value == pytest.approx(-(math.log(0.8) + math.log(0.6)) / 2)
    assert binary.brier(probabilities).value == pytest.approx((0.04 + 0.16) / 2)
    # (0, 0), (1/2, 1) by one tied score, (1, 1): the line meets 1 - x at x = 1/3.
    tied = Scored(np.array([2.0, 2, 2, 1]), np.array([1, 1, 0, 0]), DEEPFAKE)
    assert binary.equal_error_rate(tied).value == pytest.approx(1 / 3)
    scored = Scored(np.array([0.5, 0.5, 0.7]), np.array([1, 0, 1]), DEEPFAKE)
    assert binary.accuracy(scored, video.VIDEO_THRESHOLD).value == pytest.approx(2 / 3)
    assert binary.false_positive_rate(scored, video.VIDEO_THRESHOLD).value == 1.0
    assert binary.false_positive_rate(scored, video.FRAME_THRESHOLD).value == 0.0
    assert binary.false_negative_rate(scored, video.FRAME_THRESHOLD).value == pytest.approx(1 / 2)


@pytest.mark.parametrize(("scores", "labels", "message"), [
        ([0.1, np.nan], [0, 1], "scores: expected finite numbers, found nan at position 1 of 2"),
        ([np.inf, 0.1], [0, 1], "scores: expected finite numbers, found inf at position 0 of 2"),
        ([], [], "scores: expected at least one"),
        ([[0.1]], [0], r"scores: .* shape \(1, 1\)"),
        ([0.1, 0.2], [0, 2], "labels: expected 0 and 1, found .*2.* at position 1 of 2"),
        ([0.1, 0.2], [-1, 1], "labels: expected 0 and 1, found .*-1.* at position 0"),
        ([0.1, 0.2], [0.0, np.nan], "labels: expected 0 and 1"),
        ([0.1, 0.2], [1], "scores and labels: expected the same number, found 2 and 1"),
        ([0.1], [[1]], r"labels: expected one axis"),
    ])  # fmt: skip
def test_bad_input_is_refused_by_name(scores, labels, message):
    with pytest.raises(ValueError, match=message):
        Scored(np.array(scores), np.array(labels), DEEPFAKE)


def test_bad_arguments_are_refused_by_name_and_a_value_is_a_number_or_has_a_reason():
    scored = Scored(np.array([0.1, 1.2]), np.array([0, 1]), DEEPFAKE)
    for metric in (binary.log_loss, binary.brier):
        with pytest.raises(ValueError, match=r"scores: expected probabilities from 0 to 1, found 0.1 to 1.2"):
            metric(scored)
    with pytest.raises(ValueError, match="false_positive_rate: expected a fraction from 0 to 1, found 5"):
        binary.true_positive_rate_at(scored, 5)
    with pytest.raises(ValueError, match="threshold: expected a number, found NaN"):
        binary.accuracy(scored, np.nan)
    assert mean(Value(1.0), Value(2.0)) == Value(1.5)
    first = mean(Value(1.0), undefined("no fake"), undefined("later"))
    assert math.isnan(first.value) and first.reason == "no fake"
    for value, reason in ((math.nan, ""), (0.0, "a reason")):
        with pytest.raises(ValueError, match="a number, or NaN with a reason"):
            Value(value, reason)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_ties_of_a_narrow_type_stay_ties(dtype):
    scores = np.array([0.1, 0.1, 0.3, 0.3], dtype)
    assert binary.auc(Scored(scores, np.array([0, 1, 0, 1]), DEEPFAKE)).value == 0.5


def test_a_million_scores_are_counted_exactly():
    # Every score once or twice, in a shuffled order; what is right follows from the construction.
    half = 500_000
    scores = np.concatenate([np.arange(half), np.arange(half) + half // 2]).astype(np.float64)
    labels = np.repeat([0, 1], half)
    order = np.random.default_rng(0).permutation(2 * half)
    scored = Scored(scores[order], labels[order], DEEPFAKE)
    # A positive at h/2 + j beats h/2 + j negatives for j < h/2, with one tie each, and all of them after that.
    beaten = np.minimum(np.arange(half) + half // 2 + 0.5, half).sum()
    assert binary.auc(scored).value == pytest.approx(beaten / half**2, rel=1e-14)
    assert binary.equal_error_rate(scored).value == pytest.approx(0.25, abs=1 / half)
    assert binary.true_positive_rate_at(scored, 0.01).value == pytest.approx(0.51, abs=1 / half)
    assert binary.accuracy(scored, half // 2).value == 0.75


def test_the_package_needs_numpy_and_scipy_only():
    names = "binary bootstrap calibration multiclass presentation scores selection summary thresholds video".split()
    program = "import sys; " + "; ".join(f"import fsfm_jax.metrics.{name}" for name in names)
    program += "; print(*sorted({n.split('.')[0] for n in sys.modules} & {'jax', 'flax', 'optax', 'sklearn'}))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""
