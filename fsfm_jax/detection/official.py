"""Open fine-tuned official files as detectors; the user supplies what these files do not store."""

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

SELECTION = "An official file: it does not say how its step was chosen. The released anti-spoofing code chooses on the "
SELECTION += "target's test set, the other released code on a validation set."


def open_official(
    path: str,
    classes: str,
    statistics: Statistics | None,
    norm_over: str,
    dtype: jnp.dtype,
    content: Content | None = None,
) -> Detector:
    """Open a fine-tuned official `.pth` or `.safetensors`.

    Args:
      classes: class names by index, such as "fake,real"; the file does not store them.
      statistics: channel statistics, used if the folder of the file has none.
      norm_over: the axis that an anti-spoofing network normalises over.
      content: content of the file, if it was read before.

    Raises:
      ValueError: the class names are missing or do not match the outputs, there are no statistics, or the file is of
        another kind.
      FileNotFoundError: the file does not exist.
    """
    if not classes:
        raise ValueError(
            f"official.classes: {path} does not store its class names; give them by index, such as fake,real (the "
            "official code sorts the class folders by name)"
        )
    names, real = parse_classes(classes, "official.classes")
    return detector_of(path, read_detector(path, names, real, statistics, content=content), norm_over, dtype)


def detector_of(path: str, found: ReleasedDetector, norm_over: str, dtype: jnp.dtype) -> Detector:
    """Make a detector of the network that was read from the file at `path`."""
    shared = dict(size=SIZES[found.size], image_size=found.image_size, drop_path=0.0, dtype=dtype, remat="none")
    shared["reduction"] = found.reduction
    if found.network == "antispoof":
        # A released adapter sees only the pooled token; the value of the field does not matter.
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
