"""What the page shows of a file that was inspected by a detector, as JSON with pictures in it."""

import base64
import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from fsfm_jax.apps.caution import NOT_COVERED
from fsfm_jax.apps.explanation import PICTURES
from fsfm_jax.apps.face_score import FaceScore
from fsfm_jax.apps.outputs import meaning, warnings
from fsfm_jax.apps.persons import Person, decide_alone
from fsfm_jax.apps.reading import Reading
from fsfm_jax.apps.statement import SEVERAL, state_file, state_person, state_rates
from fsfm_jax.apps.ticket import EXPLAIN, SCORE, Ticket
from fsfm_jax.apps.verdict import DecisionRule, Verdict, decide, describe_threshold
from fsfm_jax.detection.predictor import Predictor
from fsfm_jax.figures.cam import overlay

JPEG = [cv2.IMWRITE_JPEG_QUALITY, 90]


def picture(image: np.ndarray, lossless: bool = False) -> str:
    """Return `[H, W, 3] uint8` RGB as a `data:` address."""
    kind, options = ("png", []) if lossless else ("jpeg", JPEG)
    done, data = cv2.imencode(f".{kind}", image[..., ::-1], options)
    assert done, "every picture can be encoded"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def preview_of(reading: Reading) -> list[dict]:
    """Return the small pictures of a file, each with its place in the video and the size that boxes count."""
    return [
        {
            "frame": one.frame, "second": one.frame / reading.rate if reading.rate else None,
            "height": one.size[0], "width": one.size[1], "picture": picture(one.pixels),
        }
        for one in reading.previews
    ]  # fmt: skip


def compile_for_a_photo(predictor: Predictor) -> None:
    """Compile what a photo with one face needs, so that the first visitor does not wait for it.

    Raises:
      ValueError: scores that are not finite.
    """
    blank = np.zeros((1, predictor.image_size, predictor.image_size, 3), np.uint8)
    predictor.log_probabilities(blank)
    if predictor.explains:
        predictor.heat(blank)


def answer_detection(predictor: Predictor, rule: DecisionRule, reading: Reading, ticket: Ticket) -> dict:
    """Return the answer about a file that has faces; `rule` follows people.

    Raises:
      ValueError: scores that are not finite.
      GivenUp: nobody waits any more.
    """
    pixels = np.stack([crop.pixels for crop in reading.crops])
    scores = _score(predictor, pixels, ticket)
    verdict = decide(predictor, rule, reading, scores)
    people = verdict.persons or decide_alone(verdict.faces, verdict.threshold, rule.limits)
    heats = _heats(predictor, pixels, people, ticket)
    said, says, why = state_file(people, verdict)
    owner = {index: number for number, person in enumerate(people) for index in person.faces}
    return {
        "kind": verdict.kind,
        "height": reading.size[0], "width": reading.size[1], "rate": reading.rate,
        "verdict": said, "says": says, "why": why,
        "rates": state_rates(verdict.threshold, verdict.kind) if said else "",
        "several": SEVERAL if len(people) > 1 else "",
        "rule": _sentence(describe_threshold(verdict.threshold)) if verdict.threshold else "",
        "threshold": None if verdict.threshold is None else verdict.threshold.value,
        "warnings": [_sentence(text) for text in warnings(predictor, rule)],
        "notes": [_sentence(text) for text in verdict.notes],
        "not_covered": _sentence(NOT_COVERED),
        "explained": predictor.explains,
        "found": verdict.found, "count": len(verdict.faces),
        "frames": verdict.frames, "frames_with_face": verdict.frames_with_face,
        "people": [_person(person, verdict, pixels, heats) for person in people],
        "faces": [
            {
                "frame": face.crop.frame, "second": face.second, "person": owner[index], "score": face.score,
                "box": list(face.crop.box),
            }
            for index, face in enumerate(verdict.faces)
        ],
        "previews": preview_of(reading),
        "report": _report(predictor, rule, verdict),
    }  # fmt: skip


def _score(predictor: Predictor, pixels: np.ndarray, ticket: Ticket) -> np.ndarray:
    """Score `[n, C]` of crops, with a look at the ticket before each batch."""
    parts = []
    for start in range(0, len(pixels), predictor.batch):
        ticket.tell(SCORE, start, len(pixels))
        parts.append(predictor.log_probabilities(pixels[start : start + predictor.batch]))
    return np.concatenate(parts)


def _heats(predictor: Predictor, pixels: np.ndarray, people: Sequence[Person], ticket: Ticket) -> dict[int, np.ndarray]:
    """Return heat maps by index of the face: the deciding face of each person; of many people, the most forged ones."""
    if not predictor.explains:
        return {}
    ticket.tell(EXPLAIN)
    by_score = sorted(people, key=lambda person: person.score)
    chosen = [person.deciding for person in by_score[:PICTURES]]
    return dict(zip(chosen, predictor.heat(pixels[chosen]), strict=True))


def _person(person: Person, verdict: Verdict, pixels: np.ndarray, heats: dict[int, np.ndarray]) -> dict:
    index = person.deciding
    sure = verdict.faces[index].crop.sureness
    says, why = state_person(person, verdict)
    return {
        "verdict": person.verdict, "says": says, "why": why, "score": person.score, "calibrated": person.calibrated,
        "classes": _classes([verdict.faces[face] for face in person.faces]), "frames": len(person.faces),
        "shown": index, "confidence": None if math.isnan(sure) else sure, "picture": picture(pixels[index]),
        "heat": picture(overlay(pixels[index], heats[index])) if index in heats else None,
    }  # fmt: skip


def _report(predictor: Predictor, rule: DecisionRule, verdict: Verdict) -> dict:
    """Return what `fsfm predict --json` writes about this file; the browser adds what it knows."""
    file: dict[str, Any] = verdict.as_json()
    del file["file"]  # the name of a temporary file
    return {**meaning(predictor, rule, predictor.name), "files": [file]}


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}" if text else ""


def _classes(faces: Sequence[FaceScore]) -> dict[str, float]:
    """Return mean probability of each class over the faces of a person, as the score is."""
    return {name: float(np.mean([face.classes[name] for face in faces])) for name in faces[0].classes}
