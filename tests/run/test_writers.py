"""What a run shows and records: the line for people, one JSON object per step for programs."""

import errno
import io
import json
import math
import os
import sys

import numpy as np
import pytest
from event_files import read_events

from fsfm_jax.run import console, writers
from fsfm_jax.run.console import Console, duration
from fsfm_jax.run.disk import NotSaved
from fsfm_jax.run.metrics_file import MetricsFile
from fsfm_jax.run.tensorboard import TensorBoard
from fsfm_jax.run.writers import RunInfo, Writers, open_writers, writer_names

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
    for module in (writers, console):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "metrics.jsonl")


def opened(path: str, first: int = 0, last: int = 10, stop_after: int = 10**9, **options) -> Writers:
    """The line and the file of a run of 16 images a step."""
    info = RunInfo(os.path.dirname(path), first, last, min(stop_after, last), 16)
    return Writers(info, [Console(info, **options), MetricsFile(info)])


def run(path, clock, steps, seconds=2.0, first=0, last=100, **options) -> None:
    """Writes METRICS for each of `steps`, `seconds` apart."""
    opened_writers = opened(path, first, last, **options)
    for step in steps:
        clock.now += seconds
        opened_writers.write_step(step, METRICS)
    opened_writers.close()


def lines(path: str) -> list[dict]:
    with open(path) as file:
        return [json.loads(line) for line in file]


def test_a_duration_is_two_numbers_with_their_units():
    texts = {
        0: "0m00s", 59.9: "0m59s", 60: "1m00s", 190: "3m10s", 3599: "59m59s", 3600: "1h00m", 86399: "23h59m",
        86400: "1d00h", 97200: "1d03h", 864000: "10d00h", math.nan: "?", math.inf: "?",
    }  # fmt: skip
    assert {seconds: duration(seconds) for seconds in texts} == texts


def test_the_line_says_step_speed_terms_rates_and_time_left_and_no_momentum_without_a_target(path, clock, capsys):
    run(path, clock, [1, 2, 3], plain_seconds=0)
    shown = [line.split("  ") for line in capsys.readouterr().err.splitlines()]
    # Two steps in four seconds after the first one: 0.5 steps/s, 8 images/s, 97 steps take 194 s.
    assert shown[2][0] == "step 3/100"
    assert set(shown[2][1:]) == {
        "8.0 img/s", "3m14s left", "loss 1.250 masked 1.200 region 0.750 instance -0.500", "lr 2.4e-03 ema 0.99612",
    }  # fmt: skip
    # The first step is compiling: it says nothing about speed.
    assert shown[0][0] == "step 1/100" and "? left" in shown[0] and "img/s" not in "".join(shown[0])
    opened_writers = opened(path)  # without a target
    opened_writers.write_step(1, {"loss": 2.0, "masked": 1.0, "learning_rate": 1e-5, "gradient_norm": 1.0})
    opened_writers.close()
    shown = capsys.readouterr().err
    assert "loss 2.000 masked 1.000" in shown and "lr 1.0e-05" in shown and "ema" not in shown


def test_speed_counts_the_steps_of_this_process_only(path, clock):
    run(path, clock, range(51, 55), seconds=4.0, first=50)
    assert lines(path)[-1]["images_per_second"] == 4.0
    assert lines(path)[-1]["seconds_left"] == 46 * 4.0


def test_every_step_is_one_json_object_with_all_metrics_on_disk_before_the_next(path, clock, capsys):
    run(path, clock, [1, 2])
    assert [line["step"] for line in lines(path)] == [1, 2]
    assert lines(path)[1] == {"step": 2, **METRICS, "images_per_second": 8.0, "seconds_left": 196.0}
    capsys.readouterr()
    opened_writers = opened(path, first=2)
    opened_writers.write(2, {"validation/auc": 0.5})  # neither in the line nor in the file
    assert capsys.readouterr().err == "" and len(lines(path)) == 2
    opened_writers.write_step(3, METRICS)
    found = lines(path)  # not closed: as a killed process leaves it
    opened_writers.close()
    assert found[-1]["step"] == 3


def test_what_is_not_finite_is_null_in_the_file(path, clock):
    opened_writers = opened(path)
    opened_writers.write_step(1, METRICS | {"loss": math.nan, "masked": math.inf})
    opened_writers.close()
    with open(path) as file:
        text = file.read()
    assert "NaN" not in text and "Infinity" not in text  # no JSON, and many readers refuse them
    found = json.loads(text)
    assert (found["loss"], found["masked"], found["images_per_second"]) == (None, None, None)
    assert found["region"] == METRICS["region"]


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
    # A process that stops earlier ends the line itself: what it says next is below it.
    terminal.truncate(0)
    opened_writers = opened(path, last=4, stop_after=2)
    for step in (1, 2):
        opened_writers.write_step(step, METRICS)
    assert terminal.getvalue().endswith("\n")
    opened_writers.close()
    last = text.rstrip("\n").split("\r")[-1]
    assert last.startswith(" 75%|") and all(part in last for part in ("step 3/4", "8.0 img/s", "0m02s left"))


def test_the_line_says_how_long_the_device_waited_for_input_since_the_line_before(path, clock, capsys):
    opened_writers = opened(path, last=100, plain_seconds=10.0)
    # Of the first step nobody knows when it began, and of the second the loop does not know yet.
    for step, (seconds, share) in enumerate([(2, 0.9), (2, math.nan), (3, 0.5), (6, 0.0), (5, 1.0), (5, 1.0)], 1):
        clock.now += seconds
        opened_writers.write_step(step, METRICS | {"input_wait": share})
    opened_writers.close()
    shown = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in shown] == ["step 1/100", "step 4/100", "step 6/100"]
    # 1.5 of 9 seconds, then 10 of 10.
    assert "input-bound" not in shown[0]
    assert shown[1].endswith("  input-bound 17 %") and shown[2].endswith("  input-bound 100 %")
    assert [line["input_wait"] for line in lines(path)] == [0.9, None, 0.5, 0.0, 1.0, 1.0]


class Kept:
    """A writer of somebody else: keeps what it is told."""

    def __init__(self, run: RunInfo | None = None, fails: bool = False):
        self.told, self._fails = [], fails

    def write(self, step, values):
        self.told.append((step, dict(values)))

    def write_image(self, step, name, image):
        self.told.append((step, name, image.shape))

    def flush(self):
        self.told.append("flush")

    def close(self):
        self.told.append("close")
        if self._fails:
            raise OSError("no network")


def test_other_processes_are_silent(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(writers.jax, "process_index", lambda: 1)
    lent = Kept()
    found = open_writers(("console", "jsonl", "tensorboard"), RunInfo(str(tmp_path), 0, 10, 10, 16), [lent])
    found.write_step(1, METRICS)
    found.write_image(1, "face", np.zeros((2, 2, 3), np.uint8))
    found.flush()
    found.close()
    assert not found and lent.told == [] and capsys.readouterr() == ("", "") and not list(tmp_path.iterdir())


def test_writers_of_others_are_rows_or_are_lent(tmp_path, monkeypatch):
    monkeypatch.setitem(writers.WRITERS, "kept", Kept)
    lent, fails = Kept(), Kept(fails=True)
    monkeypatch.setitem(writers.WRITERS, "fails", lambda run: fails)
    found = open_writers(writer_names("kept, fails"), RunInfo(str(tmp_path), 0, 10, 10, 16), [lent])
    (own, _) = found._owned
    found.write(2, {"validation/auc": 0.5})
    found.write_image(2, "face", np.zeros((2, 4, 3), np.uint8))
    found.flush()
    with pytest.raises(OSError, match="no network"):
        found.close()
    told = [(2, {"validation/auc": 0.5}), (2, "face", (2, 4, 3)), "flush"]
    # One that fails keeps no other from being closed; what is lent stays open.
    assert own.told == fails.told == [*told, "close"] and lent.told == [*told, "flush"]


def test_names_of_writers_that_make_no_sense_or_lack_their_package_are_refused(tmp_path, monkeypatch):
    assert writer_names("") == () and writer_names("jsonl,console") == ("jsonl", "console")
    with pytest.raises(ValueError, match="writers: expected one of console, jsonl, .*; did you mean 'tensorboard'"):
        writer_names("console,tensorbord")
    with pytest.raises(ValueError, match="writers: jsonl is there twice in 'jsonl,console,jsonl'"):
        writer_names("jsonl,console,jsonl")
    with pytest.raises(ValueError, match="writers: dict: expected methods write, .*; it has no write, write_image, fl"):
        open_writers((), RunInfo(str(tmp_path), 0, 10, 10, 16), [{}])
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ValueError, match="writers: tensorboard needs the package tensorboardX .*; install it, or"):
        board(tmp_path)


def board(folder, first: int = 0, last: int = 10) -> TensorBoard:
    return TensorBoard(RunInfo(str(folder), first, last, last, 16))


def test_event_files_have_scalars_and_pictures_once_each_also_after_a_resume(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    killed = board(tmp_path)
    for step in (1, 2, 3):
        killed.write(step, {"loss": 10.0 * step, "learning_rate": math.nan})
    killed.write(2, {"validation/auc": 0.75})
    killed.write_image(3, "figures/face", np.zeros_like(picture))
    killed.flush()  # and then the process is gone; the last checkpoint was that of step 2
    again = board(tmp_path, first=2)
    for step in (3, 4):
        again.write(step, {"loss": 1.0 * step})
    for shown in (np.zeros_like(picture), picture):  # a run that has ended draws again when it is started again
        again.write_image(4, "figures/face", shown)
    again.close()
    killed.close()
    scalars, pictures = read_events(tmp_path / "tensorboard")
    assert scalars["loss"] == [(1, 10.0), (2, 20.0), (3, 3.0), (4, 4.0)]
    assert scalars["validation/auc"] == [(2, 0.75)] and [step for step, _ in scalars["learning_rate"]] == [1, 2]
    assert list(pictures) == ["figures/face"] and [step for step, _ in pictures["figures/face"]] == [4]
    np.testing.assert_array_equal(pictures["figures/face"][0][1], picture)
    with pytest.raises(ValueError, match=r"image face: expected \[H, W, 3\] uint8; found \[5, 7\] uint8"):
        again.write_image(4, "face", picture[..., 0])


def test_a_full_disk_ends_the_run_with_a_sentence(tmp_path, monkeypatch):
    writer = board(tmp_path)
    writer.write(1, {"loss": 1.0})

    def full(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writer._file, "write", full)
    with pytest.raises(NotSaved, match="tensorboard: expected to write an event; found: .*No space left"):
        writer.write(2, {"loss": 1.0})
    monkeypatch.undo()
    writer.close()
