"""The file `metrics.jsonl` of a working directory: one JSON object per step, for programs."""

import json
import math
import os
from collections.abc import Mapping

import numpy as np

from fsfm_jax.run.workdir import Lines
from fsfm_jax.run.writer import RunInfo, of_training

METRICS_FILE = "metrics.jsonl"


class MetricsFile:
    """Adds a line for each step; lines of steps that were lost with an interrupted process are dropped."""

    def __init__(self, run: RunInfo):
        """Open the file.

        Raises:
          NotSaved: nothing can be written there.
          ValueError: it has a line that no run has written.
        """
        path = os.path.join(run.workdir, METRICS_FILE)
        self._file = Lines(path, keep=lambda line: _step_of(line, path) <= run.first_step)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add the values of training of step `step`; the line is in the file before this returns."""
        metrics = of_training(values)
        if metrics:
            self._file.add(json.dumps({"step": step, **_finite(metrics)}))

    def write_image(self, step: int, name: str, image: np.ndarray) -> None:
        """Do nothing: the file has numbers alone."""

    def flush(self) -> None:
        """Return when everything written is where it can be read, also in an object store."""
        self._file.flush()

    def close(self) -> None:
        """Flush and close the file."""
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
    """Replace NaN by null: JSON has no NaN."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
