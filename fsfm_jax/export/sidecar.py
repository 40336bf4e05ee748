"""The JSON next to exported weights: everything that gives their numbers a meaning, and how to know the files again."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable
from importlib import metadata

from fsfm_jax.detection.detector import Detector
from fsfm_jax.metrics.card import MERGED
from fsfm_jax.metrics.demonstration import FIELD as DEMONSTRATION
from fsfm_jax.models.antispoof import AntiSpoofSpec
from fsfm_jax.models.bases import BASES, OWN
from fsfm_jax.models.style import Style
from fsfm_jax.models.vit import SIZES
from fsfm_jax.optim.tuning import LORA
from fsfm_jax.run.whole_file import whole_file
from fsfm_jax.weights.export_file import ANTISPOOF, CLASSIFYING, PRETRAINED
from fsfm_jax.weights.run_reader import OpenedRun

LICENCE = "Weights that the authors of FSFM and FS-VFM released are CC BY-NC 4.0 and stay so after any conversion."


def config_hash(fields: dict) -> str:
    """Hash a configuration by name and value (SHA-256 of its JSON, sorted, without spaces)."""
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def of_run(run: OpenedRun) -> dict:
    """Describe a pretraining run."""
    return {
        "kind": PRETRAINED,
        "size": run.config.model.size,
        "image_size": run.spec.image_size,
        "base": run.base,
        "statistics": None if run.statistics is None else dataclasses.asdict(run.statistics),
        "pooling": None,
        "class_names": None,
        "real": None,
        "threshold": None,
        "step": run.step,
        "epochs": run.epochs,
        "data": _data(run.item),
        "config": run.item["config"],
        "config_sha256": config_hash(run.item["config"]),
        **_provenance(run.item),
    }


def of_detector(detector: Detector) -> dict:
    """Describe a detector; `threshold` is on the mean score of a video's frames."""
    model, card = detector.task.model, detector.card
    antispoof = isinstance(model, AntiSpoofSpec)
    video = detector.thresholds("video")
    # What `exported_detector` makes the card of again, as far as this detector has it.
    rest = {name: card[name] for name in ("seen", "official", DEMONSTRATION) if card.get(name) is not None}
    if model.lora is not None or MERGED in card:
        rest[MERGED] = LORA
    return {
        "kind": ANTISPOOF if antispoof else CLASSIFYING,
        "size": next(name for name, size in SIZES.items() if size == model.size),
        "base": _base(card, model.style),
        "image_size": model.image_size,
        "statistics": card["statistics"],
        "pooling": "mean_patches" if antispoof else model.pooling,
        "norm_over": model.norm_over if antispoof else None,
        "reduction": model.reduction,
        "class_names": list(detector.class_names),
        "real": detector.real,
        "score": f"softmax of the outputs at index {detector.real}, the probability of being "
        f"{detector.class_names[detector.real]}",
        "temperature": detector.temperature,
        "threshold": video[0].as_json() if video else _official_threshold(card),
        "thresholds": None if card["calibration"] is None else card["calibration"]["thresholds"],
        "calibration": card["calibration"],
        "transform": detector.own_transform,
        "selection": card["selection"],
        "step": card["step"] if "step" in card else None,
        "data": _data(card),
        "config": card["config"],
        "config_sha256": config_hash(card["config"]),
        **rest,
        **_provenance(card),
    }


def write_sidecar(path: str, said: dict, files: Iterable[str]) -> None:
    """Write `said` with the size and SHA-256 of each file, which are in the folder of `path`."""
    sums = {}
    for name in files:
        with open(os.path.join(os.path.dirname(path), name), "rb") as file:
            sums[name] = {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": file.tell()}
    if len(sums) == 1:
        said = said | {"sha256": next(iter(sums.values()))["sha256"]}
    with whole_file(path) as file:
        file.write((json.dumps(said | {"files": sums}, indent=1, ensure_ascii=False) + "\n").encode())


def _base(card: dict, style: Style) -> str:
    """Return the base model that the recipe names; without a recipe the first with the same wiring."""
    named = card["config"]["model.base"] if "model.base" in card["config"] else OWN
    return named if BASES[named].style == style else next(name for name, base in BASES.items() if base.style == style)


def _official_threshold(card: dict) -> dict | None:
    """Return the threshold an official anti-spoofing file states; its code chooses it on the target's test set."""
    origin = card["origin"]
    if origin is None or "threshold" not in origin:
        return None
    return {"value": origin["threshold"], "rule": "equal error, as the official file says", "split": "its test set"}


def _data(item: dict) -> dict | None:
    """Describe what a run was trained on: its sets as named, size and fingerprint of each; None if unknown."""
    if "data" not in item or "all_fields" not in item:
        return None
    return {"train": item["all_fields"]["data.train"], "sets": item["data"]}


def _provenance(item: dict) -> dict:
    imported = item["imported"] if "imported" in item else item["origin"] if "official" in item else None
    origin = item["origin"] if "origin" in item else None
    versions = item["versions"] if "versions" in item else {}
    foreign = imported is not None or (origin is not None and origin.get("sha256"))
    return {
        "origin": origin if imported is None else imported,
        "versions": versions | {"exported_with_jax": metadata.version("jax")},
        "licence": LICENCE if foreign else None,
    }
