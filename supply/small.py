"""Make the weights that are bundled with the package from a pretraining and a fine-tuning run.

    python -m supply.small --encoder=runs/small --detector=runs/small_dfd [--scores=runs/eval,...] [--nodecoder]

The command replaces encoder, detector, the JSON file of each and the model card in `fsfm_jax/weights/small`, and their
digests in `fsfm_jax/weights/bundled.py`. The detector is stored in float16 and the encoder in int8
(`weights.rounding`); the resulting change of scores and features is measured on the bundled faces and recorded. The
encoder includes its pixel decoder, which the page uses for reconstructions. AUCs come from `metrics.json` in the
detector's `test` folder and in `--scores`, per manipulation if a set names them. Without any the card says that nothing
was measured. `supply/small.toml` has the facts that the runs do not record, and the allowed training data sets. Local
folders are removed from all written paths.
"""

import argparse
import hashlib
import json
import logging
import os
import re
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fsfm_jax.data.resizing import for_evaluation
from fsfm_jax.detection.encoder import open_encoder
from fsfm_jax.detection.opener import Unsaid, open_detector
from fsfm_jax.detection.results import METRICS, TABLE
from fsfm_jax.export import model_card, to_torch
from fsfm_jax.export.sidecar import write_sidecar
from fsfm_jax.figures.faces import open_faces
from fsfm_jax.metrics.demonstration import FIELD, Demonstration
from fsfm_jax.run.whole_file import whole_file
from fsfm_jax.weights import bundled

# The detector is stored in float16, because its verdicts depend on a threshold. Both in float16 would exceed
# `bundled.MAX_BYTES` for an encoder of 2.4 million parameters with a pixel decoder of half a million.
DETECTOR_DTYPE, ENCODER_DTYPE = "float16", "int8"
ABOUT = Path(__file__).with_suffix(".toml")
MODULE = Path(bundled.__file__)
CARD = "README.md"
PACKED = ("seen",)  # fields in base64, where slashes are digits
SPLITS = ("train", "val", "validation", "test")
FACES = 24  # bundled faces on which the rounding is measured
# All but the last part of an absolute path anywhere in a text.
_FOLDERS = re.compile(r"(?<![\w./])/(?!/)(?:[^/\s,:@=|;]+/)+")
_DIGESTS = re.compile(r"^DIGESTS: dict\[str, str\] = \{.*?\}$", re.M | re.S)


def make_weights(
    encoder: str, detector: str, folder: Path, about: dict, scores: Iterable[str] = (), decoder: bool = True
) -> dict[str, str]:
    """Write the files to `folder` and return the SHA-256 of each by name, without that of the model card.

    Args:
      encoder, detector: working directories of the runs.
      about: the content of `small.toml`, with names for data sets and the validation split.
      scores: folders of evaluations of this detector.
      decoder: whether the encoder keeps its pixel decoder.

    Raises:
      FileNotFoundError: if a run does not exist, or an evaluation has no results.
      ValueError: if a run has the wrong job, started from files of the authors of FSFM, or used data sets that `about`
        does not list; if the detector started from another encoder; if the files exceed `bundled.MAX_BYTES`.
    """
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        to_torch.convert(encoder, "safetensors", str(place / bundled.ENCODER), decoder=decoder, dtype=ENCODER_DTYPE)
        to_torch.convert(detector, "safetensors", str(place / bundled.DETECTOR), dtype=DETECTOR_DTYPE)
        said = {name: _read_said(place / name) for name in (bundled.ENCODER, bundled.DETECTOR)}
        for name, table in said.items():
            _check_data(name, table["data"], about["may_have_seen"])
        _check_pair(*(said[name] for name in (bundled.ENCODER, bundled.DETECTOR)), encoder)
        of_detector = said[bundled.DETECTOR]
        own = os.path.join(detector, os.path.dirname(to_torch.EVALUATED))
        folders = [*([own] if os.path.isdir(own) else []), *scores]
        of_detector[FIELD] = {
            "trained_on": about["trained_on"], "licence": about["licence"], "cost": about["cost"],
            "sources": about["sources"],
            "measured": [row for one in folders for row in _measured(one, about["names"])],
            "rounding": {"faces": FACES, **_rounding(encoder, detector, place)},
        }  # fmt: skip
        Demonstration.from_json(of_detector[FIELD])
        said[bundled.DETECTOR] = of_detector = _in_words(of_detector, about["validation"])
        for name, table in said.items():
            write_sidecar(str(place / f"{name}.json"), without_folders(table), [name])
        text = model_card.card_of(of_detector, _tables(folders)) + _about_encoder(said[bundled.ENCODER], of_detector)
        (place / CARD).write_text(without_folders(text), encoding="utf-8")
        _check_size(place)
        folder.mkdir(parents=True, exist_ok=True)
        for path in place.iterdir():
            with whole_file(str(folder / path.name)) as file:
                file.write(path.read_bytes())
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for part in (bundled.ENCODER, bundled.DETECTOR) for path in (folder / part, folder / f"{part}.json")
    }  # fmt: skip


def without_folders(value: Any) -> Any:
    """Remove the folders of absolute paths from JSON or text: `/data/faces:train` becomes `faces:train`."""
    if isinstance(value, str):
        return _FOLDERS.sub("", value)
    if isinstance(value, list):
        return [without_folders(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {name: one if name in PACKED else without_folders(one) for name, one in value.items()}


def write_digests(module: Path, digests: dict[str, str]) -> None:
    """Replace the table `DIGESTS` of a module; raise ValueError if it does not have exactly one."""
    rows = "".join(f'    "{name}": "{digest}",\n' for name, digest in sorted(digests.items()))
    text, count = _DIGESTS.subn(f"DIGESTS: dict[str, str] = {{\n{rows}}}", module.read_text(encoding="utf-8"))
    if count != 1:
        raise ValueError(f"{module}: expected exactly one table DIGESTS, found {count}; restore it")
    module.write_text(text, encoding="utf-8")


def _read_said(path: Path) -> dict:
    said = json.loads(Path(f"{path}.json").read_text(encoding="utf-8"))
    if said["licence"]:
        raise ValueError(f"{path.name}: {said['licence']} They cannot be part of the package; train from scratch")
    wanted = "pretrained" if path.name == bundled.ENCODER else "classifier"
    if said["kind"] != wanted:
        raise ValueError(f"{path.name}: expected a run that produces a {wanted} network; found {said['kind']}")
    kept = {name: value for name, value in said.items() if name not in ("files", "sha256")}
    return kept | {"checkpoint": bundled.NAME}


def _check_data(name: str, data: dict | None, allowed: list[str]) -> None:
    """Raise ValueError if a run used other data, so that the weights contain no face without permission."""
    train = without_folders(data["train"]) if data is not None else "an imported run"
    words = {word for part in train.split(",") for word in part.rpartition("=")[2].partition("@")[0].split(":")}
    others = sorted(word for word in words if word not in (*allowed, *SPLITS) and not word.isdigit())
    if others:
        raise ValueError(
            f"{name}: expected data.train with only {', '.join(allowed)}; found {', '.join(others)} in {train!r}. If "
            f"its terms allow distribution, add it to {ABOUT.name} with these terms"
        )


def _check_pair(of_encoder: dict, of_detector: dict, encoder: str) -> None:
    """Raise ValueError if the detector did not start from this encoder; its numbers would not describe the encoder."""
    origin = of_detector["origin"]
    expected = os.path.basename(os.path.normpath(encoder)), of_encoder["step"]
    found = os.path.basename(os.path.normpath(origin["path"])), origin["step"]
    if found != expected:
        raise ValueError(
            f"--detector: expected a run that started from step {expected[1]} of {expected[0]}, as --encoder is; found "
            f"step {found[1]} of {found[0]}"
        )


def _in_words(value: Any, validation: str) -> Any:
    """Return a card whose thresholds and temperature describe their split in words."""
    if isinstance(value, list):
        return [_in_words(one, validation) for one in value]
    if not isinstance(value, dict):
        return value
    return {name: validation if name == "split" else _in_words(one, validation) for name, one in value.items()}


def _measured(folder: str, names: dict[str, str]) -> list[dict]:
    """Return the AUC over images or frames of each manipulation of an evaluation, or of a set without manipulations.

    `names` maps a set or manipulation to its name on the card.
    """
    found = json.loads((Path(folder) / METRICS).read_text(encoding="utf-8"))
    levels = {
        name: level
        for set_name, summary in found["data"].items()
        for name, level in (
            {f"{set_name}: {method}": one["frame"] for method, one in summary["methods"].items()}
            or {set_name: summary["frame"]}
        ).items()
    }
    return [
        {"name": name, "auc": level["metrics"]["auc"], "real": level["positives"], "forged": level["negatives"]}
        for name, level in ((names.get(name, name), level) for name, level in levels.items())
    ]


def _tables(folders: Iterable[str]) -> str | None:
    texts = [(Path(folder) / TABLE).read_text(encoding="utf-8").strip() for folder in folders]
    return "\n\n".join(texts) or None


def _rounding(encoder: str, detector: str, place: Path) -> dict[str, float]:
    """Return the maximum change of P(real), and of features relative to their length, due to rounding."""
    faces = np.stack(open_faces("samples", FACES).images)
    found = open_detector(detector, Unsaid())
    side, transform = found.task.model.image_size, found.own_transform
    crops = np.stack([for_evaluation(transform, face, side) for face in faces])
    score = jax.jit(found.task.log_probabilities)
    both = found.params, open_detector(str(place / bundled.DETECTOR), Unsaid()).params
    scores = [np.exp(np.asarray(score(params, crops), np.float64))[:, found.real] for params in both]
    opened = open_encoder(encoder, Unsaid())
    patches, pool = opened.patches(faces), jax.jit(lambda params, x: opened.encoder.apply({"params": params}, x)[:, 1:])
    both = opened.params, open_encoder(str(place / bundled.ENCODER), Unsaid()).params
    features = [np.asarray(pool(params, patches), np.float64).mean(axis=1) for params in both]
    apart = np.linalg.norm(features[0] - features[1], axis=1) / np.linalg.norm(features[0], axis=1)
    return {"score_difference": float(np.abs(scores[0] - scores[1]).max()), "feature_difference": float(apart.max())}


def _about_encoder(said: dict, of_detector: dict) -> str:
    rounding = of_detector[FIELD]["rounding"]
    apart = {name: f"{rounding[name]:.1e}" for name in ("score_difference", "feature_difference")}
    decoded = "with its pixel decoder" if said["timm"] is None else "without its pixel decoder"
    return (
        f"\n## The encoder\n\n`{bundled.ENCODER}` is a pretrained encoder, {decoded}: "
        f'`fsfm_jax.load_encoder("{bundled.NAME}")`. {model_card.training_of(said)}\n\n'
        f"## Rounding\n\nThe detector is stored in {of_detector['dtype']}, the encoder in {said['dtype']}; both "
        f"compute in float32. On {rounding['faces']} faces it changes P(real) by at most {apart['score_difference']}, "
        f"and features by at most {apart['feature_difference']} of their length.\n"
    )


def _check_size(place: Path) -> None:
    sizes = {path.name: path.stat().st_size for path in sorted(place.iterdir())}
    if sum(sizes.values()) > bundled.MAX_BYTES:
        listed = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
        raise ValueError(
            f"expected at most {bundled.MAX_BYTES:,} bytes in all; found {sum(sizes.values()):,} ({listed}). Train a "
            "smaller encoder or pixel decoder, or leave the decoder out with --nodecoder: the page then draws masks "
            "without reconstructions"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", required=True, help="working directory of the pretraining")
    parser.add_argument("--detector", required=True, help="working directory of the fine-tuning")
    parser.add_argument("--scores", default="", help="folders of evaluations of the detector, separated by commas")
    parser.add_argument("--nodecoder", action="store_true", help="leave out the pixel decoder")
    chosen = parser.parse_args()
    logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax logs every step
    about, scores = tomllib.loads(ABOUT.read_text(encoding="utf-8")), list(filter(None, chosen.scores.split(",")))
    digests = make_weights(chosen.encoder, chosen.detector, bundled.FOLDER, about, scores, not chosen.nodecoder)
    write_digests(MODULE, digests)
    for path in sorted(bundled.FOLDER.iterdir()):
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
