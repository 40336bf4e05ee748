"""A face and what a detector says of it."""

import dataclasses
import math

from fsfm_jax.apps.found_faces import Crop


@dataclasses.dataclass(frozen=True)
class FaceScore:
    """A face and its scores, probabilities of being real.

    Attributes:
      crop: where it is.
      second: of the video, if the file says how many frames it has a second.
      score: as the network says it; calibrated: at the temperature that the detector keeps.
      classes: probability of each class by name.
      person: number of the person in a video, from 1; None where people are not followed.
    """

    crop: Crop
    second: float | None
    score: float
    calibrated: float | None
    classes: dict[str, float]
    person: int | None = None

    def as_json(self) -> dict:
        """Return everything but pixels."""
        crop = self.crop
        sure = None if math.isnan(crop.sureness) else crop.sureness
        said = {
            "frame": crop.frame, "second": self.second, "face": crop.face, "box": list(crop.box),
            "square": list(crop.square), "detector_confidence": sure, "detector": sure, "score": self.score,
            "calibrated": self.calibrated, "classes": self.classes,
        }  # fmt: skip
        return said if self.person is None else said | {"person": self.person}
