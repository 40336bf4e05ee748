"""The loop: the order of what it does, the ways in which it ends, and what is saved in each of them."""

import contextlib
import dataclasses
import json
import logging
import math
import os
import signal
import threading
from typing import NamedTuple

import jax
import numpy as np
import pytest

from fsfm_jax.run.disk import NotSaved
from fsfm_jax.run.goodput import Stopwatch
from fsfm_jax.train import input_wait
from fsfm_jax.train.alarms import Alarmed, Alarms, AlarmSpec
from fsfm_jax.train.input_wait import SETTLING, InputWait
from fsfm_jax.train.loop import TRY_AGAIN, Interrupted, LoopParts, LoopSpec, StopRequest, train
from fsfm_jax.train.outcome import MetricsReader, NonFinite, SkipLimit
from fsfm_jax.train.suspects import SuspectImages

NEVER = SkipLimit(0, 0)
QUIET = AlarmSpec("off", 0, 0, 1, "off", 2, 2, 1, 1, "off", 0, 1)


class State(NamedTuple):
    step: np.ndarray
    seen: tuple = ()


class Recorder:
    """A run whose every part notes what is asked of it: checkpoints, batches, step and report in one."""

    def __init__(self, saved=(), metrics=lambda number: {"loss": np.float32([number])}, preempted_at=None):
        self.events: list[tuple] = []
        self.written: dict[int, dict] = {}
        self.waits: dict[int, float] = {}
        self.saved, self.metrics, self.preempted_at = list(saved), metrics, preempted_at
        self.during_step = lambda number: None
        self.bad_batch, self.done = None, 0
        self.searched: list[tuple] = []

    # Checkpoints.

    def steps(self) -> list[int]:
        return self.saved

    def save(self, state, run) -> None:
        assert state.seen == tuple(range(state.step)), "a checkpoint with other batches than its step says"
        assert run == {"of": int(state.step)}
        self.events.append(("save", int(state.step)))

    def wait(self) -> None:
        self.events.append(("wait",))

    def preempted(self) -> bool:
        self.events.append(("asked", self.done))
        return self.done == self.preempted_at

    # The rest.

    def batches(self, first: int):
        for number in range(first, 1000):
            if number == self.bad_batch:
                raise ValueError("photo 17 is damaged")
            self.events.append(("batch", number))
            yield {"number": np.int64(number)}

    def step(self, state: State, batch: dict) -> tuple[State, dict]:
        self.done = number = int(state.step) + 1
        self.events.append(("step", number))
        self.during_step(number)
        metrics = {name: jax.device_put(value) for name, value in self.metrics(number).items()}
        return State(np.int32(number), (*state.seen, int(batch["number"]))), metrics

    def write(self, number: int, values: dict) -> None:
        self.events.append(("write", number))
        self.waits[number] = values.pop("input_wait")
        self.written[number] = values

    def flush(self) -> None:
        self.events.append(("flush",))

    def evaluate(self, number: int, state: State) -> None:
        assert state.seen == tuple(range(number)), "a look at another state than its step says"
        self.events.append(("look", number))

    def suspects(self, number: int, state: State, batch: dict) -> SuspectImages:
        self.searched.append((number, int(state.step), int(batch["number"])))
        return SuspectImages(0, 7, {5: ("loss",)}, {5: "face 5"})

    def train(
        self, steps=5, stop_after=None, save_every=100, nonfinite="stop", first=0, limit=NEVER, alarms=None
    ) -> State:
        spec = LoopSpec(steps, stop_after or steps, save_every, nonfinite, limit)
        start = State(np.int32(first), tuple(range(first)))
        self.done = first
        read = MetricsReader(self.write, nonfinite, limit, alarms or Alarms(QUIET, None, first), self.suspects)
        parts = LoopParts(
            self.step, self.batches(first), lambda b: b, self, lambda n: {"of": n}, read, self.evaluate, self.flush,
            Stopwatch(None, first, 0.0),
        )
        return train(start, parts, spec)

    def all(self, *kinds: str) -> list[tuple]:
        return [event for event in self.events if event[0] in kinds]


def test_the_order_is_stop_save_batch_step_and_the_report_of_the_step_before():
    run = Recorder()
    final = run.train(steps=5, save_every=2)
    assert run.events == [
        ("asked", 0), ("batch", 0), ("step", 1),
        ("asked", 1), ("batch", 1), ("step", 2), ("write", 1),
        # Before a save the metrics are looked at, so that nothing bad is saved.
        ("asked", 2), ("write", 2), ("look", 2), ("flush",), ("save", 2), ("batch", 2), ("step", 3),
        ("asked", 3), ("batch", 3), ("step", 4), ("write", 3),
        ("asked", 4), ("write", 4), ("look", 4), ("flush",), ("save", 4), ("batch", 4), ("step", 5),
        # Asked after the last step, too: another run may follow this one.
        ("asked", 5), ("write", 5), ("look", 5), ("flush",), ("save", 5), ("wait",),
    ]  # fmt: skip
    assert final.step == 5 and final.seen == (0, 1, 2, 3, 4)
    assert run.written == {number: {"loss": float(number)} for number in range(1, 6)}


def test_stop_after_saves_and_ends_earlier_and_a_continuation_does_not_save_its_start_again():
    run = Recorder()
    final = run.train(steps=10, stop_after=3, save_every=2)
    assert final.step == 3 and run.all("save", "wait") == [("save", 2), ("save", 3), ("wait",)]
    assert list(run.written) == [1, 2, 3]
    run = Recorder(saved=[2, 4])
    run.train(steps=7, save_every=2, first=4)
    assert run.all("batch", "save") == [("batch", 4), ("batch", 5), ("save", 6), ("batch", 6), ("save", 7)]


@pytest.mark.parametrize("steps", [3, 1000])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 0)])
def test_a_signal_lets_the_step_finish_then_saves_and_ends(number, code, steps):
    run = Recorder()
    run.during_step = lambda step: os.kill(os.getpid(), number) if step == 3 else None
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    # Also in the last step: nobody else would hear of it, and more may be planned for after this run.
    with pytest.raises(Interrupted, match=rf"after step 3 of {steps} by {number.name}; the same command goes") as stop:
        run.train(steps=steps)
    assert stop.value.exit_code == code
    ending = [event for event in run.events[-7:] if event[0] != "look"]  # at the state of the last step alone
    assert ending[-6:] == [("write", 2), ("asked", 3), ("write", 3), ("flush",), ("save", 3), ("wait",)]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_signal_during_the_last_save_is_not_lost(monkeypatch):
    run = Recorder()
    monkeypatch.setattr(run, "wait", lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted, match="after step 2 of 2 by SIGTERM"):
        run.train(steps=2)


def test_a_second_signal_acts_as_without_the_loop_which_may_run_outside_the_main_thread():
    outer = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: outer.append(number))
    try:
        with StopRequest() as stop:
            assert stop.by is None
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.by is signal.SIGTERM and not outer
            os.kill(os.getpid(), signal.SIGTERM)
            assert outer == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
    run, results = Recorder(), []
    thread = threading.Thread(target=lambda: results.append(run.train(steps=2)))
    thread.start()
    thread.join()
    assert results[0].step == 2


def test_an_announced_interruption_saves_and_ends():
    run = Recorder(preempted_at=3)
    with pytest.raises(Interrupted, match="after step 3 of 1000") as stop:
        run.train(steps=1000, save_every=2)
    assert stop.value.exit_code == TRY_AGAIN == os.EX_TEMPFAIL
    assert run.all("save", "wait") == [("save", 2), ("save", 3), ("wait",)]
    assert run.all("asked") == [("asked", number) for number in range(4)]


def bad_at(step: int, **terms: float):
    """Metrics `[A]` of two micro-batches, the second of which goes wrong at `step`."""
    fine = {"loss": 1.0, "masked": 2.0, "gradient_norm": 3.0}

    def metrics(number: int) -> dict:
        wrong = terms if number == step else {}
        return {name: np.float32([value, wrong.get(name, value)]) for name, value in fine.items()}

    return metrics


@pytest.mark.parametrize("save_every", [1, 2, 3, 100])
@pytest.mark.parametrize("steps", [3, 10])
def test_a_loss_that_is_not_finite_ends_the_run_and_is_never_saved(save_every, steps):
    run = Recorder(metrics=bad_at(3, loss=math.nan, masked=math.inf))
    with pytest.raises(NonFinite, match=r"step 3: loss, masked not finite \(loss = nan, masked = inf, gradient_nor"):
        run.train(steps=steps, save_every=save_every)
    assert all(number < 3 for _, number in run.all("save"))
    assert math.isnan(run.written[3]["loss"]) and 4 not in run.written
    run = Recorder(metrics=bad_at(2, gradient_norm=math.inf))  # though the loss is finite
    with pytest.raises(NonFinite, match="step 2: gradient_norm not finite"):
        run.train(steps=10)
    assert not run.all("save")


def test_means_are_over_all_micro_batches_and_skipped_ones_are_left_out():
    run = Recorder(metrics=lambda number: {"loss": np.float32([1, math.nan, 3] if number == 1 else [math.inf] * 3)})
    assert run.train(steps=2, nonfinite="skip").step == 2
    assert run.written[1] == {"loss": 2.0}
    assert math.isnan(run.written[2]["loss"])
    assert run.all("save") == [("save", 2)]
    run = Recorder(metrics=lambda number: {"loss": np.float32([1, 2, 6]), "learning_rate": np.float32(0.5)})
    run.train(steps=1)
    assert run.written == {1: {"loss": 3.0, "learning_rate": 0.5}}


def test_a_step_that_is_not_finite_names_the_images_of_its_own_batch(tmp_path, caplog):
    run, path = Recorder(metrics=bad_at(3, loss=math.nan)), tmp_path / "alarms.jsonl"
    alarms = Alarms(QUIET, str(path), 0)
    with contextlib.closing(alarms), caplog.at_level(logging.WARNING, "fsfm_jax"):
        message = r"step 3: loss not finite \(.*\). Its 8 images are at positions 0 to 7 .* 5 \(face 5: loss\)"
        with pytest.raises(NonFinite, match=message):
            run.train(alarms=alarms)
    # Another step has begun by then.
    assert run.searched == [(3, 4, 2)] and not caplog.text
    line = json.loads(path.read_text())
    assert (line["step"], line["alarm"], line["action"], line["terms"]) == (3, "nonfinite", "stop", ["loss"])
    assert line["images"] == [{"position": 5, "record": "face 5", "not_finite": ["loss"]}]


def skips(*bad: int):
    """Metrics of steps of which `bad` are left out."""

    def metrics(number: int) -> dict:
        out = number in bad
        return {"loss": np.float32([math.nan if out else 1.0]), "skipped": np.float32(out), "gradient_norm": np.ones(1)}

    return metrics


def test_skipped_steps_are_told_once_in_a_row(tmp_path, caplog):
    run, path = Recorder(metrics=skips(2, 3, 6)), tmp_path / "alarms.jsonl"
    alarms = Alarms(QUIET, str(path), 0)
    with contextlib.closing(alarms), caplog.at_level(logging.WARNING, "fsfm_jax"):
        assert run.train(steps=7, nonfinite="skip_step", limit=SkipLimit(3, 4), alarms=alarms).step == 7
    assert [number for number, *_ in run.searched] == [2, 6] and run.all("save") == [("save", 7)]
    assert [json.loads(line)["action"] for line in path.read_text().splitlines()] == ["skip", "skip"]
    assert "ALARM nonfinite at step 2: loss not finite; 100 % of the step was left out. Its 8 images" in caplog.text
    assert [run.written[number]["skipped"] for number in range(1, 8)] == [0, 1, 1, 0, 0, 1, 0]


@pytest.mark.parametrize(("bad", "limit", "step", "message"), [
        ((2, 3, 4, 5), SkipLimit(3, 0), 4, "It is number 3 in a row of such .* as many as nonfinite_limit.consecutive"),
        ((1, 3, 5, 7), SkipLimit(2, 3), 5, "It is number 3 of such steps, as many as nonfinite_limit.total allows"),
        ((2,), SkipLimit(1, 0), 2, "step 2: loss not finite; 100 % .* 5 .face 5: loss.*number 1 in a row"),
    ])  # fmt: skip
def test_too_many_skipped_steps_end_the_run(bad, limit, step, message):
    run = Recorder(metrics=skips(*bad))
    with pytest.raises(NonFinite, match=message):
        run.train(steps=20, nonfinite="skip_step", limit=limit)
    assert max(run.written) == step and run.searched[-1][0] == step and not run.all("save")


def test_an_alarm_that_stops_saves_nothing():
    run = Recorder(metrics=lambda number: {"loss": np.float32([number // 4 * 10 + 1]), "gradient_norm": np.ones(1)})
    alarms = Alarms(dataclasses.replace(QUIET, divergence="stop"), None, 0)
    with pytest.raises(Alarmed, match="alarm divergence at step 4: loss was .* Nothing was saved since the last"):
        run.train(steps=20, save_every=2, alarms=alarms)
    assert run.all("save") == [("save", 2)] and max(run.written) == 4


def test_a_batch_that_fails_costs_no_step_and_saves_nothing_after_a_bad_one():
    run = Recorder()
    run.bad_batch = 3
    with pytest.raises(ValueError, match="photo 17 is damaged"):
        run.train(steps=10, save_every=100)
    assert run.events[-4:] == [("write", 3), ("flush",), ("save", 3), ("wait",)]
    run = Recorder(metrics=bad_at(3, loss=math.nan))
    run.bad_batch = 3
    with pytest.raises(NonFinite, match="step 3"):
        run.train(steps=10)
    assert not run.all("save")


def test_a_batch_that_fails_is_told_though_the_save_after_it_fails_and_without_waiting_for_hosts(caplog, monkeypatch):
    def full() -> None:
        raise NotSaved("no room")

    run = Recorder()
    run.bad_batch, run.wait = 3, full
    with pytest.raises(NotSaved, match="no room"):
        run.train(steps=10, save_every=100)
    assert [record.getMessage() for record in caplog.records] == ["Step 4 has no batch: photo 17 is damaged"]
    # Saving takes all of them, and they do not know.
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    run = Recorder()
    run.bad_batch = 3
    with pytest.raises(ValueError, match="photo 17 is damaged"):
        run.train(steps=10, save_every=2)
    assert run.all("save", "wait") == [("save", 2)]


def test_the_step_may_not_move_data_to_the_device_unnoticed():
    run, add = Recorder(), jax.jit(lambda x: x + 1)
    run.during_step = lambda number: add(np.ones(3, np.float32))
    with pytest.raises(Exception, match="[Dd]isallowed host-to-device transfer"):
        run.train(steps=1)
    run.during_step = lambda number: add(jax.device_put(np.ones(3, np.float32)))
    assert run.train(steps=1).step == 1


class Clock:
    """`time.monotonic` that only moves when told to."""

    def __init__(self, monkeypatch):
        self.now = 50.0
        monkeypatch.setattr(input_wait, "time", self)

    def monotonic(self) -> float:
        return self.now

    def step(self, waits: InputWait, batch: float, rest: float, idle: bool = True) -> float:
        """A step that waits `batch` seconds for its batch and takes `rest` for everything else."""
        waits.begin()
        self.now += batch
        waits.arrived(idle)
        self.now += rest
        return waits.end()


def test_a_wait_for_input_counts_where_the_device_had_nothing_to_do(monkeypatch, caplog):
    clock, waits = Clock(monkeypatch), InputWait()
    for _ in range(SETTLING):
        assert math.isnan(clock.step(waits, 100, 1))
    assert clock.step(waits, 3, 1) == 0.75
    clock.now += 1000  # a save
    assert clock.step(waits, 3, 1, idle=False) == 0
    assert clock.step(waits, 0, 0) == 0
    assert clock.step(waits, 0, 2) == 0
    with caplog.at_level(logging.WARNING, "fsfm_jax"):
        waits.advise()
    # 3 of 4 + 4 + 2 seconds.
    assert "Host 0: the device waited for its input 30 % of the time. Take more" in caplog.text
    for word in ("data.workers", "data.threads", "--image_encoding=jpeg", "data.repeat_batch=True"):
        assert word in caplog.text


@pytest.mark.parametrize(("batch", "rest"), [(0.9, 9.2), (0, 0)])
def test_a_run_that_hardly_waits_gets_no_advice(monkeypatch, caplog, batch, rest):
    clock, waits = Clock(monkeypatch), InputWait()
    for _ in range(SETTLING + 1):
        clock.step(waits, batch, rest)
    with caplog.at_level(logging.WARNING, "fsfm_jax"):
        waits.advise()
        InputWait().advise()  # of a run without a step
    assert not caplog.text


class Result:
    """Metrics of a step that the device has finished, or not."""

    def __init__(self, ready: bool):
        self.ready = ready

    def is_ready(self) -> bool:
        return self.ready

    def __array__(self, *_, **__) -> np.ndarray:
        return np.float32([1.0])


@pytest.mark.parametrize("ready", [False, True])
def test_each_step_is_written_with_the_share_of_its_own_wait(monkeypatch, caplog, ready):
    clock, run = Clock(monkeypatch), Recorder()
    monkeypatch.setattr(jax, "device_put", lambda value: value)
    monkeypatch.setattr(jax, "device_get", np.asarray)
    run.metrics = lambda number: {"loss": Result(ready)}

    def batches(first):
        for number in range(first, 1000):
            clock.now += number  # step n waits n - 1 seconds
            yield {"number": np.int64(number)}

    def step(number):
        clock.now += 1

    run.batches, run.during_step = batches, step
    with caplog.at_level(logging.WARNING, "fsfm_jax"):
        run.train(steps=SETTLING + 2)
    assert all(math.isnan(run.waits.pop(number)) for number in range(1, SETTLING + 1))
    five, six = (5 / 6, 6 / 7) if ready else (0, 0)
    assert run.waits == {SETTLING + 1: pytest.approx(five), SETTLING + 2: pytest.approx(six)}
    assert ("85 % of the time" in caplog.text) == ready
