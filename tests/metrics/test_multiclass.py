"""Metrics of several classes: by hand, against scikit-learn, and what is refused."""

import json
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from fsfm_jax.metrics import multiclass
from fsfm_jax.metrics.multiclass import SUM_TOLERANCE_PER_CLASS, ClassScores, summarise_classes
from fsfm_jax.metrics.value import Value, undefined

FEW = settings(max_examples=80, deadline=None)
CLOSE = dict(rel=1e-12, abs=1e-12)
NAMES = ("real", "deepfake", "diffusion", "spoof", "morph")

BY_HAND = ClassScores(
    np.array([[0.7, 0.2, 0.1], [0.4, 0.4, 0.2], [0.1, 0.6, 0.3], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4], [0.1, 0.1, 0.8]]),
    np.array([0, 0, 0, 1, 1, 2]),
    ("real", "deepfake", "spoof"),
)


@st.composite
def sets(draw):
    """One to 30 examples of two to five classes: few levels make ties, few labels leave classes out."""
    size, classes = draw(st.integers(1, 30) | st.just(1)), draw(st.integers(2, 5))
    levels = draw(st.sampled_from([1, 2, 5, 1000]))
    weights = st.lists(st.integers(0, levels), min_size=classes, max_size=classes).filter(any)
    rows = np.array(draw(st.lists(weights, min_size=size, max_size=size)), np.float64)
    labels = draw(st.lists(st.integers(0, draw(st.integers(0, classes - 1))), min_size=size, max_size=size))
    if draw(st.booleans()):
        labels[:classes] = range(min(classes, size))
    return ClassScores(rows / rows.sum(axis=1, keepdims=True), np.array(labels), NAMES[:classes])


def first_best(classified: ClassScores) -> list[int]:
    return [row.index(max(row)) for row in classified.probabilities.tolist()]


def test_by_hand():
    found = summarise_classes(BY_HAND, "test")
    # The second example is a tie and goes to the first class.
    assert found["confusion"] == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert (found["split"], found["examples"], found["class_names"]) == ("test", 6, ["real", "deepfake", "spoof"])
    # Pairs that are ordered rightly: real .7 and .4 beat .2 .3 .1, and .1 ties with .1.
    areas = {"real": 6.5 / 9, "deepfake": 5 / 8, "spoof": 1}
    assert found["metrics"] == pytest.approx({
        "accuracy": 4 / 6, "balanced_accuracy": (2 / 3 + 1 / 2 + 1) / 3, "macro_auc": sum(areas.values()) / 3,
        "log_loss": -math.log(0.7 * 0.4 * 0.1 * 0.5 * 0.3 * 0.8) / 6,
    })  # fmt: skip
    rows = {
        "real": ((3, 2, 2), {"recall": 2 / 3, "precision": 1, "f1": 4 / 5}),
        "deepfake": ((2, 2, 1), {"recall": 1 / 2, "precision": 1 / 2, "f1": 1 / 2}),
        "spoof": ((1, 2, 1), {"recall": 1, "precision": 1 / 2, "f1": 2 / 3}),
    }
    assert list(found["classes"]) == list(rows)
    for name, (counts, values) in rows.items():
        of_class = found["classes"][name]
        assert (of_class["examples"], of_class["predicted"], of_class["right"]) == counts
        assert of_class["metrics"] == pytest.approx({**values, "auc": areas[name]})
        assert of_class["undefined"] == {}
    assert found["undefined"] == {}


def macro_auc(classified):
    """That of the summary."""
    found = summarise_classes(classified, "test")
    area = found["metrics"]["macro_auc"]
    return Value(area) if area is not None else undefined(found["undefined"]["macro_auc"])


def check_confusion(classified):
    """And what is counted from it."""
    every, predicted = range(len(classified.class_names)), first_best(classified)
    counts = multiclass.confusion(classified)
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, sklearn.confusion_matrix(classified.labels, predicted, labels=every))
    right = sklearn.accuracy_score(classified.labels, predicted)
    assert multiclass.accuracy(classified).value == pytest.approx(right, **CLOSE)
    theirs = sklearn.precision_recall_fscore_support(
        classified.labels, predicted, labels=every, zero_division=np.nan
    )  # fmt: skip
    for name, precision, recall, f1, support in zip(classified.class_names, *theirs, strict=True):
        ours = [function(classified, name) for function in (multiclass.precision, multiclass.recall, multiclass.f1)]
        # A class that is absent but predicted has an f1 of 0 there, and none here.
        expected = [precision, recall, f1 if support else math.nan]
        assert [value.value for value in ours] == pytest.approx(expected, nan_ok=True, **CLOSE)


def check_means(classified):
    """Over classes, if none is missing."""
    present = np.bincount(classified.labels, minlength=len(classified.class_names)) > 0
    found = multiclass.balanced_accuracy(classified), macro_auc(classified)
    if not present.all():
        absent = classified.class_names[np.argmin(present)]
        alone = f"no class other than {NAMES[0]} among {len(classified)} examples"
        reason = f"no {absent} among {len(classified)} examples"
        assert [value.reason for value in found] == [reason, reason if present[1:].any() or not present[0] else alone]
        return
    balanced = sklearn.balanced_accuracy_score(classified.labels, first_best(classified))
    areas = [
        sklearn.roc_auc_score(classified.labels == column, classified.probabilities[:, column])
        for column in range(len(classified.class_names))
    ]
    assert [value.value for value in found] == pytest.approx([balanced, np.mean(areas)], **CLOSE)
    by_class = [multiclass.auc(classified, name).value for name in classified.class_names]
    assert by_class == pytest.approx(areas, **CLOSE)
    if len(areas) > 2:
        theirs = sklearn.roc_auc_score(classified.labels, classified.probabilities, multi_class="ovr")
        assert found[1].value == pytest.approx(theirs, **CLOSE)


@FEW
@given(sets())
@example(ClassScores(np.array([[1.0, 0, 0], [0, 1, 0]]), np.array([0, 0]), NAMES[:3]))
def test_everything_equals_scikit_learn_and_the_loss_also_with_missing_classes(classified):
    check_confusion(classified)
    check_means(classified)
    every = range(len(classified.class_names))
    theirs = sklearn.log_loss(classified.labels, classified.probabilities, labels=every)
    assert multiclass.log_loss(classified).value == pytest.approx(theirs, **CLOSE)


def test_one_class_leaves_nulls_with_reasons():
    probabilities = np.array([[0.2, 0.7, 0.1], [0.6, 0.4, 0.0]])
    found = summarise_classes(ClassScores(probabilities, np.array([1, 1]), ("real", "deepfake", "spoof")), "test")
    found = json.loads(json.dumps(found, allow_nan=False))
    assert found["metrics"]["accuracy"] == 0.5 and found["metrics"]["log_loss"] > 0
    assert found["metrics"]["balanced_accuracy"] is None and found["metrics"]["macro_auc"] is None
    assert found["undefined"] == {
        "balanced_accuracy": "no real among 2 examples", "macro_auc": "no real among 2 examples",
    }  # fmt: skip
    # Real is called, though absent: that is a precision of 0.
    none = "no real among 2 examples"
    assert found["classes"]["real"] == {
        "examples": 0, "predicted": 1, "right": 0,
        "metrics": {"recall": None, "precision": 0.0, "f1": None, "auc": None},
        "undefined": {"recall": none, "f1": none, "auc": none},
    }  # fmt: skip
    assert found["classes"]["deepfake"]["metrics"] == pytest.approx({
        "recall": 1 / 2, "precision": 1, "f1": 2 / 3, "auc": None
    })  # fmt: skip
    assert found["classes"]["deepfake"]["undefined"] == {"auc": "no class other than deepfake among 2 examples"}
    assert found["classes"]["spoof"]["undefined"]["precision"] == "none of 2 examples was predicted as spoof"
    assert set(found["classes"]["spoof"]["metrics"].values()) == {None}


def test_the_matrix_that_is_handed_out_is_a_copy():
    multiclass.confusion(BY_HAND)[:] = 0
    assert multiclass.confusion(BY_HAND).sum() == 6


@FEW
@given(st.integers(0, 2**32 - 1), st.integers(2, 100), st.sampled_from([1e-3, 1, 10, 1e4]), st.booleans())
def test_probabilities_of_float32_are_accepted(seed, classes, spread, logarithms):
    logits = np.random.default_rng(seed).normal(scale=spread, size=(8, classes)).astype(np.float32)
    shifted = logits - logits.max(axis=1, keepdims=True)
    if logarithms:
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        assert log_p.dtype == np.float32
        p = np.exp(log_p.astype(np.float64))
    else:
        p = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
        assert p.dtype == np.float32
    found = ClassScores(p, np.zeros(8, np.int32), [f"class {k}" for k in range(classes)])
    assert found.probabilities.dtype == np.float64 and found.labels.dtype == np.int64
    assert type(found.class_names) is tuple


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_sum_of_a_row_may_miss_one_by_the_tolerance_and_no_more(sign):
    for factor, accepted in ((0.99, True), (1.01, False)):
        row = np.array([[0.5, 0.25, 0.25 + sign * factor * 3 * SUM_TOLERANCE_PER_CLASS]])
        if accepted:
            assert len(ClassScores(row, [0], NAMES[:3])) == 1
        else:
            with pytest.raises(ValueError, match="sum to 1 within 1.4e-06, found"):
                ClassScores(row, [0], NAMES[:3])


ONE = [[0.5, 0.5]]


@pytest.mark.parametrize(("p", "labels", "names", "message"), [
        ([0.5, 0.5], [0], "ab", r"probabilities: expected shape \[N, C\] with N > 0 and C > 1, found \(2,\)"),
        (np.zeros((0, 2)), [], "ab", r"N > 0 and C > 1, found \(0, 2\)"),
        ([[1.0]], [0], "a", r"C > 1, found \(1, 1\)"),
        (ONE, [0], "abc", r"class_names: expected 2 distinct names, one per column; found \('a', 'b', 'c'\)"),
        (ONE, [0], "aa", r"expected 2 distinct names, .* found \('a', 'a'\)"),
        (ONE, [0], ("a", ""), r"expected 2 distinct names, .* found \('a', ''\)"),
        ([*ONE, [0.5, np.nan]], [0, 0], "ab", r"within 9.5e-07, found \[0.5, nan\] with the sum nan at position 1 of"),
        ([[np.inf, -np.inf], *ONE], [0, 0], "ab", r"expected finite rows.* found \[inf, -inf\] .* 0 of 2 and 0 more"),
        ([[1.5, -0.5]], [0], "ab", r"finite rows from 0 .* found \[1.5, -0.5\] with the sum 1.0 at position 0 of 1"),
        ([[2.0, 3.0], [1.0, 1.0]], [0, 0], "ab", r"sum 5.0 at position 0 of 2 and 1 more; apply the softmax in float"),
        (ONE, [0, 1], "ab", r"labels: expected shape \(1,\) as the probabilities, found \(2,\)"),
        (ONE, [0.0], "ab", "labels: expected integers, found float64"),
        ([*ONE, *ONE], [0, 2], "ab", "labels: expected 0 to 1, found 2 at position 1 of 2 and 0 more"),
        (ONE, [-1], "ab", "labels: expected 0 to 1, found -1 at position 0 of 1"),
    ])  # fmt: skip
def test_bad_input_is_refused_by_name(p, labels, names, message):
    with pytest.raises(ValueError, match=message):
        ClassScores(np.array(p), np.array(labels), tuple(names))


@pytest.mark.parametrize("function", ["recall", "precision", "f1", "auc"])
def test_a_class_that_does_not_exist_is_refused_by_name(function):
    with pytest.raises(ValueError, match="class: expected one of real, deepfake, spoof; found 'mask'"):
        getattr(multiclass, function)(BY_HAND, "mask")
