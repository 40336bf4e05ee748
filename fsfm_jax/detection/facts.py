"""Describe the settings that results depend on: one block, the same in every table, and as JSON in `metrics.json`.

Each fact has a line, first those of the detector, then those of the test sets. An unrecorded fact is "not known".
A fact that all detectors or sets share is printed once; otherwise each name is printed with its value.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fsfm_jax import records
from fsfm_jax.data.class_map import parts_of
from fsfm_jax.data.labels import LabelledSource
from fsfm_jax.data.provenance import DRAWN, READY, provenance_of
from fsfm_jax.detection.detector import digest_parameters
from fsfm_jax.metrics.card import Carded
from fsfm_jax.resolve.report import RESAMPLING_SEED

HEADING, UNKNOWN = "## Facts", "not known"
KEY = "facts"  # key in `metrics.json`
SHOWN = 12  # digits shown of a SHA-256
OWN_RULE = "as the data set's rule says"  # in the card of records prepared without --frames


class Facts(NamedTuple):
    """The facts of the detectors and test sets of a table, as pairs with their names; a name may occur twice."""

    detectors: Sequence[tuple[str, Mapping]]
    sets: Sequence[tuple[str, Mapping]]


def describe_detector(detector: Carded, weights: Any, transform: str, image_size: int) -> dict:
    """Describe what the numbers of a detector depend on, as JSON; null is not known.

    Args:
      weights: its parameters; None for a serialized detector, whose file is hashed instead.
      transform, image_size: how this evaluation turns face crops into input images.
    """
    if weights is None:
        digest, of = detector.card["artifact"]["sha256"], "the file"
    else:
        digest, of = digest_parameters(weights), "all parameters by name"
    return {
        "name": detector.name, "weights_sha256": digest, "weights_sha256_of": of, "transform": transform,
        "own_transform": detector.own_transform, "image_size": image_size, "resampling_seed": RESAMPLING_SEED,
        **_of_card(detector.card, detector.card["selection"]),
    }  # fmt: skip


def describe_set(source: LabelledSource, frames: np.ndarray, frames_of_video: np.ndarray) -> dict:
    """Describe how a test set was made and how much of it was scored, as JSON; null is not known.

    Args:
      frames: `[n]` frame number of each example, -1 for a photo. frames_of_video: `[V]` frame count of each video.
    """
    return {
        "videos": len(frames_of_video),
        "frames": len(frames),
        "frames_of_a_video": [int(frames_of_video.min()), int(frames_of_video.max())],
        "photos": bool((frames == -1).all()),
        "parts": [
            {"name": part.name, "fingerprint": part.fingerprint, **dataclasses.asdict(provenance_of(part))}
            for part in parts_of(source)
        ],
    }


def describe_whole(source: LabelledSource) -> dict:
    """Return `describe_set` for a set of which every example is scored; each example is read once."""
    frames = np.array([source[index][records.FRAME] for index in range(len(source))])
    return describe_set(source, frames, np.unique(source.videos, return_counts=True)[1])


def read(content: Mapping, name: str = "") -> Facts:
    """Read the facts of a `metrics.json`. Older results store some of them elsewhere and lack the others.

    Args:
      name: name of the detector, replacing the stored one.
    """
    if KEY in content:
        found = content[KEY]
        return Facts([(name or found["detector"]["name"], found["detector"])], [*found["sets"].items()])
    detector = {"name": content["checkpoint"], "transform": content.get("transform")}
    detector |= _of_card(content["detector"], content["selection"])
    sets = {
        set_name: {level: summary[size]["examples"] for level, size in (("videos", "video"), ("frames", "frame"))}
        | {"parts": [{"name": summary["dataset"]}] if "dataset" in summary else []}
        for set_name, summary in content["data"].items()
    }
    return Facts([(name or content["checkpoint"], detector)], [*sets.items()])


def join(parts: Iterable[Facts]) -> Facts:
    """Join the facts of several results into those of one table."""
    parts = list(parts)
    return Facts([one for part in parts for one in part.detectors], [one for part in parts for one in part.sets])


def block(facts: Facts) -> str:
    """Return the facts section of a table, as Markdown; empty if there is neither a detector nor a set."""
    if not facts.detectors and not facts.sets:
        return ""
    lines = []
    alone = len({name for name, _ in facts.detectors}) == 1  # with several detectors each fact is printed with a name
    named = {"detector": _known("name")} if alone else {}
    for rows, found in ((named | DETECTOR_ROWS, facts.detectors), (SET_ROWS, facts.sets)):
        for title, say in rows.items() if found else ():
            text = _group([(name, say(fact)) for name, fact in found])
            lines.append(f"- {title}:" + (text if text.startswith("\n") else f" {text}"))
    return "\n".join([HEADING, "", *lines]) + "\n"


def _group(said: Sequence[tuple[str, str]]) -> str:
    """Return the text that all share, or each text preceded by the names it applies to."""
    names: dict[str, dict[str, None]] = {}
    for name, text in said:
        names.setdefault(text, {})[name] = None
    if len(names) == 1:
        return _plain(next(iter(names)))
    each = [_plain(f"{', '.join(of)}: {text}") for text, of in names.items()]
    # Long texts (several parts) get a line each.
    return "".join(f"\n  - {one}" for one in each) if any(";" in text for text in names) else "; ".join(each)


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")  # names may be those of a user's folders


def _of_card(card: Mapping, selection: Mapping) -> dict:
    """Return what the card of a detector says about its training; an official file says nothing."""
    fields = {**(card.get("config") or {}), **(card.get("all_fields") or {})}
    data = card.get("data")
    train = data["train"] if isinstance(data, Mapping) else fields.get("data.train")
    chosen = {name: selection.get(name) for name in ("rule", "metric", "oracle", "label")}
    return {"seed": fields.get("seed"), "trained_on": train, "step": card.get("step"), "selection": chosen}


def _weights(fact: Mapping) -> str:
    digest = fact.get("weights_sha256")
    if digest is None:
        return UNKNOWN
    return digest[:SHOWN] + ("" if fact["weights_sha256_of"] == "all parameters by name" else " (of the file)")


def _input(fact: Mapping) -> str:
    used, own, size = fact.get("transform"), fact.get("own_transform"), fact.get("image_size")
    if used is None:
        return UNKNOWN
    text = used + (f" to {size} pixels" if size else "")
    if "own_transform" not in fact or used == own:
        return text
    return f"{text}; the detector " + (f"was selected and calibrated with {own}" if own else "does not say its own")


def _known(name: str) -> Callable[[Mapping], str]:
    return lambda fact: UNKNOWN if fact.get(name) is None else str(fact[name])


def _size(fact: Mapping) -> str:
    videos, frames = (fact.get(name) for name in ("videos", "frames"))
    if videos is None or frames is None:
        return UNKNOWN
    return f"{frames:,} photos" if fact.get("photos") else f"{videos:,} videos, {frames:,} frames"


def _frames(fact: Mapping) -> str:
    counts = fact.get("frames_of_a_video")
    if counts is None:
        return UNKNOWN
    low, high = counts
    text = "1, photos" if fact["photos"] else str(low) if low == high else f"{low} to {high}"
    rules = {part["frames"] for part in fact["parts"]} - {None}
    asked = sorted(rules - {OWN_RULE})
    return text + (f" (--frames={', '.join(asked)})" if asked else " (the data set's own rule)" if rules else "")


def _of_parts(say: Callable[[Mapping], str]) -> Callable[[Mapping], str]:
    """Describe the parts of a set, each distinct text once."""
    return lambda fact: " and ".join(dict.fromkeys(map(say, fact["parts"]))) or UNKNOWN


def _tested(part: Mapping) -> str:
    digest = part.get("fingerprint")
    return part["name"] + (f" ({digest[:SHOWN]})" if digest else "")


def _crop(part: Mapping) -> str:
    detector, size = part.get("detector"), part.get("image_size")
    stored = "" if size is None else f" of {size} pixels" if size else " of their own size"
    if detector is None:
        return UNKNOWN + (f", crops{stored}" if stored else "")
    if detector in (READY, DRAWN):
        return ("ready-made crops" if detector == READY else "none, drawn faces") + stored
    version = part["detector_version"]
    scale = "" if part["scale"] is None else f", {part['scale']:g} times its box"
    return (detector if version in (None, detector) else f"{detector} ({version})") + f"{scale}, crops{stored}"


def _compression(part: Mapping) -> str:
    stored = f", crops stored as {part['encoding'].upper()}" if part.get("encoding") else ""
    return (part.get("compression") or UNKNOWN) + stored


def _dropped(part: Mapping) -> str:
    dropped = part.get("dropped")
    if dropped is None:
        return UNKNOWN
    text = ", ".join(f"{reason} {count:,}" for reason, count in sorted(dropped.items())) or "none"
    text += "" if part["items"] is None else f" (of {part['items']:,} photos and videos)"
    return text + (", the download was incomplete" if part["shortfalls"] else "")


DETECTOR_ROWS = {
    "weights, SHA-256": _weights,
    "trained on": _known("trained_on"),
    "seed of the training": _known("seed"),
    "selection": lambda fact: fact["selection"]["label"] or UNKNOWN,
    "picture that the network sees": _input,
}
SET_ROWS = {
    "tested on (fingerprint)": _of_parts(_tested),
    "scored": _size,
    "frames a video": _frames,
    "face crop": _of_parts(_crop),
    "compression": _of_parts(_compression),
    "faces not kept": _of_parts(_dropped),
}
