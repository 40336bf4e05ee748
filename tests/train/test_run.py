"""The frame of the jobs: what it opens and closes, in which order, and from which state a run goes on."""

import json
import logging
import types
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from fsfm_jax import partition
from fsfm_jax.run import disk, writers
from fsfm_jax.run.checkpoint import Retention
from fsfm_jax.run.disk import NotSaved
from fsfm_jax.run.goodput import GOODPUT_FILE, read_notes, sum_attempts
from fsfm_jax.train.alarms import AlarmSpec
from fsfm_jax.train.loop import LoopSpec
from fsfm_jax.train.outcome import SkipLimit
from fsfm_jax.train.run import Hooks, RunSpec, run_training

STEPS, IMAGES = 5, 2
QUIET = AlarmSpec("off", 0, 0, 1, "off", 2, 2, 1, 1, "off", 0, 1)


class State(NamedTuple):
    step: jax.Array
    params: dict


def state_of(step: int) -> State:
    """The state after step `step` of sums of the numbers 0, 1, 2, ..."""
    return State(jnp.int32(step), {"sum": jnp.float32(sum(range(step)))})


@jax.jit
def add(state: State, number: jax.Array) -> tuple[State, dict]:
    total = state.params["sum"] + number
    return State(state.step + 1, {"sum": total}), {"loss": total, "gradient_norm": total}


class Job(Hooks):
    """A job that notes what the frame does; `fails` names a moment at which it raises an error."""

    def __init__(self, fails: str = "", adopted: State | None = None):
        self.events: list[tuple] = []
        self.fails, self.adopted, self.place = fails, adopted, None

    def note(self, *event) -> None:
        self.events.append(event)
        if self.fails == event[0]:
            raise ValueError(f"{event[0]} failed")

    def part(self, name: str, **methods) -> types.SimpleNamespace:
        self.note(f"open {name}")
        return types.SimpleNamespace(close=lambda: self.note(f"close {name}"), **methods)

    def spec(self, workdir, stop_after: int = STEPS) -> RunSpec:
        program = types.SimpleNamespace(
            task=None, step=types.SimpleNamespace(accumulation=1), mesh=partition.make_mesh(), global_batch=IMAGES,
            like=jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state_of(0)),
            to_device=jax.device_put, compile_step=lambda: add,
        )  # fmt: skip
        identity = {"config": {"seed": 1}, "data": [], "statistics": {}}
        loop = LoopSpec(STEPS, stop_after, 2, "stop", SkipLimit(0, 0))
        return RunSpec(
            str(workdir), ConfigDict({"seed": 1}), program, identity, self.stream, loop, Retention(5, 0), QUIET,
            ("jsonl", "noted"), self,
        )  # fmt: skip

    def stream(self, first: int) -> types.SimpleNamespace:
        self.note("open stream", first)
        numbers = iter(range(first, 1000))

        class Stream:
            def __next__(_) -> np.float32:
                return np.float32(next(numbers))

            def close(_) -> None:
                self.note("close stream")

        return Stream()

    def adopt(self) -> State | None:
        return self.adopted

    def initial_state(self, program) -> State:
        return state_of(0)

    def details(self) -> dict:
        return {"job": "sums"}

    def prepare(self, state: State) -> None:
        self.note("prepare", int(state.step))

    def open_validation(self, state, saved, writers):
        self.note("open validation", None if saved is None else (saved["step"], saved["job"]))

        class Looks:
            def __call__(_, number: int, state: State) -> None:
                self.note("look", number, float(state.params["sum"]))

            def close(_) -> None:
                self.note("close validation")

        return Looks()

    def show(self, number: int, values: dict) -> dict:
        return {"total": values["loss"]}

    def finish(self, ended) -> None:
        self.note("finish", float(ended.state.params["sum"]), ended.describe(3)["examples_seen"])
        self.place = ended.place


@pytest.fixture(autouse=True)
def noted(monkeypatch):
    """A row of the table of writers that tells the job of this test when it is opened and closed."""
    jobs = []
    quiet = {name: lambda *_: None for name in ("write", "write_image", "flush")}
    monkeypatch.setitem(writers.WRITERS, "noted", lambda info: jobs[-1].part("writers", **quiet))
    return jobs


def run(jobs: list, workdir, stop_after: int = STEPS, **fields) -> Job:
    jobs.append(Job(**fields))
    run_training(jobs[-1].spec(workdir, stop_after))
    return jobs[-1]


def totals(workdir) -> list[float]:
    return [json.loads(line)["total"] for line in (workdir / "metrics.jsonl").read_text().splitlines()]


CLOSED = [("close validation",), ("close writers",)]


def test_a_run_is_opened_in_order_and_closed_in_the_reverse_of_it(noted, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "fsfm_jax"):
        stopped = run(noted, tmp_path, stop_after=3)
    opened = [("prepare", 0), ("open writers",), ("open validation", None), ("open stream", 0)]
    assert stopped.events == [*opened, ("look", 2, 1.0), ("close stream",), *CLOSED]
    said = [record.getMessage() for record in caplog.records if record.name == "fsfm_jax"]
    assert said[1:] == [f"Stopped after step 3 of 5; the same command goes on from {tmp_path}/checkpoints/3"]
    assert said[0].startswith("Goodput ") and said[0].endswith("in 1 attempts, 0 steps done again")
    ended = run(noted, tmp_path)
    whole = sum_attempts(read_notes(f"{tmp_path}/{GOODPUT_FILE}"))
    assert (whole.attempts, whole.steps, whole.lost_steps) == (2, 5, 0)
    assert ended.events == [
        ("prepare", 3), ("open writers",), ("open validation", (3, "sums")), ("open stream", 3), ("look", 4, 6.0),
        ("look", 5, 10.0), ("close stream",), ("finish", 10.0, 3 * IMAGES), *CLOSED,
    ]  # fmt: skip
    assert ended.place == f"{tmp_path}/checkpoints/5" and totals(tmp_path) == [0, 1, 3, 6, 10]
    # One that has ended is not trained, and nothing is opened for it.
    again = run(noted, tmp_path)
    assert [event[0] for event in again.events] == [
        "prepare", "open writers", "open validation", "finish", "close validation", "close writers"
    ]  # fmt: skip


def test_a_disk_without_room_for_a_checkpoint_is_told_before_training(noted, tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "_free", lambda path: 1)
    with pytest.raises(NotSaved, match="free disk, for one checkpoint; found 0.000 GB"):
        run(noted, tmp_path)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_an_adopted_state_is_a_checkpoint_of_the_run_before_it_is_trained(noted, tmp_path):
    with pytest.raises(ValueError, match="prepare failed"):
        run(noted, tmp_path, adopted=state_of(2), fails="prepare")
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["2"]
    # Adopted once: what the run has saved comes first.
    ended = run(noted, tmp_path, adopted=state_of(4))
    assert ended.events[0] == ("prepare", 2) and totals(tmp_path) == [3, 6, 10]


@pytest.mark.parametrize(("fails", "closed"), [
        ("open validation", [("close writers",)]),
        ("open stream", CLOSED),
        ("look", [("close stream",), *CLOSED]),
        ("close stream", [("close stream",), *CLOSED]),
        ("finish", [("close stream",), ("finish", 10.0, 6), *CLOSED]),
        ("close validation", [("close stream",), ("finish", 10.0, 6), *CLOSED]),
    ])  # fmt: skip
def test_whatever_fails_everything_that_is_open_is_closed(noted, tmp_path, fails, closed):
    with pytest.raises(ValueError, match=f"{fails} failed"):
        run(noted, tmp_path, fails=fails)
    assert [event for event in noted[-1].events if event[0].startswith(("close", "finish"))] == closed
