"""Read the JSON next to exported and serialized detectors, and check every field that a program uses.

Sidecars are untrusted: sizes are bounded before anything is read, and an unknown field is refused by name.
"""

import json
import math
import os
import stat
from collections.abc import Mapping
from typing import Any

from fsfm_jax.metrics.demonstration import FIELD, Demonstration
from fsfm_jax.metrics.thresholds import Threshold

MAX_SIDECAR = 1 << 24
MAX_SIDE = 4096  # pixels
COPY = "copy it again, or export anew"


def read_table(beside: str) -> dict:
    """Read the JSON table at `beside`.

    Raises:
      ValueError: the file is not regular, cannot be opened, exceeds `MAX_SIDECAR` bytes, or is no JSON table.
    """
    try:
        found = os.stat(beside)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{beside}: expected a regular file; found something else of this name")
        if found.st_size > MAX_SIDECAR:
            raise ValueError(f"{beside}: expected at most {MAX_SIDECAR} bytes; found {found.st_size}")
        with open(beside, encoding="utf-8") as file:
            text = file.read(MAX_SIDECAR)
    except UnicodeDecodeError as error:
        raise ValueError(f"{beside}: expected a table in JSON: {error}; copy it again") from error
    except OSError as error:
        raise ValueError(f"{beside}: not readable ({error.strerror})") from error
    try:
        table = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{beside}: expected a table in JSON: {error}; copy it again") from error
    if not isinstance(table, dict):
        raise ValueError(f"{beside}: expected a table in JSON; found a {type(table).__name__}")
    return table


def check_types(beside: str, table: Mapping[str, Any], types: Mapping[str, Any]) -> None:
    """Refuse fields that are missing or of another type than `types` says; ValueError names the field."""
    for name, kind in types.items():
        if name not in table or not isinstance(table[name], kind) or isinstance(table[name], bool):
            refuse(beside, name, f"expected {getattr(kind, '__name__', kind)}", table.get(name))


def check_detector(beside: str, card: dict) -> None:
    """Check `class_names`, `real`, `image_size`, `calibration`, whose types have been checked, and `demonstration`.

    Raises:
      ValueError: a value is invalid; the message names the field.
    """
    names, real = card["class_names"], card["real"]
    if not 2 <= len(names) <= 1000 or not all(type(name) is str for name in names) or len(set(names)) != len(names):
        refuse(beside, "class_names", "expected from 2 to 1000 names that differ", names)
    if not 0 <= real < len(names):
        refuse(beside, "real", f"expected the index of one of {len(names)} classes", real)
    if not 1 <= card["image_size"] <= MAX_SIDE:
        refuse(beside, "image_size", f"expected from 1 to {MAX_SIDE} pixels", card["image_size"])
    if FIELD in card:
        try:
            Demonstration.from_json(card[FIELD])
        except ValueError as error:
            raise ValueError(f"{beside}: {FIELD}: {error}. {COPY.capitalize()}") from error
    calibration = card["calibration"]
    if calibration is None:
        return
    temperature = calibration.get("temperature")
    if temperature is not None and not (is_number(temperature) and 0 < temperature < math.inf):
        refuse(beside, "calibration.temperature", "expected a positive number or null", temperature)
    try:
        found = [Threshold.from_json(t).value for level in ("frame", "video") for t in calibration["thresholds"][level]]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{beside}: calibration.thresholds: expected those of frame and video: {error!r}") from error
    if not all(map(is_number, found)):
        refuse(beside, "calibration.thresholds", "expected numbers as values", found)


def is_number(value: Any) -> bool:
    """Return whether a value of JSON is a finite number."""
    return type(value) in (int, float) and math.isfinite(value)


def refuse(beside: str, field: str, expected: str, found: Any) -> None:
    """Raise the ValueError of a field."""
    raise ValueError(f"{beside}: {field}: {expected}; found {str(found)[:100]!r}. {COPY.capitalize()}")


def _refuse_constant(word: str) -> None:
    raise ValueError(f"the number {word} is none of JSON")
