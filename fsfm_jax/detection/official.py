"""Fine-tuned official files as detectors; what they do not say has to be said by whoever evaluates them."""

import dataclasses

import jax.numpy as jnp

from fsfm_jax.data.class_names import parse_classes
from fsfm_jax.detection.detector import Detector
from fsfm_jax.detection.official_network import ReleasedDetector, read_detector
from fsfm_jax.models.antispoof import AntiSpoofSpec
from fsfm_jax.models.classifier import ClassifierSpec
from fsfm_jax.models.vit import SIZES
from fsfm_jax.tasks.classify import ClassifyTask
from fsfm_jax.tasks.normalisation import Statistics
from fsfm_jax.weights.official_file import Content

SELECTION = "An official file: how its step was chosen is not in it. The released anti-spoofing code chooses on the "
SELECTION += "target's test set, the others on a validation set."


def open_official(
    path: str,
    classes: str,
    statistics: Statistics | None,
    norm_over: str,
    dtype: jnp.dtype,
    content: Content | None = None,
) -> Detector:
    """Opens a fine-tuned official `.pth` or `.safetensors`.

    Args:
      classes: its class names by index, such as "fake,real"; the file does not have them.
      statistics: where no statistics lie beside the file.
      norm_over: what an anti-spoofing network normalises over.
      content: of the file, if it was read before.

    Raises:
      ValueError: no class names or another number of them than outputs, no statistics, or another kind of file.
      FileNotFoundError: no such file.
    """
    if not classes:
        raise ValueError(
            f"official.classes: {path} does not say what its outputs are; name them by index, such as fake,real (the "
            "official code numbers folders by name)"
        )
    names, real = parse_classes(classes, "official.classes")
    return detector_of(path, read_detector(path, names, real, statistics, content=content), norm_over, dtype)


def detector_of(path: str, found: ReleasedDetector, norm_over: str, dtype: jnp.dtype) -> Detector:
    """The detector that was found in the file at `path`."""
    shared = dict(size=SIZES[found.size], image_size=found.image_size, drop_path=0.0, dtype=dtype, remat="none")
    shared["reduction"] = found.reduction
    if found.network == "antispoof":
        # A released adapter sees the pooled token alone, whatever the field says.
        norm_over = norm_over if found.reduction is None else "features"
        model = AntiSpoofSpec(norm_over=norm_over, dropout=0.0, **shared)
    else:
        model = ClassifierSpec(classes=len(found.class_names), pooling=found.pooling, **shared)
    card = {
        "class_names": list(found.class_names),
        "real": found.real,
        "statistics": dataclasses.asdict(found.statistics),
        "origin": found.origin,
        "selection": {"rule": None, "metric": None, "oracle": None, "label": SELECTION},
        "calibration": None,
        "seen": None,
    }
    return Detector(path, ClassifyTask(model, len(found.class_names), 0.0, False, found.statistics), found.params, card)
