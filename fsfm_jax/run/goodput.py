"""Goodput: the share of a run's wall time that trained steps which are kept, over all processes that worked on it.

    goodput = productive seconds / wall seconds

An attempt is one process that trains the run. Its wall time begins with the process (for the first run of a command) or
with the run, and ends with the last thing that was noted. The time between two attempts is no part of it: anyone who
starts the command again decides on that. Every second of an attempt has one name:

| name         | seconds                                                                                   |
|--------------|-------------------------------------------------------------------------------------------|
| `productive` | of steps that are kept, from the batch to the metrics; also of steps whose update was skipped |
| `lost`       | of steps that were done again, because the process was killed after its last checkpoint   |
| `compile`    | in which the train step was compiled                                                      |
| `input_wait` | in which the device had no batch                                                          |
| `checkpoint` | in which saving held the steps up                                                         |
| `restart`    | until the first step, without `compile`                                                   |
| `other`      | all else, such as validation                                                |

`WORKDIR/goodput.jsonl` has a line with the sums so far at the beginning of each attempt, at each save, and every
`SECONDS_BETWEEN_LINES`. What a killed process did after its last line is not counted. Only process 0 notes anything.
"""

import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from fsfm_jax.run.workdir import Lines, read_text

GOODPUT_FILE = "goodput.jsonl"
SECONDS_BETWEEN_LINES = 10.0
PARTS = ("step", "compile", "input_wait", "checkpoint", "restart")  # `step`: seconds of steps, kept or lost


_commands: list[float] = []  # when the process of a command began; taken by the first run of it


def begin_command() -> None:
    """Note that this process was started for a command: its next attempt begins with the process."""
    _commands[:] = [time.monotonic() - _age()]


def begin_attempt() -> float:
    """Return the time of `time.monotonic` at which an attempt that is opened now began."""
    return _commands.pop() if _commands else time.monotonic()


def _age() -> float:
    """Return seconds since this process was started; 0 where the system does not say it."""
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])  # field 22, starttime
        return max(time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"), 0.0)
    except (OSError, AttributeError, IndexError, ValueError):
        return 0.0


class Note(NamedTuple):
    """The sums of an attempt at one moment.

    attempt: 1 = first. first: steps that were done when it began. step: steps that are done.
    wall: seconds since it began; parts: seconds by name of `PARTS`.
    """

    attempt: int
    first: int
    step: int
    wall: float
    parts: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Goodput:
    """The sums of a run over all attempts.

    Attributes:
      attempts: processes that worked on it. steps: that are kept. lost_steps: that were done again.
      wall: seconds. seconds: by name, in the order of the table above; they add up to `wall`.
    """

    attempts: int
    steps: int
    lost_steps: int
    wall: float
    seconds: dict[str, float]

    @property
    def share(self) -> float:
        """Productive seconds / wall seconds, 0 to 1; 0 of a run without time."""
        return self.seconds["productive"] / self.wall if self.wall else 0.0

    def as_metrics(self) -> dict[str, float]:
        """Return the numbers as metric writers take them, each with a name that begins with `goodput/`."""
        return {
            "goodput/share": self.share, "goodput/wall_seconds": self.wall,
            "goodput/lost_steps": float(self.lost_steps),
            **{f"goodput/{name}_seconds": value for name, value in self.seconds.items()},
        }  # fmt: skip

    def sentence(self) -> str:
        """Summarise in one line."""
        parts = ", ".join(f"{name} {value:.1f} s" for name, value in self.seconds.items())
        return (
            f"Goodput {100 * self.share:.1f} %: {parts}; wall {self.wall:.1f} s in {self.attempts} attempts, "
            f"{self.lost_steps} steps done again"
        )


def sum_attempts(notes: Iterable[Note]) -> Goodput:
    """Sum the notes of all attempts of a run, in their order.

    Steps of an attempt beyond the first step of any later one are lost. Their seconds lie between two notes: where no
    note is at that step, the seconds are taken to be spread evenly.
    """
    attempts: dict[int, list[Note]] = {}
    for note in notes:
        attempts.setdefault(note.attempt, []).append(note)
    seconds = dict.fromkeys(("productive", "lost", *PARTS[1:]), 0.0)
    wall, kept_until, kept, lost = 0.0, None, 0, 0
    for found in reversed(attempts.values()):
        last = found[-1]
        until = last.step if kept_until is None else min(last.step, kept_until)
        until = max(until, last.first)
        good = _seconds_at(found, until)
        seconds["productive"] += good
        seconds["lost"] += last.parts["step"] - good
        for name in PARTS[1:]:
            seconds[name] += last.parts[name]
        wall += last.wall
        kept, lost = kept + until - last.first, lost + last.step - until
        kept_until = last.first if kept_until is None else min(last.first, kept_until)
    seconds["other"] = max(wall - sum(seconds.values()), 0.0)
    return Goodput(len(attempts), kept, lost, wall, seconds)


def _seconds_at(notes: Sequence[Note], step: int) -> float:
    """Return seconds of steps that an attempt had spent when `step` was done."""
    before = [note for note in notes if note.step <= step]
    after = [note for note in notes if note.step > step]
    if not before:
        return 0.0
    low = before[-1]
    if not after or low.step == step:
        return low.parts["step"]
    high = after[0]
    share = (step - low.step) / (high.step - low.step)
    return low.parts["step"] + share * (high.parts["step"] - low.parts["step"])


class Stopwatch:
    """Times one attempt, and knows the ones before it.

    Without a working directory, as on every process but the first, it writes nothing.

    Attributes:
      number: steps that are done.
    """

    def __init__(self, workdir: str | None, first: int, began: float, clock: Callable[[], float] = time.monotonic):
        """Open the file of `workdir`; `began` is the time of `clock` at which the attempt began, at step `first`.

        Raises:
          NotSaved: nothing can be written there.
          ValueError: it has a line that is no note.
        """
        self._clock, self._began, self._first, self.number = clock, began, first, first
        self._parts = dict.fromkeys(PARTS, 0.0)
        self._file, self._earlier, self._due, self._started = None, [], 0.0, False
        if workdir is not None:
            path = os.path.join(workdir, GOODPUT_FILE)
            self._earlier = read_notes(path)
            self._file = Lines(path, keep=lambda line: True)
        self._attempt = 1 + max((note.attempt for note in self._earlier), default=0)
        self._write()

    def add(self, name: str, seconds: float) -> None:
        """Add seconds to one of `PARTS`."""
        self._parts[name] += seconds

    def now(self) -> float:
        """Return the time of its clock."""
        return self._clock()

    def begin_steps(self) -> None:
        """Mark the time before the first batch is asked for: everything until now without a name is `restart`."""
        if not self._started:
            self._started = True
            self._parts["restart"] = self._clock() - self._began - sum(self._parts.values())

    def end_step(self, number: int, seconds: float, waited: float) -> None:
        """Note that step `number` (1 = first) is done; of its `seconds` the device `waited` for its batch."""
        self.number = number
        self._parts["step"] += seconds - waited
        self._parts["input_wait"] += waited
        if self._clock() >= self._due:
            self._write()

    def saved(self, seconds: float) -> None:
        """Note a save, which took `seconds`: up to here nothing will be done again."""
        self._parts["checkpoint"] += seconds
        self._write()
        if self._file is not None:
            self._file.flush()

    def sum(self) -> Goodput:
        """Return the goodput of the run up to now."""
        return sum_attempts([*self._earlier, self._note()])

    def close(self) -> None:
        """Write the last line, and closes the file."""
        self._write()
        if self._file is not None:
            self._file.close()

    def _note(self) -> Note:
        wall = self._clock() - self._began
        return Note(self._attempt, self._first, self.number, wall, dict(self._parts))

    def _write(self) -> None:
        self._due = self._clock() + SECONDS_BETWEEN_LINES
        if self._file is not None:
            self._file.add(json.dumps(self._note()._asdict()))


def read_notes(path: str) -> list[Note]:
    """Read the notes of a run; an empty list if there are none. A last line that was cut short is left out.

    Raises:
      ValueError: another line that is no note.
    """
    text = read_text(path) or ""
    lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [_parse(line, path) for line in lines]


def _parse(line: str, path: str) -> Note:
    try:
        said = json.loads(line)
        numbers = [int(said[name]) for name in ("attempt", "first", "step")]
        return Note(*numbers, float(said["wall"]), {name: float(said["parts"][name]) for name in PARTS})
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: expected a note of an attempt in each line; found {line[:80]!r}. Delete the file: the run does "
            "not need it, and counts anew"
        ) from error
