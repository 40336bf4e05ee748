"""The people of a file: which faces are one person's, and a verdict on each as on a file of that person alone."""

import dataclasses
import math
from collections.abc import Sequence

from fsfm_jax.apps.certainty import Limits, why_no_verdict
from fsfm_jax.apps.face_score import FaceScore
from fsfm_jax.apps.found_faces import Reading
from fsfm_jax.apps.tracks import describe_colours, follow, group
from fsfm_jax.metrics.thresholds import Threshold

REAL, FORGED = "real", "forged"


@dataclasses.dataclass(frozen=True)
class Person:
    """What is said of a person.

    Attributes:
      number: from 1, in the order in which people appear.
      faces: indices of the person's faces among those of the file, one a frame.
      score, calibrated: the mean over these faces.
      verdict: "real" or "forged"; "" without a threshold, or where it is withheld.
      reason, detail: why it is withheld: a word and a sentence.
      deciding: index of the face that looks most forged.
    """

    number: int
    faces: tuple[int, ...]
    score: float
    calibrated: float | None
    verdict: str
    reason: str
    detail: str
    deciding: int

    def as_json(self, faces: Sequence[FaceScore]) -> dict:
        """Return all fields; `faces` are those of the file."""
        crop = faces[self.deciding].crop
        return {
            "person": self.number, "frames_with_face": len(self.faces), "score": self.score,
            "calibrated": self.calibrated, "verdict": self.verdict or None, "reason": self.reason or None,
            "detail": self.detail or None,
            "deciding_face": {"frame": crop.frame, "face": crop.face, "box": list(crop.box)},
        }  # fmt: skip


def number_persons(reading: Reading) -> list[int]:
    """Return the person of each crop of a video, numbered from 1; see `tracks.follow`."""
    frames = sorted({crop.frame for crop in reading.crops} | {miss.frame for miss in reading.misses})
    crops = [[index for index, crop in enumerate(reading.crops) if crop.frame == frame] for frame in frames]
    boxes = [[reading.crops[index].box for index in indices] for indices in crops]
    colours = [[describe_colours(reading.crops[index].pixels) for index in indices] for indices in crops]
    found = {}
    for indices, persons in zip(crops, follow(boxes, colours), strict=True):
        found |= zip(indices, persons, strict=True)
    return [found[index] + 1 for index in range(len(reading.crops))]


def decide_persons(
    faces: Sequence[FaceScore], threshold: Threshold | None, limits: Limits, frames: int
) -> tuple[Person, ...]:
    """Decide the verdict on each person from the scores of their faces; `frames` are those of the video."""
    return tuple(
        _decide(number, indices, faces, threshold, limits, frames)
        for number, indices in group(face.person for face in faces).items()
    )


def decide_alone(faces: Sequence[FaceScore], threshold: Threshold | None, limits: Limits) -> tuple[Person, ...]:
    """Return the verdict on each face of a photo, where every face is somebody."""
    numbered = [dataclasses.replace(face, person=number) for number, face in enumerate(faces, 1)]
    return decide_persons(numbered, threshold, limits, 1)


def choose_deciding(persons: Sequence[Person]) -> Person:
    """Return the person whose verdict is that of the file: the least score, of those with a verdict if there are any.

    So a video is forged if any person is called forged, and real if one is called real and none forged.
    """
    return min([person for person in persons if person.verdict] or persons, key=lambda person: person.score)


def describe(persons: Sequence[Person]) -> str:
    """Return a phrase: how many people there are and which one decides; "" for one person."""
    if len(persons) < 2:
        return ""
    unsaid = sum(bool(person.reason) for person in persons)
    without = f", {unsaid} without a verdict" if unsaid else ""
    return f"{len(persons)} people{without}; person {choose_deciding(persons).number} decides"


def _decide(
    number: int,
    indices: Sequence[int],
    faces: Sequence[FaceScore],
    threshold: Threshold | None,
    limits: Limits,
    frames: int,
) -> Person:
    own = [faces[index] for index in indices]
    score = math.fsum(face.score for face in own) / len(own)
    known = [face.calibrated for face in own if face.calibrated is not None]
    calibrated = math.fsum(known) / len(known) if len(known) == len(own) else None
    verdict = reason = detail = ""
    if threshold is not None:
        verdict = REAL if score >= threshold.value else FORGED
        reason, detail = why_no_verdict(limits, [face.crop.sureness for face in own], frames, "this person")
    deciding = min(indices, key=lambda index: faces[index].score)
    return Person(
        number, tuple(indices), score, calibrated, "" if reason else verdict, reason, detail, deciding
    )
