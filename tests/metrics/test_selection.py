"""Selection rules: who wins, how ties end, and what the sentence admits."""

import math

import pytest

from fsfm_jax.metrics.selection import LAST, Evaluated, SelectionRule, choose

# The anti-spoofing runs of the released code: lowest HTER on the target's own test set, a later equal one wins.
RELEASED_ANTI_SPOOFING = SelectionRule("oracle", "hter", "lower", "later")
# Fine-tuning in the released code: lowest validation loss. That an earlier equal one stays is our choice.
RELEASED_FINE_TUNING = SelectionRule("source-validation", "loss", "lower", "earlier")
RUN = [
    Evaluated(300, {"target-test": {"hter": 0.1, "auc": 0.9}, "source-validation": {"loss": 0.5}}),
    Evaluated(100, {"target-test": {"hter": 0.1, "auc": 0.8}, "source-validation": {"loss": 0.3}}),
    Evaluated(200, {"target-test": {"hter": 0.2, "auc": 0.9}, "source-validation": {"loss": 0.3}}),
    Evaluated(400, {"target-test": {"hter": 0.3, "auc": math.nan}, "source-validation": {"loss": math.nan}}),
]


def test_the_released_anti_spoofing_rule_takes_the_later_tie_in_any_order_and_calls_itself_an_oracle():
    choice = choose(RELEASED_ANTI_SPOOFING, RUN)
    assert (choice.step, choice.value) == (300, 0.1)
    assert (
        "lowest hter (0.1) on the target's own test set (an oracle: these numbers are optimistic)" in choice.label
    )
    assert "2 steps were equal; the later one was chosen" in choice.label
    assert choose(RELEASED_ANTI_SPOOFING, RUN[::-1]) == choose(RELEASED_ANTI_SPOOFING, RUN)


def test_the_released_fine_tuning_rule_looks_at_the_source_only_and_the_last_step_at_nothing():
    choice = choose(RELEASED_FINE_TUNING, RUN)
    assert (choice.step, choice.value) == (100, 0.3)
    assert "a validation split; the test set was not used" in choice.label
    assert "oracle" not in choice.label
    assert "1 of 4 steps had no value" in choice.label
    choice = choose(LAST, [Evaluated(5, {}), Evaluated(7, {}), Evaluated(6, {})])
    assert choice.step == 7 and math.isnan(choice.value)
    assert choice.label == "Step 7, the last of 3; no score was used."


@pytest.mark.parametrize(("ties", "step"), [("earlier", 200), ("later", 300)])
def test_higher_may_be_better(ties, step):
    assert choose(SelectionRule("oracle", "auc", "higher", ties), RUN).step == step


@pytest.mark.parametrize(("arguments", "message"), [
        (("best", "auc", "higher", "later"), "one of oracle, source-validation, last; found 'best'"),
        (("oracle", "", "higher", "later"), "oracle: expected the name of a metric"),
        (("oracle", "auc", "max", "later"), "better: expected lower or higher; found 'max'"),
        (("oracle", "auc", "higher", ""), "ties: expected earlier or later; found ''"),
        (("last", "auc"), "last: expected no metric"),
    ])  # fmt: skip
def test_a_rule_must_say_everything(arguments, message):
    with pytest.raises(ValueError, match=message):
        SelectionRule(*arguments)


@pytest.mark.parametrize(("run", "message"), [
        ([], "at least one checkpoint"),
        ([*RUN, RUN[0]], "found step 300 2 times"),
        (RUN[3:], "source-validation loss: expected a number for some step, found only NaN"),
        ([Evaluated(1, {"target-test": {"loss": 0.1}})], "step 1: expected metric 'loss' of split 'source-validation'"),
        ([Evaluated(1, {"source-validation": {"auc": 0.1}})], r"found \{'source-validation': \['auc'\]\}"),
    ])  # fmt: skip
def test_a_run_must_have_what_the_rule_asks_for(run, message):
    with pytest.raises(ValueError, match=message):
        choose(RELEASED_FINE_TUNING, run)
