"""A finished detector: parameters, and a card of everything that gives its scores their meaning.

A fine-tuning run ends with one in `WORKDIR/detector`, a checkpoint whose `run` item is the card:

    class_names, real    what the scores are of, by index
    statistics           channel mean and deviation of the pixels it takes
    step, selection      which step of the run it is, and the sentence on how that was chosen
    calibration          temperature and thresholds from a validation split, or null
    seen                 the videos it was trained on (`detection.video_overlap`)
    image_size           side of its images, if it is not that of the records
    config, origin, ...  the recipe, where its pretraining came from, versions
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from jax.experimental import multihost_utils

from fsfm_jax.metrics.card import Carded
from fsfm_jax.tasks.classify import ClassifyTask

FOLDER = "detector"
REPEATS = "seed_{}"  # folder of one of several runs


@dataclasses.dataclass(frozen=True)
class Detector(Carded):
    """A network with parameters and card.

    Attributes:
      name: what messages call it, the path it was opened from.
    """

    name: str
    task: ClassifyTask
    params: Any
    card: dict


def digest_parameters(params: Mapping) -> str:
    """Return the SHA-256 of all parameters by name, dtype, shape and bytes, in hexadecimal.

    A run and its exports hold the same parameters, and so have the same digest. Parameters that are split over hosts
    are gathered: then all hosts must ask.
    """
    digest = hashlib.sha256()
    for name, leaf in sorted(flatten_dict(params, sep="/").items()):
        if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
            leaf = multihost_utils.process_allgather(leaf, tiled=True)
        array = np.asarray(leaf)
        digest.update(f"{name} {array.dtype} {list(array.shape)}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
