"""The progress line for people, on standard error."""

import math
import shutil
import sys
import time
from collections.abc import Mapping

import numpy as np
from tqdm import tqdm

from fsfm_jax.run.writer import RunInfo, of_training

# In files, not in the line.
ASIDE = ("gradient_norm", "feature_std", "target_cosine", "target_distance", "target_moved", "skipped", "input_wait")


def duration(seconds: float) -> str:
    """Format seconds as `3m10s`, `2h05m` or `1d03h`."""
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24}d{hours % 24:02d}h"
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"


class Console:
    """Shows the metrics of a run.

    On a terminal one line is rewritten; elsewhere (a log file) a line is written every `plain_seconds`. `input_wait` is
    shown over all steps since the last `plain_seconds` began.
    """

    def __init__(self, run: RunInfo, plain_seconds: float = 15.0):
        self._run, self._plain_seconds, self._next_line = run, plain_seconds, 0.0
        self._before, self._waited, self._watched = math.nan, 0.0, 0.0
        self._terminal = sys.stderr.isatty()
        self._bar: tqdm | None = None  # not before there is something to show: other lines come first

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Show the values of training of step `step`."""
        metrics = of_training(values)
        if not metrics:
            return
        now = time.monotonic()
        self._watch(now, metrics.get("input_wait", math.nan))
        line = self._line(step, metrics)
        due = now >= self._next_line
        if self._terminal:
            self._rewrite(step, line)
        elif due or step == self._run.last_step:
            print(line, file=sys.stderr, flush=True)
        if due:
            self._next_line = now + self._plain_seconds
            self._waited = self._watched = 0.0

    def _rewrite(self, step: int, line: str) -> None:
        if self._bar is None:
            self._bar = tqdm(
                total=self._run.last_step,
                initial=self._run.first_step,
                ncols=shutil.get_terminal_size((120, 24)).columns,
                bar_format="{percentage:3.0f}%|{bar:8}| {desc}",
            )
        self._bar.n = step
        self._bar.set_description_str(line)
        if step >= self._run.stop_after:
            self._bar.close()  # what the job says next has a line of its own

    def _watch(self, now: float, share: float) -> None:
        """Take the share of a step's time that was spent waiting for its batch."""
        seconds, self._before = now - self._before, now
        if math.isfinite(share) and math.isfinite(seconds):
            self._waited += share * seconds
            self._watched += seconds

    def _line(self, step: int, metrics: dict[str, float]) -> str:
        shown = dict(metrics)
        rate, momentum = shown.pop("learning_rate"), shown.pop("momentum", None)
        pace, left = shown.pop("images_per_second", math.nan), duration(shown.pop("seconds_left", math.nan))
        for name in ASIDE:
            shown.pop(name, None)
        losses = " ".join(f"{name} {value:.3f}" for name, value in shown.items())
        images = f"{pace:.1f} img/s" if math.isfinite(pace) else "first step"
        ema = "" if momentum is None else f" ema {momentum:.5f}"
        waits = f"  input-bound {100 * self._waited / self._watched:.0f} %" if self._watched else ""
        # What matters most comes first: a narrow terminal cuts the end off.
        return f"step {step}/{self._run.last_step}  {left} left  {images}  {losses}  lr {rate:.1e}{ema}{waits}"

    def write_image(self, step: int, name: str, image: np.ndarray) -> None:
        """Do nothing: the line has numbers alone."""

    def flush(self) -> None:
        """Do nothing: every line is out at once."""

    def close(self) -> None:
        """End the line."""
        if self._bar is not None:
            self._bar.close()
