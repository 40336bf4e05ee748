"""Where metrics go: a progress line for people, one JSON object per step for programs; process 0 only."""

import json
import math
import shutil
import sys
import time

from tqdm import tqdm

from fsfm_jax.run.workdir import Lines

METRICS_FILE = "metrics.jsonl"
# In the file, not in the line.
ASIDE = ("gradient_norm", "feature_std", "target_cosine", "target_distance", "target_moved", "skipped", "input_wait")


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
    Speed and time left are over the steps of this process, its first (compiling) step left out; `input_wait` is each
    step's own in the file, and in the line that of all steps since the last `plain_seconds` began.
    """

    def __init__(self, path: str, first_step: int, last_step: int, images_per_step: int, plain_seconds: float = 15.0):
        # Steps that were lost with an interrupted process will be written again.
        self._file = Lines(path, keep=lambda line: _step_of(line, path) <= first_step)
        self._first, self._last, self._images = first_step, last_step, images_per_step
        self._started: tuple[int, float] | None = None
        self._plain_seconds, self._next_line = plain_seconds, 0.0
        self._before, self._waited, self._watched = math.nan, 0.0, 0.0
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
        self._file.add(json.dumps({"step": step, **_finite({**metrics, **speed})}))
        self._watch(now, metrics.get("input_wait", math.nan))
        line = self._line(step, metrics, speed)
        due = now >= self._next_line
        if self._terminal:
            self._bar.n = step
            self._bar.set_description_str(line)
        elif due or step == self._last:
            print(line, file=sys.stderr, flush=True)
        if due:
            self._next_line = now + self._plain_seconds
            self._waited = self._watched = 0.0

    def _watch(self, now: float, share: float) -> None:
        """Takes the share of a step's time that was spent waiting for its batch."""
        seconds, self._before = now - self._before, now
        if math.isfinite(share) and math.isfinite(seconds):
            self._waited += share * seconds
            self._watched += seconds

    def _line(self, step: int, metrics: dict[str, float], speed: dict[str, float]) -> str:
        shown = dict(metrics)
        rate, momentum = shown.pop("learning_rate"), shown.pop("momentum", None)
        for name in ASIDE:
            shown.pop(name, None)
        losses = " ".join(f"{name} {value:.3f}" for name, value in shown.items())
        ema = "" if momentum is None else f" ema {momentum:.5f}"
        left = duration(speed["seconds_left"])
        pace = speed["images_per_second"]
        images = f"{pace:.1f} img/s" if math.isfinite(pace) else "first step"
        waits = f"  input-bound {100 * self._waited / self._watched:.0f} %" if self._watched else ""
        # What matters most comes first: a narrow terminal cuts the end off.
        return f"step {step}/{self._last}  {left} left  {images}  {losses}  lr {rate:.1e}{ema}{waits}"

    def flush(self) -> None:
        """Returns when everything written is where it can be read, also in an object store."""
        self._file.flush()

    def close(self) -> None:
        self._bar.close()
        self._file.close()


def _step_of(line: str, path: str) -> int:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: expected a JSON object with a step in each line; found {line[:80]!r}. Bring the file back from a "
            "copy, or take that line out"
        ) from error


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    """JSON has no NaN: null stands for it."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


class Silent:
    """The reporter of every process but the first."""

    def write(self, step: int, metrics: dict[str, float]) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...
