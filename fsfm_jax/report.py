"""Where metrics go: a progress line for people, one JSON object per step for programs; process 0 only."""

import json
import math
import os
import shutil
import sys
import time
from typing import TextIO

from tqdm import tqdm

METRICS_FILE = "metrics.jsonl"


def duration(seconds: float) -> str:
    """`3m10s`, `2h05m`, `1d03h`."""
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24}d{hours % 24:02d}h"
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"


class Reporter:
    """Shows and records the metrics of a run.

    On a terminal one line is rewritten; elsewhere (a log file) a line is written every `plain_seconds`.
    Speed and time left are over the steps of this process, its first (compiling) step left out.
    """

    def __init__(self, path: str, first_step: int, last_step: int, images_per_step: int, plain_seconds: float = 15.0):
        _forget_after(path, first_step)
        self._file: TextIO = open(path, "a", buffering=1)
        self._first, self._last, self._images = first_step, last_step, images_per_step
        self._started: tuple[int, float] | None = None
        self._plain_seconds, self._next_line = plain_seconds, 0.0
        self._terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=last_step,
            initial=first_step,
            disable=not self._terminal,
            ncols=shutil.get_terminal_size((120, 24)).columns,
            bar_format="{percentage:3.0f}%|{bar:8}| {desc}",
        )

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Takes the metrics of step `step` (1 = first)."""
        now = time.monotonic()
        if self._started is None:
            self._started = (step, now)
        done, seconds = step - self._started[0], now - self._started[1]
        rate = done / seconds if seconds > 0 and done else math.nan
        speed = {
            "images_per_second": rate * self._images,
            "seconds_left": (self._last - step) / rate if rate else math.nan,
        }
        self._file.write(json.dumps({"step": step, **_finite({**metrics, **speed})}) + "\n")
        line = self._line(step, metrics, speed)
        if self._terminal:
            self._bar.n = step
            self._bar.set_description_str(line)
        elif now >= self._next_line or step == self._last:
            self._next_line = now + self._plain_seconds
            print(line, file=sys.stderr, flush=True)

    def _line(self, step: int, metrics: dict[str, float], speed: dict[str, float]) -> str:
        shown = dict(metrics)
        rate, momentum = shown.pop("learning_rate"), shown.pop("momentum", None)
        shown.pop("gradient_norm")
        losses = " ".join(f"{name} {value:.3f}" for name, value in shown.items())
        ema = "" if momentum is None else f" ema {momentum:.5f}"
        left = duration(speed["seconds_left"])
        pace = speed["images_per_second"]
        images = f"{pace:.1f} img/s" if math.isfinite(pace) else "first step"
        # What matters most comes first: a narrow terminal cuts the end off.
        return f"step {step}/{self._last}  {left} left  {images}  {losses}  lr {rate:.1e}{ema}"

    def close(self) -> None:
        self._bar.close()
        self._file.close()


def _forget_after(path: str, step: int) -> None:
    """Drops the lines of steps that were lost with an interrupted process and will be written again."""
    if not os.path.exists(path):
        return
    with open(path) as file:
        lines = [line for line in file if line.endswith("}\n") and json.loads(line)["step"] <= step]
    with open(path + ".tmp", "w") as file:
        file.writelines(lines)
    os.replace(path + ".tmp", path)


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    """JSON has no NaN: null stands for it."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


class Silent:
    """The reporter of every process but the first."""

    def write(self, step: int, metrics: dict[str, float]) -> None: ...

    def close(self) -> None: ...
