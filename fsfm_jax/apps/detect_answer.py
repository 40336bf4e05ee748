"""What the page shows of a file that was looked at by a detector, as JSON with pictures in it."""

import base64
from collections.abc import Sequence

import cv2
import numpy as np

from fsfm_jax.apps.explained import overlays, timeline
from fsfm_jax.apps.judge import Judge
from fsfm_jax.apps.reading import VIDEO, Reading
from fsfm_jax.apps.verdict import Rule, Verdict, judged, said

JPEG = [cv2.IMWRITE_JPEG_QUALITY, 90]
PICTURES = 8  # faces that are shown of a file


def picture(image: np.ndarray, lossless: bool = False) -> str:
    """`[H, W, 3] uint8` RGB as a `data:` address."""
    kind, options = ("png", []) if lossless else ("jpeg", JPEG)
    done, data = cv2.imencode(f".{kind}", image[..., ::-1], options)
    assert done, "a picture of ours can always be encoded"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def compile_for_a_photo(judge: Judge) -> None:
    """Compiles what a photo with one face needs, so that the first visitor does not wait for it.

    Raises:
      ValueError: scores that are not finite.
    """
    blank = np.zeros((1, judge.image_size, judge.image_size, 3), np.uint8)
    judge.log_probabilities(blank)
    if judge.explains:
        judge.heat(blank)


def detected(judge: Judge, rule: Rule, reading: Reading) -> dict:
    """The answer about a file that has faces.

    Raises:
      ValueError: scores that are not finite.
    """
    pixels = np.stack([crop.pixels for crop in reading.crops])
    verdict = judged(judge, rule, reading, judge.log_probabilities(pixels))
    shown = _shown(judge, reading)
    return {
        "kind": verdict.kind,
        "verdict": verdict.verdict,
        "score": verdict.score,
        "calibrated": verdict.calibrated,
        "rule": _rule(verdict),
        "classes": _classes(verdict),
        "real": judge.class_names[judge.real],
        "faces": [
            {
                "frame": face.crop.frame, "second": face.second, "face": face.crop.face, "score": face.score,
                "classes": face.classes, "picture": picture(image),
            }
            for face, image in ((verdict.faces[index], image) for index, image in shown)
        ],
        "explained": judge.explains,
        "count": len(verdict.faces),
        "misses": len(verdict.misses),
        "timeline": picture(timeline(verdict), lossless=True) if reading.kind == VIDEO else None,
    }  # fmt: skip


def _shown(judge: Judge, reading: Reading) -> Sequence[tuple[int, np.ndarray]]:
    if judge.explains:
        return overlays(judge, reading, PICTURES)
    chosen = np.unique(np.linspace(0, len(reading.crops) - 1, PICTURES, dtype=int)).tolist()
    return [(index, reading.crops[index].pixels) for index in chosen]


def _rule(verdict: Verdict) -> str:
    if verdict.threshold is None:
        return "This detector keeps no threshold, so there is no verdict."
    rule = said(verdict.threshold)
    return f"{rule[:1].upper()}{rule[1:]}."


def _classes(verdict: Verdict) -> dict[str, float]:
    """Mean probability of each class over the faces."""
    return {
        name: float(np.mean([face.classes[name] for face in verdict.faces])) for name in verdict.faces[0].classes
    }
