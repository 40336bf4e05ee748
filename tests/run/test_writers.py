"""What a run shows and records: the line for people, one JSON object per step for programs."""

import io
import json
import math

import pytest

from fsfm_jax.run import writers
from fsfm_jax.run.writers import Reporter, Silent, duration

METRICS = {
    "loss": 1.25, "masked": 1.2, "region": 0.75, "instance": -0.5, "learning_rate": 2.4e-3, "gradient_norm": 3.5,
    "momentum": 0.99612,
}  # fmt: skip


class Clock:
    """`time.monotonic` that only moves when told to."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(writers, "time", clock)
    return clock


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "metrics.jsonl")


def run(path, clock, steps, seconds=2.0, first=0, last=100, **options) -> None:
    """Writes METRICS for each of `steps`, `seconds` apart."""
    reporter = Reporter(path, first, last, images_per_step=16, **options)
    for step in steps:
        clock.now += seconds
        reporter.write(step, METRICS)
    reporter.close()


def lines(path: str) -> list[dict]:
    with open(path) as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0m00s"), (59.9, "0m59s"), (60, "1m00s"), (190, "3m10s"), (3599, "59m59s"), (3600, "1h00m"),
        (7500, "2h05m"), (86399, "23h59m"), (86400, "1d00h"), (97200, "1d03h"), (864000, "10d00h"),
        (math.nan, "?"), (math.inf, "?"),
    ],
)  # fmt: skip
def test_a_duration_is_two_numbers_with_their_units(seconds, text):
    assert duration(seconds) == text


def test_the_line_says_step_speed_terms_rates_and_time_left(path, clock, capsys):
    run(path, clock, [1, 2, 3], plain_seconds=0)
    shown = [line.split("  ") for line in capsys.readouterr().err.splitlines()]
    # Two steps in four seconds after the first one: 0.5 steps/s, 8 images/s, 97 steps take 194 s.
    assert shown[2][0] == "step 3/100"
    assert set(shown[2][1:]) == {
        "8.0 img/s", "3m14s left", "loss 1.250 masked 1.200 region 0.750 instance -0.500", "lr 2.4e-03 ema 0.99612",
    }  # fmt: skip
    # The first step is compiling: it says nothing about speed.
    assert shown[0][0] == "step 1/100" and "? left" in shown[0] and "img/s" not in "".join(shown[0])


def test_a_run_without_target_shows_no_momentum(path, clock, capsys):
    reporter = Reporter(path, 0, 10, 16)
    reporter.write(1, {"loss": 2.0, "masked": 1.0, "learning_rate": 1e-5, "gradient_norm": 1.0})
    reporter.close()
    shown = capsys.readouterr().err
    assert "loss 2.000 masked 1.000" in shown and "lr 1.0e-05" in shown and "ema" not in shown


def test_speed_counts_the_steps_of_this_process_only(path, clock):
    run(path, clock, range(51, 55), seconds=4.0, first=50)
    assert lines(path)[-1]["images_per_second"] == 4.0
    assert lines(path)[-1]["seconds_left"] == 46 * 4.0


def test_every_step_is_one_json_object_with_all_metrics(path, clock):
    run(path, clock, [1, 2])
    assert [line["step"] for line in lines(path)] == [1, 2]
    assert lines(path)[1] == {"step": 2, **METRICS, "images_per_second": 8.0, "seconds_left": 196.0}


def test_what_is_not_finite_is_null_in_the_file(path, clock):
    reporter = Reporter(path, 0, 10, 16)
    reporter.write(1, METRICS | {"loss": math.nan, "masked": math.inf})
    reporter.close()
    with open(path) as file:
        text = file.read()
    assert "NaN" not in text and "Infinity" not in text  # no JSON, and many readers refuse them
    found = json.loads(text)
    assert (found["loss"], found["masked"], found["images_per_second"]) == (None, None, None)
    assert found["region"] == METRICS["region"]


def test_a_line_is_on_disk_before_the_next_step(path, clock):
    reporter = Reporter(path, 0, 10, 16)
    reporter.write(1, METRICS)
    found = lines(path)  # not closed: as a killed process leaves it
    reporter.close()
    assert found[0]["step"] == 1


def test_steps_lost_with_an_interrupted_process_are_forgotten(path, clock):
    run(path, clock, range(1, 6))
    with open(path, "a") as file:
        file.write('{"step": 6, "loss": 1.')  # killed while writing
    run(path, clock, [4], first=3)
    assert [line["step"] for line in lines(path)] == [1, 2, 3, 4]
    run(path, clock, [1], first=0)  # the working directory is begun anew
    assert [line["step"] for line in lines(path)] == [1]


def test_in_a_log_file_a_line_is_written_now_and_then_and_at_the_end(path, clock, capsys):
    run(path, clock, range(1, 13), seconds=2.0, last=12, plain_seconds=10.0)
    shown = [line.split("  ")[0] for line in capsys.readouterr().err.splitlines()]
    assert shown == ["step 1/12", "step 6/12", "step 11/12", "step 12/12"]
    assert len(lines(path)) == 12


def test_on_a_terminal_one_line_is_rewritten(path, clock, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    run(path, clock, [1, 2, 3], last=4)
    text = terminal.getvalue()
    assert "\r" in text and text.count("\n") == 1 and text.endswith("\n")  # one line feed: the bar was closed
    last = text.rstrip("\n").split("\r")[-1]
    assert last.startswith(" 75%|") and all(part in last for part in ("step 3/4", "8.0 img/s", "0m02s left"))


def test_the_line_says_how_long_the_device_waited_for_input_since_the_line_before(path, clock, capsys):
    reporter = Reporter(path, 0, 100, 16, plain_seconds=10.0)
    # Of the first step nobody knows when it began, and of the second the loop does not know yet.
    for step, (seconds, share) in enumerate([(2, 0.9), (2, math.nan), (3, 0.5), (6, 0.0), (5, 1.0), (5, 1.0)], 1):
        clock.now += seconds
        reporter.write(step, METRICS | {"input_wait": share})
    reporter.close()
    shown = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in shown] == ["step 1/100", "step 4/100", "step 6/100"]
    # 1.5 of 9 seconds, then 10 of 10.
    assert "input-bound" not in shown[0]
    assert shown[1].endswith("  input-bound 17 %") and shown[2].endswith("  input-bound 100 %")
    assert [line["input_wait"] for line in lines(path)] == [0.9, None, 0.5, 0.0, 1.0, 1.0]


def test_other_processes_are_silent(capsys):
    reporter = Silent()
    reporter.write(1, METRICS)
    reporter.flush()
    reporter.close()
    assert capsys.readouterr() == ("", "")
