"""Looks while a detector learns: which step wins, what is kept, and what a run that was killed finds again."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from fsfm_jax.detection.prediction import Predictions
from fsfm_jax.detection.validation import FILE, FOLDER, KEPT, Validation
from fsfm_jax.metrics.selection import LAST, SelectionRule
from fsfm_jax.run.checkpoint import Checkpoints, read_parameters
from fsfm_jax.train.state import TrainState

LOSS = SelectionRule("source-validation", "loss", "lower", "earlier")
HTER = SelectionRule("oracle", "hter", "lower", "later")


class Source:
    def __init__(self, name):
        self.name = name


class Scorer:
    """Finds P(real) as the parameters say it: `[0.5 + p, 0.5 - p]` for a real and a fake video."""

    def place(self, params):
        return params

    def __call__(self, params, source):
        p = float(params["p"])
        table = np.log([[0.5 - p, 0.5 + p], [0.5 + p, 0.5 - p]]).astype(np.float32)
        names, frames = np.array(["a", "b"]), np.zeros(2, int)
        return Predictions(source.name, table, ("fake", "real"), 1, np.array([1, 0]), names, frames, names, names)


def state(step, p):
    return TrainState(jnp.int32(step), {"p": jnp.float32(p)}, (), (), None, jnp.bool_(False))


def looks(workdir, rule, values, history=None, split="source-validation"):
    validation = Validation({split: Source("val")}, rule, Scorer(), [] if history is None else history, str(workdir))
    for step, p in values:
        validation(step, state(step, p))
    return validation


def stored(workdir):
    checkpoints = Checkpoints(str(workdir / FOLDER), KEPT)
    steps = checkpoints.steps()
    checkpoints.close()
    return steps


def test_the_best_step_wins_its_parameters_are_kept_and_it_pushes_nothing_out(tmp_path):
    validation = looks(tmp_path, LOSS, [(1, 0.1), (2, 0.4), (3, 0.2)])
    choice, params = validation.chosen(3, None)
    validation.close()
    assert choice.step == 2 and params["p"] == np.float32(0.4)
    assert choice.value == pytest.approx(-np.log(0.9), rel=1e-6)
    assert "the lowest loss (" in choice.label and choice.label.endswith("Looked at: val.")
    # When the choice is made, only it is left.
    assert stored(tmp_path) == [2]


def test_the_log_is_the_history(tmp_path):
    validation = looks(tmp_path, LOSS, [(1, 0.1), (2, -0.1)])
    validation.close()
    lines = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    assert lines == validation.history and [line["step"] for line in lines] == [1, 2]
    assert [line["splits"]["source-validation"]["auc"] for line in lines] == [1, 0]
    assert [line["splits"]["source-validation"]["hter"] for line in lines] == [0, 1]


def test_a_run_that_goes_back_finds_its_earlier_winner_again(tmp_path):
    # Killed after the look at step 3, with the checkpoint of step 2. What is done again leaves what it has now.
    for p, step, kept in ((0.15, 2, 0.2), (0.3, 3, 0.3)):
        killed = looks(tmp_path / str(step), LOSS, [(1, 0.1), (2, 0.2), (3, 0.4)])
        killed.close()
        again = looks(tmp_path / str(step), LOSS, [(3, p), (3, 0.45)], history=killed.history[:2])
        choice, params = again.chosen(3, None)
        again.close()  # no step was looked at twice
        assert (choice.step, params["p"]) == (step, np.float32(kept))
        assert [entry["step"] for entry in again.history] == [1, 2, 3]


def test_steps_that_do_not_win_push_nothing_out(tmp_path):
    validation = looks(tmp_path, LOSS, [(1, 0.4), *((step, 0.1) for step in range(2, 7))])
    choice, params = validation.chosen(6, None)
    validation.close()
    assert choice.step == 1 and params["p"] == np.float32(0.4)


def test_later_ties_take_the_place_of_earlier_ones(tmp_path):
    validation = looks(tmp_path, HTER, [(1, 0.1), (2, 0.2)], split="target-test")
    choice, params = validation.chosen(2, None)
    validation.close()
    assert choice.step == 2 and params["p"] == np.float32(0.2)
    assert "an oracle: these numbers are optimistic" in choice.label


def test_the_last_step_is_kept_by_nobody_and_without_data_nothing_is_looked_at(tmp_path):
    validation = looks(tmp_path, LAST, [(1, 0.4), (2, 0.1)])
    choice, params = validation.chosen(2, {"p": 7})
    validation.close()
    assert (choice.step, params) == (2, {"p": 7}) and "there was no validation" in choice.label
    assert not (tmp_path / FOLDER).exists()
    validation = Validation({}, LAST, Scorer(), [], str(tmp_path / "none"))
    validation(1, state(1, 0.1))
    validation.close()
    assert validation.history == [] and not (tmp_path / "none").exists()


def test_parameters_of_a_step_can_be_read_by_itself(tmp_path):
    looks(tmp_path, LOSS, [(1, 0.1), (2, 0.2)]).close()
    assert read_parameters(str(tmp_path / FOLDER), 1)[0]["p"] == np.float32(0.1)
    with pytest.raises(FileNotFoundError, match="no checkpoint of step 5 in"):
        read_parameters(str(tmp_path / FOLDER), 5)
