"""When a verdict is withheld: too few frames have a face, or the face detector is unsure of the faces.

A video was once called real on 2 of its 32 frames, and what the detector had taken for a face there was the dial of a
watch. The score is still given; only the word real or forged is not.
"""

import dataclasses
import math

# Share of the frames. A find in less than a quarter of them is more often a false one, or somebody passing through,
# than the person whom the video shows.
LEAST_FRAMES = 0.25
# By detector, since their scores are not comparable. In portraits and group photos with 79 faces, BlazeFace was less
# sure of one face and dlib of two. Where dlib and BlazeFace agree the score is above 1, so the number is for BlazeFace
# alone. YuNet reports nothing below 0.7.
LEAST_CONFIDENCE = {"dlib": 0.2, "blazeface": 0.8, "dlib+blazeface": 0.8, "yunet": 0.8}
@dataclasses.dataclass(frozen=True)
class Limits:
    """What a verdict needs.

    Attributes:
      frames: least share of a video's frames that must have a face, 0..1.
      confidence: least score of the face detector, in its own scale, of the face that decides in such a frame.

    Raises:
      ValueError: a share outside 0..1, or a confidence that is not a finite number.
    """

    frames: float = LEAST_FRAMES
    confidence: float = -math.inf

    def __post_init__(self):
        if not 0 <= self.frames <= 1:
            raise ValueError(f"least_frames: expected a share from 0 to 1, found {self.frames:g}")
        if math.isnan(self.confidence) or self.confidence == math.inf:
            raise ValueError(f"least_confidence: expected a number, found {self.confidence}")


def limits_of(detector: str, frames: float = LEAST_FRAMES, confidence: float | None = None) -> Limits:
    """Return the limits for a face detector: its own least confidence if none is given, none for ready-made crops."""
    kind = detector.partition(":")[0]
    if confidence is None:
        confidence = LEAST_CONFIDENCE[kind] if kind in LEAST_CONFIDENCE else -math.inf
    return Limits(frames, confidence)


def why_no_verdict(limits: Limits, confidences: list[float], frames: int, what: str = "a face") -> tuple[str, str]:
    """Return why there is no verdict: "few_frames" or "unsure_face", and a sentence. Both are empty if there is one.

    Args:
      confidences: of the face that decides in each frame with a face; NaN of a ready-made crop.
      frames: how many were searched.
      what: that the frames have.
    """
    seen, sure = len(confidences), sum(not value < limits.confidence for value in confidences)
    needed = max(limits.frames * frames, 1e-9)  # one at least
    if seen < needed:
        return "few_frames", (
            f"only {seen} of {frames} frames have {what}, a verdict needs {limits.frames:.0%} of them (--least_frames)"
        )
    if sure < needed:
        best = max(confidences)
        return "unsure_face", (
            f"the face detector is unsure: its confidence is at most {best:.2f}, a verdict needs "
            f"{limits.confidence:g} (--least_confidence)"
            if not sure
            else f"the face detector is sure of only {sure} of {frames} frames, a verdict needs {limits.frames:.0%} of "
            f"them at a confidence of {limits.confidence:g} (--least_frames, --least_confidence)"
        )
    return "", ""
