"""The three small models of MediaPipe, run by LiteRT.

They lie in `models/` beside this file with their licence. One thread each: preparation runs one process per
core, and the sums of several threads would depend on their number.
"""

from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

MODELS = Path(__file__).parent / "models"


class TfliteModel:
    """A model with one input image."""

    def __init__(self, file: str):
        self._interpreter = Interpreter(model_path=str(MODELS / file), num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [(entry["name"], entry["index"]) for entry in self._interpreter.get_output_details()]

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs by name for one image, `[H, W, 3] float32` in the range that the model expects."""
        self._interpreter.set_tensor(self._input, image[None])
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs}
