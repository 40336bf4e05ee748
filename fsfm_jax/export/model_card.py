"""A model card: the template `model_card.md`, filled in with what a model's sidecar says.

It is the README of a Hugging Face folder, and of the weights that come with the package.
"""

import json
import string
from collections.abc import Sequence
from pathlib import Path

from fsfm_jax.metrics.demonstration import FIELD as DEMONSTRATION
from fsfm_jax.metrics.thresholds import Threshold

TEMPLATE = Path(__file__).with_suffix(".md")
UNKNOWN = "not known"
NON_COMMERCIAL = "cc-by-nc-4.0"
# Fields of a configuration that say what a model has learnt, as far as it has them.
RECIPE = (
    "data.statistics", "data.classes", "model.base", "model.dtype", "duration", "batch.size", "mask.strategy",
    "mask.ratio", "tuning.method", "selection.rule",
)  # fmt: skip

_FEATURES = "Features. They say nothing of a face until something is trained on them."
_CLASSIFIER = """\
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

processor = AutoImageProcessor.from_pretrained(FOLDER)
model = AutoModelForImageClassification.from_pretrained(FOLDER)
inputs = processor(Image.open("face.png").convert("RGB"), return_tensors="pt")
with torch.no_grad():
    probabilities = model(**inputs).logits.softmax(-1)"""
_ENCODER = """\
from PIL import Image
from transformers import AutoImageProcessor, ViTModel

processor = AutoImageProcessor.from_pretrained(FOLDER)
model = ViTModel.from_pretrained(FOLDER, add_pooling_layer=False)
tokens = model(**processor(Image.open("face.png").convert("RGB"), return_tensors="pt")).last_hidden_state"""
_AUTOENCODER = """\
from PIL import Image
from transformers import AutoImageProcessor, ViTMAEForPreTraining

processor = AutoImageProcessor.from_pretrained(FOLDER)
model = ViTMAEForPreTraining.from_pretrained(FOLDER)
reconstruction = model(**processor(Image.open("face.png").convert("RGB"), return_tensors="pt")).logits"""
_OWN = """\
import fsfm_jax

with fsfm_jax.load_detector(CHECKPOINT) as detector:
    verdict = detector.predict("photo.jpg")
print(verdict.score, verdict.verdict, *detector.warnings)"""


def card_of(said: dict, evaluated: str | None) -> str:
    """Return the text of a model card.

    Args:
      said: the sidecar, with `checkpoint`; and of a folder for transformers with `architecture`, without which it is a
        detector for `fsfm_jax.load_detector`.
      evaluated: the table of an evaluation as Markdown; None without one.

    Raises:
      KeyError: a sidecar without what every model has.
    """
    detector = said["kind"] != "pretrained"
    template = string.Template(TEMPLATE.read_text(encoding="utf-8"))
    return template.substitute(
        front=_front(said, detector),
        name=said["checkpoint"],
        what=_what(said, detector),
        code=_code(said, detector),
        input=_input(said),
        outputs=_outputs(said) if detector else _FEATURES,
        training=training_of(said),
        results=_results(said, evaluated, detector),
        use=_use(said, detector),
        origin=_origin(said),
    )


def _front(said: dict, detector: bool) -> str:
    """Return the YAML in front; strings as JSON, which YAML reads, so that no name can end them."""
    tags = ["face", "vision-transformer", "fsfm", *(["face-forgery-detection"] if detector else [])]
    lines = [
        f"library_name: {'transformers' if 'architecture' in said else 'fsfm_jax'}",
        f"pipeline_tag: {'image-classification' if detector else 'image-feature-extraction'}",
        f"tags: {json.dumps(tags)}",
    ]
    # Who trained the weights chooses their licence; it is known for the weights of fsfm_jax and of the authors.
    own = said[DEMONSTRATION]["licence"].lower() if DEMONSTRATION in said else "other  # choose one before publishing"
    lines.append(f"license: {NON_COMMERCIAL if said['licence'] else own}")
    return "\n".join(lines)


def _code(said: dict, detector: bool) -> str:
    if "architecture" not in said:
        return _OWN.replace("CHECKPOINT", json.dumps(said["checkpoint"]))
    return _CLASSIFIER if detector else _AUTOENCODER if "MAE" in said["architecture"] else _ENCODER


def _what(said: dict, detector: bool) -> str:
    size, side = said["size"], said["image_size"]
    if not detector:
        return (
            f"A vision transformer ({size}, {side} x {side} pixels) that has learnt from unlabelled photos of real "
            "faces, by reconstructing masked facial regions and by agreeing with a moving average of itself."
        )
    names = ", ".join(said["class_names"])
    return (
        f"A detector of forged faces: a vision transformer ({size}, {side} x {side} pixels) with the classes {names}, "
        f"of which {said['class_names'][said['real']]} is that of real faces."
    )


def _input(said: dict) -> str:
    statistics = said["statistics"]
    mean, std = (", ".join(f"{value:.4f}" for value in statistics[name]) for name in ("mean", "std"))
    return (
        "Images are face crops, RGB: a square 1.3 times the longer side of the detector's box, as in the papers; "
        "`fsfm_jax.apps.predict` cuts them out itself. Other crops give other scores. Channels are normalised with the "
        f"means {mean} and the deviations {std}, **not** with those of ImageNet or CLIP."
    )


def _outputs(said: dict) -> str:
    lines = [f"The score is {said['score']}."]
    if said["temperature"]:
        lines.append(f"Divide the logits by {said['temperature']:.4g} for calibrated probabilities.")
    thresholds = said["thresholds"]
    if not thresholds:
        return " ".join(lines) + " **No threshold is known: choose one on validation data of yours.**"
    table = ["", "", "| level | threshold | rule | chosen on | real called forged | forged called real |"]
    table.append("| --- | --- | --- | --- | --- | --- |")
    for level, kept in thresholds.items():
        for one in kept:
            threshold = Threshold.from_json(one)
            rates = (threshold.false_negative_rate, threshold.false_positive_rate)
            cells = [UNKNOWN if rate.reason else f"{100 * rate.value:.2f} %" for rate in rates]
            table.append(
                f"| {level} | {threshold.value:.4g} | {threshold.rule} | {threshold.split} | {' | '.join(cells)} |"
            )
    return " ".join(lines) + "\n".join(table) + "\n\nA face is real if its score is at least the threshold."


def training_of(said: dict) -> str:
    """Describe in Markdown how a model was trained, from its sidecar: steps, data and the fields of `RECIPE`."""
    config = said["config"] or {}
    rows = [f"| `{name}` | `{json.dumps(config[name])}` |" for name in RECIPE if name in config and config[name] != ""]
    step, epochs = said["step"], said["epochs"] if "epochs" in said else None
    lines = [f"Optimizer steps: {UNKNOWN if step is None else step}."]
    if epochs is not None:
        lines.append(f"Epochs: {epochs:.4g}.")
    if "selection" in said and said["selection"]:
        lines.append(said["selection"]["label"])
    lines.append(f"All fields are in the JSON next to the weights; their SHA-256 is `{said['config_sha256']}`.")
    data = said["data"]
    if data is not None:
        examples = sum(part["examples"] for part in data["sets"])
        rows.insert(0, f"| training data | `{json.dumps(data['train'])}`, {examples:,} faces |")
    about = said[DEMONSTRATION] if DEMONSTRATION in said else {}
    if about:
        lines.insert(0, f"Trained on {about['trained_on']}.")
        lines.append(f"Cost: {about.get('cost') or UNKNOWN}.")
    table = ["", "", "| field | value |", "| --- | --- |", *rows] if rows else []
    return " ".join(lines) + "\n".join(table) + _sources(about.get("sources", ()))


def _sources(sources: Sequence[Sequence[str]]) -> str:
    rows = [f"| {' | '.join(row)} |" for row in sources]
    return "\n".join(["", "", "| data | origin | terms |", "| --- | --- | --- |", *rows]) if rows else ""


def _results(said: dict, evaluated: str | None, detector: bool) -> str:
    if evaluated is not None:
        return "In % with confidence intervals over videos, as `fsfm_jax` evaluated this very detector:\n\n" + evaluated
    if detector:
        return "**Not measured**: this run has no evaluation. `fsfm_jax` has one for every task of the papers."
    return "**Not measured**: what features are worth shows when something is trained on them."


def _use(said: dict, detector: bool) -> str:
    if DEMONSTRATION in said:
        return (
            "- Meant to show how fsfm_jax works before anything was trained: the page, masks, features, the form of a "
            "verdict.\n"
            "- **Not evidence.** It must not be used to accuse, clear, identify or rate anybody, to admit or block "
            "content or accounts, or to tell whether a picture is genuine."
        )
    if detector:
        return "- Meant for defence against forged faces: research, audits, moderation in which a person decides."
    return "- Meant as a start for detectors of forged faces and for research on faces. Not meant to recognise people."


def _origin(said: dict) -> str:
    origin = said["origin"]
    lines = []
    if origin is None:
        lines.append("The weights were trained from scratch.")
    else:
        kind = origin["kind"] if "kind" in origin else UNKNOWN
        digest = f", SHA-256 `{origin['sha256']}`" if origin.get("sha256") else ""
        lines.append(f"The weights started from a {'file' if digest else 'run'} of kind `{kind}`{digest}.")
    if DEMONSTRATION in said:
        lines.append(f"They are under {said[DEMONSTRATION]['licence']}, the licence of fsfm_jax.")
    elif said["licence"]:
        lines.append(f"{said['licence']} The papers' authors must be named.")
    else:
        lines.append(
            "The licence of these weights is for their trainer to choose, within what the training data allow: most "
            "face data sets are for research only."
        )
    return " ".join(lines)
