"""What a detector says of a file: the score of each face, of the whole, and real or forged at a threshold it keeps.

The score is the probability of being real (bona fide), as everywhere. In a frame with several faces the one that looks
most forged counts; the score of a video is the mean over its frames. Where people are followed, each is scored as a
video of one person, and the person who looks most forged counts.
"""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fsfm_jax.apps.caution import rates_of
from fsfm_jax.apps.certainty import Limits, why_no_verdict
from fsfm_jax.apps.face_score import FaceScore
from fsfm_jax.apps.persons import FORGED, REAL, Person, choose_deciding, decide_persons, describe, number_persons
from fsfm_jax.apps.reading import PHOTO, VIDEO, Crop, Miss, Reading
from fsfm_jax.metrics.card import Carded
from fsfm_jax.metrics.thresholds import Threshold, fixed

FALSE_ALARM, EQUAL_ERROR = "false_alarm", "equal_error"
RULES = (FALSE_ALARM, EQUAL_ERROR)
ALARMS = "false negative rate <= "  # of a kept threshold's rule
USUAL = Limits()


@dataclasses.dataclass(frozen=True)
class DecisionRule:
    """The thresholds that decide; None where a detector keeps none.

    Attributes:
      frame: for a photo. video: for the mean over the frames of a video.
      temperature: for calibrated probabilities.
      limits: what a verdict needs besides a score.
      persons: whether people are followed through a video and judged one by one.
    """

    frame: Threshold | None
    video: Threshold | None
    temperature: float | None
    limits: Limits = USUAL
    persons: bool = False


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What is said of a file.

    Attributes:
      score, calibrated: of the whole file; None without a face.
      verdict: "real" or "forged"; "" without a threshold, without a face, or where it is withheld.
      reason, detail: why there is no score, or why a verdict is withheld: a word and a sentence.
      deciding: index of the face that looks most forged, which decides about a photo; of a video whose people are
        followed, that of the person who decides; None without a face.
      found: how many faces the detector found in all frames. frames: how many were asked for, 1 of a photo.
      notes: what a reader must know besides, a phrase each.
      persons: the people in a video; None where they are not followed.
    """

    path: str
    kind: str
    faces: tuple[FaceScore, ...]
    misses: tuple[Miss, ...]
    score: float | None
    calibrated: float | None
    verdict: str
    threshold: Threshold | None
    reason: str
    detail: str
    deciding: int | None = None
    found: int = 0
    frames: int = 0
    notes: tuple[str, ...] = ()
    persons: tuple[Person, ...] | None = None

    @property
    def frames_with_face(self) -> int:
        """How many frames have a face with a score."""
        return len({face.crop.frame for face in self.faces})

    def as_json(self) -> dict:
        """Return everything but pixels."""
        deciding = None if self.deciding is None else self.faces[self.deciding].crop
        said = {
            "file": self.path, "kind": self.kind, "score": self.score, "calibrated": self.calibrated,
            "verdict": self.verdict or None, "threshold": None if self.threshold is None else self.threshold.as_json(),
            "reason": self.reason or None, "detail": self.detail or None, "notes": list(self.notes),
            "faces_found": self.found, "faces_judged": len(self.faces),
            "frames_asked": self.frames, "frames_with_face": self.frames_with_face,
            "deciding_face": None if deciding is None else {
                "frame": deciding.frame, "face": deciding.face, "box": list(deciding.box)
            },
            "faces": [face.as_json() for face in self.faces],
            "misses": [dataclasses.asdict(miss) for miss in self.misses],
        }  # fmt: skip
        if self.persons is not None:
            said["persons"] = [person.as_json(self.faces) for person in self.persons]
        return said


def check_threshold(threshold: str) -> float | None:
    """Return the number that `threshold` says, None for one of `RULES`; needs no detector.

    Raises:
      ValueError: neither a rule nor a number from 0 to 1.
    """
    if threshold in RULES:
        return None
    try:
        value = float(threshold)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:  # NaN too
        raise ValueError(
            f"threshold: expected {', '.join(RULES)} or a probability from 0 to 1, such as 0.5; found {threshold!r}"
        )
    return value


def choose_rule(
    carded: Carded, threshold: str = FALSE_ALARM, limits: Limits = USUAL, persons: bool = False
) -> DecisionRule:
    """Choose how a detector decides.

    Args:
      threshold: "false_alarm", that of its stated rate of false alarms; "equal_error"; or a number from 0 to 1, for
        both levels.
      limits, persons: see `DecisionRule`.

    Raises:
      ValueError: neither of these.
    """
    value = check_threshold(threshold)
    if value is not None:
        return DecisionRule(fixed(value), fixed(value), carded.temperature, limits, persons)
    found = {level: _kept_threshold(carded, level, threshold) for level in ("frame", "video")}
    return DecisionRule(found["frame"], found["video"], carded.temperature, limits, persons)


def _kept_threshold(carded: Carded, level: str, rule: str) -> Threshold | None:
    equal = rule == EQUAL_ERROR
    return next((one for one in carded.thresholds(level) if (one.rule == "equal error") == equal), None)


def describe_threshold(threshold: Threshold) -> str:
    """Return a threshold as a sentence: what it decides, and both of its error rates where it was chosen."""
    rule = threshold.rule
    if rule.startswith(ALARMS):  # real is the positive class, so a false negative is a false alarm
        rule = f"at most {100 * float(rule.removeprefix(ALARMS)):g} % false alarms"
    chosen = f"chosen on {threshold.split}" if threshold.split else "chosen on no data"
    return f"forged if P(real) < {threshold.value:.4g} ({rule}, {chosen}: {rates_of(threshold)})"


def decide(carded: Carded, rule: DecisionRule, reading: Reading, log_probabilities: np.ndarray) -> Verdict:
    """Return the verdict on a file, from the scores `[n, C]` of its n crops."""
    faces = tuple(
        _face(carded, rule, reading, crop, row)
        for crop, row in zip(reading.crops, log_probabilities.astype(np.float64), strict=True)
    )
    threshold = rule.frame if reading.kind == PHOTO else rule.video
    looked = len({crop.frame for crop in reading.crops} | {miss.frame for miss in reading.misses})
    frames = max(looked, reading.asked)  # those behind the end of a cut video also count
    persons = None
    if rule.persons and reading.kind == VIDEO:
        numbers = number_persons(reading)
        faces = tuple(dataclasses.replace(face, person=one) for face, one in zip(faces, numbers, strict=True))
        persons = decide_persons(faces, threshold, rule.limits, frames)
    who = choose_deciding(persons) if persons else _as_one(rule, threshold, reading, faces, frames)
    found = max(sum(count for _, count in reading.found), len(faces))
    notes = [*reading.notes, *_remarks(reading, faces, found, who.deciding)]
    notes += ["scored in int8"] if carded.quantised and faces else []
    notes += [text for text in [describe(persons or ())] if text]
    return Verdict(
        reading.path, reading.kind, faces, reading.misses, who.score, who.calibrated, who.verdict, threshold,
        who.reason, who.detail, who.deciding, found, frames, tuple(notes), persons,
    )  # fmt: skip


class _Whole(NamedTuple):
    """What is said of all faces of a file together; the fields are those of `Person`."""

    score: float | None
    calibrated: float | None
    verdict: str
    reason: str
    detail: str
    deciding: int | None


def _as_one(
    rule: DecisionRule, threshold: Threshold | None, reading: Reading, faces: Sequence[FaceScore], frames: int
) -> _Whole:
    score = _whole(faces, [face.score for face in faces])
    known = [face.calibrated for face in faces if face.calibrated is not None]
    calibrated = _whole(faces, known) if len(known) == len(faces) else None
    least = least_real(faces)
    verdict = "" if threshold is None or score is None else REAL if score >= threshold.value else FORGED
    reason, detail = reading.reason, reading.detail
    if verdict:
        sure = [faces[index].crop.sureness for index in least.values()]
        reason, detail = why_no_verdict(rule.limits, sure, frames)
    deciding = min(least.values(), key=lambda index: faces[index].score) if faces else None
    return _Whole(score, calibrated, "" if reason else verdict, reason, detail, deciding)


def least_real(faces: Sequence[FaceScore]) -> dict[int, int]:
    """Return by frame the index of the face that looks most forged."""
    least: dict[int, int] = {}
    for index, face in enumerate(faces):
        best = least.setdefault(face.crop.frame, index)
        if face.score < faces[best].score:
            least[face.crop.frame] = index
    return least


def _remarks(reading: Reading, faces: Sequence[FaceScore], found: int, deciding: int | None) -> list[str]:
    remarks = []
    if faces and found > len(faces):
        remarks.append(f"{found} faces, {len(faces)} judged")
    if reading.kind == PHOTO and len(faces) > 1:
        left, top, right, bottom = faces[deciding].crop.box
        remarks.append(f"the face at {left},{top} to {right},{bottom} decides")
    return remarks


def _face(carded: Carded, rule: DecisionRule, reading: Reading, crop: Crop, row: np.ndarray) -> FaceScore:
    probabilities = _softmax(row)
    calibrated = None if rule.temperature is None else float(_softmax(row / rule.temperature)[carded.real])
    second = None if reading.kind == PHOTO or not reading.rate else crop.frame / reading.rate
    classes = dict(zip(carded.class_names, map(float, probabilities), strict=True))
    return FaceScore(crop, second, float(probabilities[carded.real]), calibrated, classes)


def _softmax(row: np.ndarray) -> np.ndarray:
    likely = np.exp(row - row.max())
    return likely / likely.sum()


def _whole(faces: Sequence[FaceScore], values: Sequence[float]) -> float | None:
    """Return the mean over frames of the least value of each; None without a face."""
    if not faces:
        return None
    frames: dict[int, float] = defaultdict(lambda: math.inf)
    for face, value in zip(faces, values, strict=True):
        frames[face.crop.frame] = min(frames[face.crop.frame], value)
    return math.fsum(frames.values()) / len(frames)
