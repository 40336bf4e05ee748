"""Run the three small MediaPipe models with LiteRT.

They are in `models/` with their licence. Each uses one thread: preparation runs one process per core, and sums
of several threads would depend on their number.
"""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

MODELS = Path(__file__).parent / "models"


# Lines that LiteRT writes to standard error when it opens a model; they cannot be switched off.
NARRATION = re.compile(rb"INFO: .*TensorFlow Lite")


class TfliteModel:
    """A model with one input image."""

    def __init__(self, file: str):
        with _without_narration():
            self._interpreter = Interpreter(model_path=str(MODELS / file), num_threads=1)
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [(entry["name"], entry["index"]) for entry in self._interpreter.get_output_details()]

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Return outputs by name for one image, `[H, W, 3] float32` in the range that the model expects."""
        self._interpreter.set_tensor(self._input, image[None])
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs}


@contextlib.contextmanager
def _without_narration() -> Iterator[None]:
    """Suppress the lines of `NARRATION` on standard error; all others are written when the block ends."""
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # standard error is closed
        yield
        return
    try:
        with tempfile.TemporaryFile() as caught:
            os.dup2(caught.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(kept, 2)
                caught.seek(0)
                lines = caught.read().splitlines(keepends=True)
                os.write(2, b"".join(line for line in lines if not NARRATION.match(line)))
    finally:
        os.close(kept)
