"""Goodput: every second of a run has one name, over all attempts, and what was done again is not productive."""

import json
import time
from contextlib import closing

import pytest

from fsfm_jax.run import goodput
from fsfm_jax.run.goodput import GOODPUT_FILE, Stopwatch, begin_attempt, begin_command, read_notes
from reliability.goodput import best_interval, expected_share


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self):
        self.time = 100.0

    def __call__(self) -> float:
        return self.time

    def spend(self, seconds: float) -> float:
        self.time += seconds
        return seconds


def attempt(workdir, clock: Clock, first: int, steps: int, save_every: int = 0) -> Stopwatch:
    """10 s of restart, 5 s of compiling, steps of 2 s of which 0.5 s are waits, saves of 1 s."""
    watch = Stopwatch(workdir, first, clock(), clock)
    clock.spend(7)
    watch.add("compile", clock.spend(5))
    clock.spend(3)
    for number in range(first + 1, first + steps + 1):
        watch.begin_steps()
        watch.end_step(number, clock.spend(2), 0.5)
        if save_every and number % save_every == 0:
            watch.saved(clock.spend(1))
    return watch


def test_an_undisturbed_run(tmp_path):
    clock = Clock()
    watch = attempt(str(tmp_path), clock, 0, 6, save_every=3)
    clock.spend(4)  # a look at validation data
    watch.close()
    found = watch.sum()
    # 10 + 5 + 6 x 2 + 2 x 1 + 4 seconds, of which 6 x 1.5 trained.
    assert found.wall == 33 and found.share == 9 / 33
    assert found.seconds == {
        "productive": 9, "lost": 0, "compile": 5, "input_wait": 3, "checkpoint": 2, "restart": 10, "other": 4,
    }  # fmt: skip
    assert (found.attempts, found.steps, found.lost_steps) == (1, 6, 0)
    assert found.as_metrics()["goodput/share"] == 9 / 33
    assert found.sentence().startswith("Goodput 27.3 %: productive 9.0 s, lost 0.0 s, compile 5.0 s")


def test_steps_after_the_last_save_of_a_killed_process_are_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(goodput, "SECONDS_BETWEEN_LINES", 0.0)  # a line for each step
    clock, workdir = Clock(), str(tmp_path)
    attempt(workdir, clock, 0, 5, save_every=3).close()  # killed after step 5; step 3 was saved
    clock.spend(1000)  # nobody works on it
    with (tmp_path / GOODPUT_FILE).open("a") as file:
        file.write('{"attempt": 1, "fir')  # the kill came inside a line
    attempt(workdir, clock, 3, 4).close()  # killed after step 7, before a save
    watch = attempt(workdir, clock, 3, 3, save_every=3)
    watch.close()
    found = watch.sum()
    # 15 + 5 x 2 + 1, 15 + 4 x 2, 15 + 3 x 2 + 1 seconds. Kept are 3 + 0 + 3 steps of 1.5 s, lost are 2 + 4.
    assert (found.attempts, found.steps, found.lost_steps, found.wall) == (3, 6, 6, 26 + 23 + 22)
    assert found.seconds == {
        "productive": 9, "lost": 9, "compile": 15, "input_wait": 6, "checkpoint": 2, "restart": 30, "other": 0,
    }  # fmt: skip
    assert found.share == 9 / 71


def test_seconds_between_two_lines_are_spread_over_their_steps_and_damage_is_named(tmp_path):
    clock = Clock()
    attempt(str(tmp_path), clock, 0, 8).close()  # lines at the beginning, at steps 1 and 6, and at the end
    path = tmp_path / GOODPUT_FILE
    assert [note.step for note in read_notes(str(path))] == [0, 1, 6, 8]
    with closing(Stopwatch(str(tmp_path), 3, clock(), clock)) as watch:
        found = watch.sum()
    assert (found.steps, found.lost_steps, found.seconds["productive"]) == (3, 5, 3 * 1.5)
    # A run that begins anew keeps nothing of before.
    with closing(Stopwatch(str(tmp_path), 0, clock(), clock)) as watch:
        assert watch.sum().seconds["productive"] == 0 and watch.sum().lost_steps == 8
    path.write_text("none\n" + path.read_text())
    with pytest.raises(ValueError, match="goodput.jsonl: expected a note .* found 'none"):
        Stopwatch(str(tmp_path), 3, clock(), clock)


def test_other_processes_write_nothing_and_the_first_attempt_of_a_command_begins_with_its_process(tmp_path):
    clock = Clock()
    attempt(None, clock, 0, 3, save_every=1).close()
    assert not list(tmp_path.iterdir())
    with open("/proc/uptime") as file:
        up = float(file.read().split()[0])
    begin_command()
    before, now = begin_attempt(), time.monotonic()
    assert 0 < now - before < up  # pytest is older than this test
    assert now <= begin_attempt() <= time.monotonic()  # taken once
    assert json.dumps(read_notes(str(tmp_path / GOODPUT_FILE))) == "[]"


def test_the_best_interval_is_that_of_young_and_the_model_agrees_with_it():
    assert best_interval(cost=2.0, mtbf=900.0) == 60.0
    # Without failures to speak of, the share is that of steps among steps and saves.
    assert expected_share(90.0, 10.0, 30.0, 1e9) == pytest.approx(0.9, rel=1e-6)
    # By hand: 1 / (e^(30/300) x 300 x (e^(62/300) - 1) / 60)
    assert expected_share(60.0, 2.0, 30.0, 300.0) == pytest.approx(0.78828, abs=1e-5)
    shares = {every: expected_share(every, 2.0, 30.0, 900.0) for every in (15.0, 60.0, 240.0)}
    assert max(shares, key=shares.get) == 60.0
