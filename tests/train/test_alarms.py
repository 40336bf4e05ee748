"""Alarms: when each goes off and what it does, and that faults put into real steps set them off, and nothing else."""

import contextlib
import dataclasses
import functools
import json
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from ml_collections import ConfigDict

from fsfm_jax.config import finetune, pretrain
from fsfm_jax.models.vit import Size
from fsfm_jax.optim.ema import TargetState, moving_average
from fsfm_jax.optim.optimizer import OptimizerSpec, make_optimizer
from fsfm_jax.resolve import pretrain as config
from fsfm_jax.resolve.finetune import binding_fields
from fsfm_jax.train.alarms import Alarmed, Alarms, AlarmSpec
from fsfm_jax.train.state import TrainState
from fsfm_jax.train.step import StepSpec, make_step

# Short rows, so that a few numbers are enough.
SPEC = AlarmSpec(
    collapse="warn", collapse_below=0.02, collapse_after=2, collapse_steps=3, divergence="warn", loss_above=2.0,
    gradient_above=10.0, window=4, divergence_steps=2, frozen_target="warn", frozen_target_until=90,
    frozen_target_steps=3,
)  # fmt: skip
FINE = {"loss": 1.0, "gradient_norm": 0.5, "feature_std": 0.8, "target_distance": 0.01, "target_moved": 1e-4}


def gone_off(path, series, spec=SPEC, first=0):
    """The lines of alarms of steps whose numbers differ from `FINE` as `series` says."""
    with contextlib.closing(Alarms(spec, str(path), first)) as alarms:
        for step, changes in enumerate(series, first + 1):
            alarms.see(step, FINE | changes)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def at(lines):
    return [(line["step"], line["alarm"]) for line in lines]


def test_nothing_happens_in_an_ordinary_run_before_there_is_a_past_and_while_it_rises(tmp_path):
    assert gone_off(tmp_path / "alarms.jsonl", [{}] * 50) == []
    assert gone_off(tmp_path / "alarms.jsonl", [{"loss": 1.0}] * 2 + [{"loss": 100.0}] * 2 + [{"loss": 1.0}] * 9) == []
    rising = [{"loss": value} for value in (1.0, 1.9, 3.5, 6.5) for _ in range(4)]
    assert gone_off(tmp_path / "alarms.jsonl", rising) == [] and not (tmp_path / "alarms.jsonl").exists()


COLLAPSED, STILL = {"feature_std": 0.019}, {"target_moved": 0.0}


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        # Steps 1 and 2 are warm-up; three in a row, once.
        ([COLLAPSED] * 9, [(5, "collapse")]),
        # Two are not enough; after a good step it may go off again.
        ([COLLAPSED] * 4 + [{}] + [COLLAPSED] * 3 + [{}] + [COLLAPSED] * 4, [(8, "collapse"), (12, "collapse")]),
        ([{"feature_std": 0.02}] * 9, []),
        # What is no number says nothing, and starts nothing anew.
        ([{}] * 2 + [COLLAPSED] * 2 + [{"feature_std": np.nan}] + [COLLAPSED], [(6, "collapse")]),
        ([STILL] * 9, [(3, "frozen_target")]),
        ([{"target_moved": 1e-9}] * 9, []),
        # Where both networks are the same there is nowhere to go.
        ([STILL | {"target_distance": 0.0}] * 9, []),
        # A step that was left out is not to move anything.
        ([STILL | {"skipped": 1.0}] * 9, []),
        ([STILL] * 2 + [STILL | {"skipped": 1.0}] * 2 + [STILL], [(5, "frozen_target")]),
    ],
)  # fmt: skip
def test_collapse_and_frozen_target(tmp_path, series, expected):
    assert at(gone_off(tmp_path / "alarms.jsonl", series)) == expected


def test_the_end_of_the_momentums_cosine_is_no_frozen_target(tmp_path):
    assert gone_off(tmp_path / "alarms.jsonl", [STILL] * 12, first=88) == []
    assert at(gone_off(tmp_path / "alarms.jsonl", [STILL] * 12, first=87)) == [(90, "frozen_target")]


@pytest.mark.parametrize(("name", "past", "high", "low"), [
        ("loss", [1.0, 3.0, 2.0, 2.0, 2.0, 2.0], 4.1, 4.0),
        ("gradient_norm", [0.3, 0.2, 0.2, 0.2], 2.1, 2.0),
        # As far above a negative median as twice a positive one is.
        ("loss", [-0.5] * 4, 0.1, -0.01),
    ])  # fmt: skip
def test_divergence_is_far_above_the_median_for_several_steps(tmp_path, name, past, high, low):
    def lines(*values):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
        path.touch()
        return gone_off(path, [{name: value} for value in [*past, *values]])

    (line,) = lines(high, high, high)
    found = line["step"], line["alarm"], line["number"], line["value"]
    assert found == (len(past) + 2, "divergence", name, high)
    # Of the four steps before.
    assert line["median"] == np.median([*past, high][-4:])
    assert lines(low, low, low) == [] and lines(high, low, high) == []
    assert lines(high, np.nan, high) != []  # a skipped step between two high ones


@pytest.mark.parametrize("name", ["collapse", "divergence", "frozen_target"])
def test_actions(tmp_path, caplog, name):
    series = {"collapse": [COLLAPSED] * 6, "divergence": [{}] * 4 + [{"loss": 9.0}] * 2, "frozen_target": [STILL] * 6}
    said = {"collapse": "1 is spread out", "divergence": "training diverges", "frozen_target": "is no moving average"}
    with caplog.at_level(logging.WARNING, "fsfm_jax"):
        (line,) = gone_off(tmp_path / "warn.jsonl", series[name])
    assert f"ALARM {name} at step {line['step']}: " in caplog.text and said[name] in line["message"]
    off, stop = (dataclasses.replace(SPEC, **{name: action}) for action in ("off", "stop"))
    assert gone_off(tmp_path / "off.jsonl", series[name], off) == []
    place = rf"alarm {name} at step {line['step']}: "
    with pytest.raises(Alarmed, match=rf"{place}.*{said[name]}.*alarms.{name}.action=warn"):
        gone_off(tmp_path / "stop.jsonl", series[name], stop)
    (stopped,) = [json.loads(text) for text in (tmp_path / "stop.jsonl").read_text().splitlines()]
    assert stopped == line | {"action": "stop"}


def test_a_process_that_is_not_the_first_is_silent_and_stops_too(caplog):
    stop = dataclasses.replace(SPEC, collapse="stop")
    with caplog.at_level(logging.WARNING, "fsfm_jax"), pytest.raises(Alarmed, match="step 5"):
        alarms = Alarms(stop, None, 0)
        for step in range(1, 9):
            alarms.see(step, FINE | COLLAPSED)
    assert not caplog.text


def test_alarms_of_steps_that_were_lost_are_forgotten(tmp_path):
    path = tmp_path / "alarms.jsonl"
    assert at(gone_off(path, [COLLAPSED] * 5 + [{}] + [COLLAPSED] * 3)) == [(5, "collapse"), (9, "collapse")]
    # The process had saved step 6, and goes on from there.
    assert at(gone_off(path, [{}] + [COLLAPSED] * 3, first=6)) == [(5, "collapse"), (10, "collapse")]


# Real steps, on the networks of a few thousand parameters.

TASK = reference.task(
    size=Size(16, 1, 2, 8), pixel_width=16, pixel_depth=1, pixel_heads=2, rep_depth=1, rep_heads=2,
    projection_hidden=16, projection_features=8,
)  # fmt: skip
OPTIMIZER = make_optimizer(OptimizerSpec(0.9, 0.95, 1e-8, ((r".*/(bias|scale)", 0.0), (".*", 0.05)), 1.0))
BATCH, RATE, MOVE = 8, 1e-3, 0.004


def make_batch(number):
    generator = np.random.default_rng(number)
    mask = generator.random((BATCH, 16)).argsort(axis=1) >= 4
    image = generator.normal(size=(BATCH, 32, 32, 3)).astype(np.float32)
    return {"image": image, "mask": mask, "region_mask": mask & (generator.random((BATCH, 16)) < 0.3)}


@jax.jit
def tiny_step(state, batch, rate, move):
    update = moving_average(lambda count: move, TASK.target_part)
    return make_step(TASK, OPTIMIZER, update, lambda s: rate, StepSpec(1, "global_batch", "optimizer_step", "stop"))(
        state, batch
    )


@functools.cache
def start():
    params = jax.jit(TASK.init)(jax.random.key(3))
    target, moments = TargetState(jnp.int32(0), TASK.target_part(params)), jax.jit(OPTIMIZER.init)(params)
    return TrainState(jnp.int32(0), params, moments, target, jax.random.key(0), jnp.bool_(False))


def of_real_steps(path, state, schedule):
    """Alarms of steps with the learning rates and target rates of `schedule`, and the metrics of the last one."""
    spec = dataclasses.replace(SPEC, window=12, divergence_steps=4, collapse_steps=4, frozen_target_steps=4)
    with contextlib.closing(Alarms(spec, str(path), 0)) as alarms:
        for step, (rate, move) in enumerate(schedule):
            state, metrics = tiny_step(state, make_batch(step), jnp.float32(rate), jnp.float32(move))
            metrics = {name: float(np.mean(value)) for name, value in metrics.items()}
            alarms.see(step + 1, metrics)
    return [json.loads(line)["alarm"] for line in path.read_text().splitlines()] if path.exists() else [], metrics


def test_faults_put_into_real_steps_set_off_their_alarm_and_an_ordinary_run_none(tmp_path):
    found, metrics = of_real_steps(tmp_path / "ordinary", start(), [(RATE, MOVE)] * 30)
    assert found == [] and metrics["feature_std"] > 2 * SPEC.collapse_below
    assert 0 < metrics["target_moved"] < metrics["target_distance"] < 1
    found, metrics = of_real_steps(tmp_path / "frozen", start(), [(RATE, 0.0)] * 6)
    assert found == ["frozen_target"] and metrics["target_moved"] == 0 < metrics["target_distance"]
    state = start()
    projector = jax.tree.map(np.zeros_like, state.params["projector"])
    found, metrics = of_real_steps(
        tmp_path / "collapse", state._replace(params=state.params | {"projector": projector}), [(0.0, MOVE)] * 7
    )
    assert found == ["collapse"] and metrics["feature_std"] == 0
    found, _ = of_real_steps(tmp_path / "divergence", start(), [(RATE, MOVE)] * 14 + [(1000 * RATE, MOVE)] * 12)
    # With it features may become one, too.
    assert found[:2] == ["divergence"] * 2


# What configurations say.


def pretraining(**fields) -> ConfigDict:
    c = pretrain.pretrain()
    c.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    return c


def resolved(**fields):
    return config.resolve_pretraining(pretraining(**fields), 3_000_000, 8)


def test_a_recipe_warns_after_its_warm_up():
    r = resolved()
    assert r.alarms == AlarmSpec(
        collapse="warn", collapse_below=0.02, collapse_after=40 * 3_000_000 / 4096, collapse_steps=100,
        divergence="warn", loss_above=2.0, gradient_above=10.0, window=100, divergence_steps=10,
        frozen_target="warn", frozen_target_until=0.9 * r.loop.steps, frozen_target_steps=10,
    )  # fmt: skip
    assert (r.loop.limit.consecutive, r.loop.limit.total) == (10, 1000)
    # The released behaviour on several GPUs is asked for, and no fault.
    assert resolved(target__rule="frozen").alarms.frozen_target == "off"
    c = finetune.finetune()
    tuned = config.divergence_alarms(c)
    assert (tuned.divergence, tuned.loss_above, tuned.collapse, tuned.frozen_target) == ("warn", 10.0, "off", "off")
    # Runs from before there were alarms go on, and others may change them.
    assert not [name for name in binding_fields(c) if name.startswith(("alarms.", "nonfinite_limit."))]
    assert not [name for name in config.binding_fields(pretraining(), 4) if name.startswith(("alarms.", "nonfinite_"))]


@pytest.mark.parametrize(("name", "value", "message"), [
        ("alarms__collapse__action", "wran", r"alarms\.collapse\.action: expected one of warn, .*mean 'warn'"),
        ("alarms__divergence__action", "stpo", r"alarms\.divergence\.action: .*mean 'stop'"),
        ("alarms__frozen_target__action", "of", r"alarms\.frozen_target\.action: .*mean 'off'"),
        ("alarms__collapse__below", 0.0, r"alarms\.collapse\.below: expected more than 0"),
        ("alarms__divergence__loss", 1.0, r"alarms\.divergence\.loss: expected more than 1"),
        ("alarms__divergence__window", 0, r"alarms\.divergence\.window: expected at least 1"),
        ("nonfinite_limit__total", -1, r"nonfinite_limit\.total: expected at least 0"),
        ("nonfinite", "skip_stpe", r"nonfinite: expected one of stop, skip_step, skip; .*mean 'skip_step'"),
    ])  # fmt: skip
def test_mistakes_are_named(name, value, message):
    with pytest.raises(ValueError, match=message):
        resolved(**{name: value})
