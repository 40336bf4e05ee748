"""The three small models of MediaPipe, run by LiteRT.

They lie in `models/` beside this file with their licence. One thread each: preparation runs one process per
core, and the sums of several threads would depend on their number.
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


# The lines that LiteRT writes to the standard error when a model is opened; it has no switch for them.
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
        """Outputs by name for one image, `[H, W, 3] float32` in the range that the model expects."""
        self._interpreter.set_tensor(self._input, image[None])
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs}


@contextlib.contextmanager
def _without_narration() -> Iterator[None]:
    """Leaves out the lines of `NARRATION` from the standard error; all others are written when the block ends."""
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # there is no standard error
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
