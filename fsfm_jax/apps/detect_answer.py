"""What the page shows of a file that was looked at by a detector, as JSON with pictures in it."""

import base64
import math
from collections.abc import Sequence

import cv2
import numpy as np

from fsfm_jax.apps.caution import NOT_COVERED
from fsfm_jax.apps.explanation import choose_faces, draw_overlays, timeline
from fsfm_jax.apps.outputs import warnings
from fsfm_jax.apps.reading import VIDEO, Reading
from fsfm_jax.apps.verdict import DecisionRule, Verdict, decide, describe_threshold, least_real
from fsfm_jax.detection.predictor import Predictor

JPEG = [cv2.IMWRITE_JPEG_QUALITY, 90]


def picture(image: np.ndarray, lossless: bool = False) -> str:
    """`[H, W, 3] uint8` RGB as a `data:` address."""
    kind, options = ("png", []) if lossless else ("jpeg", JPEG)
    done, data = cv2.imencode(f".{kind}", image[..., ::-1], options)
    assert done, "every picture can be encoded"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def compile_for_a_photo(predictor: Predictor) -> None:
    """Compiles what a photo with one face needs, so that the first visitor does not wait for it.

    Raises:
      ValueError: scores that are not finite.
    """
    blank = np.zeros((1, predictor.image_size, predictor.image_size, 3), np.uint8)
    predictor.log_probabilities(blank)
    if predictor.explains:
        predictor.heat(blank)


def answer_detection(predictor: Predictor, rule: DecisionRule, reading: Reading) -> dict:
    """The answer about a file that has faces.

    Raises:
      ValueError: scores that are not finite.
    """
    pixels = np.stack([crop.pixels for crop in reading.crops])
    verdict = decide(predictor, rule, reading, predictor.log_probabilities(pixels))
    pictures = _pictures(predictor, reading, verdict)
    return {
        "kind": verdict.kind,
        "verdict": verdict.verdict,
        "score": verdict.score,
        "calibrated": verdict.calibrated,
        "withheld": _sentence(verdict.detail),
        "notes": list(verdict.notes),
        "rule": _rule(verdict),
        "warnings": [_sentence(text) for text in warnings(predictor, rule)],
        "not_covered": _sentence(NOT_COVERED),
        "classes": _classes(verdict),
        "real": predictor.class_names[predictor.real],
        "faces": [
            {
                "frame": face.crop.frame, "second": face.second, "face": face.crop.face, "score": face.score,
                "confidence": None if math.isnan(face.crop.sureness) else face.crop.sureness,
                "decides": index == verdict.deciding, "classes": face.classes, "picture": picture(image),
            }
            for index, face, image in ((index, verdict.faces[index], image) for index, image in pictures)
        ],
        "explained": predictor.explains,
        "found": verdict.found,
        "count": len(verdict.faces),
        "frames": verdict.frames,
        "frames_with_face": verdict.frames_with_face,
        "timeline": picture(timeline(verdict), lossless=True) if reading.kind == VIDEO else None,
    }  # fmt: skip


def _pictures(predictor: Predictor, reading: Reading, verdict: Verdict) -> Sequence[tuple[int, np.ndarray]]:
    if predictor.explains:
        return draw_overlays(predictor, reading, verdict.deciding)
    return [(index, reading.crops[index].pixels) for index in choose_faces(len(reading.crops), verdict.deciding)]


def _rule(verdict: Verdict) -> str:
    if verdict.threshold is None:
        return "This detector keeps no threshold, so there is no verdict."
    return _sentence(describe_threshold(verdict.threshold))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _classes(verdict: Verdict) -> dict[str, float]:
    """Mean probability of each class over the frames, of the face that counts in each, as the score is."""
    faces = [verdict.faces[index] for index in least_real(verdict.faces).values()]
    return {name: float(np.mean([face.classes[name] for face in faces])) for name in faces[0].classes}
