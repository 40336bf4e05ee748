"""A data set of random pictures with labels."""

import numpy as np

from fsfm_jax import records
from fsfm_jax.data.photo import encode_png


class Noise:
    """Two frames to a video; counts how often a picture is read."""

    class_names, real, name = ("fake", "real"), 1, "noise:test"

    def __init__(self, count: int, fingerprint: str = "n"):
        self.count, self.fingerprint, self.read = count, fingerprint, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        self.read += 1
        image = np.random.default_rng(index).integers(0, 256, (18, 25, 3), np.uint8)
        return {
            records.IMAGE: encode_png(image, 1), records.LABEL: index // 2 % 2, records.VIDEO: f"v{index // 2}",
            records.FRAME: index % 2, records.METHOD: "" if index // 2 % 2 else "noise", records.SOURCE: f"{index}.png",
        }  # fmt: skip
